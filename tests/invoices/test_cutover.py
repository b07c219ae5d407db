"""When the policy changes, no real is invoiced twice and none is left out: drafts against a model that follows each real."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass, field

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Organization
from billing.models import Lot
from billing.money import BRL, CENTAVO
from billing.refund_books import left_of
from invoices import drafting
from invoices.cutover import eras_of
from invoices.drafting import draft_due_months, draft_month, draft_top_up, draft_top_ups, half_up, waiting_lots
from invoices.kept_texts import COVERED
from invoices.models import Invoice, InvoiceLine, InvoicePolicy, Issuer
from tests.examples import IS_LONG
from tests.invoices.months import MONTHLY, TOP_UP, Past, make_issuer, moment, month_ago
from tests.make import make_organization
from tests.stores import stores
from tokia import clock
from tokia.clock import Month

_tax_ids = itertools.count(1)
EXAMPLES = 150 if IS_LONG else 14


@pytest.fixture(autouse=True)
def business_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafting, "first_business_day", lambda month: month.replace(day=1))


def told(invoice: Invoice) -> dict[str, int]:
    return dict(InvoiceLine.everywhere.filter(invoice=invoice).values_list("route_name", "amount_nanos"))


def test_after_monthly_what_is_left_of_old_money_is_still_invoiced_as_it_is_used(committed_db: None) -> None:
    make_issuer((month_ago(3), MONTHLY), (month_ago(2), TOP_UP))
    with Past(make_organization(), since=month_ago(3)) as past:
        past.top_up("100", moment(month_ago(3), 2))
        past.use(60 * BRL, moment(month_ago(3)))
        past.close(month_ago(3))
        past.top_up("50", moment(month_ago(2), 2))
        past.use(30 * BRL, moment(month_ago(2)))
        past.close(month_ago(2))
        past.use(25 * BRL, moment(month_ago(1)))  # the last 10 of the old money, 15 of the new
        past.close(month_ago(1))
        draft_top_ups()
        draft_due_months()
        months = Invoice.everywhere.filter(policy=MONTHLY).order_by("month")
        assert [invoice.amount_centavos for invoice in months] == [6_000, 3_000, 1_000]
        assert told(months[2]) == {"test/model": 25 * BRL, COVERED: -15 * BRL}
        assert [invoice.amount_centavos for invoice in Invoice.everywhere.filter(policy=TOP_UP)] == [5_000]
        assert draft_due_months() == draft_top_ups() == 0


def test_after_per_topup_what_is_left_of_invoiced_money_is_not_invoiced_again(committed_db: None) -> None:
    make_issuer((month_ago(3), TOP_UP), (month_ago(2), MONTHLY))
    with Past(make_organization(), since=month_ago(3)) as past:
        past.top_up("100", moment(month_ago(3), 2))
        past.use(60 * BRL, moment(month_ago(3)))
        past.close(month_ago(3))
        past.top_up("50", moment(month_ago(2), 2))
        past.use(30 * BRL, moment(month_ago(2)))
        past.close(month_ago(2))
        past.use(25 * BRL, moment(month_ago(1)))
        past.close(month_ago(1))
        draft_top_ups()
        draft_due_months()
        [invoice] = Invoice.everywhere.filter(policy=MONTHLY)
        assert (invoice.month, invoice.amount_centavos) == (month_ago(1).first_on, 1_500)
        assert [invoice.amount_centavos for invoice in Invoice.everywhere.filter(policy=TOP_UP)] == [10_000]


def test_a_debt_is_invoiced_once_whichever_policy_it_was_paid_under(committed_db: None) -> None:
    issuer = make_issuer((month_ago(3), MONTHLY), (month_ago(2), TOP_UP))
    with Past(make_organization(), since=month_ago(3)) as past:
        past.top_up("10", moment(month_ago(3), 2))
        past.use(25 * BRL + 1_234_567, moment(month_ago(3)))  # 15 owed, and in that month's invoice
        past.close(month_ago(3))
        past.top_up("40", moment(month_ago(2), 2))  # its note leaves those 15 out
        past.use(30 * BRL, moment(month_ago(2)))  # 25 paid, 5 owed: of per_topup, in no note yet
        past.close(month_ago(2))
        InvoicePolicy.objects.create(issuer=issuer, starts_on=month_ago(1).first_on, kind=MONTHLY)
        past.top_up("20", moment(month_ago(1), 2))  # under monthly: pays the 5, which this month's note tells
        past.use(2 * BRL, moment(month_ago(1)))
        past.close(month_ago(1))
        draft_top_ups()
        draft_due_months()
        months = [(found.month, found.amount_centavos) for found in Invoice.everywhere.filter(policy=MONTHLY).order_by("month")]
        assert months == [(month_ago(3).first_on, 2_500), (month_ago(1).first_on, 700)]
        assert [found.amount_centavos for found in Invoice.everywhere.filter(policy=TOP_UP)] == [2_500]


def test_used_money_that_was_taken_back_is_invoiced_when_other_money_pays_for_it(committed_db: None) -> None:
    make_issuer((month_ago(3), TOP_UP), (month_ago(2), MONTHLY))
    with Past(make_organization(), since=month_ago(3)) as past:
        lot = past.top_up("100", moment(month_ago(3), 2))
        past.use(100 * BRL, moment(month_ago(3)))
        past.close(month_ago(3))
        draft_top_ups()
        past.dispute(lot, "100", moment(month_ago(2), 2))  # its note is cancelled (invoices.returns)
        Invoice.everywhere.update(status=Invoice.Status.CANCELLED)
        InvoiceLine.everywhere.update(is_live=False)
        past.top_up("120", moment(month_ago(2), 3))
        past.use(10 * BRL, moment(month_ago(2)))
        past.close(month_ago(2))
        draft_due_months()
        [invoice] = Invoice.everywhere.filter(policy=MONTHLY)
        assert (invoice.month, invoice.amount_centavos) == (month_ago(2).first_on, 11_000)


def test_the_preview_knows_what_was_invoiced_as_it_came(committed_db: None) -> None:
    make_issuer((month_ago(1), TOP_UP), (Month.current(), MONTHLY))
    with Past(make_organization(), since=month_ago(1)) as past:
        past.top_up("100", moment(month_ago(1), 2))
        past.use(60 * BRL, moment(month_ago(1)))
        past.use(30 * BRL, clock.now())
        past.close(month_ago(1))
        assert drafting.preview(past.organization).expected_centavos == 0
        past.top_up("100", clock.now())
        past.use(15 * BRL, clock.now())  # the last 10 of what was invoiced
        coming = drafting.preview(past.organization)
        assert (coming.expected_centavos, coming.waiting_nanos) == (500, -40 * BRL)


# ── A model that follows each real ───────────────────────────────────────────────────────────────────────────────────
@dataclass
class Money:
    """What a lot has left, and whose it is."""

    kind: str  # "none", "monthly", "topup": the policy when it came
    left: int
    lot: Lot


@dataclass
class Model:
    """Follows every nano: who paid it, which policy was in force then, on which note it belongs."""

    monthly: dict[dt.date, int] = field(default_factory=dict)  # by the month whose close tells it
    notes: dict[int, int] = field(default_factory=dict)  # by top-up entry
    money: list[Money] = field(default_factory=list)
    drafted: dict[int, int] = field(default_factory=dict)  # the same, when it was drafted
    gifts: int = 0
    debts: list[list[object]] = field(default_factory=list)  # [policy of the calls, nanos]

    def add(self, month: Month, nanos: int) -> None:
        self.monthly[month.first_on] = self.monthly.get(month.first_on, 0) + nanos

    def eat(self, nanos: int) -> list[tuple[str, int]]:
        eaten = []
        for money in self.money:
            part = min(money.left, nanos)
            if part:
                money.left -= part
                nanos -= part
                eaten.append((money.kind, part))
        assert nanos == 0
        return eaten

    def use(self, nanos: int, *, policy: str, told_in: Month) -> None:
        gift = min(nanos, self.gifts)
        self.gifts -= gift
        paid = min(nanos - gift, sum(money.left for money in self.money))
        owed = nanos - gift - paid
        for kind, part in self.eat(paid):
            if kind != "topup":
                self.add(told_in, part)
        if owed:
            if policy != "topup":
                self.add(told_in, owed)
            self.debts.append([policy, owed])

    def come_in(self, lot: Lot, *, policy: str, month: Month) -> None:
        self.money.append(Money(policy, lot.amount_nanos, lot))
        if policy == "topup":
            self.notes[lot.entry_id] = lot.amount_nanos
        for kind, part in self.pay(lot.amount_nanos):
            self.eat(part)
            if kind == "topup" and policy != "topup":
                self.add(month, part)
            if kind == "monthly" and policy == "topup":
                self.notes[lot.entry_id] -= part

    def pay(self, nanos: int) -> list[tuple[str, int]]:
        paid = []
        while nanos and self.debts:
            kind, owed = self.debts[0]
            assert isinstance(kind, str) and isinstance(owed, int)
            part = min(owed, nanos)
            nanos -= part
            paid.append((kind, part))
            if part == owed:
                self.debts.pop(0)
            else:
                self.debts[0][1] = owed - part
        return paid


STEPS = st.lists(
    st.tuples(st.sampled_from(["top_up", "use", "use", "use", "late", "grant", "refund", "refused"]), st.integers(1, 40 * BRL)),
    min_size=2, max_size=7,
)  # fmt: skip
POLICIES = st.lists(st.sampled_from([None, MONTHLY, TOP_UP]), min_size=4, max_size=4)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(policies=POLICIES, months=st.lists(STEPS, min_size=4, max_size=4))
def test_no_real_is_invoiced_twice_and_none_is_left_out(
    committed_db: None, policies: list[InvoicePolicy.Kind | None], months: list[list[tuple[str, int]]]
) -> None:
    issuer = Issuer.objects.first() or make_issuer()
    InvoicePolicy.objects.all().delete()
    eras: list[str] = []
    for number, kind in enumerate(policies):
        before = eras[-1] if eras else "none"
        eras.append({None: before, MONTHLY: "monthly", TOP_UP: "topup"}[kind])
        if kind is not None and eras[-1] != before:
            InvoicePolicy.objects.create(issuer=issuer, starts_on=month_ago(4 - number).first_on, kind=kind)
    organization = make_organization(tax_id=f"{next(_tax_ids):014d}")
    with psycopg.connect(stores.postgres.superuser_url, autocommit=True) as other:
        model = Model()
        past = Past(organization, since=month_ago(4), other=other)
        for number, steps in enumerate(months):
            month = month_ago(4 - number)
            for minute, (what, amount) in enumerate(steps):
                at = moment(month, 3 + minute)
                act(past, model, what, amount, at=at, month=month, number=number, eras=eras)
            past.close(month)
            for lot in waiting_lots(eras_of(issuer)):
                if lot.wallet_id == past.wallet.pk:  # not what earlier examples left
                    draft_top_up(lot)
            draft_month(organization, month.first_on)
            compare(organization, model, eras=eras, until=number)


def act(past: Past, model: Model, what: str, amount: int, *, at: dt.datetime, month: Month, number: int, eras: list[str]) -> None:
    if what == "top_up":
        brl = f"{amount // BRL + 1}.00"
        model.come_in(past.top_up(brl, at), policy=eras[number], month=month)
    elif what == "grant":
        gift = amount % (5 * BRL) + 1
        past.grant(f"{gift // BRL}.{gift % BRL:09d}", at)
        left = gift - sum(part for _, part in model.pay(gift))
        model.gifts += left
    elif what == "use":
        past.use(amount, at)
        model.use(amount, policy=eras[number], told_in=month)
    elif what == "late" and number:
        past.use(amount, moment(month_ago(5 - number), 20), booked_at=at)
        model.use(amount, policy=eras[number - 1], told_in=month)
    elif what in ("refund", "refused"):
        money = next((found for found in reversed(model.money) if left_of(found.lot) >= CENTAVO), None)
        if money is None:
            return
        nanos = min(left_of(money.lot), amount) // CENTAVO * CENTAVO
        if nanos:
            past.refund(money.lot, f"{nanos // BRL}.{nanos % BRL:09d}", at, is_done=what == "refund")
            if what == "refund":
                assert money.left >= nanos, "the model knows what is left"
                money.left -= nanos
                if money.kind == "topup" and money.lot.entry_id in model.notes:
                    model.notes[money.lot.entry_id] -= nanos


def compare(organization: Organization, model: Model, *, eras: list[str], until: int) -> None:
    first = next((number for number, era in enumerate(eras) if era != "none"), None)
    lines = InvoiceLine.everywhere.filter(organization=organization, is_live=True)
    drafted = sum(lines.filter(close__isnull=False).values_list("amount_nanos", flat=True))
    if first is None or until < first:
        assert not lines.exists()
        return
    due = sum(nanos for month, nanos in model.monthly.items() if month >= month_ago(4 - first).first_on)
    centavos = sum(Invoice.everywhere.filter(organization=organization, policy=MONTHLY).values_list("amount_centavos", flat=True))
    assert (drafted, centavos) == (due, half_up(due)) or half_up(due) <= centavos, (drafted, due, centavos)
    notes = dict(lines.filter(entry__isnull=False).values_list("entry", "amount_nanos"))
    for entry, nanos in model.notes.items():
        if entry not in model.drafted:
            model.drafted[entry] = nanos
            assert notes.get(entry, 0) == (nanos if half_up(nanos) > 0 else 0)
