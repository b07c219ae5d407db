"""Saved cards: an organization's holder at Stripe, the page on which a card is saved, and what became of each card.

Stripe keeps the number; a card of ours is Stripe's id and what a person recognizes it by. Lock order: holder, then cards.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext, gettext_noop

from accounts import audit
from accounts.models import Organization, User
from billing.cards import auto_top_ups, stripe_client
from billing.cards.errors import CardRefused, StripeRefused, TooManyDeclines
from billing.kept_texts import CARD_REMOVED
from billing.models import AutoTopUp, Card, CardHolder
from tokia import clock

log = logging.getLogger("billing.cards")

SUSPENDED = gettext_noop("A conta está suspensa: recarregue por PIX ou fale com a gente.")


def holder_of(organization: Organization) -> CardHolder:
    """The organization's holder, opened at Stripe at first use. Safe to repeat. Raises StripeUnavailable, StripeRefused."""
    holder, _ = CardHolder.everywhere.get_or_create(organization=organization)
    if holder.stripe_id is None:
        told = stripe_client.create_holder(
            key=f"holder-{holder.reference}", name=organization.name[:150], email=organization.invoice_email,
            metadata={"organization": str(organization.pk)},
        )  # fmt: skip
        CardHolder.everywhere.filter(pk=holder.pk, stripe_id=None).update(stripe_id=told["id"])
        holder.refresh_from_db()
    return holder


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def open_saving(organization: Organization, *, by: User) -> str:
    """The address of Stripe's page on which a card is saved. Raises CardRefused, TooManyDeclines, StripeUnavailable."""
    if organization.is_suspended:
        raise CardRefused(gettext(SUSPENDED))
    check_room(organization)
    holder = holder_of(organization)
    page = f"{settings.WEB_URL}{reverse('cards')}"
    session = stripe_client.create_session(
        {
            "mode": "setup", "customer": holder.stripe_id, "allowed_payment_method_types": ["card"], "locale": "pt-BR",
            "success_url": page + "?sessao={CHECKOUT_SESSION_ID}", "cancel_url": page,
            "expires_at": int(clock.now().timestamp()) + settings.CHECKOUT_SECONDS,
            "setup_intent_data": {"metadata": {"organization": str(organization.pk), "by": str(by.pk)}},
        },
        key=f"setup-{uuid.uuid4()}",
    )  # fmt: skip
    return str(session["url"])


def check_room(organization: Organization) -> None:
    """Raises TooManyDeclines. Removed cards of the day count: saving and removing is how stolen numbers are tried."""
    since = clock.now() - dt.timedelta(days=1)
    cards = Card.everywhere.filter(organization=organization)
    if cards.filter(status=Card.Status.ACTIVE).count() >= settings.CARDS_MAX:
        refusal = gettext("Já há {count} cartões salvos. Remova um deles para salvar outro.")
        raise TooManyDeclines(refusal.format(count=settings.CARDS_MAX))
    if cards.filter(created_at__gte=since).count() >= settings.CARDS_MAX:
        raise TooManyDeclines(gettext("Muitos cartões foram salvos hoje. Tente de novo amanhã ou fale com a gente."))


def finish_saving(organization: Organization, *, session_id: str) -> Card | None:
    """Back from Stripe's page: keep the card at once, without waiting for the event. None where there is none, or it is not the
    organization's. Raises StripeUnavailable."""
    holder = CardHolder.everywhere.filter(organization=organization).exclude(stripe_id=None).first()
    if holder is None:
        return None
    try:
        session = stripe_client.read_session(session_id)
    except StripeRefused:
        return None
    setup = session.get("setup_intent") or {}
    if session.get("customer") != holder.stripe_id or setup.get("status") != "succeeded" or not setup.get("payment_method"):
        return None
    return keep_card(holder, stripe_client.read_card(str(setup["payment_method"])))


def follow_setup(setup_id: str) -> None:
    """An event said that a card was saved. Raises StripeUnavailable."""
    setup = stripe_client.read_setup(setup_id)
    holder = CardHolder.everywhere.filter(stripe_id=setup.get("customer") or "-").first()
    if holder is not None and setup.get("status") == "succeeded" and setup.get("payment_method"):
        keep_card(holder, stripe_client.read_card(str(setup["payment_method"])))


