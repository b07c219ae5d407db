"""Pages about money in: the top-up by PIX and its charge."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.roles import MemberRequest, requires
from billing import payment_links
from billing.cards import stripe_client
from billing.charge_states import CHARGE_GOES_ON, ChargeState, state_of
from billing.forms import OTHER, PaidForm, TopUpForm, allowed_chips
from billing.models import Charge
from billing.money import format_brl
from billing.pix import brcode, charges, psp
from billing.pix.errors import PspRefused, PspUnavailable, TooManyOpenCharges, TopUpRefused
from billing.pix.received import parse_pix
from billing.pricebooks import price_lists
from billing.pricing import adjust_amount
from billing.top_ups import bounds_of
from billing.wallets import wallet_of
from tokia import clock

HTMX_STOP_POLLING = 286  # htmx's own: the poll ends with this answer
FAST_POLL_SECONDS = 1
SLOW_POLL_SECONDS = 5
FAST_POLL_FOR_SECONDS = 120
PREVIEW_ROUTES = ("openai/gpt-5-mini", "openai/gpt-4o-mini")
ASK_AGAIN_SECONDS = 2


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires("billing.top_up")
def top_up(request: MemberRequest) -> HttpResponseBase:
    """Choose an amount; the same amount again is the same charge while it awaits payment."""
    form = TopUpForm(request.POST or None, bounds=bounds_of(request.membership.organization))
    status, failure = HTTPStatus.OK, ""
    if request.method == "POST" and form.is_valid():
        wallet = wallet_of(request.membership.organization)
        try:
            charge = charges.open_charge(wallet, amount_nanos=form.cleaned_data["amount_nanos"], by=request.user)
            return redirect("charge", charge.pk)
        except (TopUpRefused, TooManyOpenCharges) as error:
            form.add_error("outro", error.message)
            status = HTTPStatus(error.status)
        except (PspUnavailable, PspRefused):
            failure, status = _("Não conseguimos gerar o PIX agora. Nada foi cobrado."), HTTPStatus.SERVICE_UNAVAILABLE
    elif request.method == "POST":
        status = HTTPStatus.BAD_REQUEST
    return render(request, "billing/top_up.html", _top_up_context(request, form=form, failure=failure), status=status)


def _top_up_context(request: MemberRequest, *, form: TopUpForm, failure: str) -> dict[str, Any]:
    awaiting = Charge.objects.filter(status__in=charges.OPEN, expires_at__gt=clock.now()).order_by("-created_at")
    prices, bounds = price_lists(), bounds_of(request.membership.organization)
    route = next((name for name in PREVIEW_ROUTES if name in prices), "")
    preview_nanos = prices[route].units["input"].amount_nanos if route and "input" in prices[route].units else 0
    profile = request.membership.organization.limit_profile
    return {
        "nav": "recarregar",
        "tab": "pix",
        "has_cards": stripe_client.is_on(),
        "form": form,
        "failure": failure,
        "chosen": form.data.get("valor") or ("500" if 500 in allowed_chips(bounds) else OTHER),
        "other": OTHER,
        "min_nanos": bounds.min_nanos,
        "max_nanos": bounds.max_nanos,
        "awaiting": awaiting,
        "organization": request.membership.organization,
        "wallet": wallet_of(request.membership.organization),
        "preview_route": route,
        "preview_nanos": adjust_amount(preview_nanos, profile.margin_bps) if profile else preview_nanos,
    }


@never_cache
@require_GET
@requires("billing.top_up")
def charge(request: MemberRequest, charge_id: uuid.UUID) -> HttpResponseBase:
    """One charge: its code while it awaits payment, then what became of it."""
    found = get_object_or_404(Charge.objects.select_related("wallet__organization"), pk=charge_id)
    return render(request, "billing/charge.html", _charge_context(found))


@never_cache
@require_GET
@requires("billing.top_up")
def charge_status(request: MemberRequest, charge_id: uuid.UUID) -> HttpResponseBase:
    """The poll of an open charge: 204 while nothing changed, 286 with the whole box at the end.

    It never replaces a box in which somebody may be copying the code.
    """
    found = get_object_or_404(Charge.objects.select_related("wallet__organization"), pk=charge_id)
    context = _charge_context(found)
    state: ChargeState = context["state"]
    if state.name not in CHARGE_GOES_ON:
        return _whole_box(request, context, status=HTMX_STOP_POLLING)
    if request.GET.get("de") != state.name:
        return _whole_box(request, context)
    if request.GET.get("cada") != str(context["poll_seconds"]):
        return render(request, "billing/_charge_poll.html", context)
    return HttpResponse(status=204)


@never_cache
@require_POST
@requires("billing.top_up")
def check_charge(request: MemberRequest, charge_id: uuid.UUID) -> HttpResponseBase:
    """ "Já paguei e não caiu": ask the bank now and say what it said."""
    found = get_object_or_404(Charge.objects.select_related("wallet__organization"), pk=charge_id)
    form = PaidForm(request.POST)
    answer = _("Confira o ID da transação: ele tem 32 letras e números e começa com E.")
    if form.is_valid():
        answer = _ask_bank(found, end_to_end_id=form.cleaned_data["end_to_end_id"])
        found.refresh_from_db()
    context = {**_charge_context(found), "answer": answer, "paid_form": form}
    if request.headers.get("HX-Request"):
        return _whole_box(request, context)
    return render(request, "billing/charge.html", context)


def _ask_bank(found: Charge, *, end_to_end_id: str) -> str:
    if found.asked_at and (clock.now() - found.asked_at).total_seconds() < ASK_AGAIN_SECONDS and not end_to_end_id:
        return _("Acabamos de perguntar ao banco: este pagamento ainda não aparece.")
    try:
        charges.confirm_charge(found)
        pix = psp.read_pix(end_to_end_id) if end_to_end_id else None
        if pix is not None:
            charges.place_pix(parse_pix(pix), told=pix)
    except (PspUnavailable, PspRefused):
        return _("O banco não respondeu agora. Continuamos perguntando sozinhos; seu dinheiro não se perde.")
    if Charge.objects.filter(pk=found.pk, status=Charge.Status.PAID).exists():
        return ""
    if pix is not None:
        return _("Encontramos este pagamento, mas não nesta cobrança. Estamos conferindo; costuma levar até 15 minutos.")
    return _("O banco ainda não registrou este pagamento. Continuamos perguntando sozinhos; costuma levar até 15 minutos.")


def _whole_box(request: HttpRequest, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = render(request, "billing/_charge.html", context, status=status)
    response["HX-Retarget"], response["HX-Reswap"] = "#cobranca", "outerHTML"
    if context["state"].name in ("paid", "other_amount", "twice", "returned"):
        response["HX-Trigger"] = "saldo-mudou"
    return response


def _shared(found: Charge, *, show_code: bool) -> dict[str, str]:
    """What is sent to whoever pays, and to our support when a payment is missing."""
    amount, identifier = format_brl(found.amount_nanos), charges.identifier_of(found)
    link = payment_links.link_of(found) if show_code else ""
    until = f"{found.expires_at.astimezone(clock.SAO_PAULO):%d/%m às %H:%M}"
    number = settings.SUPPORT_WHATSAPP
    missing = f"Paguei o PIX de {amount}, identificador {identifier}, e o saldo não entrou."
    return {
        "payment_link": link,
        "share_text": f"PIX de {amount} para a Tokia, vale até {until}: {link}\n\nOu copia e cola:\n{found.brcode}",
        "support_url": f"https://wa.me/{number}?{urlencode({'text': missing})}" if number else "",
    }


def _charge_context(found: Charge) -> dict[str, Any]:
    state = state_of(found)
    is_young = (clock.now() - found.created_at).total_seconds() < FAST_POLL_FOR_SECONDS
    show_code = bool(found.brcode) and state.name == "awaiting"
    return {
        "nav": "recarregar",
        "charge": found,
        "state": state,
        "organization": found.wallet.organization,
        "wallet": found.wallet,
        "after_nanos": found.wallet.available_nanos + found.amount_nanos - min(found.wallet.overdraft_nanos, found.amount_nanos),
        "poll_seconds": FAST_POLL_SECONDS if is_young else SLOW_POLL_SECONDS,
        "qr": mark_safe(brcode.qr_svg(found.brcode)) if show_code else "",  # noqa: S308 - drawn here, from module positions only
        **_shared(found, show_code=show_code),
        "identifier": charges.identifier_of(found),
        "receiver_name": settings.RECEIVER_NAME,
        "receiver_tax_id": settings.RECEIVER_TAX_ID,
        "sandbox_pay_url": f"{settings.SANDBOX_URL}/bank/pay/{found.txid}" if settings.SANDBOX_URL else "",
        "paid_form": PaidForm(),
    }
