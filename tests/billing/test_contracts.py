"""Negotiated plans: whole months, never one that has begun, never two for one month; and where a month stands in its plan."""

from __future__ import annotations

import datetime as dt
import threading

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from accounts.models import Organization
from accounts.tenancy import tenant
from billing import contracts, discounts, volume
from billing.contracts import ContractRefused
from billing.event_texts import tell_event
from billing.models import Contract, Event, MonthSpend, VolumePlan, VolumeTier, Wallet
from billing.money import BRL
from tests.cast import make_cast
from tests.make import make_organization, make_usage, make_volume_plan, make_wallet
from tests.stores import stores
from tokia.clock import Month

NEGOTIATED = ((0, 1_000), (100 * BRL, 2_000))


@pytest.fixture
def organization(db: None) -> Organization:
    make_volume_plan()
    return make_organization()


@pytest.fixture
def plan(organization: Organization) -> VolumePlan:
    return make_volume_plan(tiers=NEGOTIATED, is_default=False)


def months(number: int) -> Month:
    month = Month.current()
    for _ in range(number):
        month = month.next()
    return month


def last_month() -> Month:
    return Month((Month.current().first_on - dt.timedelta(days=1)).replace(day=1))


def test_a_contract_counts_from_the_first_call_of_an_unopened_month(organization: Organization, plan: VolumePlan) -> None:
    wallet = make_wallet(organization=organization, brl="1000")
    contracts.agree_contract(organization, plan=plan, first_month=Month.current(), by="ana")
    assert make_usage(wallet=wallet, gross_nanos=10 * BRL).net_nanos == 9 * BRL
    assert MonthSpend.everywhere.get(wallet=wallet).volume_plan == plan
    other = make_wallet(brl="1000")
    assert make_usage(wallet=other, gross_nanos=10 * BRL).net_nanos == 10 * BRL


def test_a_month_that_has_begun_keeps_its_plan(organization: Organization, plan: VolumePlan) -> None:
    wallet = make_wallet(organization=organization, brl="1000")
    make_usage(wallet=wallet, gross_nanos=BRL)
    with pytest.raises(ContractRefused, match="já começaram"):
        contracts.agree_contract(organization, plan=plan, first_month=Month.current(), by="ana")
    contract = contracts.agree_contract(organization, plan=plan, first_month=months(1), by="ana")
    assert make_usage(wallet=wallet, gross_nanos=10 * BRL).net_nanos == 10 * BRL
    assert discounts.plan_of_month(wallet, months(1)) == plan.pk == contract.plan_id
    with pytest.raises(ContractRefused, match="já começaram"):
        contracts.agree_contract(organization, plan=plan, first_month=last_month(), by="ana")


def test_two_contracts_never_share_a_month(organization: Organization, plan: VolumePlan) -> None:
    contracts.agree_contract(organization, plan=plan, first_month=months(2), last_month=months(4), by="ana")
    for first, last in ((2, 2), (1, 2), (4, None), (1, None), (3, 3), (0, 9)):
        with pytest.raises(ContractRefused, match="Já há um contrato"):
            contracts.agree_contract(
                organization, plan=plan, first_month=months(first), last_month=None if last is None else months(last), by="ana"
            )
    contracts.agree_contract(organization, plan=plan, first_month=months(1), last_month=months(1), by="ana")
    contracts.agree_contract(organization, plan=plan, first_month=months(5), by="ana")
    contracts.agree_contract(make_organization(), plan=plan, first_month=months(2), by="ana")


def test_a_draft_or_another_organizations_plan_is_refused(organization: Organization, plan: VolumePlan) -> None:
    draft = VolumePlan.objects.create(name="Rascunho", organization=organization)
    VolumeTier.objects.create(plan=draft, above_nanos=0, discount_bps=100)
    with pytest.raises(ContractRefused, match="Congele"):
        contracts.agree_contract(organization, plan=draft, first_month=months(1), by="ana")
    with pytest.raises(volume.PlanRefused, match="negociado"):
        volume.publish_plan(draft)
    volume.freeze_plan(draft)
    assert not draft.is_default and volume.plan_in_force() != draft
    with pytest.raises(ContractRefused, match="outra empresa"):
        contracts.agree_contract(make_organization(), plan=draft, first_month=months(1), by="ana")
    with pytest.raises(ContractRefused, match="antes do primeiro"):
        contracts.agree_contract(organization, plan=draft, first_month=months(3), last_month=months(2), by="ana")
    contracts.agree_contract(organization, plan=draft, first_month=months(1), by="ana")
    assert volume.tell_tiers(plan) == "10 % acima de R$\u00a00 · 20 % acima de R$\u00a0100"


