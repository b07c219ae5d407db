"""Bodies, pages, problems and limits of `/api/v1`, whatever is asked."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from pytest_django import Settings

from accounts import api_projects, throttle
from accounts.keys import mint_key
from accounts.models import ApiKey, Project
from tests.api.world import World, ask, told
from tokia.manners import BODY_BYTES_MAX

KEYS = "/api/v1/keys"


def problem_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = told(answer)
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(problem)
    assert problem["status"] == status and problem["request_id"] == answer["x-request-id"]
    assert problem["type"] == f"urn:tokia:problem:{problem['code']}"
    return problem


NO_OBJECTS = [
    b"", b"{", b"[]", b'"name"', b"null", b"\xff\xfe", b'{"name": NaN}', b'{"name": "a", "name": "b"}', b'{"name": 1e999999}x',
    b"[" * 50_000, b'{"a":' * 20 + b"1" + b"}" * 20, b'{"name": ' + b"9" * 10_000 + b"}", b"name=a",
    b'\xef\xbb\xbf{"name": "a"}',
]  # fmt: skip
WRONG_KEYS: list[tuple[str, dict[str, Any]]] = [
    ("name", {}),
    *(("name", {"name": name}) for name in (7, None, "", "x" * 61, "a\x00", "\ud800", {"a": 1}, ["a"])),
    ("scopes", {"name": "a", "scopes": "call"}),
    ("scopes", {"name": "a", "scopes": []}),
    ("scopes", {"name": "a", "scopes": None}),
    ("scopes.0", {"name": "a", "scopes": ["root"]}),
    ("scopes.0", {"name": "a", "scopes": [["call"]]}),
    *(("requests_per_minute", {"name": "a", "requests_per_minute": number}) for number in ("5", 1.0, True, 0, -1, 10**30)),
    *(("stores_responses", {"name": "a", "stores_responses": flag}) for flag in ("yes", 1, None)),
    *(("expires_at", {"name": "a", "expires_at": at}) for at in ("ontem", "2020-01-01T00:00:00Z", 5)),
    ("project_id", {"name": "a", "project_id": 10**30}),
    ("models.0", {"name": "a", "models": ["../etc"]}),
    ("nome", {"name": "a", "nome": "b"}),
]
NO_MONEY = [100, 100.0, "100,00", "1e3", "R$ 10", "-10.00", "10.001", "NaN", "٣٠.00", "", "99999999999.00", "9.99", None, [], True]
NO_CURSORS = ["x", "////", "bnVsbA", "WyJhIl0", "WzEsMl0", "Wy0xXQ", "WzFlOTk5XQ", "W1tbXV1d", "a" * 400, "%00", "é"]
NO_QUERIES = [
    "keys?situacao=ativa", "wallet?x=1", "keys?limit=0", "keys?limit=201", "keys?limit=a", "usage?group_by=hour",
    "usage?first_on=ontem", "usage?first_on=2026-02-01&last_on=2026-01-01", "usage?first_on=2000-01-01", "usage?tag=a&key_id=1",
    "keys?project_id=9999999999999999999999", "statement?last_on=9999-12-31", "statement?first_on=0001-01-01&last_on=0001-01-02",
]  # fmt: skip


def test_it_refuses_what_is_no_json_object(world: World) -> None:
    for raw in NO_OBJECTS:
        problem = problem_of(ask("post", KEYS, secret=world.acme.secret, body=raw), 400)
        assert problem["code"] in ("invalid_json", "invalid_request"), raw[:40]
    assert ApiKey.everywhere.filter(organization=world.acme.organization).count() == 1


def test_it_names_the_field_that_is_wrong(world: World) -> None:
    for field, body in WRONG_KEYS:
        problem = problem_of(ask("post", KEYS, secret=world.acme.secret, body=body), 400)
        assert field in [line["field"] for line in problem.get("errors", ())], (body, problem)
    assert ApiKey.everywhere.filter(organization=world.acme.organization).count() == 1


def test_it_takes_money_as_text_alone(world: World) -> None:
    for amount in NO_MONEY:
        problem_of(ask("post", "/api/v1/top-ups", secret=world.acme.secret, body={"amount_brl": amount}), 400)


def test_it_bounds_bodies_and_their_type(world: World) -> None:
    from django.test import Client

    assert (
        problem_of(ask("post", KEYS, secret=world.acme.secret, body=b" " * (BODY_BYTES_MAX + 1)), 413)["code"]
        == "request_too_large"
    )
    headers = {"authorization": f"Bearer {world.acme.secret}"}
    problem_of(Client(headers=headers).post(KEYS, {"name": "form"}), 415)
    problem_of(Client(headers=headers).generic("POST", KEYS, b"<a/>", content_type="text/xml"), 415)
    problem_of(Client(headers=headers | {"accept": "text/html"}).get(KEYS), 406)


def test_it_refuses_parameters_that_it_does_not_know(world: World) -> None:
    for path in NO_QUERIES:
        problem_of(ask("get", f"/api/v1/{path}", secret=world.acme.secret), 400)


def test_it_knows_its_addresses(world: World) -> None:
    for path in ("nothing", "keys/", "keys/abc", "keys/-1", "activity/1", "", "../app/"):
        assert ask("get", f"/api/v1/{path}", secret=world.acme.secret).status_code in (404,), path
    assert problem_of(ask("get", "/api/v1/nothing"), 404)["code"] == "not_found"
    wrong = ask("put", KEYS, secret=world.acme.secret, body={})
    problem_of(wrong, 405)
    assert "GET" in wrong["Allow"] and "POST" in wrong["Allow"]
    assert ask("options", KEYS, secret=world.acme.secret).status_code == 405
    head = ask("head", KEYS, secret=world.acme.secret)
    assert head.status_code == 200 and not head.content and head["Cache-Control"] == "no-store"
    huge = f"/api/v1/keys/{10**30}"
    assert ask("get", huge, secret=world.acme.secret).status_code == 404


def test_it_pages_without_a_row_twice_or_left_out(world: World) -> None:
    """Rows that come while somebody pages move nothing: newest first, they stand before the first page."""
    acme = world.acme
    for number in range(8):
        mint_key(acme.organization, user=acme.owner, name=f"n{number}")
    seen: list[str] = []
    cursor = ""
    for page in range(10):
        path = f"{KEYS}?limit=3" + (f"&cursor={cursor}" if cursor else "")
        answer = told(ask("get", path, secret=acme.secret))
        seen += [key["name"] for key in answer["data"]]
        mint_key(acme.organization, user=acme.owner, name=f"late{page}")
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"n{number}" for number in reversed(range(8))] + [acme.key.name]


def test_it_refuses_a_cursor_of_nobodys(world: World) -> None:
    for cursor in NO_CURSORS:
        for path in ("keys", "activity", "statement", "refunds"):
            problem = problem_of(ask("get", f"/api/v1/{path}?cursor={cursor}", secret=world.acme.secret), 400)
            assert problem["code"] in ("invalid_cursor", "invalid_request"), (path, cursor)


def test_it_pages_the_statement_by_its_rows(world: World) -> None:
    from tests.make import make_top_up

    for _ in range(5):
        make_top_up(wallet=world.acme.wallet, brl="10.00")
    whole = told(ask("get", "/api/v1/statement", secret=world.acme.secret))
    assert whole["next_cursor"] is None and len(whole["data"]) == 7
    assert whole["opening_nanos"] + whole["in_nanos"] - whole["out_nanos"] == whole["closing_nanos"]
    rows, cursor = [], None
    while True:
        path = "/api/v1/statement?limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = told(ask("get", path, secret=world.acme.secret))
        rows += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert rows == whole["data"] and rows[-1]["balance_nanos"] == whole["closing_nanos"]


def test_it_limits_each_key_and_tells_how_much_is_left(world: World, settings: Settings) -> None:
    settings.API_REQUESTS_PER_MINUTE = 3
    answers = [ask("get", "/api/v1/caller", secret=world.acme.secret) for _ in range(5)]
    codes = [answer.status_code for answer in answers]
    assert codes.count(429) == 2 or codes.count(200) == 5  # the minute may turn once between two of them
    first = answers[0]
    assert first["x-ratelimit-limit-requests"] == "3" and first["x-ratelimit-remaining-requests"] == "2"
    if 429 in codes:
        refused = answers[codes.index(429)]
        assert problem_of(refused, 429)["code"] == "rate_limited" and 1 <= int(refused["Retry-After"]) <= 60
    assert ask("get", "/api/v1/caller", secret=world.globex.secret).status_code == 200


def test_it_counts_for_itself_while_valkey_is_away(world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.API_REQUESTS_PER_MINUTE = 2
    monkeypatch.setattr(throttle, "_local", {})
    monkeypatch.setattr("accounts.throttle.time.time", lambda: 1_800_000_000.0)
    monkeypatch.setattr(type(cache._connections["default"]), "count", lambda *_, **__: None)  # type: ignore[attr-defined]
    codes = [ask("get", "/api/v1/caller", secret=world.acme.secret).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


def test_it_slows_down_who_guesses_keys(world: World, settings: Settings) -> None:
    settings.API_REQUESTS_PER_MINUTE = 2
    codes = {ask("get", "/api/v1/caller", authorization="Bearer sk-tokia-x").status_code for _ in range(6)}
    assert codes == {401, 429}


def test_it_knows_strangers_by_where_they_call_from(settings: Settings) -> None:
    """Whoever writes X-Forwarded-For is believed only as far as our own proxies write it."""
    from django.test import RequestFactory

    def name(proxies: int, peer: str, forwarded: str) -> str:
        settings.TRUSTED_PROXIES = proxies
        return throttle.address_of(RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded))

    assert name(0, "10.0.0.1", "1.1.1.1") == "address:10.0.0.1"
    assert name(1, "10.0.0.1", "1.1.1.1, 2.2.2.2") == "address:2.2.2.2"
    assert name(2, "10.0.0.1", "9.9.9.9, 1.1.1.1, 2.2.2.2") == "address:1.1.1.1"
    assert name(2, "10.0.0.1", "1.1.1.1") == "address:10.0.0.1"
    assert name(1, "10.0.0.1", "") == "address:10.0.0.1"
    assert name(1, "10.0.0.1", "x" * 300) == "address:unknown"
    assert name(0, "2001:db8:1:2:3::4", "") == name(0, "2001:db8:1:2::9", "") == "address:2001:db8:1:2::/64"


def test_it_tells_nothing_of_what_broke_inside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise RuntimeError("SELECT secret FROM wallets at db.internal.example sk-tokia-abc")

    monkeypatch.setattr(api_projects, "create_project", break_down)
    answer = ask("post", "/api/v1/projects", secret=world.acme.secret, body={"name": "x"})
    problem = problem_of(answer, 500)
    assert problem["code"] == "internal_error"
    assert all(word not in answer.content.decode() for word in ("SELECT", "internal.example", "RuntimeError", "sk-tokia"))
    assert not Project.everywhere.filter(name="x").exists()
