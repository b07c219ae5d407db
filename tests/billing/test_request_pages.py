"""The page of one call and the list of them: who was asked, who was not and why, in Portuguese; who pays what; nothing hostile."""

from __future__ import annotations

from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import call_story, holds
from billing.models import UsageRecord, Wallet
from billing.money import BRL
from billing.pricing import Usage
from gateway.calls import Attempt, Routing, Skipped
from gateway.routing import REASONS
from tests.cast import Cast, make_cast
from tests.make import make_call, make_price, make_wallet

pytestmark = pytest.mark.django_db
HOSTILE = '"><script>alert(1)</script>'
FAILED: dict[str, Any] = {"provider": "deepseek", "model": "deepseek-chat", "status": 529, "error": "provider_overloaded",
                          "ms": 812, "route": "deepseek/v3", "is_resent": True}  # fmt: skip
SERVED: dict[str, Any] = {"provider": "openai", "model": "gpt-4o-mini", "status": 200, "ms": 431, "first_token_ms": 431,
                          "route": "openai/gpt-4o-mini", "circuit": "half_open"}  # fmt: skip
ROUTING: dict[str, Any] = {
    "asked": HOSTILE, "rule": "tokia/balanced", "why": ["tokia/fast", "pergunta curta"], "session": "conversa-7",
    "experiment": "Troca", "arm": "B",
    "skipped": [{"reason": "zdr", "route": "groq/llama", "provider": "groq"}] * 2 + [{"reason": "made_up"}],
}  # fmt: skip


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return make_wallet(organization=cast.acme)


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def settle(wallet: Wallet, **fields: Any) -> UsageRecord:
    given = {"gross_nanos": 0, "usage": Usage(requests=0), **fields}
    call = make_call(wallet=wallet, **given)
    holds.settle([call])
    return UsageRecord.everywhere.get(pk=call.id)


def read(user: User, record: UsageRecord) -> str:
    page = as_(user).get(reverse("request_detail", args=[record.pk]))
    assert page.status_code == 200
    return " ".join(page.content.decode().replace("\xa0", " ").split())


def test_it_tells_the_whole_way_in_portuguese(cast: Cast, wallet: Wallet) -> None:
    record = settle(wallet, attempts=(FAILED, SERVED), routing=ROUTING, route_name="openai/gpt-4o-mini", latency_ms=1_300)
    text = read(cast.alice, record)
    for expected in (
        "Escolha por", "tokia/balanced", "tokia/fast, pergunta curta", "braço", "conversa-7", "2 não perguntados",
        "groq/llama em groq", "ele guarda o que recebe", "made_up", "Falhou", "provedor sobrecarregado", "529", "812 ms", "Atendeu",
        "1º token em", "431 ms", "circuito em teste", "deepseek/v3", "reenviada por outra conexão",
        "Liquidada por", "Nova tentativa",
    ):  # fmt: skip
        assert expected in text, expected
    assert text.index("provedor sobrecarregado") < text.index("Atendeu")


def test_it_escapes_what_the_caller_wrote(cast: Cast, wallet: Wallet) -> None:
    evil = {"provider": HOSTILE, "model": HOSTILE, "error": HOSTILE, "route": HOSTILE, "circuit": HOSTILE}
    routing = dict.fromkeys(("asked", "rule", "session", "experiment", "arm"), HOSTILE)
    skipped = {"why": [HOSTILE], "skipped": [{"reason": HOSTILE, "route": HOSTILE, "provider": HOSTILE}]}
    record = settle(wallet, attempts=(evil, evil), routing=routing | skipped, finish_reason="<b>", upstream_id="<i>")
    text = read(cast.alice, record)
    assert "<script>alert" not in text and "<b>" not in text and "<i>" not in text
    assert "&lt;script&gt;" in text


def test_it_says_that_the_cache_is_free(cast: Cast, wallet: Wallet) -> None:
    make_price(route="test/model")
    record = settle(wallet, usage=Usage(input_tokens=100, output_tokens=20), usage_source="cache", routing={"asked": "x"})
    text = read(cast.alice, record)
    assert "Resposta do cache: custo zero" in text and "Nada a cobrar" in text
    assert "Cálculo do preço</h2> <p" in text, "no lines that would not add up"


def test_it_asks_only_the_fee_where_the_own_key_served_and_its_lines_add_up(cast: Cast, wallet: Wallet) -> None:
    version = make_price(route="test/model", units={"input": "10", "output": "30"})
    version.prices.all()
    from billing.price_lines import price_lines

    record = settle(
        wallet, usage=Usage(input_tokens=1_000, output_tokens=500), gross_nanos=0, is_own_key=True, price_version_id=version.pk,
        attempts=({**SERVED, "is_own_key": True},),
    )  # fmt: skip
    text = read(cast.alice, record)
    assert "com chave própria, só a taxa da plataforma" in text and "Chave própria" in text
    assert all(f"{line.percent} % (chave própria)" in text for line in price_lines(record))


def test_it_filters_and_marks_the_list(cast: Cast, wallet: Wallet) -> None:
    calls = {
        "nova-tentativa": settle(wallet, attempts=(FAILED, SERVED)),
        "cache": settle(wallet, usage_source="cache", attempts=()),
        "chave-propria": settle(wallet, is_own_key=True, attempts=(SERVED,)),
        "": settle(wallet, attempts=(SERVED,), gross_nanos=BRL),
    }
    client = as_(cast.alice)
    for way, record in calls.items():
        text = client.get(reverse("requests"), {"caminho": way}).content.decode()
        shown = {key for key, other in calls.items() if reverse("request_detail", args=[other.pk]) in text}
        assert shown == ({way} if way else set(calls)), way
        assert record.pk
    everything = client.get(reverse("requests"), {"caminho": "made-up"}).content.decode()
    for mark in ("Nova tentativa", "Cache", "Chave própria"):
        assert f">{mark}</span>" in everything


def test_it_shows_a_stranger_nothing(cast: Cast, wallet: Wallet) -> None:
    record = settle(wallet, attempts=(FAILED, SERVED), routing=ROUTING)
    assert as_(cast.charlie).get(reverse("request_detail", args=[record.pk])).status_code == 404
    assert str(record.pk) not in as_(cast.charlie).get(reverse("requests")).content.decode()


def test_it_has_words_for_every_reason_of_the_gateway() -> None:
    assert set(REASONS) <= set(call_story.SKIPPED)


def test_it_reads_what_the_gateway_writes() -> None:
    """The keys of `gateway.calls` are those that the page looks for."""
    assert set(FAILED) | set(SERVED) | {"is_own_key"} == set(Attempt.__struct_fields__)
    assert set(ROUTING) <= set(Routing.__struct_fields__)
    assert {"reason", "route", "provider"} == set(Skipped.__struct_fields__)


def test_it_is_plain_where_there_is_nothing_to_say() -> None:
    record = UsageRecord(route_name="a/b", attempts=[], routing=None)
    assert call_story.choice_of(record).is_plain
    assert (call_story.passed_over(record), call_story.attempts_of(record), call_story.marks_of(record)) == ([], [], [])
    assert render_to_string("parts/_badge.html", {"kind": "neutral", "text": "x"})
