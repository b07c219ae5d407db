"""Session keys: one per person and organization, for ten minutes, until the session ends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client

from accounts import members
from accounts.keys import mint_key
from accounts.models import ApiKey, Membership, Role
from accounts.session_keys import KEY_SECONDS, digest_of, open_session_key, reap_session_keys
from tests.cast import Cast, make_cast
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def member(cast: Cast, name: str = "bob") -> Membership:
    return Membership.everywhere.select_related("organization", "user").get(user=getattr(cast, name))


def session() -> str:
    store = SessionStore()
    store["a"] = 1
    store.save()
    assert store.session_key
    return store.session_key


def is_live(key: ApiKey) -> bool:
    key.refresh_from_db()
    return key.status == ApiKey.Status.ACTIVE


def test_it_keeps_one_row_per_person_with_a_new_secret_each_time(cast: Cast) -> None:
    first, second = (open_session_key(member(cast), session_key=session()) for _ in range(2))
    other = open_session_key(member(cast, "alice"), session_key=session())
    assert first.key.pk == second.key.pk != other.key.pk
    assert first.secret != second.secret
    assert bytes(second.key.key_hash) != bytes(first.key.key_hash)
    assert abs((second.expires_at - clock.now()).total_seconds() - KEY_SECONDS) < 5
    assert second.secret not in repr(second)


def test_it_ends_with_the_session_and_only_with_it(cast: Cast) -> None:
    mine, others = session(), session()
    key = open_session_key(member(cast), session_key=mine).key
    SessionStore(others).delete()
    assert is_live(key)
    SessionStore(mine).delete()
    assert not is_live(key)
    assert key.session_digest is None
    assert is_live(open_session_key(member(cast), session_key=session()).key)


def test_it_ends_when_the_person_signs_out(cast: Cast, client: Client) -> None:
    client.force_login(cast.bob)
    key = open_session_key(member(cast), session_key=client.session.session_key or "").key
    assert bytes(key.session_digest or b"") == digest_of(client.session.session_key or "")
    client.post("/conta/sair/")
    assert not is_live(key)


def test_it_ends_when_the_person_leaves_or_may_no_longer(cast: Cast) -> None:
    key = open_session_key(member(cast), session_key=session()).key
    members.change_role(member(cast, "alice"), membership=member(cast), role=Role.ADMIN)
    assert is_live(key)
    members.change_role(member(cast, "alice"), membership=member(cast), role=Role.FINANCE)
    assert not is_live(key)
    members.change_role(member(cast, "alice"), membership=member(cast), role=Role.DEVELOPER)
    key = open_session_key(member(cast), session_key=session()).key
    members.remove(member(cast, "alice"), membership=member(cast), revoke_keys=False)
    assert not is_live(key)


def test_it_is_reaped_when_expired_orphaned_or_of_somebody_who_may_not(cast: Cast) -> None:
    key = open_session_key(member(cast), session_key=session()).key
    made, _ = mint_key(cast.acme, user=cast.bob, name="feita")
    assert reap_session_keys() == 0
    changes: tuple[Callable[[], int], ...] = (
        lambda: ApiKey.everywhere.filter(pk=key.pk).update(expires_at=clock.now() - dt.timedelta(seconds=1)),
        lambda: ApiKey.everywhere.filter(pk=key.pk).update(session_digest=digest_of("nenhuma")),
        lambda: Membership.everywhere.filter(user=cast.bob).update(role=Role.FINANCE),
    )
    for change in changes:
        change()
        assert reap_session_keys() == 1
        assert not is_live(key)
        assert is_live(made)
        Membership.everywhere.filter(user=cast.bob).update(role=Role.DEVELOPER)
        open_session_key(member(cast), session_key=session())
    type(cast.bob).objects.filter(pk=cast.bob.pk).update(is_active=False)
    assert reap_session_keys() == 1


def test_it_is_no_key_of_the_keys_page_nor_of_the_management_api(cast: Cast, client: Client) -> None:
    opened = open_session_key(member(cast), session_key=session())
    client.force_login(cast.alice)
    assert "Playground: Bob" not in client.get("/app/chaves/").content.decode()
    for act in ("mudar", "girar", "revogar"):
        assert client.post(f"/app/chaves/{opened.key.pk}/{act}/", {"typed": opened.key.name}).status_code == 404
    refused = client.get("/api/v1/keys", headers={"authorization": f"Bearer {opened.secret}"})
    assert refused.status_code == 403
    assert is_live(opened.key)
