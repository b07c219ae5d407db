"""The pages of money as the cast sees them, through Django's client."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from accounts.tenancy import tenant
from billing import statements
from billing.models import Charge, UsageRecord
from billing.money import BRL
from billing.pix import psp
from billing.pix.errors import PspUnavailable
from billing.pricing import Usage
from billing.wallets import wallet_of
from tests.cast import Cast, make_cast
from tests.make import make_call, make_key, make_price, make_top_up, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def silent_bank(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A bank that answers at once, in memory; what it was asked."""
    asked: list[str] = []

    def create_cob(*, txid: str, requested: psp.Json) -> psp.Json:
        asked.append(txid)
        criacao = clock.now().isoformat()
        return {"location": f"pix.example.com/{txid}", "calendario": {"criacao": criacao, **requested["calendario"]}}

    monkeypatch.setattr(psp, "create_cob", create_cob)
    monkeypatch.setattr(psp, "read_cob", lambda txid: {"status": "ATIVA"})
    yield asked


def make_charge(cast: Cast, **fields: object) -> Charge:
    given = {
        "id": clock.new_id(), "wallet": wallet_of(cast.acme), "txid": f"tk{uuid.uuid4().hex}", "amount_nanos": 50 * BRL,
        "created_at": clock.now(), "expires_at": clock.now() + dt.timedelta(minutes=30), "status": Charge.Status.PENDING,
        "brcode": "00020126580014br.gov.bcb.pix", **fields,
    }  # fmt: skip
    return Charge.everywhere.create(**given)


# ── Top-up ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("silent_bank")
def test_it_opens_one_charge_for_a_repeated_amount(cast: Cast) -> None:
    client = as_(cast.alice)
    page = client.get("/app/recarregar/")
    assert "Gerar PIX" in page.content.decode()
    first = client.post("/app/recarregar/", {"valor": "50"})
    again = client.post("/app/recarregar/", {"valor": "outro", "outro": "R$ 50,00"})
    assert first.status_code == 302 and first["Location"] == again["Location"]
    charge_page = client.get(first["Location"]).content.decode()
    assert "Aguardando pagamento" in charge_page and "<svg" in charge_page and "Copiar código" in charge_page
    assert "/bank/pay/" in charge_page
    assert re.search(r"style=|onclick|<script(?![^>]* src=)", charge_page) is None


@pytest.mark.parametrize(
    ("typed", "message"),
    [("9,99", "no mínimo"), ("60.000,00", "no máximo"), ("abc", "como 250,00"), ("", "como 250,00"), ("10,001", "como 250,00")],
)
def test_it_refuses_an_amount_in_words(cast: Cast, typed: str, message: str) -> None:
    answer = as_(cast.alice).post("/app/recarregar/", {"valor": "outro", "outro": typed})
    assert answer.status_code == 400 and message in answer.content.decode()
    assert not Charge.everywhere.exists()


def test_it_says_that_nothing_was_charged_when_the_bank_is_silent(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(**_: object) -> psp.Json:
        raise PspUnavailable("PUT: 503")

    monkeypatch.setattr(psp, "create_cob", silence)
    monkeypatch.setattr(psp, "read_cob", lambda txid: silence())
    answer = as_(cast.alice).post("/app/recarregar/", {"valor": "50"})
    assert answer.status_code == 503
    assert "Nada foi cobrado" in answer.content.decode() and "Tentar de novo" in answer.content.decode()
    assert "503" not in re.sub(r"<[^>]+>", "", answer.content.decode())


def test_the_poll_says_nothing_until_something_happens(cast: Cast) -> None:
    client, charge = as_(cast.carol), make_charge(cast)
    url = f"/app/recarregar/{charge.pk}/situacao/"
    assert client.get(f"{url}?de=awaiting&cada=1").status_code == 204
    Charge.everywhere.update(created_at=clock.now() - dt.timedelta(minutes=3))
    slower = client.get(f"{url}?de=awaiting&cada=1")
    assert slower.status_code == 200 and "every 5s" in slower.content.decode()
    payment = {"endToEndId": "E" + "1" * 31, "valor": "50.00", "horario": clock.now().isoformat()}
    Charge.everywhere.update(status=Charge.Status.PAID, received_nanos=50 * BRL, payments=[payment], paid_at=clock.now())
    paid = client.get(f"{url}?de=awaiting&cada=5")
    assert paid.status_code == 286
    assert (paid["HX-Retarget"], paid["HX-Trigger"]) == ("#cobranca", "saldo-mudou")
    told = paid.content.decode()
    assert "Pagamento confirmado" in told
    assert "situacao" not in told and told.count("hx-trigger") == 1  # the place of the note, which asks once


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": Charge.Status.OPENING, "brcode": ""}, "Gerando seu PIX"),
        ({"expires_at": clock.now() - dt.timedelta(minutes=1)}, "Este código expirou"),
        ({"status": Charge.Status.EXPIRED}, "Este código expirou"),
        ({"status": Charge.Status.FAILED}, "Não conseguimos gerar este PIX"),
        ({"status": Charge.Status.PAID, "amount_nanos": 500 * BRL, "received_nanos": 480 * BRL}, "em um código de"),
    ],
)
def test_it_shows_every_state(cast: Cast, fields: dict[str, object], words: str) -> None:
    page = as_(cast.alice).get(f"/app/recarregar/{make_charge(cast, **fields).pk}/")
    assert page.status_code == 200 and words in page.content.decode()


