"""`/app/cupom/` and `/app/indicacao/`. The views translate; `billing/codes.py` and `billing/referrals.py` decide."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.flags import gated, is_on
from accounts.roles import MemberRequest, requires
from billing.codes import use_code
from billing.coupons import CodeRefused
from billing.figures import tell_brl, tell_day
from billing.kept_texts import tell_kept
from billing.models import CouponRedemption, Lot, Referral
from billing.promotion_forms import CodeForm
from billing.promotions import last_day, next_to_end, rules
from billing.referral_link import link_of, tell_noted
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
        return tell_noted(rules())
    ends_at = Lot.everywhere.get(entry=used.entry).expires_at
    told = _("Cupom {code} resgatado: {amount} no seu saldo.")
    until = _("Vale até {date}.").format(date=tell_day(last_day(ends_at))) if ends_at else _("Não expira.")
    return f"{told.format(code=used.coupon.code, amount=tell_brl(used.coupon.amount_nanos))} {until}"


@never_cache
@require_safe
@requires("billing.top_up")
@gated("referrals")
def referral(request: MemberRequest) -> HttpResponseBase:
    """ "Indique e ganhe": the organization's link, and what came of it. Whom it brought is not named."""
    organization = request.membership.organization
    current = rules()
    mine = code_of(organization) if current.referral_is_on else None
    brought = list(Referral.objects.order_by("-id")[:REFERRALS_SHOWN])
    for each in brought:
        each.reason = tell_kept(each.reason)  # as this page's reader reads it; never saved
    context = {
        "nav": "recarregar",
        "rules": current,
        "link": link_of(mine.code) if mine else "",
        "code": mine,
        "referrals": brought,
        "paid_this_month": paid_this_month(organization),
    }
    return render(request, "billing/referral.html", context)
