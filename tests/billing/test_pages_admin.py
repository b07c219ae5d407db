"""The admin of money: looks, links, and acts that ask a reason and leave an entry."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import admin_parts, costs, exchange, ledger, pricebooks, volume
from billing.models import (
    Charge,
    ExchangeRate,
    LedgerEntry,
    Lot,
    PixNotice,
    Price,
    PriceVersion,
    Refund,
    UnmatchedPix,
    UnsettledCall,
    UsageRecord,
    VolumePlan,
    Wallet,
)
from billing.money import BRL
from billing.pix import psp
from billing.pricebooks import PriceLine
from tests.make import make_hold, make_top_up, make_usage, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
GPT = PriceLine(route_name="openai/gpt-5", provider_name="openai", upstream_model="gpt-5", markup=Decimal("1.8"))


@pytest.fixture
def staff(db: None) -> Client:
    person = User.objects.create_superuser("ana@tokia.test", "a long enough password")
    client = Client()
    client.force_login(person)
    return client


@pytest.fixture
def world(db: None) -> Wallet:
    """A row of everything."""
    volume.seed_plan()
    wallet = make_wallet(brl="100.00", promo_brl="5.00")
    make_usage(wallet=wallet, gross_nanos=BRL)
    make_hold(wallet=wallet)
    now = clock.now()
    Charge.everywhere.create(
        id=clock.new_id(), wallet=wallet, txid="tk" + "1" * 32, amount_nanos=BRL, created_at=now, expires_at=now,
        status=Charge.Status.PAID, payments=[{"endToEndId": "E" + "1" * 31, "valor": "1.00", "horario": now.isoformat()}],
    )  # fmt: skip
    PixNotice.objects.create(digest=b"1" * 32, end_to_end_id="E" + "1" * 31, payload={"a": "<b>"}, due_at=now)
    pix = UnmatchedPix.objects.create(end_to_end_id="E" + "2" * 31, amount_nanos=30 * BRL, payload={}, paid_at=now)
    Refund.objects.create(id=uuid.uuid4(), unmatched=None, end_to_end_id=pix.end_to_end_id, amount_nanos=BRL, reason="x")
    UnsettledCall.objects.create(id=clock.new_id(), payload={}, error="TK003")
    costs.import_costs([("openai", "openai", "gpt-5", "gpt-5")])
    exchange.enter_rate(rate=Decimal("5.36"), by="ana", reason="cotação de teste")
    pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana")
    pricebooks.draft_from_current()
    return wallet


MODELS = [model for model in admin.site._registry if model._meta.app_label == "billing"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_every_list_and_row_opens(model: type, staff: Client, world: Wallet) -> None:
    name = f"admin:billing_{model._meta.model_name}"  # type: ignore[attr-defined]
    listed = staff.get(reverse(f"{name}_changelist"))
    assert listed.status_code == 200
    assert staff.get(reverse(f"{name}_changelist"), {"q": "x"}).status_code == 200
    row = model._meta.base_manager.first()  # type: ignore[attr-defined]
    if row is not None:
        page = staff.get(reverse(f"{name}_change", args=[row.pk]))
        assert page.status_code == 200
        assert "<b>" not in page.content.decode().replace("&lt;b&gt;", "") or model is not PixNotice


@pytest.mark.parametrize("model", [Wallet, LedgerEntry, Lot, Charge, Refund, UnmatchedPix, PixNotice], ids=lambda m: m.__name__)
def test_nobody_edits_money(model: type, staff: Client, world: Wallet) -> None:
    name = f"admin:billing_{model._meta.model_name}"  # type: ignore[attr-defined]
    row = model._meta.base_manager.first()  # type: ignore[attr-defined]
    assert staff.get(reverse(f"{name}_add")).status_code == 403
    assert staff.post(reverse(f"{name}_change", args=[row.pk]), {"posted_nanos": "1"}).status_code == 403
    assert staff.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def act(staff: Client, model: str, verb: str, pk: object, **data: object) -> int:
    return staff.post(reverse(f"admin:billing_{model}_{verb}", args=[pk]), data).status_code


@pytest.mark.parametrize(("verb", "change"), [("credit", 7), ("debit", -7), ("grant", 7)])
def test_a_person_moves_money_with_a_reason(verb: str, change: int, staff: Client, world: Wallet) -> None:
    before = world.__class__.everywhere.get(pk=world.pk).posted_nanos
    assert act(staff, "wallet", verb, world.pk, amount="7,00", reason="") == 200  # asked again
    assert act(staff, "wallet", verb, world.pk, amount="7,00", reason="Acordo por e-mail") == 302
    assert Wallet.everywhere.get(pk=world.pk).posted_nanos - before == change * BRL
    entry = LedgerEntry.objects.order_by("-id")[0]
    assert (entry.actor, entry.reason) == ("ana@tokia.test", "Acordo por e-mail")
    assert "Acordo por e-mail" in LogEntry.objects.latest("pk").change_message


def test_a_debit_beyond_the_balance_is_refused_in_words(staff: Client, world: Wallet) -> None:
    answer = staff.post(reverse("admin:billing_wallet_debit", args=[world.pk]), {"amount": "9.999,00", "reason": "Engano nosso"})
    assert answer.status_code == 200 and "Saldo insuficiente" in answer.content.decode()
    assert not LedgerEntry.objects.filter(kind=LedgerEntry.Kind.CORRECTION).exists()


def test_an_entry_is_reversed_by_another(staff: Client, world: Wallet) -> None:
    entry = ledger.correct(world, amount_nanos=3 * BRL, reason="engano", actor="ana")
    assert act(staff, "ledgerentry", "reverse_it", entry.pk, reason="Lançado duas vezes") == 302
    assert LedgerEntry.objects.get(reverses=entry).reason == "Lançado duas vezes"


def test_staff_without_the_permission_can_not_act(staff: Client, world: Wallet) -> None:
    viewer = User.objects.create_user("rui@tokia.test", "a long enough password", is_staff=True)
    client = Client()
    client.force_login(viewer)
    assert act(client, "wallet", "credit", world.pk, amount="7,00", reason="Sem permissão") == 403


def test_an_unmatched_pix_is_credited_to_an_organization(staff: Client, world: Wallet) -> None:
    pix = UnmatchedPix.objects.get()
    Refund.objects.all().delete()
    missing = act(staff, "unmatchedpix", "credit", pix.pk, organization="999999", reason="Conferido")
    assert missing == 200
    assert act(staff, "unmatchedpix", "credit", pix.pk, organization=world.organization_id, reason="Conferido") == 302
    assert LedgerEntry.objects.get(reference=f"pix:{pix.end_to_end_id}").actor == "ana@tokia.test"


def test_a_lot_is_refunded_through_the_bank(staff: Client, world: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def request_devolucao(*, end_to_end_id: str, refund_id: str, amount: str, description: str) -> psp.Json:
        asked.append(amount)
        return {"id": refund_id, "rtrId": "D1", "valor": amount, "status": "DEVOLVIDO"}

    monkeypatch.setattr(psp, "request_devolucao", request_devolucao)
    make_top_up(wallet=world, brl="40.00", end_to_end_id="E" + "5" * 31)
    lot = Lot.everywhere.get(entry__reference="pix:E" + "5" * 31)
    assert act(staff, "lot", "refund", lot.pk, amount="40,01", reason="Cliente pediu") == 200
    assert act(staff, "lot", "refund", lot.pk, amount="40,00", reason="Cliente pediu") == 302
    assert asked == ["40.00"]
    assert LedgerEntry.objects.get(kind=LedgerEntry.Kind.REFUND).reason == "Cliente pediu"


def test_the_reconciliation_says_that_the_books_add_up(staff: Client, world: Wallet) -> None:
    page = staff.get(reverse("admin:billing_ledgerentry_reconciliation")).content.decode()
    assert "PIX não identificados" in page and "fecham" in page


def test_a_price_is_published_after_its_difference_was_seen(staff: Client, world: Wallet) -> None:
    exchange.enter_rate(rate=Decimal("6.00"), by="ana2", reason="cotação de teste")
    staff.post(reverse("admin:billing_priceversion_new_draft"))
    draft = PriceVersion.objects.latest("pk")
    url = reverse("admin:billing_priceversion_publish", args=[draft.pk])
    seen = staff.get(url).content.decode()
    assert "subiu" in seen and "+11.9%" in seen.replace(",", ".")
    day = clock.today_in_brazil() + dt.timedelta(days=11)  # dearer: after the notice period
    assert staff.post(url, {"effective_at": f"{day}T00:00"}).status_code == 302
    later = dt.datetime.combine(day, dt.time(1), clock.SAO_PAULO)
    assert pricebooks.version_in_force(later) == PriceVersion.objects.get(pk=draft.pk) != pricebooks.version_in_force()
    assert staff.post(url).status_code == 200  # never twice
    assert staff.get(reverse("admin:billing_priceversion_change", args=[draft.pk])).status_code == 200


def test_what_does_not_change_is_folded_away_unless_it_loses_money(staff: Client, world: Wallet) -> None:
    draft = PriceVersion.objects.get(status=PriceVersion.Status.DRAFT)
    url = reverse("admin:billing_priceversion_publish", args=[draft.pk])
    page = staff.get(url).content.decode()
    assert "Nenhum preço muda." in page and "4 preços sem mudança</summary>" in page
    Price.objects.filter(version=draft, unit="input").update(cost_usd=100)  # a fixed price that its cost has overtaken
    shown, _, folded = staff.get(url).content.decode().partition("3 preços sem mudança</summary>")
    assert shown.count(">igual<") == 1 and folded.count(">igual<") == 3


def test_a_call_below_a_centavo_shows_what_it_cost(staff: Client, world: Wallet) -> None:
    for nanos in (3_456_789, 12_340):
        make_usage(wallet=world, gross_nanos=nanos)
    page = staff.get(reverse("admin:billing_usagerecord_changelist")).content.decode()
    assert ">R$\u00a01,0000<" in page and ">R$\u00a00,0034<" in page and ">R$\u00a00,00001234<" in page
    assert ">R$\u00a00,003456789<" in staff.get(reverse("admin:billing_posting_changelist")).content.decode()


def test_a_negative_amount_keeps_its_sign() -> None:
    assert [str(admin_parts.fine(nanos)).split(">")[1].split("<")[0] for nanos in (-1, -3_456_789, 0, 1_234 * BRL)] == [
        "−R$\u00a00,000000001", "−R$\u00a00,0034", "R$\u00a00,0000", "R$\u00a01.234,0000",
    ]  # fmt: skip


def test_a_large_list_says_how_many_rows_it_has_as_well_as_it_knows(
    staff: Client, world: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def footer() -> str:
        page = staff.get(reverse("admin:billing_usagerecord_changelist")).content.decode()
        assert "resultado" not in page and "1.000.000" not in page
        return page.partition('<div class="ml-4 py-4 text-subtle">')[2].partition("</div>")[0]

    make_usage(wallet=world, gross_nanos=BRL)
    make_usage(wallet=world, gross_nanos=BRL)
    plural = str(UsageRecord._meta.verbose_name_plural)
    monkeypatch.setattr(admin_parts.InfinitePaginator, "estimate", 0)  # whatever the planner thinks of a new table
    assert footer() == f"3 {plural}"
    monkeypatch.setattr(admin_parts, "ROWS_COUNTED_MAX", 2)
    assert footer() == f"mais de 2 {plural}"
    monkeypatch.setattr(admin_parts.InfinitePaginator, "estimate", 1_200_000)
    assert footer() == f"cerca de 1.200.000 {plural}"


def test_a_large_number_of_rows_is_the_planners_to_two_digits() -> None:
    class Million:
        def explain(self, **options: object) -> str:
            return '[{"Plan": {"Plan Rows": 1234567}}]'

    assert admin_parts.InfinitePaginator(Million(), 50).estimate == 1_200_000
    assert admin_parts.InfinitePaginator(UsageRecord.everywhere.order_by("-id"), 50).estimate == 0


def test_a_line_of_a_draft_is_edited_and_priced(staff: Client, world: Wallet) -> None:
    draft = PriceVersion.objects.get(status=PriceVersion.Status.DRAFT)
    lines = list(Price.objects.filter(version=draft).order_by("route_name", "id"))
    form: dict[str, object] = {
        "note": "promoção", "rate_policy": "locked", "drift_alarm_bps": 500, "prices-TOTAL_FORMS": len(lines),
        "prices-INITIAL_FORMS": len(lines), "prices-MIN_NUM_FORMS": 0, "prices-MAX_NUM_FORMS": 1000,
    }  # fmt: skip
    for number, line in enumerate(lines):
        form |= {
            f"prices-{number}-id": line.pk, f"prices-{number}-version": draft.pk, f"prices-{number}-route_name": line.route_name,
            f"prices-{number}-unit": line.unit, f"prices-{number}-per_units": line.per_units,
            f"prices-{number}-provider_name": line.provider_name, f"prices-{number}-upstream_model": line.upstream_model,
            f"prices-{number}-cost_usd": str(line.cost_usd), f"prices-{number}-markup": "2",
            f"prices-{number}-override_nanos": "18,14" if line.unit == "input" else "",
            f"prices-{number}-override_reason": "", f"prices-{number}-batch_percent": 80,
                f"prices-{number}-own_key_percent": 3,
        }  # fmt: skip
    answer = staff.post(reverse("admin:billing_priceversion_change", args=[draft.pk]), form)
    assert answer.status_code == 302, answer.context["errors"]
    stored = dict(Price.objects.filter(version=draft).values_list("unit", "amount_nanos"))
    assert stored == {"input": 18_140_000_000, "cached_input": 1_340_000_000, "output": 107_200_000_000, "search": 107_200_000}


def test_costs_are_imported_into_a_draft_and_nothing_is_published(staff: Client, world: Wallet) -> None:
    PriceVersion.objects.filter(status=PriceVersion.Status.DRAFT).delete()
    in_force = pricebooks.version_in_force()
    answer = staff.post(reverse("admin:billing_priceversion_import_costs"), follow=True)
    assert "já usam os custos" in answer.content.decode()
    assert pricebooks.version_in_force() == in_force and PriceVersion.objects.count() == 1


def test_a_rate_is_typed_and_a_plan_published(staff: Client, world: Wallet) -> None:
    assert staff.post(reverse("admin:billing_exchangerate_add"), {"rate": "5.50", "reason": "Olinda fora do ar"}).status_code == 302
    assert ExchangeRate.objects.latest().rate == Decimal("5.50")
    plan = VolumePlan.objects.create(name="Novo")
    assert act(staff, "volumeplan", "publish", plan.pk) == 302
    plan.refresh_from_db()
    assert plan.is_default and plan.published_at
