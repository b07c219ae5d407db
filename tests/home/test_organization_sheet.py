"""The admin's page of one organization: each part for whoever may look, in few queries whatever the size."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import audit
from accounts.models import StaffNote, User
from accounts.suspension import suspend
from billing.events import tell
from billing.models import Wallet
from billing.money import BRL
from tests.accounts.test_impersonation import make_staff
from tests.cast import PASSWORD, Cast, make_cast
from tests.make import make_key, make_usage, make_wallet
from tokia import attention
from tokia.organization_sheet import SECTIONS

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cache.clear()
    return make_cast()


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@tokia.com.br", PASSWORD))
    return client


def page_of(client: Client, cast: Cast, *, tab: str = "") -> str:
    response = client.get(f"/admin/empresas/{cast.acme.pk}/", {"aba": tab} if tab else {})
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode().replace("\u00a0", " "))


def fill(cast: Cast, *, calls: int = 1) -> None:
    wallet = make_wallet(organization=cast.acme, brl="100.00", promo_brl="5")
    make_key(organization=cast.acme, user=cast.alice, name="produção")
    for _ in range(calls):
        make_usage(wallet=wallet, gross_nanos=20 * BRL, cost_nanos=12 * BRL, provider_name="openai", route_name="openai/um-modelo")
    tell(cast.acme, "wallet.low_balance", reference="t:1", payload={})
    audit.note("key_created", organization=cast.acme, user=cast.alice, detail={"name": "produção"})


def test_it_shows_money_margin_use_discount_limits_and_risk(root: Client, cast: Cast) -> None:
    fill(cast)
    page = re.sub(r"<[^>]+>", " ", page_of(root, cast))
    page = re.sub(r"\s+", " ", page)
    assert "Saldo disponível R$ 85,00" in page and "Gasto em 30 dias R$ 20,00 1 requisições" in page
    assert "Margem em 30 dias R$ 3,00 20% da receita; custo R$ 12,00" in page
    assert "Último uso agora 1 chave ativa" in page
    assert "Requisições por minuto" in page and "Nada fala contra esta empresa" in page


@pytest.mark.parametrize(
    ("tab", "words"),
    [
        ("extrato", "Recarga"), ("requisicoes", "openai/um-modelo"), ("chaves", "produção"), ("pessoas", "bob@acme.com.br"),
        ("pagamentos", "Nenhuma recarga foi começada."), ("devolucoes", "Nenhuma devolução pedida."),
        ("notas", "Nenhuma nota ainda."), ("avisos", "Saldo baixo"), ("auditoria", "Criou uma chave"),
        ("internas", "Nenhuma anotação ainda."),
    ],
)  # fmt: skip
def test_it_has_a_part_for_everything(root: Client, cast: Cast, tab: str, words: str) -> None:
    fill(cast)
    assert words in page_of(root, cast, tab=tab)


def test_it_shows_nothing_of_another_organization(root: Client, cast: Cast) -> None:
    make_key(organization=cast.globex, user=cast.charlie, name="segredo-da-globex")
    wallet = make_wallet(organization=cast.globex)
    make_usage(wallet=wallet, route_name="globex/modelo")
    StaffNote.everywhere.create(organization=cast.globex, text="anotação da globex", written_by="x")
    audit.note("key_created", organization=cast.globex, user=cast.charlie, detail={"name": "segredo-da-globex"})
    for section in SECTIONS:
        assert "globex" not in page_of(root, cast, tab=section.key).lower(), section.key


@pytest.mark.parametrize("tab", ["visao", "extrato", "requisicoes", "chaves", "auditoria"])
def test_it_asks_the_same_number_of_questions_for_one_call_and_for_many(
    root: Client, cast: Cast, tab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "QUESTIONS", ())  # the badge's own
    fill(cast)
    few = questions_of(root, cast, tab=tab)
    fill_more(cast)
    assert questions_of(root, cast, tab=tab) <= few <= 28


def questions_of(client: Client, cast: Cast, *, tab: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        page_of(client, cast, tab=tab)
    return len(seen)


def fill_more(cast: Cast) -> None:
    wallet = Wallet.everywhere.get(organization=cast.acme)
    for number in range(4):
        make_usage(wallet=wallet, gross_nanos=BRL, provider_name="openai")
        make_key(organization=cast.acme, user=cast.alice, name=f"outra {number}")
        audit.note("key_created", organization=cast.acme, user=cast.bob, detail={})
        StaffNote.everywhere.create(organization=cast.acme, text=f"nota {number}", written_by="x")


@pytest.mark.parametrize(
    ("permissions", "sees", "sees_not"),
    [
        (("accounts.view_organization",), ["Visão geral"], ["Extrato", "Saldo disponível", "Margem em 30 dias", "Entrar como"]),
        (("accounts.view_organization", "billing.view_wallet"), ["Saldo disponível"], ["Margem em 30 dias", "Creditar ajuste"]),
        (("accounts.view_organization", "accounts.view_apikey"), ["Chaves"], ["Extrato", "Suspender"]),
        (("accounts.view_organization", "accounts.change_organization"), ["Suspender"], ["Entrar como", "Creditar ajuste"]),
        (("accounts.view_organization", "accounts.impersonate_organization"), ["Entrar como"], ["Suspender"]),
        (("accounts.view_organization", "billing.change_wallet"), ["Creditar ajuste", "Dar bônus"], ["Entrar como"]),
    ],
)  # fmt: skip
def test_it_shows_each_part_and_act_only_to_whoever_may(
    cast: Cast, permissions: tuple[str, ...], sees: list[str], sees_not: list[str]
) -> None:
    fill(cast)
    client = Client()
    client.force_login(make_staff(*permissions))
    body = page_of(client, cast).split('<div class="tk">')[1]  # without the menu
    assert all(words in body for words in sees)
    assert not [words for words in sees_not if words in body]
    hidden = page_of(client, cast, tab="extrato")
    assert ">Entrada</th>" not in hidden, "another part than the first, asked for by its address"


def test_it_refuses_who_may_not_look(cast: Cast) -> None:
    paths = ("", "anotar/", "entrar/")
    for person, expected in ((cast.charlie, 302), (make_staff("billing.view_charge"), 403)):
        client = Client()
        client.force_login(person)
        for path in paths:
            response = client.post(f"/admin/empresas/{cast.acme.pk}/{path}", {"text": "x"})
            assert response.status_code in (expected, 405), path
    assert not StaffNote.everywhere.exists()


def test_it_keeps_what_staff_note_and_who_did(cast: Cast) -> None:
    person = make_staff("accounts.view_organization", "accounts.view_staffnote")
    client = Client()
    client.force_login(person)
    address = f"/admin/empresas/{cast.acme.pk}/anotar/"
    assert client.post(address, {"text": "Ligar na terça"}).status_code == 403
    person.user_permissions.add(Permission.objects.get(codename="add_staffnote"))
    assert client.post(address, {"text": "Ligar na terça"}).status_code == 302
    assert client.post(address, {"text": " "}).status_code == 302
    note = StaffNote.everywhere.get()
    assert (note.text, note.written_by, note.organization) == ("Ligar na terça", person.email, cast.acme)
    assert "Ligar na terça" in page_of(client, cast, tab="internas")
    member = Client()
    member.force_login(cast.alice)
    assert b"Ligar na ter" not in member.get("/app/").content


def test_it_says_what_a_suspended_customer_reads(root: Client, cast: Cast) -> None:
    suspend(cast.acme, reason="Falta confirmar o CNPJ")
    page = page_of(root, cast)
    assert "O cliente lê: “Falta confirmar o CNPJ”" in page and ">Reativar<" in page and ">Suspender<" not in page


def test_it_is_not_found_where_there_is_none(root: Client, cast: Cast) -> None:
    assert root.get("/admin/empresas/999999/").status_code == 404
