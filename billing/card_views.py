"""Pages about cards: the top-up by card and its payment, saved cards, the automatic top-up."""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.roles import MemberRequest, requires
from billing.card_forms import NEW_CARD, PIX, AutoTopUpForm, CardTopUpForm, new_request_id
from billing.card_states import GOES_ON, card_state_of
from billing.cards import auto_top_ups, booking, holders, payments, stripe_client
from billing.cards.errors import AutoTopUpRefused, CardRefused, CardsOff, StripeRefused, StripeUnavailable, TooManyDeclines
from billing.forms import OTHER, allowed_chips
from billing.kept_texts import tell_kept
from billing.models import Card, CardPayment
from billing.pix import brcode
from billing.pix.errors import TooManyOpenCharges, TopUpRefused
from billing.top_ups import bounds_of
from billing.wallets import wallet_of
from tokia import clock

log = logging.getLogger("billing.cards")

HTMX_STOP_POLLING = 286
POLL_SECONDS = 2
SLOW_POLL_SECONDS = 10
FAST_POLL_FOR_SECONDS = 180
ASK_AGAIN_SECONDS = 2
SILENT = gettext_noop("O serviço de cartões não respondeu agora. Tente de novo em instantes; nada é cobrado duas vezes.")


# ── A top-up by card ─────────────────────────────────────────────────────────────────────────────────────────────────
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires("billing.top_up")
def card_top_up(request: MemberRequest) -> HttpResponseBase:
    """Choose an amount and a card; a new card is typed on Stripe's page."""
    _check_on()
    organization = request.membership.organization
    form = CardTopUpForm(
        request.POST or None, bounds=bounds_of(organization), cards=holders.cards_of(organization), has_pix=settings.STRIPE_HAS_PIX
    )
    status, failure = HTTPStatus.OK, ""
    if request.method == "POST" and form.is_valid():
        try:
            payment = _begin(request, form)
            return redirect(payment.page_url if payment.how == "checkout" and payment.page_url else _page(payment))
        except (TopUpRefused, TooManyOpenCharges) as error:
            form.add_error("outro", error.message)
            status = HTTPStatus(error.status)
        except (CardRefused, TooManyDeclines, StripeRefused, StripeUnavailable) as error:
            failure, status = error.message, HTTPStatus(error.status)
    elif request.method == "POST":
        status = HTTPStatus.BAD_REQUEST
    return render(request, "billing/card_top_up.html", _top_up_context(request, form=form, failure=failure), status=status)


def _begin(request: MemberRequest, form: CardTopUpForm) -> CardPayment:
    wallet, way, by = wallet_of(request.membership.organization), form.cleaned_data["como"], request.user
    amount_nanos, payment_id = form.cleaned_data["amount_nanos"], form.cleaned_data["pedido"]
    if way == NEW_CARD:
        return payments.open_checkout(
            wallet, amount_nanos=amount_nanos, by=by, keeps_card=form.cleaned_data["guardar"], payment_id=payment_id
        )
    if way == PIX:
        return payments.open_pix(wallet, amount_nanos=amount_nanos, by=by, payment_id=payment_id)
    card = Card.objects.get(pk=int(way))
    return payments.pay_with_card(wallet, amount_nanos=amount_nanos, card=card, by=by, payment_id=payment_id)


def _top_up_context(request: MemberRequest, *, form: CardTopUpForm, failure: str) -> dict[str, Any]:
    organization = request.membership.organization
    bounds, wallet = bounds_of(organization), wallet_of(organization)
    return {
        "nav": "recarregar", "tab": "cartao", "form": form, "failure": failure, "other": OTHER, "new_card": NEW_CARD, "pix": PIX,
        "chosen": form.data.get("valor") or ("500" if 500 in allowed_chips(bounds) else OTHER),
        "way": form.first_way, "request_id": form.data.get("pedido") or new_request_id(),
        "min_nanos": bounds.min_nanos, "max_nanos": bounds.max_nanos, "wallet": wallet, "organization": organization,
        "awaiting": list(payments.awaiting(wallet)), "cards": holders.cards_of(organization), "has_cards": stripe_client.is_on(),
    }  # fmt: skip


@never_cache
@require_GET
@requires("billing.top_up")
def card_payment(request: MemberRequest, payment_id: uuid.UUID) -> HttpResponseBase:
    """One payment: what it waits for, then what became of it. Back from Stripe's page it is asked for at once."""
    found = _payment_or_404(payment_id)
    if "voltou" in request.GET or found.status == CardPayment.Status.OPENING:
        _ask(found)
    return render(request, "billing/card_payment.html", _payment_context(found))


