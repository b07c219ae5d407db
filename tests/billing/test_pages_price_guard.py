"""The admin of prices, with two administrators: one asks, the other decides; the dollar, the notices, plans and contracts."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.test import Client
from django.urls import reverse

from accounts.models import Organization, User
from billing import approvals, costs, exchange, pricebooks, rate_watch
from billing.models import Contract, ExchangeRate, Price, PriceApproval, PriceNotice, PriceVersion, VolumePlan
from billing.money import BRL
from billing.pricebooks import PriceLine
from tests.cast import make_cast
from tests.make import make_usage, make_volume_plan, make_wallet
from tokia import attention, clock
from tokia.clock import Month

pytestmark = pytest.mark.django_db
GPT = PriceLine(route_name="openai/gpt-5", provider_name="openai", upstream_model="gpt-5", markup=Decimal("1.8"))
REASON = "Combinado com a diretoria"


def administrator(name: str) -> tuple[User, Client]:
    person = User.objects.create_superuser(f"{name}@tokia.test", "a long enough password")
    client = Client()
    client.force_login(person)
    return person, client


@pytest.fixture
def ana(db: None) -> tuple[User, Client]:
    return administrator("ana")


@pytest.fixture
def rui(db: None) -> tuple[User, Client]:
    return administrator("rui")


@pytest.fixture(autouse=True)
def in_force(db: None) -> PriceVersion:
    costs.import_costs([("openai", "openai", "gpt-5", "gpt-5")])
    ExchangeRate.objects.create(rate=Decimal(5), source="PTAX venda", quoted_at=clock.now() - dt.timedelta(hours=1))
    return pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="seed")


def url(model: str, verb: str, *args: object) -> str:
    return reverse(f"admin:billing_{model}_{verb}", args=args)


def cheap_draft(client: Client) -> PriceVersion:
    """Drafted in the admin, the input fixed at R$ 1 where it costs R$ 6,25."""
    client.post(url("priceversion", "new_draft"))
    draft = PriceVersion.objects.latest("pk")
    Price.objects.filter(version=draft, unit="input").update(override_nanos=BRL, override_reason="campanha")
    pricebooks.recompute(draft)
    return draft


def test_a_flagged_version_goes_from_one_administrator_to_the_other(ana: tuple[User, Client], rui: tuple[User, Client]) -> None:
    draft = cheap_draft(ana[1])
    assert draft.author_ids == [ana[0].pk]
    page = ana[1].get(url("priceversion", "publish", draft.pk)).content.decode()
    assert "1 preço só com a aprovação de outro administrador" in page and "vende abaixo do custo" in page
    assert "R$\u00a06,25" in page and "−525%" in page and "Pedir aprovação" in page
    for client in (ana[1], rui[1]):  # nobody publishes it alone
        assert "Só com a aprovação" in client.post(url("priceversion", "publish", draft.pk)).content.decode()
    refused = ana[1].post(url("priceversion", "publish", draft.pk), {"ask": "1", "reason": "ok"})
    assert refused.status_code == 200 and "Escreva o motivo" in refused.content.decode()
    assert ana[1].post(url("priceversion", "publish", draft.pk), {"ask": "1", "reason": REASON}).status_code == 302
    approval = PriceApproval.objects.get()
    own = ana[1].get(url("priceapproval", "change", approval.pk)).content.decode()
    assert "Retirar o pedido" in own and "Aprovar e publicar" not in own and "vende abaixo do custo" in own
    assert "Aguarda aprovação" in ana[1].get(url("priceapproval", "changelist")).content.decode()
    sneaked = ana[1].post(url("priceapproval", "approve", approval.pk), {"reason": REASON})
    assert sneaked.status_code == 200 and "precisa ser outro administrador" in sneaked.content.decode()
    theirs = rui[1].get(url("priceapproval", "change", approval.pk)).content.decode()
    assert "Aprovar e publicar" in theirs and "Recusar" in theirs and "Retirar o pedido" not in theirs
    assert rui[1].post(url("priceapproval", "approve", approval.pk), {"reason": "Conferido"}).status_code == 200  # too short
    assert rui[1].post(url("priceapproval", "approve", approval.pk), {"reason": REASON}).status_code == 302
    draft.refresh_from_db()
    assert (draft.status, draft.published_by) == (PriceVersion.Status.PUBLISHED, "rui@tokia.test")
    assert REASON in LogEntry.objects.latest("pk").change_message
    assert rui[1].get(url("priceversion", "publish", draft.pk)).status_code == 200


def test_whoever_edits_the_lines_becomes_an_author(ana: tuple[User, Client], rui: tuple[User, Client]) -> None:
    draft = cheap_draft(ana[1])
    form = rui[1].get(url("priceversion", "change", draft.pk)).context["inline_admin_formsets"][0].formset
    data = {"note": "mudei", "rate_policy": "followed", "drift_alarm_bps": "300", **_posted(form)}
    assert rui[1].post(url("priceversion", "change", draft.pk), data).status_code == 302
    draft.refresh_from_db()
    assert draft.author_ids == [ana[0].pk, rui[0].pk]
    assert (draft.rate_policy, draft.drift_alarm_bps) == ("followed", 300)


def _posted(formset: object) -> dict[str, object]:
    data: dict[str, object] = {}
    for form in [formset.management_form, *formset.forms]:  # type: ignore[attr-defined]
        for field in form:
            value = field.value()
            data[field.html_name] = "" if value is None else value
    return data


def test_a_refusal_and_a_withdrawal_leave_the_draft(ana: tuple[User, Client], rui: tuple[User, Client]) -> None:
    draft = cheap_draft(ana[1])
    first = approvals.ask_approval(draft, by=ana[0], reason=REASON)
    assert rui[1].post(url("priceapproval", "refuse", first.pk), {"reason": "Não por esse preço"}).status_code == 302
    second = approvals.ask_approval(draft, by=ana[0], reason=REASON)
    assert ana[1].post(url("priceapproval", "withdraw", second.pk)).status_code == 302
    assert [approval.status for approval in PriceApproval.objects.order_by("pk")] == ["refused", "withdrawn"]
    assert "Aprovar" not in rui[1].get(url("priceapproval", "change", second.pk)).content.decode()
    assert PriceVersion.objects.get(pk=draft.pk).status == PriceVersion.Status.DRAFT


def test_dearer_prices_get_a_date_and_their_users_a_mail(ana: tuple[User, Client]) -> None:
    cast = make_cast()
    make_usage(wallet=make_wallet(organization=cast.acme), route_name="openai/gpt-5")
    ExchangeRate.objects.create(rate=Decimal(6), source="PTAX venda", quoted_at=clock.now())
    ana[1].post(url("priceversion", "new_draft"))
    draft = PriceVersion.objects.latest("pk")
    page = ana[1].get(url("priceversion", "publish", draft.pk)).content.decode()
    day = clock.today_in_brazil() + dt.timedelta(days=11)
    assert f'value="{day}T00:00"' in page and "no mínimo 10 dias depois" in page
    assert "dias de aviso" in ana[1].post(url("priceversion", "publish", draft.pk)).content.decode()
    done = ana[1].post(url("priceversion", "publish", draft.pk), {"effective_at": f"{day}T00:00"}, follow=True)
    assert "Empresas avisadas por e-mail: 1." in done.content.decode()
    notice = PriceNotice.everywhere.get()
    assert "Na fila" in ana[1].get(url("pricenotice", "changelist")).content.decode()
    assert ana[1].post(url("pricenotice", "send_now")).status_code == 302
    assert len(mail.outbox) == 1
    assert "Enviado" in ana[1].get(url("pricenotice", "change", notice.pk)).content.decode()


def test_an_emergency_is_asked_for_as_one(ana: tuple[User, Client], rui: tuple[User, Client]) -> None:
    ExchangeRate.objects.create(rate=Decimal(6), source="PTAX venda", quoted_at=clock.now())
    ana[1].post(url("priceversion", "new_draft"))
    draft = PriceVersion.objects.latest("pk")
    form = {"ask": "1", "reason": REASON, "effective_at": ""}
    assert "emergência" in ana[1].post(url("priceversion", "publish", draft.pk), form).content.decode()
    assert ana[1].post(url("priceversion", "publish", draft.pk), {**form, "is_emergency": "on"}).status_code == 302
    approval = PriceApproval.objects.get()
    assert rui[1].post(url("priceapproval", "approve", approval.pk), {"reason": REASON}).status_code == 302
    assert pricebooks.version_in_force() == PriceVersion.objects.get(pk=draft.pk)


def test_the_dollar_has_a_chart_a_history_and_reasons(
    ana: tuple[User, Client], in_force: PriceVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 8):
        ExchangeRate.objects.create(rate=Decimal("5.1") + day, source="PTAX venda", quoted_at=clock.now() - dt.timedelta(days=day))
    page = ana[1].get(url("exchangerate", "changelist")).content.decode()
    assert "<polyline" in page and "linha tracejada é o câmbio dos preços em vigor" in page
    add = url("exchangerate", "add")
    assert ana[1].post(add, {"rate": "5.50", "reason": ""}).status_code == 200
    assert ana[1].post(add, {"rate": "5.50", "reason": "Olinda fora do ar"}).status_code == 302
    typed = ExchangeRate.objects.latest()
    assert (typed.rate, typed.source, typed.reason) == (Decimal("5.50"), "ana@tokia.test", "Olinda fora do ar")
    asked: list[int] = []

    def backfill_rates(*, days: int) -> list[ExchangeRate]:
        asked.append(days)
        return []

    monkeypatch.setattr(exchange, "backfill_rates", backfill_rates)
    assert ana[1].get(url("exchangerate", "backfill")).status_code == 200
    assert ana[1].post(url("exchangerate", "backfill"), {"days": "400"}).status_code == 302
    assert asked == [400] and ana[1].post(url("exchangerate", "backfill"), {"days": "9999"}).status_code == 200
    drift = ana[1].get(url("priceversion", "change", in_force.pk)).content.decode()
    assert "+10,00 % do câmbio desta versão" in drift


def test_an_alarm_is_badged_until_somebody_saw_it(ana: tuple[User, Client]) -> None:
    ExchangeRate.objects.create(rate=Decimal(10), source="PTAX venda", quoted_at=clock.now())
    alarm = rate_watch.watch_rate()
    assert alarm is not None
    index = ana[1].get(reverse("admin:index")).content.decode()
    assert '<span class="tk-count">1</span><span class="tk-grow">Alarme de câmbio' in index
    page = ana[1].get(url("ratealarm", "change", alarm.pk)).content.decode()
    assert "+100,00 %" in page and "vende abaixo do custo" in page and str(alarm.draft) in page
    assert ana[1].post(url("ratealarm", "acknowledge", alarm.pk)).status_code == 302
    attention.forget()
    assert 'tk-grow">Alarme de câmbio' not in ana[1].get(reverse("admin:index")).content.decode()


def test_a_plan_is_edited_frozen_and_agreed_on(ana: tuple[User, Client]) -> None:
    make_volume_plan()
    acme = Organization.objects.create(name="Acme")
    tiers = {"tiers-TOTAL_FORMS": "2", "tiers-INITIAL_FORMS": "0", "tiers-0-above_nanos": "0", "tiers-0-discount_bps": "700",
             "tiers-1-above_nanos": "1.234,56", "tiers-1-discount_bps": "1250"}  # fmt: skip
    assert ana[1].post(url("volumeplan", "add"), {"name": "Acme 2027", "organization": acme.pk, **tiers}).status_code == 302
    plan = VolumePlan.objects.get(name="Acme 2027")
    assert "negociado com uma empresa" in ana[1].post(url("volumeplan", "publish", plan.pk)).content.decode()
    assert ana[1].post(url("volumeplan", "freeze_it", plan.pk)).status_code == 302
    page = ana[1].get(url("volumeplan", "changelist")).content.decode()
    assert "Para contratos" in page and "12,5 % acima de R$\u00a01.234,56" in page
    month = Month.current().next().first_on
    form = {"organization": acme.pk, "plan": plan.pk, "first_month": f"{month:%Y-%m}", "last_month": "", "note": "Proposta 12"}
    assert ana[1].get(url("contract", "agree")).status_code == 200
    assert ana[1].post(url("contract", "agree"), {**form, "first_month": "2020-01"}).status_code == 200
    assert ana[1].post(url("contract", "agree"), form).status_code == 302
    contract = Contract.objects.get()
    assert (contract.first_month, contract.agreed_by) == (month, "ana@tokia.test")
    assert "abaixo do custo" not in ana[1].get(url("contract", "changelist")).content.decode()
    assert "Já há um contrato" in ana[1].post(url("contract", "agree"), form).content.decode()
    assert "Combinado" in ana[1].get(url("contract", "changelist")).content.decode()
    assert ana[1].post(url("contract", "end", contract.pk), {"last_month": "", "reason": "Desistiram"}).status_code == 302
    assert "Cancelado" in ana[1].get(url("contract", "change", contract.pk)).content.decode()
    steep = make_volume_plan(tiers=((0, 9_000),), is_default=False)
    warned = ana[1].post(url("contract", "agree"), {**form, "plan": steep.pk}, follow=True).content.decode()
    assert "No desconto máximo, 4 preços em vigor ficam abaixo do custo: openai/gpt-5." in warned
    assert ana[1].post(url("contract", "add")).status_code == 403 == ana[1].post(url("contract", "delete", contract.pk)).status_code


def test_staff_without_the_permission_look_at_nothing_of_it(ana: tuple[User, Client]) -> None:
    viewer = User.objects.create_user("eva@tokia.test", "a long enough password", is_staff=True)
    client = Client()
    client.force_login(viewer)
    approval = approvals.ask_approval(cheap_draft(ana[1]), by=ana[0], reason=REASON)
    for address in (
        url("priceapproval", "approve", approval.pk), url("contract", "agree"), url("exchangerate", "backfill"),
        url("pricenotice", "send_now"),
    ):  # fmt: skip
        assert client.post(address, {"reason": REASON}).status_code == 403
    assert approvals.waiting() == 1
