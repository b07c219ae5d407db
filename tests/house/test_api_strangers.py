"""Every operation of `/api/v1`, asked by whoever may not: another organization, a key without the scope, a lesser role, nobody.

Generated from the addresses: a new one without its id in tests/api/world.py fails.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from pytest_django import Settings

from accounts.models import Role, User
from accounts.operations import PUBLIC, SIGNED_IN
from accounts.roles import PERMISSIONS
from accounts.scopes import CALL, SCOPES
from billing.pix.errors import PspRefused, PspUnavailable
from tests.api.operations import operations
from tests.api.world import ALL, World, ask, body_for, told

pytestmark = pytest.mark.django_db
MARK = "segredo-da-acme"


@pytest.fixture(autouse=True)
def unhurried(settings: Settings) -> None:
    settings.API_REQUESTS_PER_MINUTE = 100_000


@pytest.fixture
def world() -> World:
    return World()


def test_it_finds_nothing_of_another_organization(world: World) -> None:
    """By key and by session: 404 for each of Acme's ids, nothing of Acme told, nothing moved."""
    before = world.acme.state()
    client = Client()
    client.force_login(world.globex.owner)
    asked = 0
    for served in operations():
        ways: list[dict[str, Any]] = [{"secret": world.globex.secret}, {"client": client}]
        for who in ways:
            if served.has_ids:
                path, body = served.path(world.acme.values), body_for(served)
            else:
                path, body = served.path({}), body_for(served)
            answer = ask(served.method, path, body=body, **who)
            where = f"{served.name} by {next(iter(who))}: {answer.content[:300]!r}"
            assert answer.status_code < 500, where
            if served.has_ids:
                assert answer.status_code == 404, where
                assert told(answer)["code"] == "not_found", where
                asked += 1
            assert MARK not in answer.content.decode(), where
    assert asked > 40
    assert world.acme.state() == before


def body_for_auto(card_id: int) -> dict[str, Any]:
    amounts = ("threshold_brl", "amount_brl", "day_max_brl", "month_max_brl")
    return {"card_id": card_id} | dict.fromkeys(amounts, "100.00")


def test_it_takes_no_id_of_another_organization_in_a_body(world: World) -> None:
    before = world.acme.state()
    acme, secret = world.acme, world.globex.secret
    bodies = [
        ("post", "keys", {"name": "x", "project_id": acme.project.pk}),
        ("patch", f"keys/{world.globex.key.pk}", {"project_id": acme.project.pk}),
        ("post", "budgets", {"scope": "project", "subject_id": acme.project.pk, "window": "day", "limit_brl": "1.00"}),
        ("put", "auto-top-up", body_for_auto(acme.card.pk)),
        ("post", "budgets", {"scope": "key", "subject_id": acme.key.pk, "window": "day", "limit_brl": "1.00"}),
        ("post", "budgets", {"scope": "member", "subject_id": acme.owner.pk, "window": "day", "limit_brl": "1.00"}),
    ]
    for method, path, body in bodies:
        answer = ask(method, f"/api/v1/{path}", secret=secret, body=body)
        assert answer.status_code == 400, (path, answer.content)
    for name in ("key_id", "project_id"):
        for path in ("usage", "activity"):
            answer = ask("get", f"/api/v1/{path}?{name}={acme.values[name]}", secret=secret)
            assert answer.status_code == 200 and told(answer)["data"] == []
    mixed = f"/api/v1/hooks/{world.globex.hook.pk}/deliveries/{acme.delivery.pk}/replay"
    assert ask("post", mixed, secret=secret).status_code == 404
    assert acme.state() == before


def test_it_lets_a_key_do_what_its_scopes_say_and_nothing_else(world: World) -> None:
    acme = world.acme
    without = {scope: acme.key_with(*(other for other in ALL if other != scope)) for scope in ALL}
    only = {scope: acme.key_with(scope) for scope in ALL}
    call_only, before = only[CALL], acme.state()
    for served in operations():
        scope = served.operation.scope
        path = served.path(world.acme.values)
        if scope in (PUBLIC, SIGNED_IN):
            assert ask(served.method, path, secret=call_only).status_code == 200
            continue
        refused = ask(served.method, path, secret=without[scope], body=body_for(served))
        assert (refused.status_code, told(refused)["code"]) == (403, "scope_missing"), served.name
        if scope != CALL:
            assert ask(served.method, path, secret=call_only, body=body_for(served)).status_code == 403, served.name
    assert acme.state() == before
    for served in operations():  # afterwards, since some of them end what the others name
        scope = served.operation.scope
        if scope not in (PUBLIC, SIGNED_IN):
            answer = ask(served.method, served.path(acme.values), secret=only[scope], body=body_for(served))
            assert b"scope_missing" not in answer.content, (served.name, answer.content)
            assert answer.status_code < 500, (served.name, answer.content)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.DEVELOPER, Role.FINANCE])