@never_cache
@require_GET
@requires("billing.top_up")
def card_payment_status(request: MemberRequest, payment_id: uuid.UUID) -> HttpResponseBase:
    """The poll of an open payment: 204 while nothing changed, 286 with the whole box at the end."""
    context = _payment_context(_payment_or_404(payment_id))
    state = context["state"]
    if state.name in GOES_ON and request.GET.get("de") == state.name:
        return HttpResponse(status=204)
    response = render(request, "billing/_card_payment.html", context, status=200 if state.name in GOES_ON else HTMX_STOP_POLLING)
    response["HX-Retarget"], response["HX-Reswap"] = "#pagamento", "outerHTML"
    if state.is_paid:
        response["HX-Trigger"] = "saldo-mudou"
    return response


@never_cache
@require_POST
@requires("billing.top_up")
def confirm_card_payment(request: MemberRequest, payment_id: uuid.UUID) -> HttpResponseBase:
    """The card's bank waits for its holder: ask it again, now that they are here."""
    found = _payment_or_404(payment_id)
    try:
        payments.confirm_on_session(found)
    except (CardRefused, StripeUnavailable) as error:
        messages.error(request, error.message)
    return redirect(_page(found))


@never_cache
@require_POST
@requires("billing.top_up")
def check_card_payment(request: MemberRequest, payment_id: uuid.UUID) -> HttpResponseBase:
    """ "Já paguei": ask Stripe now."""
    found = _payment_or_404(payment_id)
    if not _ask(found):
        messages.error(request, _(SILENT))
    elif found.status in booking.OPEN:
        messages.info(request, _("A Stripe ainda não registrou este pagamento. Continuamos perguntando sozinhos."))
    return redirect(_page(found))


def _ask(found: CardPayment) -> bool:
    """Ask Stripe, unless it was asked this instant; False for silence."""
    if found.asked_at and (clock.now() - found.asked_at).total_seconds() < ASK_AGAIN_SECONDS:
        return True
    if found.status not in booking.OPEN:
        return True
    try:
        payments.confirm_payment(found)
    except (StripeUnavailable, StripeRefused, CardsOff) as silence:
        log.warning("no answer about a payment", extra={"payment": str(found.pk), "detail": str(silence)})
        return False
    return True


def _payment_or_404(payment_id: uuid.UUID) -> CardPayment:
    return get_object_or_404(CardPayment.objects.select_related("wallet__organization", "card"), pk=payment_id)


def _payment_context(found: CardPayment) -> dict[str, Any]:
    state = card_state_of(found)
    is_young = (clock.now() - found.created_at).total_seconds() < FAST_POLL_FOR_SECONDS
    found.wallet.refresh_from_db()
    return {
        "nav": "recarregar", "tab": "cartao", "payment": found, "state": state, "wallet": found.wallet,
        "organization": found.wallet.organization, "identifier": payments.identifier_of(found), "has_cards": stripe_client.is_on(),
        "poll_seconds": POLL_SECONDS if is_young else SLOW_POLL_SECONDS,
        "qr": mark_safe(brcode.qr_svg(found.brcode)) if found.brcode and state.name == "pix" else "",  # noqa: S308 - drawn here
        "sandbox_pay_url": f"{settings.SANDBOX_URL}/stripe/pix/{found.intent_id}" if settings.SANDBOX_URL else "",
    }  # fmt: skip


def _page(payment: CardPayment) -> str:
    return payments.page_of(payment).removeprefix(settings.WEB_URL)


# ── Saved cards ──────────────────────────────────────────────────────────────────────────────────────────────────────
@never_cache
@require_GET
@requires("billing.top_up")
def cards(request: MemberRequest) -> HttpResponseBase:
    """Saved cards; back from Stripe's page with a new one."""
    _check_on()
    organization = request.membership.organization
    if session_id := request.GET.get("sessao"):
        try:
            card = holders.finish_saving(organization, session_id=session_id[:200])
        except StripeUnavailable:
            messages.info(request, _("Seu cartão aparece aqui em instantes."))
        else:
            if card is not None:
                messages.success(request, _("{card} salvo.").format(card=card))
        return redirect("cards")
    wallet = wallet_of(organization)
    auto = auto_top_ups.auto_top_up_of(wallet)
    paying = auto.card_id if auto is not None and auto.is_on else None
    context = {
        "nav": "recarregar", "tab": "cartoes", "cards": holders.cards_of(organization), "paying": paying, "has_cards": True,
        "organization": organization,
    }  # fmt: skip
    return render(request, "billing/cards.html", context)


