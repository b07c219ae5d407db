"""Browsers at `/v1`: the playground's page with its session key at one address, and nobody and nowhere else."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.contrib.sessions.models import Session

from accounts.models import ApiKey, Membership, Role
from accounts.session_keys import OpenedKey, open_session_key
from billing.budgets import set_budget
from billing.models import Budget
from billing.money import from_brl
from gateway.cors import ORIGIN, origin_of
from tests.gateway.world import Tenant, World, await_true, chat_body
from tests.make import make_user
from tokia import clock

CHAT = "/v1/chat/completions"
OURS = {"origin": settings.WEB_URL}
FOREIGN = {"origin": "https://evil.example"}
MODEL = "cors/one"


@pytest.fixture(scope="module")
def route(world: World) -> str:
    return world.route("openai", "gpt-4o-mini", name=MODEL).name


@pytest.fixture
def ready(world: World, route: str, tenant: Tenant) -> Tenant:
    world.await_served(tenant, route)
    return tenant


def signed_in(tenant: Tenant, role: str = Role.DEVELOPER) -> Membership:
    organization = tenant.wallet.organization
    return Membership.everywhere.create(organization=organization, user=make_user(), role=role)


def opened(member: Membership, session_key: str = "uma-sessao") -> tuple[OpenedKey, dict[str, str]]:
    Session.objects.get_or_create(session_key=session_key, defaults={"expire_date": clock.now() + dt.timedelta(days=1)})
    key = open_session_key(member, session_key=session_key)
    return key, {"authorization": f"Bearer {key.secret}", **OURS}


def call(world: World, headers: dict[str, str], **fields: Any) -> httpx.Response:
    return httpx.post(world.gateway.url + CHAT, json=chat_body(MODEL, max_tokens=20, **fields), headers=headers, timeout=20)


def test_it_answers_the_preflight_of_our_own_page_only(world: World, ready: Tenant) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    ours = httpx.options(world.gateway.url + CHAT, headers=OURS | asked)
    assert ours.status_code == 200
    assert ours.headers["access-control-allow-origin"] == settings.WEB_URL
    assert ours.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "access-control-allow-credentials" not in ours.headers
    for path, headers in ((CHAT, FOREIGN), (CHAT, {}), ("/v1/embeddings", OURS), ("/v1/models", OURS), ("/v1/credits", OURS)):
        refused = httpx.options(world.gateway.url + path, headers=headers | asked)
        assert refused.status_code == 405
        assert not [name for name in refused.headers if name.startswith("access-control")]


def test_it_streams_to_the_page_and_counts_as_the_playground(world: World, ready: Tenant) -> None:
    member = signed_in(ready)
    key, headers = opened(member)
    answer = call(world, headers, stream=True, stream_options={"include_usage": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == settings.WEB_URL
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert answer.text.rstrip().endswith("[DONE]")
    await_true(lambda: len(ready.records()) == 1)
    [record] = ready.records()
    assert record.api_key_id == key.key.pk
    assert key.key.name.startswith("Playground: ")


def test_it_serves_a_session_key_nowhere_else(world: World, ready: Tenant) -> None:
    _, headers = opened(signed_in(ready))
    secret = {"authorization": headers["authorization"]}
    for refused in (
        call(world, secret),  # from a program
        call(world, secret | FOREIGN),
        httpx.post(world.gateway.url + "/v1/embeddings", json={"model": MODEL, "input": "a"}, headers=headers),
        httpx.post(world.gateway.url + "/v1/batches", json={}, headers=headers),
        httpx.get(world.gateway.url + "/v1/models", headers=headers),
        httpx.get(world.gateway.url + "/v1/credits", headers=headers),
        httpx.get(world.gateway.url + "/v1/files", headers=headers),
    ):
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "scope_missing"), refused.request.url


def test_it_lets_no_page_read_what_other_keys_are_answered(world: World, ready: Tenant) -> None:
    plain = call(world, ready.headers)
    for headers in (OURS, FOREIGN):
        answer = call(world, ready.headers | headers)
        assert answer.status_code == 200
        assert {name for name in answer.headers if name.startswith("access-control")} == set()
        assert set(answer.headers) == set(plain.headers)


def test_it_tells_our_page_why_it_was_refused(world: World, ready: Tenant) -> None:
    refused = call(world, {"authorization": "Bearer sk-tokia-errada", **OURS})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, settings.WEB_URL)
    assert "access-control-allow-origin" not in call(world, {"authorization": "Bearer sk-tokia-errada", **FOREIGN}).headers


def test_it_holds_the_page_to_the_budget_of_its_member_and_to_the_balance(world: World, ready: Tenant) -> None:
    member = signed_in(ready)
    set_budget(
        member.organization, by=member.user, scope=Budget.Scope.MEMBER, subject_id=member.user_id, window=Budget.Window.MONTH,
        limit_nanos=from_brl("0.01"),
    )  # fmt: skip
    _, headers = opened(member)
    over = call(world, headers, messages=[{"role": "user", "content": "palavra " * 4_000}])
    assert (over.status_code, over.json()["error"]["code"]) == (403, "budget_exceeded")
    assert over.headers["access-control-allow-origin"] == settings.WEB_URL
    poor = world.tenant(brl="0")
    _, headers = opened(signed_in(poor), "outra-sessao")
    assert call(world, headers).json()["error"]["code"] == "insufficient_balance"


def test_it_refuses_the_key_once_its_session_ended_or_another_was_opened(world: World, ready: Tenant) -> None:
    member = signed_in(ready)
    _, first = opened(member)
    assert call(world, first).status_code == 200
    _, second = opened(member)
    await_true(lambda: call(world, first).status_code == 401)
    assert call(world, second).status_code == 200
    Session.objects.filter(session_key="uma-sessao").delete()  # as signing out does
    await_true(lambda: call(world, second).status_code == 401)
    assert ApiKey.everywhere.get(created_by=member.user).status == ApiKey.Status.REVOKED


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://tokia.com.br/", b"https://tokia.com.br"),
        ("https://Tokia.com.br:443", b"https://tokia.com.br"),
        ("http://127.0.0.1:8000", b"http://127.0.0.1:8000"),
    ],
)
def test_it_writes_an_origin_as_browsers_do(url: str, origin: bytes) -> None:
    assert origin_of(url) == origin
    assert origin_of(settings.WEB_URL) == ORIGIN
