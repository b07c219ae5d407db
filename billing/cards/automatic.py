"""Top-ups that nobody asks for: a wallet below its threshold is topped up by its card, once however many see it at once.

Who sees it first locks the automatic top-up's row (others skip it), looks at the wallet under that lock and mints the payment; one
AUTO payment per wallet may be in flight (`card_payment_one_auto`). Stripe is asked after the commit, with a key from the row.
"""

from __future__ import annotations

import logging

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from billing.cards import auto_top_ups, payments, stripe_client
from billing.cards.errors import CardRefused, StripeRefused, StripeUnavailable
from billing.kept_texts import OFF_BY_BOUNDS
from billing.models import AutoTopUp, Card, CardPayment, Wallet
from billing.pix.errors import TopUpRefused
from tokia import clock

log = logging.getLogger("billing.cards")

BATCH = 200


def top_up_low_wallets() -> int:
    """Look at every automatic top-up that may be due; returns how many payments were begun. For a task."""
    if not stripe_client.is_on():
        return 0
    return sum(top_up_if_low(wallet_id) is not None for wallet_id in due_wallets())


def due_wallets() -> list[int]:
    due = (
        AutoTopUp.everywhere.alias(available=F("wallet__posted_nanos") - F("wallet__held_nanos"))
        .filter(Q(next_try_at=None) | Q(next_try_at__lte=clock.now()), is_on=True, wallet__organization__is_suspended=False)
        .filter(available__lt=F("threshold_nanos"))
        .exclude(wallet__card_payments__in=CardPayment.everywhere.filter(how="auto", status__in=auto_top_ups.IN_FLIGHT))
    )
    return list(due.order_by("wallet_id").values_list("wallet_id", flat=True)[:BATCH])


def top_up_if_low(wallet_id: int) -> CardPayment | None:
    """Begin the automatic top-up of a wallet if it needs one now; None where it does not, or somebody else is at it."""
    payment = _mint(wallet_id)
    if payment is None:
        return None
    _abandon_older(payment)
    try:
        return payments.register(payment)
    except (StripeUnavailable, StripeRefused) as silence:  # in flight: the sweep asks again by the same key
        log.warning("no answer about an automatic top-up", extra={"payment": str(payment.pk), "detail": str(silence)})
    payment.refresh_from_db()
    return payment


def _mint(wallet_id: int) -> CardPayment | None:
    try:
        with transaction.atomic():
            auto = (
                AutoTopUp.everywhere.select_for_update(of=("self",), skip_locked=True)
                .select_related("wallet__organization__limit_profile", "card")
                .filter(wallet_id=wallet_id, is_on=True)
                .first()
            )
            if auto is None or not _is_due(auto):
                return None
            if cap := auto_top_ups.cap_reached(auto):
                auto_top_ups.tell_cap(auto, cap)
                return None
            assert auto.card is not None
            payment, _ = payments.mint(
                auto.wallet, how=CardPayment.How.AUTO, amount_nanos=auto.amount_nanos, by=None, card=auto.card
            )
            return payment
    except IntegrityError:  # another one is in flight since this instant
        return None
    except (TopUpRefused, CardRefused) as refusal:  # its amount is outside what the organization may now top up
        auto_top_ups.switch_off(
            Wallet.everywhere.get(pk=wallet_id), by="billing", reason=OFF_BY_BOUNDS.format(reason=refusal.message)
        )
        return None


def _is_due(auto: AutoTopUp) -> bool:
    """Read again under the lock: whoever held it before may have topped the wallet up."""
    wallet = Wallet.everywhere.select_related("organization").get(pk=auto.wallet_id)
    return (
        not wallet.organization.is_suspended
        and wallet.available_nanos < auto.threshold_nanos
        and (auto.next_try_at is None or auto.next_try_at <= clock.now())
        and auto.card is not None
        and auto.card.status == Card.Status.ACTIVE
        and not CardPayment.everywhere.filter(wallet=wallet, how=CardPayment.How.AUTO, status__in=auto_top_ups.IN_FLIGHT).exists()
    )


def _abandon_older(payment: CardPayment) -> None:
    """An earlier payment that waits for its cardholder's bank must not be confirmed beside this one: one need, one payment."""
    older = CardPayment.everywhere.filter(
        wallet_id=payment.wallet_id, how=CardPayment.How.AUTO, status=CardPayment.Status.FAILED,
        created_at__gt=payment.created_at - payments.CONFIRM_WINDOW,
    ).exclude(intent_id=None)  # fmt: skip
    for before in older:
        try:
            stripe_client.cancel_intent(before.intent_id or "")
        except (StripeUnavailable, StripeRefused) as silence:  # cancelled before, or `may_confirm` says no anyway
            log.info("an older payment was not cancelled", extra={"payment": str(before.pk), "detail": str(silence)})