@never_cache
@require_POST
@requires("billing.top_up")
def save_card(request: MemberRequest) -> HttpResponseBase:
    """To Stripe's page."""
    _check_on()
    try:
        return redirect(holders.open_saving(request.membership.organization, by=request.user))
    except (CardRefused, TooManyDeclines, StripeRefused, StripeUnavailable) as error:
        messages.error(request, error.message)
        return redirect("cards")


@never_cache
@require_POST
@requires("billing.top_up")
def make_card_default(request: MemberRequest, card_id: int) -> HttpResponseBase:
    card = get_object_or_404(Card.objects, pk=card_id)
    try:
        holders.make_default(card)
        messages.success(request, _("{card} é o cartão principal.").format(card=card))
    except CardRefused as error:
        messages.error(request, error.message)
    return redirect("cards")


@never_cache
@require_POST
@requires("billing.top_up")
def remove_card(request: MemberRequest, card_id: int) -> HttpResponseBase:
    card = get_object_or_404(Card.objects, pk=card_id)
    try:
        holders.remove_card(card, by=request.user.email)
        messages.success(request, _("{card} removido.").format(card=card))
    except (StripeUnavailable, CardsOff) as error:
        messages.error(request, error.message)
    return redirect("cards")


# ── The automatic top-up ─────────────────────────────────────────────────────────────────────────────────────────────
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires("billing.top_up")
def auto_top_up(request: MemberRequest) -> HttpResponseBase:
    """Its amounts and caps, whether it is on, and what it did."""
    _check_on()
    wallet = wallet_of(request.membership.organization)
    auto = auto_top_ups.auto_top_up_of(wallet)
    form = AutoTopUpForm(request.POST or None, auto=auto, defaults=auto_top_ups.DEFAULTS)
    status = HTTPStatus.OK
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            auto_top_ups.set_up(
                wallet, card=data["card"], threshold_nanos=data["threshold"], amount_nanos=data["amount"],
                day_max_nanos=data["day_max"], month_max_nanos=data["month_max"], by=request.user.email,
            )  # fmt: skip
            messages.success(request, _("Recarga automática ligada."))
            return redirect("auto_top_up")
        except AutoTopUpRefused as error:
            form.add_error(error.param or "amount", error.message)
            status = HTTPStatus(error.status)
        except CardRefused as error:
            form.add_error("card", error.message)
            status = HTTPStatus(error.status)
    elif request.method == "POST":
        status = HTTPStatus.BAD_REQUEST
    if auto is not None:
        auto.paused_reason = tell_kept(auto.paused_reason)  # as this page's reader reads it; never saved
    today = clock.today_in_brazil()
    newest = CardPayment.objects.filter(how=CardPayment.How.AUTO).select_related("card").order_by("-created_at")[:10]
    context = {
        "nav": "recarregar", "tab": "automatica", "auto": auto, "form": form, "wallet": wallet, "has_cards": True,
        "organization": request.membership.organization, "cards": holders.cards_of(request.membership.organization),
        "day_nanos": auto_top_ups.spent_since(wallet.pk, today),
        "month_nanos": auto_top_ups.spent_since(wallet.pk, today.replace(day=1)),
        "payments": [(payment, card_state_of(payment)) for payment in newest],
    }  # fmt: skip
    return render(request, "billing/auto_top_up.html", context, status=status)


@never_cache
@require_POST
@requires("billing.top_up")
def switch_auto_top_up_off(request: MemberRequest) -> HttpResponseBase:
    if auto_top_ups.switch_off(wallet_of(request.membership.organization), by=request.user.email):
        messages.success(request, _("Recarga automática desligada."))
    return redirect("auto_top_up")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def auto_top_up_off(request: HttpRequest, token: str) -> HttpResponseBase:
    """One click, from a mail, without signing in. A GET changes nothing: programs open links before people do."""
    wallet = auto_top_ups.wallet_of_link(token)
    if wallet is None:
        raise Http404
    auto = auto_top_ups.auto_top_up_of(wallet)
    is_done = request.method == "POST"
    if is_done:
        auto_top_ups.switch_off(wallet, by="link do e-mail")
    return render(request, "billing/auto_top_up_off.html", {"is_done": is_done or auto is None or not auto.is_on})


def _check_on() -> None:
    if not stripe_client.is_on():
        raise Http404
