"""Stripe's lists against our books, both ways."""

from __future__ import annotations

import datetime as dt

from billing.cards import refunds, stripe_client
from billing.cards.comparison import compare_stripe
from billing.models import Difference, Refund, Wallet
from billing.money import BRL
from tests.billing.cards.conftest import StripeSide
from tests.billing.cards.test_refunds import top_up
from tests.make import make_top_up
from tokia import clock

Kind, Status = Difference.Kind, Difference.Status


def compare() -> dict[str, Difference]:
    now = clock.now()
    runs = compare_stripe(first_at=now - dt.timedelta(hours=2), last_at=now + dt.timedelta(minutes=11))
    assert len(runs) == 3
    return {row.reference: row for row in Difference.objects.exclude(status=Status.GONE)}


def test_books_that_agree_are_silent(wallet: Wallet, stripe_side: StripeSide) -> None:
    _, lot = top_up(wallet)
    refunds.refund_lot(lot, amount_nanos=40 * BRL, by="alice", reason="teste")
    assert compare() == {}


def test_what_only_one_side_has_is_found_both_ways(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment, lot = top_up(wallet)
    refunds.refund_lot(lot, amount_nanos=40 * BRL, by="alice", reason="teste")
    stripe_client.client().v1.payment_intents.create(
        {
            "amount": 5_000, "currency": "brl", "payment_method": "pm_card_visa", "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
    )  # fmt: skip
    make_top_up(wallet=wallet, brl="7.00")  # a PIX: none of Stripe's affair
    Refund.objects.update(amount_nanos=41 * BRL)
    kinds = sorted((row.subject, row.kind, row.ours_nanos, row.theirs_nanos) for row in compare().values())
    assert kinds == [("card", Kind.ONLY_THERE, None, 50 * BRL), ("card_refund", Kind.AMOUNT, 41 * BRL, 40 * BRL)]
    Refund.objects.update(amount_nanos=40 * BRL)
    assert [row.subject for row in compare().values()] == ["card"]
    assert payment.intent_id not in compare()
