"""Billed facts become drafts: which facts, when, at what amount, and never twice."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator

import pytest
from django.db import connection

from billing.billable import BooksDiffer
from billing.models import MonthClose
from billing.money import BRL, CENTAVO
from invoices import drafting
from invoices.drafting import LATE, draft_due_months, draft_month, draft_top_ups, half_up, residue_amount
from invoices.errors import Incomplete
from invoices.models import FiscalProfile, Invoice, InvoiceLine, InvoicePolicy, Issuer
from tests.cast import Cast, make_cast
from tests.invoices.months import TOP_UP, Past, make_issuer, moment, month_ago
from tests.make import make_volume_plan
from tokia import clock
from tokia.clock import Month


@pytest.fixture
def cast(committed_db: None) -> Cast:
    return make_cast()


@pytest.fixture
def past(cast: Cast) -> Iterator[Past]:
    """Acme's wallet, open for three months, with R$ 100 of the first."""
    make_issuer()
    with Past(cast.acme, since=month_ago(3)) as past:
        past.top_up("100", moment(month_ago(3), 2))
        yield past


@pytest.fixture(autouse=True)
def business_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first business day of this month is over, whatever day the suite runs on."""
    monkeypatch.setattr(drafting, "first_business_day", lambda month: month.replace(day=1))


def lines(invoice: Invoice) -> list[tuple[str, int, int]]:
    return list(InvoiceLine.everywhere.filter(invoice=invoice).order_by("pk").values_list("route_name", "calls", "amount_nanos"))


@pytest.mark.parametrize(
    ("nanos", "centavos"),
    [(0, 0), (CENTAVO // 2 - 1, 0), (CENTAVO // 2, 1), (CENTAVO, 1), (3 * CENTAVO // 2, 2), (-CENTAVO // 2, 0), (-CENTAVO, -1),
     (-CENTAVO // 2 - 1, -1), (1_234_567_890_123, 123_457)],
)  # fmt: skip
def test_half_a_centavo_goes_up(nanos: int, centavos: int) -> None:
    assert half_up(nanos) == centavos


def test_the_residue_carries_from_month_to_month() -> None:
    live_nanos = live_centavos = 0
    amounts = []
    for nanos in (4_000_000, 4_000_000, 4_000_000, 10_004_000_000, 1):
        amount = residue_amount(nanos, live_nanos, live_centavos)
        amounts.append(amount)
        live_nanos, live_centavos = live_nanos + nanos, live_centavos + amount
    assert amounts == [0, 1, 0, 1_001, 0] or sum(amounts) == half_up(live_nanos)
    assert sum(amounts) == half_up(live_nanos)


def test_a_closed_month_becomes_one_draft_with_a_line_per_model(past: Past) -> None:
    make_volume_plan(tiers=((20 * BRL, 1_000),))
    month = month_ago(1)
    past.use(15 * BRL + 4_000_001, moment(month), route="maker/big")
    past.use(10 * BRL, moment(month, 11), route="maker/big")  # 5 below the tier, 5 above
    past.use(2 * BRL, moment(month, 12), route="maker/small")
    assert draft_due_months() == 0, "the month is not closed yet"
    for number in (3, 2, 1):
        past.close(month_ago(number))
    assert draft_due_months() == 1
    [invoice] = Invoice.everywhere.all()
    close = MonthClose.everywhere.get(month=month.first_on)
    assert (invoice.status, invoice.policy, invoice.month) == (Invoice.Status.DRAFT, "monthly_consumption", month.first_on)
    assert invoice.competence_on == month.next().first_on - dt.timedelta(days=1)
    assert invoice.reference == f"month:{past.organization.pk}:{month.first_on:%Y-%m}:1" and invoice.due_at is not None
    assert [(name, calls) for name, calls, _ in lines(invoice)] == [("maker/big", 2), ("maker/small", 1)]
    assert sum(nanos for _, _, nanos in lines(invoice)) == close.net_nanos
    assert invoice.amount_centavos == half_up(close.net_nanos)
    assert draft_due_months() == 0 and Invoice.everywhere.count() == 1


def test_promotional_money_is_never_invoiced_and_what_is_owed_is(past: Past) -> None:
    month = month_ago(1)
    past.grant("30", moment(month, 2))
    past.use(20 * BRL, moment(month, 3), route="maker/gift")
    past.use(150 * BRL, moment(month, 4))  # 10 of the gift, 100 paid, 40 owed
    past.top_up("50", moment(Month.current(), 1, 1))
    for number in (3, 2, 1):
        past.close(month_ago(number))
    invoice = draft_month(past.organization, month.first_on)
    assert invoice is not None and invoice.amount_centavos == 14_000
    assert lines(invoice) == [("test/model", 1, 140 * BRL)]


def test_a_month_of_gifts_alone_has_no_invoice(past: Past) -> None:
    past.grant("30", moment(month_ago(1), 2))
    past.use(20 * BRL, moment(month_ago(1), 3))
    for number in (3, 2, 1):
        past.close(month_ago(number))
    assert draft_due_months() == 0


def test_late_calls_are_told_by_the_next_months_invoice(past: Past) -> None:
    old, new = month_ago(2), month_ago(1)
    past.use(7 * BRL, moment(old))
    past.close(month_ago(3))
    past.close(old)
    past.use(2 * BRL + 1, moment(old, 20), booked_at=moment(new, 2))  # a spool
    past.grant("1", moment(new, 2))
    past.use(3 * BRL, moment(old, 21), booked_at=moment(new, 3))  # one real of it is a gift
    past.use(4 * BRL, moment(new))
    past.close(new)
    past.use(5 * BRL, moment(old, 22))  # after that close: for the one after it
    past.use(6 * BRL, moment(new, 22))
    assert draft_due_months() == 2
    first, second = Invoice.everywhere.order_by("month")
    assert (first.month, second.month) == (old.first_on, new.first_on)
    assert lines(first) == [("test/model", 1, 7 * BRL)]
    assert lines(second) == [("test/model", 1, 4 * BRL), (LATE, 2, 4 * BRL + 1)]
    assert second.amount_centavos == 800


def test_what_is_less_than_half_a_centavo_waits_for_the_next_month(past: Past) -> None:
    for number, nanos in ((3, 4_000_000), (2, 4_000_000), (1, 4_000_000)):
        past.use(nanos, moment(month_ago(number)))
        past.close(month_ago(number))
    assert draft_due_months() == 1, "0.4; 0.8 → 1; 1.2 − 1 → nothing"
    [invoice] = Invoice.everywhere.all()
    assert (invoice.month, invoice.amount_centavos) == (month_ago(2).first_on, 1)
    assert InvoiceLine.everywhere.filter(invoice=invoice).values("close").distinct().count() == 2
    assert draft_due_months() == 0


def test_months_before_the_first_policy_are_not_ours(cast: Cast) -> None:
    make_issuer((month_ago(1), InvoicePolicy.Kind.MONTHLY))
    with Past(cast.acme, since=month_ago(2)) as past:
        past.top_up("100", moment(month_ago(2), 2))
        past.use(7 * BRL, moment(month_ago(2)))
        past.use(4 * BRL, moment(month_ago(1)))
        past.close(month_ago(2))
        past.close(month_ago(1))
    assert draft_due_months() == 1
    assert Invoice.everywhere.get().amount_centavos == 400


def test_nothing_is_drafted_before_the_first_business_day(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.use(4 * BRL, moment(month_ago(2)))
    past.use(5 * BRL, moment(month_ago(1)))
    for number in (3, 2, 1):
        past.close(month_ago(number))
    tomorrow = clock.today_in_brazil() + dt.timedelta(days=1)
    monkeypatch.setattr(drafting, "first_business_day", lambda month: tomorrow)
    assert draft_due_months() == 1, "the month before it was due a month ago"
    assert Invoice.everywhere.get().month == month_ago(2).first_on
    monkeypatch.setattr(drafting, "first_business_day", lambda month: tomorrow - dt.timedelta(days=1))
    assert draft_due_months() == 1


def test_a_fact_of_a_discarded_or_cancelled_invoice_waits_for_a_person(past: Past) -> None:
    past.use(4 * BRL, moment(month_ago(1)))
    for number in (3, 2, 1):
        past.close(month_ago(number))
    draft_due_months()
    [invoice] = Invoice.everywhere.all()
    with pytest.raises(Incomplete):
        drafting.redraft(invoice)
    Invoice.everywhere.update(status=Invoice.Status.DISCARDED)
    InvoiceLine.everywhere.update(is_live=False)
    invoice.refresh_from_db()
    assert draft_due_months() == 0
    again = drafting.redraft(invoice)
    assert again.reference.endswith(":2") and again.amount_centavos == 400 and lines(again) == lines(invoice)
    assert InvoiceLine.everywhere.filter(is_live=True).count() == 1


def test_two_beats_at_once_draft_once(past: Past) -> None:
    past.use(4 * BRL, moment(month_ago(1)))
    for number in (3, 2, 1):
        past.close(month_ago(number))

    def beat() -> None:
        draft_due_months()
        connection.close()

    threads = [threading.Thread(target=beat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Invoice.everywhere.count() == 1


def test_books_that_differ_are_not_invoiced(past: Past) -> None:
    past.use(4 * BRL, moment(month_ago(1)))
    for number in (3, 2, 1):
        past.close(month_ago(number))
    past.other.execute("UPDATE billing_usageday SET paid_nanos = paid_nanos + 1, net_nanos = net_nanos + 1")
    with pytest.raises(BooksDiffer):
        draft_month(past.organization, month_ago(1).first_on)
    assert draft_due_months() == 0, "and the others go on"
    past.other.execute("UPDATE billing_usageday SET paid_nanos = paid_nanos - 1, net_nanos = net_nanos - 1")


def test_what_the_taker_withholds_is_on_the_draft(past: Past) -> None:
    FiscalProfile.everywhere.create(
        organization=past.organization, withholds_iss=True, irrf_bps=150, csll_bps=100, pis_cofins_withheld=True
    )
    past.use(10 * BRL + 30_000_000, moment(month_ago(1)))
    for number in (3, 2, 1):
        past.close(month_ago(number))
    draft_due_months()
    invoice = Invoice.everywhere.get()
    assert (invoice.iss_withheld, invoice.irrf_centavos, invoice.csll_centavos, invoice.pis_cofins_withheld) == (True, 15, 10, True)


# ── Top-ups ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_top_up_since_the_policy_is_an_invoice_of_its_day(cast: Cast) -> None:
    make_issuer((month_ago(1), TOP_UP))
    with Past(cast.acme, since=month_ago(2)) as past:
        past.top_up("100", moment(month_ago(2), 20))  # before the policy
        late = moment(month_ago(1), 1, 0)
        past.top_up("50.25", late)
        past.top_up("10", moment(month_ago(1), 9, 23))
        past.grant("5", moment(month_ago(1), 9))
    assert draft_top_ups() == 2
    first, second = Invoice.everywhere.order_by("pk")
    assert (first.amount_centavos, first.competence_on, first.policy) == (5_025, late.date(), "per_topup")
    assert (second.amount_centavos, second.competence_on, second.month) == (
        1_000,
        month_ago(1).first_on.replace(day=9),
        month_ago(1).first_on,
    )
    assert draft_top_ups() == 0 and draft_due_months() == 0


def test_a_top_up_that_went_back_before_its_draft_is_lower_or_none(cast: Cast) -> None:
    make_issuer((month_ago(1), TOP_UP))
    with Past(cast.acme, since=month_ago(1)) as past:
        lot = past.top_up("100", moment(month_ago(1), 2))
        past.refund(lot, "100", moment(month_ago(1), 3))
        lot = past.top_up("80", moment(month_ago(1), 4))
        past.refund(lot, "30.50", moment(month_ago(1), 5))
    assert draft_top_ups() == 1
    assert Invoice.everywhere.get().amount_centavos == 4_950


# ── The next one ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_preview_tells_what_the_next_invoice_will_hold(past: Past) -> None:
    past.use(4_000_000, moment(month_ago(1)))
    for number in (3, 2, 1):
        past.close(month_ago(number))
    now = clock.now()
    past.use(3 * BRL + 2_000_000, now, route="maker/big")
    past.use(BRL, now)
    coming = drafting.preview(past.organization)
    assert (coming.kind, coming.month) == ("monthly_consumption", Month.current().first_on)
    assert [(line.route_name, line.nanos) for line in coming.lines] == [("maker/big", 3 * BRL + 2_000_000), ("test/model", BRL)]
    assert (coming.waiting_nanos, coming.expected_centavos) == (4_000_000, 401)
    assert coming.due_on == Month.current().next().first_on
    assert "CEP" in coming.missing
    Invoice.everywhere.all().delete()
    InvoicePolicy.objects.update(kind=TOP_UP)
    assert drafting.preview(past.organization).kind == "per_topup"
    Issuer.objects.update(is_active=False)
    assert drafting.preview(past.organization).kind == "" or drafting.preview(past.organization).due_on is None