def test_a_contract_ends_with_a_month_that_is_still_open_or_the_one_at_work(organization: Organization, plan: VolumePlan) -> None:
    wallet = make_wallet(organization=organization, brl="1000")
    contract = contracts.agree_contract(organization, plan=plan, first_month=Month.current(), by="ana")
    make_usage(wallet=wallet, gross_nanos=BRL)
    with pytest.raises(ContractRefused, match="por que"):
        contracts.end_contract(contract, reason=" ", by="ana")
    with pytest.raises(ContractRefused, match="já começou"):
        contracts.end_contract(contract, last_month=last_month(), reason="engano", by="ana")
    contracts.end_contract(contract, reason="encerrado a pedido", by="ana")
    assert (contract.last_month, contract.is_cancelled, contract.ended_by) == (Month.current().first_on, False, "ana")
    assert make_usage(wallet=wallet, gross_nanos=10 * BRL).net_nanos == 9 * BRL  # to the end of the month
    assert discounts.plan_of_month(wallet, months(1)) == volume.plan_in_force().pk  # type: ignore[union-attr]
    with pytest.raises(ContractRefused, match="já terminou"):
        contracts.end_contract(contract, reason="de novo", by="ana")


def test_one_that_has_not_begun_is_cancelled_and_makes_room(organization: Organization, plan: VolumePlan) -> None:
    wallet = make_wallet(organization=organization, brl="1000")
    contract = contracts.agree_contract(organization, plan=plan, first_month=Month.current(), last_month=months(3), by="ana")
    with pytest.raises(ContractRefused, match="prolongar"):
        contracts.end_contract(contract, last_month=months(4), reason="mais tempo", by="ana")
    contracts.end_contract(contract, reason="desistiram", by="ana")
    assert contract.is_cancelled and contracts.contract_for(organization, Month.current()) is None
    assert make_usage(wallet=wallet, gross_nanos=10 * BRL).net_nanos == 10 * BRL
    contracts.agree_contract(organization, plan=plan, first_month=months(1), by="ana")


def test_what_was_agreed_is_not_rewritten(organization: Organization, plan: VolumePlan) -> None:
    contract = contracts.agree_contract(organization, plan=plan, first_month=months(1), by="ana")
    for change in ({"plan": make_volume_plan(is_default=False)}, {"first_month": months(2).first_on}, {"note": "outra"}):
        with pytest.raises(DatabaseError), transaction.atomic():
            Contract.objects.filter(pk=contract.pk).update(**change)
    with pytest.raises(DatabaseError), transaction.atomic():
        Contract.objects.filter(pk=contract.pk).delete()


def agree(organization: Organization, plan: VolumePlan, barrier: threading.Barrier, refused: list[bool]) -> None:
    barrier.wait(10)
    try:
        contracts.agree_contract(organization, plan=plan, first_month=Month.current(), by="ana")
    except ContractRefused:
        refused.append(True)
    finally:
        connection.close()


@pytest.mark.usefixtures("committed_db")
def test_a_contract_and_the_months_first_call_at_once_are_one_after_the_other() -> None:
    """Either the contract is refused, or the call is charged by it: never a month on the old plan under an agreed contract."""
    make_volume_plan()
    plan = make_volume_plan(tiers=((0, 1_000),), is_default=False)
    for _ in range(6):
        organization = make_organization()
        wallet = make_wallet(organization=organization, brl="100")
        barrier, refused = threading.Barrier(2), list[bool]()

        def agree(
            organization: Organization = organization, barrier: threading.Barrier = barrier, refused: list[bool] = refused
        ) -> None:
            barrier.wait(10)
            try:
                contracts.agree_contract(organization, plan=plan, first_month=Month.current(), by="ana")
            except ContractRefused:
                refused.append(True)
            finally:
                connection.close()

        other = threading.Thread(target=agree)
        other.start()
        barrier.wait(10)
        net = make_usage(wallet=wallet, gross_nanos=10 * BRL).net_nanos
        other.join()
        assert net == (10 if refused else 9) * BRL


