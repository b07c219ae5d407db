"""What the payer's bank takes back by itself (MED): whole or in part, any number of times, whatever became of the money."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from billing import holds
from billing import refunds as way_back
from billing.models import Event, LedgerEntry, Lot, Posting, Refund, UnmatchedPix, Wallet
from billing.money import BRL, from_brl
from billing.pix import charges, refunds, sweep
from billing.pricing import Usage
from billing.reconcile import find_violations
from billing.refund_books import finish_refund
from tests.billing.pix.conftest import BankControl, open_charge
from tests.billing.pix.test_refunds import follow, make_paid_lot, make_unmatched, money
from tests.make import make_hold, make_usage, make_volume_plan, make_wallet
from tokia import clock


@pytest.fixture
def wallet(db: None) -> Iterator[Wallet]:
    """One process and one thread: nothing needs to commit. Afterwards the money must add up, as after `committed_db`."""
    yield make_wallet(brl="0")
    assert find_violations() == []


def take_back(bank: BankControl, end_to_end_id: str | None, brl: str = "") -> None:
    bank.post(f"med-refund/{end_to_end_id}", **({"valor": brl} if brl else {}))
    for _ in range(2):  # told twice, booked once
        sweep.sweep_window(hours=1)


def taken(wallet: Wallet) -> list[int]:
    """What disputes brought back to the world, by entry."""
    postings = Posting.objects.filter(entry__kind=LedgerEntry.Kind.DISPUTE, wallet=wallet, destination="world:pix")
    amounts: dict[int, int] = {}
    for posting in postings.order_by("entry_id"):
        amounts[posting.entry_id] = amounts.get(posting.entry_id, 0) + posting.amount_nanos
    return list(amounts.values())


def test_two_partial_disputes_of_one_pix_are_both_booked(bank: BankControl, wallet: Wallet) -> None:
    make_volume_plan()
    lot = make_paid_lot(bank, wallet)
    make_usage(wallet=wallet, gross_nanos=20 * BRL)
    take_back(bank, refunds.end_to_end_id_of(lot), "10.00")
    assert money(wallet) == (20 * BRL, 0, 0)
    take_back(bank, refunds.end_to_end_id_of(lot), "40.00")
    assert money(wallet) == (0, 0, 20 * BRL)
    assert taken(wallet) == [10 * BRL, 40 * BRL]
    wallet.organization.refresh_from_db()
    assert wallet.organization.is_suspended
    told = Event.everywhere.filter(type="dispute.opened").order_by("id")
    assert [event.payload["amount"] for event in told] == ["10.00", "40.00"]
    assert {event.payload["paid_by"] for event in told} == {"pix"}


def test_a_dispute_leaves_what_calls_hold_and_asks_for_it(bank: BankControl, wallet: Wallet) -> None:
    make_volume_plan()
    lot = make_paid_lot(bank, wallet)
    call = make_hold(wallet=wallet, brl="30.00")
    take_back(bank, refunds.end_to_end_id_of(lot))
    assert money(wallet) == (30 * BRL, 30 * BRL, 30 * BRL)
    ended = holds.EndedCall(
        id=call, wallet_id=wallet.pk, gross_nanos=12 * BRL, api_key_id=1, price_version_id=1, route_name="test/model",
        usage=Usage(input_tokens=10, output_tokens=5),
    )  # fmt: skip
    holds.settle([ended])
    assert money(wallet) == (18 * BRL, 0, 30 * BRL)


def test_a_dispute_of_a_pix_returned_in_part_takes_the_rest(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    asked = way_back.refund_lot(lot, amount_nanos=20 * BRL, by="ana", reason="Pediu.", is_staff=True)
    assert follow(asked).status == Refund.Status.DONE
    take_back(bank, refunds.end_to_end_id_of(lot))
    assert money(wallet) == (0, 0, 0)
    assert taken(wallet) == [30 * BRL]


def test_a_dispute_beside_a_refund_under_way_moves_each_real_once(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    bank.faults(refund="stuck")
    asked = way_back.refund_lot(lot, amount_nanos=20 * BRL, by="ana", reason="Pediu.", is_staff=True)
    take_back(bank, refunds.end_to_end_id_of(lot), "30.00")
    assert money(wallet) == (20 * BRL, 20 * BRL, 0)
    bank.post(f"finish-refund/{asked.end_to_end_id}/{asked.pk.hex}", status="DEVOLVIDO")
    assert follow(asked).status == Refund.Status.DONE
    assert money(wallet) == (0, 0, 0)


def test_a_top_up_pays_what_a_dispute_left_owing(bank: BankControl, wallet: Wallet) -> None:
    make_volume_plan()
    lot = make_paid_lot(bank, wallet)
    make_usage(wallet=wallet, gross_nanos=50 * BRL)
    take_back(bank, refunds.end_to_end_id_of(lot))
    assert money(wallet) == (0, 0, 50 * BRL)
    charge = open_charge(wallet, "80.00")
    bank.pay(charge, drop=True)
    charges.confirm_charge(charge)
    assert money(wallet) == (30 * BRL, 0, 0)


def test_a_refund_that_the_bank_refused_and_made_all_the_same_is_booked(bank: BankControl, wallet: Wallet) -> None:
    """We gave the money back to the wallet on its word; then it left after all. Nobody is suspended for our own refund."""
    lot = make_paid_lot(bank, wallet)
    bank.faults(refund="stuck")
    asked = way_back.refund_lot(lot, amount_nanos=20 * BRL, by="ana", reason="Pediu.", is_staff=True)
    finish_refund(asked, status=Refund.Status.REFUSED, bank_reason="engano do banco")
    bank.post(f"finish-refund/{asked.end_to_end_id}/{asked.pk.hex}", status="DEVOLVIDO")
    for _ in range(2):
        sweep.sweep_window(hours=1)
    assert money(wallet) == (30 * BRL, 0, 0)
    wallet.organization.refresh_from_db()
    assert not wallet.organization.is_suspended and not Event.everywhere.filter(type="dispute.opened").exists()


def test_a_partial_dispute_of_money_that_nobody_placed_waits_with_the_rest(bank: BankControl, wallet: Wallet) -> None:
    unmatched = make_unmatched(bank)  # 30.00
    take_back(bank, unmatched.end_to_end_id, "10.00")
    unmatched.refresh_from_db()
    assert (unmatched.status, refunds.taken_back_nanos(unmatched)) == (UnmatchedPix.Status.OPEN, 10 * BRL)
    refunds.credit_unmatched(unmatched, wallet=wallet, by="ana", reason="Conferido por e-mail")
    assert money(wallet) == (20 * BRL, 0, 0)
    assert Lot.everywhere.get(wallet=wallet).amount_nanos == 30 * BRL  # credited as received, then taken as told
    sweep.sweep_window(hours=1)
    assert money(wallet) == (20 * BRL, 0, 0)


def test_what_is_left_of_money_that_nobody_placed_goes_back(bank: BankControl, db: None) -> None:
    unmatched = make_unmatched(bank)
    take_back(bank, unmatched.end_to_end_id, "10.00")
    unmatched.refresh_from_db()
    asked = refunds.refund_unmatched(unmatched, by="ana", reason="Pagador desconhecido")
    assert asked.amount_nanos == 20 * BRL
    assert follow(asked).status == Refund.Status.DONE
    unmatched.refresh_from_db()
    assert unmatched.status == UnmatchedPix.Status.REFUNDED


def test_disputes_that_take_all_of_an_unplaced_pix_close_it(bank: BankControl, db: None) -> None:
    unmatched = make_unmatched(bank)
    for part in ("10.00", "20.00"):
        take_back(bank, unmatched.end_to_end_id, part)
    unmatched.refresh_from_db()
    assert (unmatched.status, unmatched.resolved_by) == (UnmatchedPix.Status.REFUNDED, "banco")


def test_a_dispute_of_a_bonus_spent_beside_it_takes_paid_money_first(bank: BankControl, wallet: Wallet) -> None:
    from billing.ledger import grant

    lot = make_paid_lot(bank, wallet)
    other = make_paid_lot(bank, wallet, "20.00")
    grant(wallet, amount_nanos=5 * BRL, reference="grant:x", actor="test")
    take_back(bank, refunds.end_to_end_id_of(lot), "50.00")
    wallet.refresh_from_db()
    assert (wallet.posted_nanos, wallet.promo_nanos) == (25 * BRL, 5 * BRL)
    assert way_back.refundable_nanos(other) == from_brl("20.00")
    assert clock.now() > lot.created_at