def follow_card(card_id: str) -> None:
    """An event said that a card changed: its bank renewed it, or somebody detached it at Stripe. Raises StripeUnavailable."""
    card = Card.everywhere.filter(stripe_id=card_id).first()
    if card is None:
        return
    try:
        told = stripe_client.read_card(card_id)
    except StripeRefused as refusal:
        if refusal.http_status != 404:
            raise
        told = {}
    holder = CardHolder.everywhere.get(organization=card.organization)
    if told.get("customer") != holder.stripe_id:
        _mark_removed(card, by="stripe")
    else:
        keep_card(holder, told)


def keep_card(holder: CardHolder, told: stripe_client.Json) -> Card | None:
    """A row for a card that Stripe says is the holder's; the first one becomes the default. None for what is no such card."""
    details = told.get("card") or {}
    if told.get("customer") != holder.stripe_id or not details:
        return None
    seen = {
        "brand": str(details.get("brand") or "card")[:30], "last4": str(details.get("last4") or "")[:4],
        "exp_month": int(details.get("exp_month") or 1), "exp_year": int(details.get("exp_year") or 2000),
    }  # fmt: skip
    with transaction.atomic():
        CardHolder.everywhere.select_for_update().get(pk=holder.pk)
        has_default = Card.everywhere.filter(organization=holder.organization, is_default=True).exists()
        card, is_new = Card.everywhere.get_or_create(
            stripe_id=told["id"], defaults={"organization": holder.organization, "is_default": not has_default, **seen}
        )
        if not is_new and card.organization_id == holder.organization_id:
            Card.everywhere.filter(pk=card.pk).update(**seen)
            card.refresh_from_db()
    return card


# ── Choosing and removing ────────────────────────────────────────────────────────────────────────────────────────────
def make_default(card: Card) -> None:
    """The card that pays where none is named. Raises CardRefused for one that is gone."""
    with transaction.atomic():
        CardHolder.everywhere.select_for_update().get(organization=card.organization)
        if not Card.everywhere.filter(pk=card.pk, status=Card.Status.ACTIVE).exists():
            raise CardRefused(gettext("Este cartão já foi removido."))
        Card.everywhere.filter(organization=card.organization, is_default=True).update(is_default=False)
        Card.everywhere.filter(pk=card.pk).update(is_default=True)


def remove_card(card: Card, *, by: str) -> None:
    """Detach it at Stripe, then here; an automatic top-up that it pays is switched off. Raises StripeUnavailable."""
    try:
        stripe_client.detach_card(card.stripe_id)
    except StripeRefused as refusal:  # it is attached to nobody, or gone: that is what was wanted
        log.info("a card was detached before", extra={"card": card.pk, "kind": refusal.kind})
    _mark_removed(card, by=by)


def _mark_removed(card: Card, *, by: str) -> None:
    with transaction.atomic():
        CardHolder.everywhere.select_for_update().get(organization=card.organization)
        removed = Card.everywhere.filter(pk=card.pk, status=Card.Status.ACTIVE).update(
            status=Card.Status.REMOVED, is_default=False, removed_at=clock.now()
        )
        if not removed:
            return
        audit.act("card_removed", organization=card.organization, detail={"name": str(card)})
        left = Card.everywhere.filter(organization=card.organization, status=Card.Status.ACTIVE)
        if not left.filter(is_default=True).exists() and (next_card := left.order_by("-id").first()) is not None:
            Card.everywhere.filter(pk=next_card.pk).update(is_default=True)
        for auto in AutoTopUp.everywhere.filter(card=card, is_on=True).select_related("wallet__organization"):
            auto_top_ups.switch_off(auto.wallet, by=by, reason=CARD_REMOVED.format(card=card))


def cards_of(organization: Organization) -> list[Card]:
    """Saved cards, the default first."""
    return list(Card.everywhere.filter(organization=organization, status=Card.Status.ACTIVE).order_by("-is_default", "-id"))
