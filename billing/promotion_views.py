"""`/app/cupom/` and `/app/indicacao/`. The views translate; `billing/codes.py` and `billing/referrals.py` decide."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.flags import gated, is_on
from accounts.roles import MemberRequest, requires
from billing.codes import use_code
from billing.coupons import CodeRefused
from billing.models import CouponRedemption, Lot, Referral
from billing.money import format_brl
from billing.promotion_forms import CodeForm
from billing.promotions import last_day, next_to_end, rules
from billing.referral_link import link_of
from billing.referrals import code_of, paid_this_month
from billing.wallets import wallet_of

REFERRALS_SHOWN = 50


@never_cache
@require_http_methods(["GET", "POST"])
@requires("billing.top_up")
def code(request: MemberRequest) -> HttpResponseBase:
    """A coupon or somebody's referral code; each refusal is told in its own words."""
    organization = request.membership.organization
    form = CodeForm(request.POST or None, initial={"codigo": request.GET.get("codigo", "")[:40]})
    status = HTTPStatus.OK
    if request.method == "POST":
        status = HTTPStatus.BAD_REQUEST
        if form.is_valid():
            try:
                messages.success(request, _tell(use_code(organization, code=form.cleaned_data["codigo"], user=request.user)))
                return redirect("code")
            except CodeRefused as refusal:
                form.add_error("codigo", refusal.message)
                status = HTTPStatus(refusal.status)
    wallet = wallet_of(organization)
    context = {
        "nav": "recarregar",
        "form": form,
        "wallet": wallet,
        "ends": next_to_end(wallet) if wallet.promo_nanos else None,
        "redemptions": CouponRedemption.objects.select_related("coupon").order_by("-id"),
        "referral_is_on": rules().referral_is_on and is_on("referrals", organization=organization),
    }
    return render(request, "billing/code.html", context, status=status)


def _tell(used: CouponRedemption | Referral) -> str:
    if isinstance(used, Referral):
        current = rules()
        return (
            f"Indicação registrada: {format_brl(current.referral_nanos)} de bônus quando você recarregar"
            f" {format_brl(current.referral_top_up_min_nanos)} ou mais."
        )
    ends_at = Lot.everywhere.get(entry=used.entry).expires_at
    until = f" Vale até {last_day(ends_at):%d/%m/%Y}." if ends_at else " Não expira."
    return f"Cupom {used.coupon.code} resgatado: {format_brl(used.coupon.amount_nanos)} no seu saldo.{until}"


@never_cache
@require_safe
@requires("billing.top_up")
@gated("referrals")
def referral(request: MemberRequest) -> HttpResponseBase:
    """ "Indique e ganhe": the organization's link, and what came of it. Whom it brought is not named."""
    organization = request.membership.organization
    current = rules()
    mine = code_of(organization) if current.referral_is_on else None
    context = {
        "nav": "recarregar",
        "rules": current,
        "link": link_of(mine.code) if mine else "",
        "code": mine,
        "referrals": Referral.objects.order_by("-id")[:REFERRALS_SHOWN],
        "paid_this_month": paid_this_month(organization),
    }
    return render(request, "billing/referral.html", context)
