"""Keys through `/api/v1`: what one gives to another, whom it speaks for, and when it stops."""

from __future__ import annotations

import datetime as dt

from django.test import Client

from accounts.keys import check_key, find_key
from accounts.members import change_role, remove
from accounts.models import ApiKey, Membership, Organization, Role
from accounts.projects import archive_project, restore_project
from tests.api.world import ALL, World, ask, told
from tokia import clock

KEYS = "/api/v1/keys"


def status_of(secret: str) -> tuple[int, str]:
    answer = ask("get", "/api/v1/caller", secret=secret)
    return answer.status_code, "" if answer.status_code == 200 else told(answer)["code"]


def test_it_gives_a_key_no_more_than_its_maker_has(world: World) -> None:
    maker = world.acme.key_with("keys.write", "usage.read")
    for scopes in (["call"], ["billing.top_up"], ["usage.read", "members.write"], None):
        body = {"name": "x"} | ({"scopes": scopes} if scopes else {})
        answer = ask("post", KEYS, secret=maker, body=body)
        assert (answer.status_code, told(answer)["code"]) == (403, "scope_missing"), scopes
    made = told(ask("post", KEYS, secret=maker, body={"name": "x", "scopes": ["usage.read", "keys.write"]}))
    assert made["scopes"] == ["keys.write", "usage.read"] and made["created_by_id"] == world.acme.owner.pk
    assert status_of(made["secret"]) == (200, "")
    kept = find_key(check_key(made["secret"]) or b"")
    assert kept is not None and kept.scopes == made["scopes"]
    grown = ask("patch", f"{KEYS}/{made['id']}", secret=made["secret"], body={"scopes": ["usage.read", "keys.write", "call"]})
    assert (grown.status_code, told(grown)["code"]) == (403, "scope_missing")


def test_it_lets_a_person_give_what_their_role_has(world: World) -> None:
    client = Client()
    client.force_login(world.cast.bob)  # a developer
    assert ask("post", KEYS, body={"name": "x", "scopes": ["members.read"]}, client=client).status_code == 403
    made = told(ask("post", KEYS, body={"name": "x", "scopes": ["call", "usage.read"]}, client=client))
    assert made["scopes"] == ["call", "usage.read"] and status_of(made["secret"]) == (200, "")


def test_it_shows_developers_their_own_keys(world: World) -> None:
    client = Client()
    client.force_login(world.cast.bob)
    theirs = told(ask("post", KEYS, body={"name": "do-bob"}, client=client))
    assert [key["name"] for key in told(ask("get", KEYS, client=client))["data"]] == ["do-bob"]
    for method, path in (("get", ""), ("patch", ""), ("delete", ""), ("post", "/rotate")):
        answer = ask(method, f"{KEYS}/{world.acme.key.pk}{path}", client=client, body={} if method in ("patch",) else None)
        assert answer.status_code == 404, method
    names = {key["name"] for key in told(ask("get", KEYS, secret=world.acme.secret))["data"]}
    assert names >= {"do-bob", world.acme.key.name}
    assert ask("delete", f"{KEYS}/{theirs['id']}", secret=world.acme.secret).status_code == 204


def test_it_rotates_a_secret_in_place(world: World) -> None:
    made = told(ask("post", KEYS, secret=world.acme.secret, body={"name": "x", "scopes": ["call"], "requests_per_minute": 7}))
    new = told(ask("post", f"{KEYS}/{made['id']}/rotate", secret=world.acme.secret))
    assert new["id"] == made["id"] and new["requests_per_minute"] == 7 and new["secret"] != made["secret"]
    assert (new["start"], new["end"]) == (new["secret"][:12], new["secret"][-4:])
    assert status_of(made["secret"]) == (401, "invalid_api_key")
    assert status_of(new["secret"]) == (200, "")
    ask("delete", f"{KEYS}/{made['id']}", secret=world.acme.secret)
    again = ask("post", f"{KEYS}/{made['id']}/rotate", secret=world.acme.secret)
    assert again.status_code == 403 and status_of(new["secret"]) == (401, "invalid_api_key")