@pytest.mark.parametrize("way", ["key", "session"])
def test_it_lets_a_role_do_what_the_table_says(world: World, role: Role, way: str) -> None:
    """A key with every scope, made while its person was an owner, does no more than the role of now."""
    person: User = world.cast.bob
    membership = world.bob()
    membership.role = Role.OWNER
    membership.save()
    secret = world.acme.key_with(*ALL, user=person)
    membership.role = role
    membership.save()
    client = Client()
    client.force_login(person)
    for served in operations():
        scope = served.operation.scope
        if scope in (PUBLIC, SIGNED_IN):
            continue
        may = SCOPES[scope].permission in PERMISSIONS[role]
        body = body_for(served)
        if may and served.method != "get":  # whether it would be let in, without doing it
            body = {"no_such_field": 1}
        who: dict[str, Any] = {"secret": secret} if way == "key" else {"client": client}
        answer = ask(served.method, served.path(world.acme.values), body=body, **who)
        where = f"{role} {served.name}: {answer.status_code} {answer.content[:200]!r}"
        if may:
            assert answer.status_code in (200, 400, 404), where
        else:
            assert (answer.status_code, told(answer)["code"]) == (403, "not_allowed"), where


def test_it_asks_strangers_for_a_key(world: World) -> None:
    before = world.acme.state()
    for served in operations():
        if served.operation.scope == PUBLIC:
            continue
        path = served.path(world.acme.values)
        wrong: list[dict[str, Any]] = [
            {},
            {"authorization": "Bearer sk-tokia-x"},
            {"authorization": "Basic YTpi"},
            {"authorization": ""},
        ]
        for headers in wrong:
            answer = ask(served.method, path, body=body_for(served), **headers)
            assert answer.status_code == 401, (served.name, headers, answer.content)
            assert answer["WWW-Authenticate"].startswith("Bearer")
            assert answer["Content-Type"] == "application/problem+json"
    assert world.acme.state() == before


def test_it_wants_the_csrf_token_of_a_session(world: World) -> None:
    """And a key never leans on the session beside it, nor the session on a key."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.acme.owner)
    client.get("/api/v1/caller")  # they were seen
    before = world.acme.state()
    for served in operations():
        if served.method != "get" and served.operation.scope != PUBLIC:
            answer = ask(served.method, served.path(world.acme.values), body=body_for(served), client=client)
            assert (answer.status_code, told(answer)["code"]) == (403, "csrf_failed"), served.name
    assert ask("get", "/api/v1/keys", client=client).status_code == 200
    assert ask("get", "/api/v1/keys", client=client, authorization="Bearer nothing").status_code == 401
    assert ask("get", "/api/v1/keys", client=client, secret=world.globex.secret).content.find(MARK.encode()) < 0
    assert world.acme.state() == before
    client.get("/app/chaves/nova/")
    token = client.cookies["csrftoken"].value
    made = ask("post", "/api/v1/projects", body={"name": "Pela sessão"}, client=client, x_csrftoken=token)
    assert made.status_code == 201, made.content


def test_it_refuses_fields_that_are_not_the_callers_to_set(world: World) -> None:
    """Mass assignment: every body with a field too many is refused, and nothing moves."""
    extras = {
        "id": 1, "organization": world.globex.organization.pk, "organization_id": world.globex.organization.pk,
        "is_suspended": False, "balance": "1000.00", "posted_nanos": 10**15, "key_hash": "00", "status": "paid",
        "created_by_id": 1, "is_staff": True, "limit_profile_id": 1, "secret": "sk-tokia-x", "spent_nanos": 0, "price": "0",
    }  # fmt: skip
    before = world.acme.state()
    tried = 0
    for served in operations():
        if served.operation.body is None:
            continue
        known = set(served.operation.body().fields)
        more = {name: value for name, value in extras.items() if name not in known}
        path, body = served.path(world.acme.values), {**body_for(served), **more}
        answer = ask(served.method, path, secret=world.acme.secret, body=body)
        assert answer.status_code == 400, (served.name, answer.content)
        refused = {line["field"] for line in told(answer)["errors"] if line["message"] == "Campo desconhecido."}
        assert refused == set(more), served.name
        tried += len(more)
    assert tried > 80
    assert world.acme.state() == before


def test_it_tells_nothing_of_its_inside_wherever_it_breaks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No word of an exception reaches the answer: no host, no SQL, no key, no trace."""
    inside = f"db.internal.example 10.0.0.7 SELECT secret {world.acme.secret} /srv/tokia/billing.py"
    errors: list[Exception] = [
        RuntimeError(inside), KeyError(inside), DatabaseError(inside), PspUnavailable(inside), OSError(inside),
        RecursionError(inside), UnicodeDecodeError("utf-8", inside.encode(), 0, 1, inside),
        PspRefused(http_status=500, kind=inside, detail=inside),
    ]  # fmt: skip
    words = ("internal.example", "10.0.0.7", "SELECT", "sk-tokia", ".py", "Traceback", "Error")
    left = itertools.cycle(errors)

    def break_down(*_: Any) -> None:
        raise next(left)

    monkeypatch.setattr("accounts.operations._read_query", break_down)
    for served in operations():
        answer = ask(served.method, served.path(world.acme.values), secret=world.acme.secret, body=body_for(served))
        assert answer.status_code in (500, 502, 503) and answer["Content-Type"] == "application/problem+json", served.name
        assert [word for word in words if word in answer.content.decode()] == [], served.name