def test_two_payments_of_one_code_are_told(cast: Cast) -> None:
    payments = [{"endToEndId": f"E{n}" + "1" * 30, "valor": "50.00", "horario": clock.now().isoformat()} for n in (1, 2)]
    charge = make_charge(cast, status=Charge.Status.PAID, received_nanos=100 * BRL, payments=payments)
    page = as_(cast.alice).get(f"/app/recarregar/{charge.pk}/").content.decode()
    assert "pago duas vezes" in page and payments[0]["endToEndId"] in page and payments[1]["endToEndId"] in page


@pytest.mark.usefixtures("silent_bank")
def test_it_asks_the_bank_when_told_that_it_was_paid(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    client, charge = as_(cast.alice), make_charge(cast)
    url = f"/app/recarregar/{charge.pk}/conferir/"
    assert "ainda não registrou" in client.post(url).content.decode()
    assert "Confira o ID" in client.post(url, {"end_to_end_id": "E123"}).content.decode()
    pix = {"endToEndId": "E" + "7" * 31, "txid": charge.txid, "valor": "50.00", "horario": clock.now().isoformat()}
    monkeypatch.setattr(psp, "read_cob", lambda txid: {"status": "CONCLUIDA", "pix": [pix]})
    Charge.everywhere.update(asked_at=None)
    answer = client.post(url, headers={"HX-Request": "true"})
    assert "Pagamento confirmado" in answer.content.decode() and answer["HX-Trigger"] == "saldo-mudou"
    assert wallet_of(cast.acme).posted_nanos == 50 * BRL


# ── Who may see what ─────────────────────────────────────────────────────────────────────────────────────────────────
MONEY_PAGES = ["/app/recarregar/", "/app/extrato/", "/app/extrato/extrato.csv"]
USAGE_PAGES = ["/app/uso/", "/app/requisicoes/"]


@pytest.mark.parametrize("url", [*MONEY_PAGES, *USAGE_PAGES])
def test_each_role_sees_its_pages(cast: Cast, url: str) -> None:
    may_developer = url in USAGE_PAGES
    assert [as_(person).get(url).status_code for person in (cast.alice, cast.carol, cast.bob)] == [
        200, 200, 200 if may_developer else 403,
    ]  # fmt: skip
    stranger = Client().get(url)
    assert stranger.status_code == 302 and "/conta/entrar/" in stranger["Location"]


def test_another_organizations_charges_and_calls_do_not_exist(cast: Cast) -> None:
    charge = make_charge(cast)
    call = settle_one(cast)
    charlie = as_(cast.charlie)
    for url in (f"/app/recarregar/{charge.pk}/", f"/app/recarregar/{charge.pk}/situacao/", f"/app/requisicoes/{call}/"):
        assert charlie.get(url).status_code == 404, url
    assert charlie.post(f"/app/recarregar/{charge.pk}/conferir/").status_code == 404
    assert str(call) not in charlie.get("/app/requisicoes/").content.decode()
    assert as_(cast.bob).get(f"/app/recarregar/{charge.pk}/").status_code == 403


def test_a_post_without_a_token_is_refused(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.alice)
    assert client.post("/app/recarregar/", {"valor": "50"}).status_code == 403


# ── Money out ────────────────────────────────────────────────────────────────────────────────────────────────────────
def settle_one(cast: Cast, *, route: str = "test/model", gross_nanos: int = 2_000_001, **fields: Any) -> uuid.UUID:
    from billing import holds

    wallet = wallet_of(cast.acme)
    if not wallet.posted_nanos:
        make_volume_plan()
        make_top_up(wallet=wallet, brl="100.00")
    key, _ = make_key(organization=cast.acme, user=cast.alice)
    version = make_price(route=route, units={"input": "10", "cached_input": "1", "output": "30"})
    call = make_call(
        wallet=wallet, gross_nanos=gross_nanos, route_name=route, api_key_id=key.pk, price_version_id=version.pk,
        usage=Usage(input_tokens=100, cached_input_tokens=20, output_tokens=33), **fields,
    )  # fmt: skip
    holds.settle([call])
    return call.id


def test_the_statement_adds_up(cast: Cast) -> None:
    for _ in range(3):
        settle_one(cast)
    today = clock.today_in_brazil()
    with tenant(cast.acme):
        found = statements.statement(first_on=today, last_on=today)
    assert found.opening_nanos + found.in_nanos - found.out_nanos == found.closing_nanos == 100 * BRL - 3 * 2_000_001
    page = as_(cast.carol).get("/app/extrato/").content.decode()
    assert "Recarga PIX" in page and "3 requisições" in page
    sheet = as_(cast.carol).get("/app/extrato/extrato.csv").content.decode()
    assert "99,993999997" in sheet and sheet.startswith("\ufeffData;")


def test_a_spreadsheet_runs_no_cell(cast: Cast) -> None:
    from billing import ledger

    ledger.correct(make_wallet(organization=cast.acme), amount_nanos=BRL, reason='=cmd|"/c calc"!A1', actor="ana")
    sheet = as_(cast.carol).get("/app/extrato/extrato.csv").content.decode()
    assert "'=cmd" in sheet and ";=cmd" not in sheet


@pytest.mark.parametrize("group", ["route", "key", "day"])
def test_usage_is_grouped_with_a_total(cast: Cast, group: str) -> None:
    settle_one(cast, route="test/one")
    settle_one(cast, route="test/two")
    page = as_(cast.bob).get(f"/app/uso/?por={group}").content.decode()
    assert "0,004000002" in page  # the total, exact in its title


def test_calls_are_filtered_and_paged_by_id(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from billing import request_views

    monkeypatch.setattr(request_views, "PAGE_SIZE", 2)
    ids = [settle_one(cast, route=f"test/m{number % 2}") for number in range(5)]
    ids.sort(reverse=True)
    client, seen = as_(cast.bob), []
    url = "/app/requisicoes/"
    while url:
        page = client.get(url)
        seen += re.findall(r"/app/requisicoes/([0-9a-f-]{36})/", page.content.decode())
        url = f"/app/requisicoes/{page.context['next']}" if page.context["next"] else ""
    assert seen == [str(id_) for id_ in ids]
    back = client.get(f"/app/requisicoes/{page.context['previous']}")
    assert [record.pk for record in back.context["records"]] == ids[2:4]
    assert len(client.get("/app/requisicoes/?modelo=test/m1").context["records"]) == 2
    assert "Nada encontrado" in client.get("/app/requisicoes/?situacao=falhou").content.decode()
    assert "Nada encontrado" in client.get("/app/requisicoes/?chave=999999").content.decode()


def test_a_calls_price_is_shown_line_by_line(cast: Cast) -> None:
    call = settle_one(cast, gross_nanos=2_010_000)
    page = as_(cast.bob).get(f"/app/requisicoes/{call}/")
    text = page.content.decode()
    lines = page.context["lines"]
    assert [(line.quantity, line.label) for line in lines] == [(100, "entrada"), (20, "entrada em cache"), (33, "saída")]
    assert sum(line.amount for line in lines) * BRL == UsageRecord.everywhere.get(pk=call).gross_nanos
    assert "0,002010000" in text and "versão 1" in text


def test_it_shows_a_call_that_failed_and_one_that_runs(cast: Cast) -> None:
    from tests.make import make_hold

    failed = settle_one(cast, gross_nanos=0, outcome="failed", status_code=502, error_code="upstream_error")
    assert "Você não foi cobrado" in as_(cast.bob).get(f"/app/requisicoes/{failed}/").content.decode()
    running = make_hold(wallet=wallet_of(cast.acme))
    assert "em andamento" in as_(cast.bob).get(f"/app/requisicoes/{running}/").content.decode()
    assert as_(cast.bob).get(f"/app/requisicoes/{uuid.uuid4()}/").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "?dias=7",
        "?de=2026-11-01&ate=2026-11-22",
        "?de=abc",
        "?de=2026-11-22&ate=2020-01-01",
        "?antes=x",
        "?modelo=a&antes=ffffffff-ffff-ffff-ffff-ffffffffffff",
        "?etiqueta=a&depois=00000000-0000-0000-0000-000000000000",
    ],
)
def test_a_period_that_makes_no_sense_is_the_default(cast: Cast, query: str) -> None:
    assert as_(cast.alice).get(f"/app/requisicoes/{query}").status_code == 200


def test_it_has_no_demo_link_without_a_sandbox(cast: Cast, settings: Settings) -> None:
    settings.SANDBOX_URL = ""
    page = as_(cast.alice).get(f"/app/recarregar/{make_charge(cast).pk}/").content.decode()
    assert "banco de demonstração" not in page
