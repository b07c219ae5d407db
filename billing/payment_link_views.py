"""`/pagar/<token>/`: read-only, for whoever has the link."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from billing.charge_states import CHARGE_GOES_ON, state_of
from billing.models import Charge
from billing.payment_links import find_charge
from billing.pix import brcode, charges

STOP_POLLING = 286  # htmx's own


@never_cache
@require_GET
def pay(request: HttpRequest, token: str) -> HttpResponseBase:
    found = find_charge(token)
    context = _context(found, token) if found else {"state": None}
    response = render(request, "billing/pay.html", context, status=200 if found else 404)
    response["X-Robots-Tag"] = "noindex, nofollow"
    response["Referrer-Policy"] = "no-referrer"
    return response


@never_cache
@require_GET
def pay_status(request: HttpRequest, token: str) -> HttpResponseBase:
    """The page's poll: 204 while nothing changed, so that nobody's copying is disturbed; 286 with the box at the end."""
    found = find_charge(token)
    if found is None:
        return render(request, "billing/_pay.html", {"state": None}, status=STOP_POLLING)
    context = _context(found, token)
    name = context["state"].name
    if name not in CHARGE_GOES_ON:
        return render(request, "billing/_pay.html", context, status=STOP_POLLING)
    return HttpResponse(status=204) if request.GET.get("de") == name else render(request, "billing/_pay.html", context)


def _context(found: Charge, token: str) -> dict[str, Any]:
    state = state_of(found)
    show_code = bool(found.brcode) and state.name == "awaiting"
    return {
        "charge": found,
        "token": token,
        "state": state,
        "goes_on": state.name in CHARGE_GOES_ON,
        "payee": found.wallet.organization,
        "qr": mark_safe(brcode.qr_svg(found.brcode)) if show_code else "",  # noqa: S308 - drawn here, from module positions only
        "identifier": charges.identifier_of(found),
        "receiver_name": settings.RECEIVER_NAME,
        "receiver_tax_id": settings.RECEIVER_TAX_ID,
        "sandbox_pay_url": f"{settings.SANDBOX_URL}/bank/pay/{found.txid}" if settings.SANDBOX_URL else "",
    }
