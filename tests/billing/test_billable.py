"""What is owed a document: a close told exactly, whatever comes after it; and what went back of which top-up."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator

import pytest

from billing import events, ledger
from billing.billable import BooksDiffer, LateSum, RouteSum, billable_of, paid_on, returns_of, so_far
from billing.models import CardPayment, Charge, Dispute, LedgerEntry, Lot, Refund, Wallet
from billing.money import BRL
from billing.refund_books import finish_refund, open_refund
from tests.cast import make_cast
from tests.invoices.months import Past, moment, month_ago
from tests.make import make_top_up, make_volume_plan, make_wallet
from tokia import clock
from tokia.clock import SAO_PAULO


@pytest.fixture
def past(committed_db: None) -> Iterator[Past]:
    with Past(make_cast().acme, since=month_ago(2)) as past:
        yield past


def test_a_close_is_told_by_model_as_it_was_whatever_came_later(past: Past) -> None:
    make_volume_plan(tiers=((10 * BRL, 1_000),))
    old, new = month_ago(2), month_ago(1)
    past.top_up("40", moment(old, 2))
    past.use(9 * BRL, moment(old), route="maker/big")
    past.use(0, moment(old), route="maker/small")
    past.use(3 * BRL, moment(old), route="maker/small")
    first = past.close(old)
    past.use(0, moment(old, 11), route="maker/big", booked_at=moment(new))
    past.use(5 * BRL, moment(old, 12), route="maker/big", booked_at=moment(new))
    past.grant("1", moment(new, 2))
    past.use(30 * BRL, moment(old, 13), route="maker/other", booked_at=moment(new))  # a gift of 1, the rest paid and owed
    second = past.close(new)
    past.use(BRL, moment(old, 14), route="maker/small")
    assert billable_of(first).routes == (RouteSum("maker/big", 1, 9 * BRL), RouteSum("maker/small", 2, 28 * BRL // 10))
    assert billable_of(first).late == () and billable_of(first).nanos == first.net_nanos
    told = billable_of(second)
    late_net = (5 + 30) * BRL * 9 // 10
    paid = 40 * BRL - first.net_nanos - (5 * BRL * 9 // 10)
    assert told.routes == ()
    assert told.late == (LateSum(old.first_on, 3, late_net - BRL, min(27 * BRL - BRL, paid) + 5 * BRL * 9 // 10),)
    assert [line.route_name for line in so_far(past.organization.pk, month=old)] == ["maker/other", "maker/big", "maker/small"]
    past.other.execute(
        "UPDATE billing_monthclose SET adjustments = jsonb_set(adjustments, ARRAY[%s, 'net'], '1')", [str(old.first_on)]
    )
    second.refresh_from_db()
    with pytest.raises(BooksDiffer):
        billable_of(second)


@pytest.mark.django_db
def test_a_pix_is_of_the_day_the_bank_says() -> None:
    wallet, day, end_to_end_id = make_wallet(brl="0"), month_ago(1).first_on, f"E{uuid.uuid4().hex[:31]}"
    make_top_up(wallet=wallet, brl="10", end_to_end_id=end_to_end_id)
    lot = Lot.everywhere.select_related("entry").get()
    assert paid_on(lot) == clock.today_in_brazil()
    late = dt.datetime.combine(day, dt.time(23, 59, 59), SAO_PAULO)
    Charge.everywhere.create(
        id=uuid.uuid4(), wallet=wallet, txid="t" * 30, amount_nanos=10 * BRL, created_at=late, expires_at=late,
        payments=[{"endToEndId": end_to_end_id, "valor": "10.00", "horario": late.astimezone(dt.UTC).isoformat()}],
    )  # fmt: skip
    assert paid_on(lot) == day


def card_top_up(wallet: Wallet, intent: str) -> tuple[Lot, CardPayment]:
    entry = ledger.post_entry(
        kind=LedgerEntry.Kind.TOP_UP, reference=f"stripe:{intent}", wallet=wallet, amount_nanos=100 * BRL, book=ledger.WORLD_STRIPE,
        actor="test",
    )  # fmt: skip
    now = clock.now()
    payment = CardPayment.everywhere.create(
        id=uuid.uuid4(), wallet=wallet, how="checkout", amount_nanos=100 * BRL, intent_id=intent, status="paid",
        created_at=now, expires_at=now,
    )  # fmt: skip
    return Lot.everywhere.get(entry=entry), payment


def pix_top_up(wallet: Wallet, brl: str) -> Lot:
    return Lot.everywhere.select_related("entry").get(entry=make_top_up(wallet=wallet, brl=brl))


def refund(lot: Lot, brl: int, *, is_done: bool = True) -> None:
    opened = open_refund(
        lot, refund_id=uuid.uuid4(), amount_nanos=brl * BRL, by="test", reason="teste", end_to_end_id=lot.entry.reference[4:36]
    )
    finish_refund(opened, status=Refund.Status.DONE if is_done else Refund.Status.REFUSED)


def dispute(lot: Lot, nanos: int, reference: str, *, book: str = ledger.WORLD_STRIPE) -> None:
    ledger.post_entry(
        kind=LedgerEntry.Kind.DISPUTE, reference=reference, wallet=lot.wallet, amount_nanos=nanos, book=book, actor="test",
        reverses=lot.entry if nanos < 0 else None,
    )  # fmt: skip


def told(wallet: Wallet) -> dict[int | None, int]:
    sums: dict[int | None, int] = {}
    for back in returns_of([wallet.pk]):
        sums[back.entry_id] = sums.get(back.entry_id, 0) + back.nanos
    return sums


@pytest.mark.django_db
def test_what_went_back_is_given_to_its_top_up() -> None:
    wallet = make_wallet(brl="0")
    pix, other = pix_top_up(wallet, "100"), pix_top_up(wallet, "50")
    refund(pix, 30)
    refund(pix, 7, is_done=False)
    dispute(pix, -20 * BRL, "med:D0", book=ledger.WORLD_PIX)
    events.tell(
        wallet.organization, "dispute.opened", reference="med:D0", payload={"reference": pix.entry.reference.removeprefix("pix:")}
    )
    ledger.reverse_entry(other.entry, reason="engano", actor="ana")
    card, payment = card_top_up(wallet, "pi_1")
    Dispute.everywhere.create(stripe_id="dp_1", payment=payment, amount_nanos=60 * BRL, opened_at=clock.now())
    for number, nanos in (1, -60 * BRL), (2, 60 * BRL), (3, -60 * BRL):
        dispute(card, nanos, f"dispute:dp_1:{number}")
    Refund.objects.create(
        id=uuid.uuid4(), card_payment=payment, stripe_id="re_9", amount_nanos=5 * BRL, reason="x", requested_by="y", status="done"
    )
    dispute(card, -5 * BRL, "stripe-refund:re_9")
    assert told(wallet) == {pix.entry_id: 50 * BRL, other.entry_id: 50 * BRL, card.entry_id: 65 * BRL}


@pytest.mark.django_db
def test_a_refund_that_came_back_or_was_refused_first_is_told_as_it_ended() -> None:
    wallet = make_wallet(brl="0")
    pix = pix_top_up(wallet, "100")
    refund(pix, 30)
    Refund.objects.update(returned_at=clock.now())
    assert told(wallet) == {}
    refund(pix, 12, is_done=False)
    dispute(pix, -12 * BRL, "med:D1", book=ledger.WORLD_PIX)  # the bank made it all the same
    assert told(wallet) == {pix.entry_id: 12 * BRL}
    dispute(pix, -BRL, "med:D2", book=ledger.WORLD_PIX)
    assert told(wallet) == {pix.entry_id: 12 * BRL, None: BRL}, "nothing tells whose it was"
