"""The team through `/api/v1`: the rules are those of the pages."""

from __future__ import annotations

from typing import Any

import pytest

from accounts import members
from accounts.models import Membership, Role
from tests.api.world import ALL, World, ask, told

MEMBERS, INVITATIONS = "/api/v1/members", "/api/v1/invitations"


def test_it_keeps_an_owner(world: World) -> None:
    acme = world.acme
    path = f"{MEMBERS}/{acme.membership.pk}"
    demoted = ask("patch", path, secret=acme.secret, body={"role": "admin"})
    assert (demoted.status_code, told(demoted)["code"]) == (409, "last_owner")
    assert ask("delete", path, secret=acme.secret).status_code == 409
    assert told(ask("patch", f"{MEMBERS}/{world.bob().pk}", secret=acme.secret, body={"role": "owner"}))["role"] == "owner"
    assert ask("delete", path, secret=acme.secret).status_code == 204
    gone = ask("get", MEMBERS, secret=acme.secret)
    assert (gone.status_code, told(gone)["code"]) == (403, "creator_left")


def test_it_lets_administrators_touch_no_owner(world: World) -> None:
    Membership.everywhere.filter(pk=world.bob().pk).update(role=Role.ADMIN)
    secret = world.acme.key_with(*ALL, user=world.cast.bob)
    owner, self = f"{MEMBERS}/{world.acme.membership.pk}", f"{MEMBERS}/{world.bob().pk}"
    for method, path, body in (
        ("patch", owner, {"role": "developer"}), ("delete", owner, None), ("patch", self, {"role": "owner"}),
        ("post", INVITATIONS, {"email": "a@b.com.br", "role": "owner"}),
    ):  # fmt: skip
        answer = ask(method, path, secret=secret, body=body)
        assert (answer.status_code, told(answer)["code"]) == (403, "not_allowed"), path


def test_it_removes_with_or_without_keys(world: World) -> None:
    first = world.acme.key_with("call", user=world.cast.bob)
    assert ask("delete", f"{MEMBERS}/{world.bob().pk}?revoke_keys=true", secret=world.acme.secret).status_code == 204
    answer = ask("get", "/api/v1/caller", secret=first)
    assert (answer.status_code, told(answer)["code"]) == (401, "invalid_api_key")
    assert ask("delete", f"{MEMBERS}/{world.acme.membership.pk + 10_000}", secret=world.acme.secret).status_code == 404


def test_it_invites_replaces_and_cancels(world: World, mailoutbox: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    acme, body = world.acme, {"email": "Nova@Acme.com.br", "role": "finance"}
    first = told(ask("post", INVITATIONS, secret=acme.secret, body=body))
    second = told(ask("post", INVITATIONS, secret=acme.secret, body=body))
    assert second["email"] == "nova@acme.com.br" and second["is_mailed"] and len(mailoutbox) == 2
    listed = [line["id"] for line in told(ask("get", INVITATIONS, secret=acme.secret))["data"]]
    assert listed == [second["id"], acme.invitation.pk] and first["id"] not in listed
    assert ask("delete", f"{INVITATIONS}/{second['id']}", secret=acme.secret).status_code == 204
    assert ask("delete", f"{INVITATIONS}/{second['id']}", secret=acme.secret).status_code == 404
    taken = ask("post", INVITATIONS, secret=acme.secret, body={"email": world.cast.bob.email, "role": "finance"})
    assert (taken.status_code, told(taken)["code"]) == (409, "already_member")

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(members, "send_mail", refuse)
    assert told(ask("post", INVITATIONS, secret=acme.secret, body=body))["is_mailed"] is False


def test_it_changes_only_what_is_told_of_an_organization(world: World) -> None:
    path, acme = "/api/v1/organization", world.acme
    ask("patch", path, secret=acme.secret, body={"address": {"city": "Santos", "state": "SP"}, "trade_name": "Acme"})
    after = told(ask("patch", path, secret=acme.secret, body={"address": {"postal_code": "11010-100"}}))
    assert after["address"] == {"city": "Santos", "state": "SP", "postal_code": "11010100"}
    assert (after["trade_name"], after["tax_id"]) == ("Acme", "11222333000181")
    wrong: list[dict[str, Any]] = [
        {"tax_id": "11222333000182"}, {"address": {"state": "XX"}}, {"address": {"postal_code": "1"}}, {"name": ""},
        {"address": {"city": "Santo", "state": "SP"}},
        {"invoice_email": "x"}, {"address": {"planet": "x"}}, {"address": []}, {"tax_id_kind": "rg"},
    ]  # fmt: skip
    for body in wrong:
        assert ask("patch", path, secret=acme.secret, body=body).status_code == 400, body
    assert told(ask("get", path, secret=acme.secret)) == after
