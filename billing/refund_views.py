"""`/app/recargas/`: what is left of each top-up, and its way back. The views translate; `billing/refunds.py` decides."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.roles import MemberRequest, may, requires
from billing.figures import tell_typed
from billing.forms import RefundForm
from billing.kept_texts import tell_kept
from billing.models import Lot
from billing.refund_books import RefundRefused
from billing.refunds import origin_of, refund_lot, tell_refund, top_up_of, top_ups_of
from billing.wallets import wallet_of

POLL_SECONDS = 5
HTMX_STOP_POLLING = 286


@never_cache
@require_safe
@requires("billing.statement")
def top_ups(request: MemberRequest) -> HttpResponseBase:
    return render(request, "billing/top_ups.html", _context(request))


@never_cache
@require_safe
@requires("billing.statement")
def top_ups_list(request: MemberRequest) -> HttpResponseBase:
    """The list alone, asked again while a refund is under way; 286 once none is."""
    context = _context(request)
    response = render(request, "billing/_top_ups.html", context, status=200 if context["is_under_way"] else HTMX_STOP_POLLING)
    if not context["is_under_way"]:
        response["HX-Trigger"] = "saldo-mudou"
    return response


def _context(request: MemberRequest) -> dict[str, object]:
    lines = top_ups_of(wallet_of(request.membership.organization))
    for refund in (refund for line in lines for refund in line.refunds):
        refund.bank_reason = tell_kept(refund.bank_reason)  # as this page's reader reads it; never saved
    return {
        "nav": "recarregar",
        "lines": lines,
        "is_under_way": any(line.is_under_way for line in lines),
        "may_refund": may(request.membership, "billing.refund"),
        "poll_seconds": POLL_SECONDS,
    }


@never_cache
@require_http_methods(["GET", "POST"])
@requires("billing.refund")
def refund_top_up(request: MemberRequest, lot_id: int) -> HttpResponseBase:
    """What would go back, and where to; then the act. The page's own id makes two clicks one refund."""
    lot = get_object_or_404(Lot.objects.select_related("entry", "wallet__organization"), pk=lot_id)
    if not origin_of(lot):
        return HttpResponse(status=HTTPStatus.NOT_FOUND)
    line = top_up_of(lot)
    form = RefundForm(request.POST or None, initial={"valor": tell_typed(line.refundable_nanos), "pedido": uuid.uuid4()})
    status = HTTPStatus.OK
    if request.method == "POST":
        status = HTTPStatus.BAD_REQUEST
        if form.is_valid():
            try:
                refund = refund_lot(
                    lot, amount_nanos=form.cleaned_data["valor"], by=request.user.email, refund_id=form.cleaned_data["pedido"]
                )
            except RefundRefused as refusal:
                form.add_error(None, refusal.message)
                line, status = top_up_of(lot), HTTPStatus.CONFLICT
            else:
                messages.info(request, tell_refund(refund))
                return redirect("top_ups")
    return render(request, "billing/refund_top_up.html", {"nav": "recarregar", "line": line, "form": form}, status=status)