def test_it_lets_nobody_speak_for_another(world: World) -> None:
    """An administrator who had an owner's managing key by its new secret would be an owner."""
    admin = world.bob()
    admin.role = Role.ADMIN
    admin.save()
    secret = world.acme.key_with(*ALL, user=world.cast.bob)
    owners, _ = world.acme.key_with("call"), world.acme.key_with("members.write")
    by_name = {key.name: key for key in ApiKey.everywhere.filter(organization=world.acme.organization)}
    refused = ask("post", f"{KEYS}/{by_name['members.write'].pk}/rotate", secret=secret)
    assert (refused.status_code, told(refused)["code"]) == (403, "not_allowed")
    grown = ask("patch", f"{KEYS}/{by_name['call'].pk}", secret=secret, body={"scopes": ["call", "members.write"]})
    assert (grown.status_code, told(grown)["code"]) == (403, "scope_missing")
    less = ask("patch", f"{KEYS}/{world.acme.key.pk}", secret=secret, body={"scopes": ["call"]})
    assert less.status_code == 200 and told(less)["scopes"] == ["call"]
    assert ask("post", f"{KEYS}/{by_name['call'].pk}/rotate", secret=secret).status_code == 200
    assert status_of(owners) == (401, "invalid_api_key")


def test_it_follows_its_makers_role(world: World) -> None:
    membership = world.bob()
    membership.role = Role.ADMIN
    membership.save()
    secret = world.acme.key_with("members.read", "usage.read", user=world.cast.bob)
    assert ask("get", "/api/v1/members", secret=secret).status_code == 200
    change_role(world.acme.membership, membership=membership, role=Role.FINANCE)
    assert ask("get", "/api/v1/members", secret=secret).status_code == 403
    assert ask("get", "/api/v1/usage", secret=secret).status_code == 200
    assert told(ask("get", "/api/v1/caller", secret=secret))["scopes"] == ["usage.read"]
    remove(world.acme.membership, membership=Membership.everywhere.get(pk=membership.pk), revoke_keys=False)
    assert status_of(secret) == (403, "creator_left")


def test_it_stops_with_its_key_its_project_and_its_organization(world: World) -> None:
    acme = world.acme
    secret = acme.key_with("usage.read")
    row = ApiKey.everywhere.filter(name="usage.read")
    assert status_of(secret) == (200, "")
    row.update(expires_at=clock.now() - dt.timedelta(seconds=1))
    assert status_of(secret) == (401, "invalid_api_key")
    row.update(expires_at=None, project=acme.project)
    archive_project(acme.project)
    assert status_of(secret) == (403, "project_archived")
    restore_project(acme.project)
    Organization.objects.filter(pk=acme.organization.pk).update(is_suspended=True)
    assert status_of(secret) == (403, "organization_suspended")
    Organization.objects.filter(pk=acme.organization.pk).update(is_suspended=False)
    row.update(status=ApiKey.Status.REVOKED)
    assert status_of(secret) == (401, "invalid_api_key")
    changed = ask("patch", f"{KEYS}/{row.get().pk}", secret=acme.secret, body={"name": "x"})
    assert (changed.status_code, told(changed)["code"]) == (409, "key_revoked")


def test_it_moves_a_key_between_projects_that_live(world: World) -> None:
    acme = world.acme
    path = f"{KEYS}/{acme.key.pk}"
    assert told(ask("patch", path, secret=acme.secret, body={"project_id": acme.project.pk}))["project_id"] == acme.project.pk
    assert [key["id"] for key in told(ask("get", f"{KEYS}?project_id={acme.project.pk}", secret=acme.secret))["data"]] == [
        acme.key.pk
    ]
    assert told(ask("patch", path, secret=acme.secret, body={"name": "só o nome"}))["project_id"] == acme.project.pk
    assert told(ask("patch", path, secret=acme.secret, body={"project_id": None}))["project_id"] is None
    archive_project(acme.project)
    refused = ask("patch", path, secret=acme.secret, body={"project_id": acme.project.pk})
    assert (refused.status_code, told(refused)["code"]) == (409, "project_archived")


def test_it_finds_keys_by_their_state(world: World) -> None:
    acme = world.acme
    old = acme.key_with("call")
    ApiKey.everywhere.filter(name="call").update(expires_at=clock.now() - dt.timedelta(days=1))
    acme.key_with("usage.read")
    ApiKey.everywhere.filter(name="usage.read").update(status=ApiKey.Status.REVOKED)
    found = {
        status: [key["name"] for key in told(ask("get", f"{KEYS}?status={status}", secret=acme.secret))["data"]]
        for status in ("active", "expired", "revoked")
    }
    assert found == {"active": [acme.key.name], "expired": ["call"], "revoked": ["usage.read"]} and old