# ── Where a month stands ─────────────────────────────────────────────────────────────────────────────────────────────
def as_superuser(query: str, *parameters: object) -> None:
    """Only the ledger's functions write months; a test that needs an old one asks the database's owner."""
    with psycopg.connect(stores.postgres.superuser_url) as superuser:
        superuser.execute(query, parameters)


def close_month(wallet: Wallet, *, gross: int, net: int) -> None:
    as_superuser(
        "INSERT INTO billing_monthspend (wallet_id, month, gross_nanos, net_nanos, calls) VALUES (%s, %s, %s, %s, 7)",
        wallet.pk, last_month().first_on, gross, net,
    )  # fmt: skip


def test_the_standing_says_what_is_missing_and_what_was_saved(organization: Organization) -> None:
    wallet = make_wallet(organization=organization, brl="5000")
    with tenant(organization):
        before = discounts.standing()
    assert (before.gross_nanos, before.to_next_nanos, before.progress_percent) == (0, 500 * BRL, 0)
    make_usage(wallet=wallet, gross_nanos=1_250 * BRL)
    with tenant(organization):
        now = discounts.standing()
    assert now.next_tier is not None and now.tier is not None
    assert (now.saved_nanos, now.to_next_nanos, now.next_tier.discount_bps) == (37_500_000_000, 750 * BRL, 800)
    assert (now.tier.discount_bps, now.progress_percent, now.contract) == (500, 50, None)
    assert [(line.discount_bps, line.used_nanos // BRL, line.is_current) for line in now.lines] == [
        (0, 500, False), (500, 750, True), (800, 0, False), (1_200, 0, False), (1_500, 0, False),
    ]  # fmt: skip


def test_the_page_shows_the_contract_the_tiers_and_only_ones_own(db: None) -> None:
    make_volume_plan()
    cast = make_cast()
    plan = VolumePlan.objects.create(name="Plano da Acme", organization=cast.acme)
    VolumeTier.objects.bulk_create(VolumeTier(plan=plan, above_nanos=above, discount_bps=bps) for above, bps in NEGOTIATED)
    contracts.agree_contract(cast.acme, plan=volume.freeze_plan(plan), first_month=Month.current(), by="ana")
    wallet = make_wallet(organization=cast.acme, brl="1000")
    make_usage(wallet=wallet, gross_nanos=60 * BRL)
    pages = {}
    for person in (cast.alice, cast.bob, cast.charlie):
        client = Client()
        client.force_login(person)
        pages[person.email] = client.get("/app/desconto/").content.decode()
    for email in (cast.alice.email, cast.bob.email):
        assert "Faltam R$\u00a040,00 para 20%" in pages[email] and "Plano da Acme, acertado com sua empresa" in pages[email]
        assert "Economia do mês" in pages[email] and "R$\u00a06,00" in pages[email]
    assert "Faltam R$\u00a0500,00 para 5%" in pages[cast.charlie.email] and "Acme" not in pages[cast.charlie.email]


@pytest.mark.usefixtures("committed_db")
def test_a_month_that_is_over_is_in_the_history_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discounts, "CLOSED_AFTER_HOURS", 0)  # in the first hours of a month too
    cast = make_cast()
    wallet, quiet = make_wallet(organization=cast.acme, brl="0"), make_wallet(organization=cast.globex, brl="0")
    close_month(wallet, gross=700 * BRL, net=690 * BRL)
    close_month(quiet, gross=3 * BRL, net=3 * BRL)
    try:
        with tenant(cast.acme):
            [month] = discounts.closed_months()
        assert (month.saved_nanos, month.saved_bps, month.calls) == (10 * BRL, 142, 7)
        assert discounts.tell_closed_months() == 2
        assert discounts.tell_closed_months() == 0
        event = Event.everywhere.get(organization=cast.acme)
        assert event.payload == {
            "month": f"{last_month().first_on:%Y-%m}", "gross": "700.000000000", "net": "690.000000000", "saved": "10.000000000",
            "calls": 7,
        }  # fmt: skip
        assert event.mail_due_at is not None and Event.everywhere.get(organization=cast.globex).mail_due_at is None
        assert "economia de R$\u00a010,00" in tell_event(event).title
        client = Client()
        client.force_login(cast.alice)
        page = client.get("/app/desconto/").content.decode()
        assert "R$\u00a0690,00" in page and "(1,42%)" in page
    finally:
        as_superuser("DELETE FROM billing_monthspend")  # no usage stands behind them: away, before the invariants are asked
