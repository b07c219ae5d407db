"""The margin guard and the second administrator: what one person alone can't publish, by whatever door."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import IntegrityError, InternalError, transaction
from django.db.utils import DatabaseError
from pytest_django import Settings

from accounts.models import LimitProfile, User
from billing import approvals, contracts, costs, exchange, price_margins, pricebooks
from billing.approvals import ApprovalRefused
from billing.models import ExchangeRate, Price, PriceApproval, PriceVersion, ProviderCost
from billing.money import BRL
from billing.pricebooks import ApprovalNeeded, PriceLine, PriceRefused
from tests.make import make_organization, make_volume_plan
from tokia import clock
from tokia.clock import Month

pytestmark = pytest.mark.django_db
GPT = PriceLine(route_name="openai/gpt-5", provider_name="openai", upstream_model="gpt-5", markup=Decimal("1.8"))
FREE = PriceLine("local/smol", "local", "smol", Decimal(1), overrides={"input": 1})
REASON = "Campanha combinada com a diretoria"


@pytest.fixture(autouse=True)
def rate() -> ExchangeRate:
    costs.import_costs([("openai", "openai", "gpt-5", "gpt-5")])
    return exchange.enter_rate(rate=Decimal(5), by="test", reason="cotação de teste")


def make_admin(name: str) -> User:
    return User.objects.create_superuser(f"{name}@tokia.test", "a long enough password")


@pytest.fixture
def ana() -> User:
    return make_admin("ana")


@pytest.fixture
def rui() -> User:
    return make_admin("rui")


def flags(version: PriceVersion) -> dict[str, tuple[str, ...]]:
    return {line.unit: line.flags for line in price_margins.judge_version(version) if line.route_name == "openai/gpt-5"}


def cheap_draft(by: User) -> PriceVersion:
    """Input at R$ 1 per million where it costs R$ 6,25."""
    line = replace(GPT, overrides={"input": BRL}, override_reason="campanha")
    return pricebooks.draft_version(lines=[line, FREE], by=by)


def test_the_landed_cost_has_the_taxes_of_its_day(settings: Settings) -> None:
    july = dt.date(2026, 7, 16)
    settings.LANDED_COST_PERCENT = [(None, Decimal(0)), (dt.date(2026, 1, 1), Decimal("3.5")), (july, Decimal("4.38"))]
    days = (dt.date(2025, 12, 31), dt.date(2026, 1, 1), july - dt.timedelta(days=1), july)
    assert [price_margins.landed_percent(day) for day in days] == [Decimal(0), Decimal("3.5"), Decimal("3.5"), Decimal("4.38")]
    assert price_margins.landed_in_nanos(Decimal("1.25"), Decimal(5), Decimal("4.38")) == 6_523_750_000
    assert price_margins.landed_in_nanos(Decimal("0.000000001"), Decimal("5.3604"), Decimal(0)) == 6  # up to the next nano


def test_every_line_is_judged_against_its_landed_cost(settings: Settings) -> None:
    version = pricebooks.draft_version(lines=[GPT, FREE])
    assert set(flags(version).values()) == {()}
    assert [line.flags for line in price_margins.judge_version(version) if line.route_name == "local/smol"] == [("unknown_cost",)]
    settings.LANDED_COST_PERCENT = [(None, Decimal(75))]  # 1.8 of the cost: 2.8 % are left
    assert set(flags(version).values()) == {("thin", "batch_at_discount")}
    settings.LANDED_COST_PERCENT = [(None, Decimal(81))]
    assert set(flags(version).values()) == {("below_cost",)}
    line = next(line for line in price_margins.judge_version(version) if (line.route_name, line.unit) == ("openai/gpt-5", "input"))
    assert (line.amount_nanos, line.landed_nanos, line.margin_bps) == (11_250_000_000, 11_312_500_000, -56)


def test_the_hardest_terms_of_any_customer_count() -> None:
    version = pricebooks.draft_version(lines=[GPT])
    make_volume_plan(tiers=((500 * BRL, 1_000),))
    assert price_margins.hardest_terms() == price_margins.Terms(margin_bps=0, discount_bps=1_000)
    assert set(flags(version).values()) == {()}  # 1.8 × 0.9 = 1.62; in a batch 1.215
    make_volume_plan(tiers=((BRL, 2_600),))
    assert set(flags(version).values()) == {("batch_at_discount",)}  # 1.8 × 0.75 × 0.74
    unused = LimitProfile.objects.create(name="Parceiros", requests_per_minute=1, tokens_per_minute=1, margin_bps=-3_000)
    assert set(flags(version).values()) == {("batch_at_discount",)}  # nobody has it
    organization = make_organization()
    organization.limit_profile = unused
    organization.save()
    assert set(flags(version).values()) == {("below_at_discount",)}  # 1.8 × 0.7 × 0.74 = 0.932
    assert price_margins.FLAGS["below_at_discount"] == "no desconto máximo vende abaixo do custo"


def test_a_negotiated_plan_counts_as_long_as_its_contract() -> None:
    version = pricebooks.draft_version(lines=[GPT])
    plan = make_volume_plan(tiers=((BRL, 5_000),), is_default=False)
    assert set(flags(version).values()) == {()}  # in nobody's contract
    contract = contracts.agree_contract(make_organization(), plan=plan, first_month=Month.current().next(), by="ana")
    assert set(flags(version).values()) == {("below_at_discount",)}
    contracts.end_contract(contract, reason="engano", by="ana")
    assert set(flags(version).values()) == {()}


def test_a_low_dollar_or_a_low_cost_that_somebody_types_fools_nobody(rate: ExchangeRate) -> None:
    exchange.enter_rate(rate=Decimal("0.01"), by="ana", reason="erro de digitação")
    version = pricebooks.draft_version(lines=[GPT])
    ExchangeRate.objects.create(rate=Decimal(5), source="PTAX venda", quoted_at=clock.now() + dt.timedelta(seconds=1))
    assert set(flags(version).values()) == {("below_cost",)}
    honest = pricebooks.draft_version(lines=[GPT])
    Price.objects.filter(version=honest).update(cost_usd=Decimal("0.001"))
    pricebooks.recompute(honest)
    assert set(flags(honest).values()) == {("below_cost",)}
    ProviderCost.objects.all().delete()  # nothing else is known
    assert "below_cost" not in {flag for line in flags(honest).values() for flag in line}


def test_one_administrator_alone_publishes_no_flagged_price(ana: User, rui: User) -> None:
    draft = cheap_draft(ana)
    for by in ("ana@tokia.test", "rui@tokia.test", "seed_catalog"):
        with pytest.raises(ApprovalNeeded, match=r"openai/gpt-5, entrada: vende abaixo do custo"):
            pricebooks.publish_version(draft, by=by)
    approval = approvals.ask_approval(draft, by=ana, reason=REASON)
    assert [line["unit"] for line in approval.findings] == ["Entrada"]
    assert approvals.waiting() == 1
    with pytest.raises(ApprovalNeeded):  # asked is not approved
        pricebooks.publish_version(draft, by="ana@tokia.test", approval=approval)
    with pytest.raises(ApprovalRefused, match="outro administrador"):
        approvals.approve(approval, by=ana, reason=REASON)
    published = approvals.approve(approval, by=rui, reason="Conferido com a diretoria")
    assert (published.status, published.published_by) == (PriceVersion.Status.PUBLISHED, "rui@tokia.test")
    assert pricebooks.version_in_force() == published
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by, approvals.waiting()) == (PriceApproval.Status.APPROVED, rui, 0)


def test_who_drafted_or_edited_it_does_not_approve_it(ana: User, rui: User) -> None:
    draft = cheap_draft(ana)
    eva = make_admin("eva")
    pricebooks.add_author(draft, user=eva)
    approval = approvals.ask_approval(draft, by=rui, reason=REASON)
    for author in (ana, eva, rui):
        assert not approvals.may_decide(approval, author)
        with pytest.raises(ApprovalRefused):
            approvals.approve(approval, by=author, reason=REASON)
        with pytest.raises(ApprovalRefused):
            approvals.refuse(approval, by=author, reason=REASON)
    assert draft.status == PriceVersion.Status.DRAFT


@pytest.mark.parametrize("fields", [{"is_staff": False}, {"is_active": False}, {"is_superuser": False}])
def test_only_who_administers_prices_decides(ana: User, rui: User, fields: dict[str, bool]) -> None:
    approval = approvals.ask_approval(cheap_draft(ana), by=ana, reason=REASON)
    User.objects.filter(pk=rui.pk).update(**fields)
    with pytest.raises(ApprovalRefused, match="Só quem administra preços"):
        approvals.approve(approval, by=User.objects.get(pk=rui.pk), reason=REASON)


def test_what_is_approved_is_what_was_asked_for(ana: User, rui: User) -> None:
    draft = cheap_draft(ana)
    approval = approvals.ask_approval(draft, by=ana, reason=REASON)
    Price.objects.filter(version=draft, unit="output").update(override_nanos=BRL, override_reason="mais uma")
    with pytest.raises(ApprovalRefused, match="mudou depois do pedido"):
        approvals.approve(approval, by=rui, reason=REASON)
    approvals.refuse(approval, by=rui, reason="Mudou no meio do caminho")
    pricebooks.recompute(draft)
    again = approvals.ask_approval(draft, by=ana, reason=REASON)
    assert len(again.findings) == 2
    approvals.approve(again, by=rui, reason=REASON)
    with pytest.raises(ApprovalRefused, match="já foi decidido"):
        approvals.refuse(again, by=rui, reason=REASON)


def test_an_approval_of_another_version_opens_nothing(ana: User, rui: User) -> None:
    first, second = cheap_draft(ana), cheap_draft(ana)
    approval = approvals.ask_approval(first, by=ana, reason=REASON)
    approvals.approve(approval, by=rui, reason=REASON)
    with pytest.raises(ApprovalNeeded):
        pricebooks.publish_version(second, by="ana", approval=approval)


def test_an_approval_is_asked_once_with_a_reason_for_something(ana: User, rui: User) -> None:
    fine = pricebooks.draft_version(lines=[GPT], by=ana)
    with pytest.raises(PriceRefused, match="Nada aqui precisa"):
        approvals.ask_approval(fine, by=ana, reason=REASON)
    draft = cheap_draft(ana)
    with pytest.raises(PriceRefused, match="motivo"):
        approvals.ask_approval(draft, by=ana, reason="  ok ")
    approval = approvals.ask_approval(draft, by=ana, reason=REASON)
    with pytest.raises(PriceRefused, match="já foi pedida"):
        approvals.ask_approval(draft, by=rui, reason=REASON)
    with pytest.raises(ApprovalRefused, match="quem pediu"):
        approvals.withdraw(approval, by=rui)
    approvals.withdraw(approval, by=ana)
    assert approvals.waiting() == 0
    with pytest.raises(PriceRefused, match="Informe o motivo na linha"):
        Price.objects.filter(version=draft, unit="input").update(override_reason="")
        approvals.ask_approval(draft, by=ana, reason=REASON)


def test_the_database_keeps_decisions_and_wants_two_people(ana: User, rui: User) -> None:
    approval = approvals.ask_approval(cheap_draft(ana), by=ana, reason=REASON)
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceApproval.objects.filter(pk=approval.pk).update(status="approved", decided_by=ana)
    approvals.refuse(approval, by=rui, reason="Não por esse preço")
    for change in ({"status": "asked"}, {"reason": "outro"}, {"decided_by": ana}):
        with pytest.raises((InternalError, DatabaseError)), transaction.atomic():
            PriceApproval.objects.filter(pk=approval.pk).update(**change)
    with pytest.raises(DatabaseError), transaction.atomic():
        PriceApproval.objects.filter(pk=approval.pk).delete()


def test_dearer_prices_wait_for_the_notice_and_others_do_not(ana: User, settings: Settings) -> None:
    settings.PRICE_NOTICE_DAYS = 10
    first = pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana")
    cheaper = pricebooks.draft_version(lines=[replace(GPT, markup=Decimal("1.7"))])
    pricebooks.publish_version(cheaper, by="ana")
    wider = pricebooks.draft_version(lines=[replace(GPT, markup=Decimal("1.7")), FREE])
    assert pricebooks.publish_version(wider, by="ana") == pricebooks.version_in_force() != first
    dearer = pricebooks.draft_version(lines=[GPT, FREE])
    for early in (None, clock.now() + dt.timedelta(days=9, hours=23)):
        with pytest.raises(ApprovalNeeded, match="menos de 10 dias de aviso"):
            pricebooks.publish_version(dearer, by="ana", effective_at=early)
    with pytest.raises(PriceRefused, match="emergência"):
        approvals.ask_approval(dearer, by=ana, reason=REASON)
    in_time = clock.now() + dt.timedelta(days=10)
    assert pricebooks.publish_version(dearer, by="ana", effective_at=in_time).effective_at == in_time
    assert pricebooks.version_in_force() == wider
    gone = pricebooks.draft_version(lines=[replace(GPT, markup=Decimal("1.7"))])  # a model that is no longer sold
    with pytest.raises(ApprovalNeeded, match="aviso"):
        pricebooks.publish_version(gone, by="ana")


def test_an_emergency_needs_the_second_administrator(ana: User, rui: User) -> None:
    pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana")
    dearer = pricebooks.draft_version(lines=[replace(GPT, markup=Decimal(2))], by=ana)
    approval = approvals.ask_approval(dearer, by=ana, reason="O provedor dobrou o preço hoje", is_emergency=True)
    assert approval.is_emergency and approval.findings == []
    published = approvals.approve(approval, by=rui, reason="Confirmado com o provedor")
    assert pricebooks.version_in_force() == published


def test_an_approval_that_waited_too_long_does_not_shorten_the_notice(ana: User, rui: User) -> None:
    pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana")
    line = replace(GPT, markup=Decimal(2), overrides={"input": BRL}, override_reason="campanha")
    draft = pricebooks.draft_version(lines=[line], by=ana)
    approval = approvals.ask_approval(draft, by=ana, reason=REASON, effective_at=clock.now() + dt.timedelta(days=11))
    assert not approval.is_emergency
    clock.shift(2 * 86_400)
    try:
        with pytest.raises(ApprovalNeeded, match="dias de aviso"):
            approvals.approve(approval, by=rui, reason=REASON)
    finally:
        clock.shift(0)
    approval.refresh_from_db()
    assert approval.status == PriceApproval.Status.ASKED
