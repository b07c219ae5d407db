"""The admin's first page, its menu, its search and its page of health: each part for whoever may look, in few queries."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing import holds
from billing.models import Charge, Difference, UnmatchedPix
from billing.money import BRL
from gateway.models import Credential, CredentialHealth
from tests.accounts.test_impersonation import make_staff
from tests.cast import PASSWORD, Cast, make_cast
from tests.make import make_key, make_provider, make_usage, make_wallet
from tokia import attention, clock, machine_health

pytestmark = pytest.mark.django_db
E2E = "E12345678202611221432aBcDeFgHiJk"


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def root() -> Client:
    from accounts.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("root@tokia.com.br", PASSWORD))
    return client


def staff(*permissions: str) -> Client:
    client = Client()
    client.force_login(make_staff(*permissions))
    return client


def text_of(client: Client, path: str = "/admin/") -> str:
    response = client.get(path)
    assert response.status_code == 200, response.status_code
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()).replace("\u00a0", " "))


def make_unmatched(*, brl: int = 77, hours: int = 3) -> UnmatchedPix:
    pix = UnmatchedPix.objects.create(end_to_end_id=E2E, txid="", amount_nanos=brl * BRL, payload={}, paid_at=clock.now())
    UnmatchedPix.objects.filter(pk=pix.pk).update(found_at=clock.now() - dt.timedelta(hours=hours))
    return pix


def make_difference(*, ours: int, theirs: int, reference: str = "x") -> Difference:
    now = clock.now()
    return Difference.objects.create(
        subject="pix", reference=reference, kind="amount", ours_nanos=ours, theirs_nanos=theirs, fact_at=now, first_seen_at=now,
        last_seen_at=now,
    )  # fmt: skip


def test_it_says_first_what_needs_a_person_with_its_age_and_its_list(root: Client) -> None:
    make_unmatched()
    make_difference(ours=BRL, theirs=3 * BRL)
    credential = Credential.objects.get(provider=make_provider(slug="acabou"))
    CredentialHealth.objects.create(credential=credential, dead_at=clock.now(), dead_reason="401")
    page = root.get("/admin/").content.decode()
    assert 'href="/admin/billing/unmatchedpix/?status__exact=open"' in page and "há 3" in page
    text = text_of(root)
    assert "1 PIX não identificado urgente" in text and "1 Diferença em aberto" in text
    assert "1 Chave recusada por um provedor" in text


def test_it_serves_every_list_that_it_sends_to(root: Client) -> None:
    for question in attention.QUESTIONS:
        response = root.get(question.url)
        assert response.status_code == 200, question.url


def test_it_finds_the_charges_that_were_paid_otherwise(root: Client) -> None:
    wallet, now = make_wallet(brl="0"), clock.now()
    for number, received in enumerate((50, 48)):
        Charge.everywhere.create(
            id=clock.new_id(), wallet=wallet, txid=f"txid{number}00000000000000000000000", amount_nanos=50 * BRL,
            received_nanos=received * BRL, status="paid", created_at=now, expires_at=now, paid_at=now,
        )  # fmt: skip
    assert "1 Pagamento de valor diferente" in text_of(root)
    listed = root.get("/admin/billing/charge/?pago=diferente").content.decode()
    assert "txid1000" in listed and "txid0000" not in listed


def test_it_shows_the_debt_to_customers_the_day_and_the_margin(root: Client) -> None:
    cast = make_cast()
    wallet = make_wallet(organization=cast.acme, brl="100.00", promo_brl="5")
    make_usage(wallet=wallet, gross_nanos=20 * BRL, provider_name="openai", cost_nanos=12 * BRL)
    text = text_of(root)
    # 5 of the 20 were promotional: spent first, and given, so they are no margin.
    assert "Saldo dos clientes (devemos) R$ 85,00" in text
    assert "Recargas hoje R$ 100,00 1 recarga" in text
    assert "Receita hoje R$ 20,00" in text and "Margem hoje R$ 3,00 20% da receita; custo R$ 12,00" in text
    assert "Diferença da conciliação R$ 0,00 os dois lados concordam" in text
    assert re.search(r"openai R\$ 20,00 R\$ 12,00 R\$ 3,00 20%", text) and f"/admin/empresas/{cast.acme.pk}/" in str(
        root.get("/admin/").content
    )


def test_it_makes_a_difference_red(root: Client) -> None:
    make_difference(ours=BRL, theirs=3 * BRL, reference="a")
    make_difference(ours=5 * BRL, theirs=0, reference="b")
    page = root.get("/admin/").content.decode()
    tile = next(part for part in page.split('<li class="tk-tile') if "Diferença da conciliação" in part)
    assert tile.startswith(" tk-bad") and "R$\u00a07,00" in tile and "2 diferenças em aberto" in tile


def test_it_shows_each_part_only_to_whoever_may_look() -> None:
    make_unmatched()
    make_difference(ours=1, theirs=2)
    nobody = text_of(staff())
    assert "Nada espera por você agora." in nobody
    assert "Saldo dos clientes" not in nobody and "PIX sem dono" not in nobody and "Quem mais gastou" not in nobody
    client = Client()
    client.force_login(make_staff("billing.view_unmatchedpix", email="paula@tokia.com.br"))
    paula = text_of(client)
    assert "PIX não identificado" in paula and "PIX sem dono 1" in paula
    assert "Diferença" not in paula and "Margem" not in paula


def test_it_asks_few_questions_and_none_again_at_once(root: Client, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(45):
        root.get("/admin/")
    with django_assert_max_num_queries(4) as seen:  # the session and the person
        root.get("/admin/")
    assert len(seen) <= 4


def test_its_number_of_questions_does_not_grow(root: Client, django_assert_max_num_queries: Any) -> None:
    def asked() -> int:
        cache.clear()
        from django.db import connection

        with CaptureQueriesContext(connection) as seen:
            root.get("/admin/")
        return len(seen)

    few = asked()
    for _ in range(3):
        make_usage(wallet=make_wallet(), gross_nanos=BRL, provider_name="openai")
    make_unmatched()
    assert asked() <= few + 1  # the names of organizations


# ── The menu ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_lists_only_what_one_may_open_and_loses_no_page(root: Client) -> None:
    from django.contrib import admin

    page = root.get("/admin/").content.decode()
    for model in admin.site._registry:
        address = f'href="/admin/{model._meta.label_lower.replace(".", "/")}/"'
        assert address in page, address
    little = staff("billing.view_charge").get("/admin/").content.decode()
    assert "Cobranças PIX" in little and "Carteiras" not in little and "Saúde do sistema" not in little


# ── The search ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def cast() -> Cast:
    return make_cast()


def find(client: Client, term: str) -> str:
    response = client.get("/admin/search/", {"s": term, "extended": "1"})
    assert response.status_code == 200
    return response.content.decode()


def test_it_finds_what_one_pastes(root: Client, cast: Cast) -> None:
    wallet, now = make_wallet(organization=cast.acme), clock.now()
    key, secret = make_key(organization=cast.acme, user=cast.alice)
    call_id = clock.new_id()
    make_usage(wallet=wallet, id_=call_id)
    pix = make_unmatched()
    charge = Charge.everywhere.create(
        id=clock.new_id(), wallet=wallet, txid="Abc4567890123456789012345678", amount_nanos=50 * BRL, status="pending",
        created_at=now, expires_at=now,
    )  # fmt: skip
    acme = f"/admin/empresas/{cast.acme.pk}/"
    pasted = {
        "11.222.333/0001-81": acme, "11222333000181": acme, "12.abc.345/01de-35": f"/admin/empresas/{cast.globex.pk}/",
        "acm": acme, cast.alice.email.upper(): acme, key.suffix: f"/admin/accounts/apikey/{key.pk}/change/",
        secret: f"/admin/accounts/apikey/{key.pk}/change/", str(call_id): f"/admin/billing/usagerecord/{call_id}/change/",
        f"chatcmpl-{call_id.hex}": f"/admin/billing/usagerecord/{call_id}/change/",
        charge.txid: f"/admin/billing/charge/{charge.pk}/change/",
        pix.end_to_end_id: f"/admin/billing/unmatchedpix/{pix.pk}/change/",
    }  # fmt: skip
    for term, link in pasted.items():
        assert f'href="{link}"' in find(root, term), term
    assert "/admin/empresas/" not in find(root, "Zzzzzz")


def test_its_search_shows_nobody_what_they_may_not_open(cast: Cast) -> None:
    client = staff("billing.view_charge")
    for term in ("11222333000181", "Acme", cast.alice.email):
        found = find(client, term)
        assert "/admin/empresas/" not in found and "/admin/accounts/user/" not in found
    client = Client()
    client.force_login(cast.charlie)
    assert client.get("/admin/search/", {"s": "Acme", "extended": "1"}).status_code == 302


# ── Health ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_tells_how_the_machine_does(root: Client) -> None:
    text = text_of(root, "/admin/saude/")
    for name in ("PostgreSQL", "Valkey", "Fila de tarefas", "Gateway", "Câmbio", "Disco", "Cópia de segurança", "Versão"):
        assert name in text
    assert "Nenhum processo atende as chamadas." in text and "Fora do ar" in text  # no gateway runs beside this test
    holds.open_session("test", seconds=300)
    assert "1 processo atende as chamadas." in text_of(root, "/admin/saude/")
    assert staff("billing.view_charge").get("/admin/saude/").status_code == 403


def test_it_tells_since_when_the_oldest_task_waits() -> None:
    broker = machine_health._broker()
    sent_at = (clock.now() - dt.timedelta(minutes=9)).timestamp()
    kept = broker.lrange(machine_health.QUEUE, 0, -1)
    broker.delete(machine_health.QUEUE)
    try:
        broker.rpush(machine_health.QUEUE, f'{{"headers": {{"sent_at": {sent_at}}}}}')
        queue, _ = machine_health.task_checks()
        assert queue.state == machine_health.DOWN and queue.detail == "1 tarefa espera; a mais antiga há 9 min."
        broker.lpush(machine_health.QUEUE, b"no json")
        assert machine_health.task_checks()[0].detail.startswith("2 tarefas esperam; a mais antiga")
    finally:
        broker.delete(machine_health.QUEUE)
        if kept:
            broker.rpush(machine_health.QUEUE, *kept)


def test_it_stamps_every_task_that_is_sent() -> None:
    from tokia.celery import stamp_task

    headers: dict[str, Any] = {}
    stamp_task(headers=headers)
    assert abs(headers["sent_at"] - clock.now().timestamp()) < 5
    stamp_task(headers=None)
