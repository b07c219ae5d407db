"""What `/api/v1` answers is what its description says, operation by operation."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.http import HttpResponse
from jsonschema import Draft202012Validator, FormatChecker

from accounts.models import ApiKey
from tests.api.operations import Served, operations
from tests.api.world import World, ask, body_for, told
from tokia import openapi

pytestmark = pytest.mark.django_db
# What ends a thing goes last, each after what still needs it.
LAST = ["replay_delivery", "rotate_hook_secret", "remove_hook", "stop_budget", "cancel_invitation", "archive_project",
        "restore_project", "remove_member", "rotate_key", "revoke_key"]  # fmt: skip
ASKS_OUTSIDE = {"create_top_up", "create_card_top_up"}  # the bank and Stripe: tests/walks


def check(served: Served, answer: HttpResponse) -> Any:
    """The answer, held against the description."""
    path = re.sub(r"<\w+:(\w+)>", r"{\1}", "/" + served.route)
    described = openapi.document()["paths"][path][served.method]["responses"]
    assert str(answer.status_code) in described, f"{served.name}: {answer.status_code} {answer.content[:500]!r}"
    content = described[str(answer.status_code)].get("content", {})
    if not content:
        assert answer.content == b"", served.name
        return None
    kind = answer["Content-Type"].partition(";")[0]
    assert kind in content, f"{served.name}: {kind}"
    if served.operation.media == kind:
        assert answer.content and answer["Content-Length"] == str(len(answer.content))
        assert kind != "text/csv" or answer.content == b"segredo-da-acme"
        return None
    found = told(answer)
    schema = {**content[kind]["schema"], "components": openapi.document()["components"]}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(found)
    return found


def test_it_answers_as_described(world: World) -> None:
    """Every operation on things that are there, and every one again without a key."""
    acme = world.acme
    member = world.bob()
    acme.key_with("call")
    spare = ApiKey.everywhere.get(name="call")  # the one that asks stays as it is
    values = acme.values | {"member_id": member.pk, "key_id": spare.pk}
    ranked = sorted(operations(), key=lambda served: LAST.index(served.name) if served.name in LAST else -1)
    good = set()
    for served in ranked:
        answer = ask(served.method, served.path(values), secret=acme.secret, body=body_for(served, acme))
        check(served, answer)
        if answer.status_code < 300:
            assert answer.status_code == served.operation.status, served.name
            good.add(served.name)
        else:
            assert served.name in ASKS_OUTSIDE, (served.name, answer.content)
        if served.operation.scope:
            check(served, ask(served.method, served.path(values), body=body_for(served)))
        if served.has_ids:
            missing = {name: 2**40 if isinstance(value, int) else uuid.uuid4() for name, value in values.items()}
            unknown = ask(served.method, served.path(missing), secret=acme.secret, body=body_for(served))
            assert check(served, unknown)["status"] == 404
    assert len(good) == len(ranked) - len(ASKS_OUTSIDE)


def test_it_tells_money_twice_and_the_same(world: World) -> None:
    from billing.money import from_brl

    for path in ("wallet", "statement", "usage", "activity", "budgets", "top-ups", "refunds"):
        answer = told(ask("get", f"/api/v1/{path}", secret=world.acme.secret))
        assert _amounts(answer, from_brl) > 0, path


def _amounts(part: Any, from_brl: Any) -> int:
    if isinstance(part, list):
        return sum(_amounts(inner, from_brl) for inner in part)
    if not isinstance(part, dict):
        return 0
    found = 0
    for name, value in part.items():
        if name.endswith("_brl"):
            assert isinstance(value, str) and re.fullmatch(r"-?\d+\.\d{2,9}", value)
            assert part[f"{name.removesuffix('_brl')}_nanos"] == from_brl(value)
            found += 1
        found += _amounts(value, from_brl)
    return found
