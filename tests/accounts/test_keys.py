from __future__ import annotations

import datetime as dt
import hashlib
import re

import pytest

from accounts import keys
from accounts.errors import TooMany
from accounts.models import ApiKey, SnapshotVersion
from tests.cast import make_cast
from tokia import clock

FORM = re.compile(r"sk-tokia-[0-9A-Za-z]{43}[0-9A-Za-z]{6}", re.ASCII)


def test_it_makes_ten_thousand_keys_that_all_check() -> None:
    made = {keys.new_secret() for _ in range(10_000)}
    assert len(made) == 10_000
    for secret in made:
        assert FORM.fullmatch(secret)
        assert keys.check_key(secret) == hashlib.sha256(secret.encode()).digest()


def test_it_refuses_a_key_with_any_one_character_flipped() -> None:
    secret = keys.new_secret()
    for at in range(len(secret)):
        flipped = secret[:at] + ("A" if secret[at] != "A" else "B") + secret[at + 1 :]
        assert keys.check_key(flipped) is None


@pytest.mark.parametrize(
    "secret", ["", "sk-tokia-", "sk-abc", "sk-tokia-" + "á" * 49, keys.new_secret() + "\n", " " + keys.new_secret()]
)
def test_it_refuses_what_has_not_the_form_of_a_key(secret: str) -> None:
    assert keys.check_key(secret) is None


@pytest.mark.django_db
def test_it_keeps_only_the_digest_of_a_secret() -> None:
    cast = make_cast()
    key, secret = keys.mint_key(cast.acme, user=cast.alice, name="produção")
    row = ApiKey.everywhere.filter(pk=key.pk).values().get()
    assert bytes(row["key_hash"]) == hashlib.sha256(secret.encode()).digest()
    assert secret not in str(row)
    assert (row["prefix"], row["suffix"]) == (secret[:12], secret[-4:])
    digest = keys.check_key(secret)
    assert digest is not None
    assert keys.find_key(digest) == key
    assert keys.find_key(b"\0" * 32) is None


@pytest.mark.django_db
def test_it_revokes_for_ever_and_tells_the_gateways() -> None:
    cast = make_cast()
    key, _ = keys.mint_key(cast.acme, user=cast.alice, name="produção")
    before = SnapshotVersion.objects.get(subject="callers").number
    keys.revoke_key(key)
    revoked_at = key.revoked_at
    assert key.status == ApiKey.Status.REVOKED and revoked_at is not None
    assert SnapshotVersion.objects.get(subject="callers").number > before
    keys.revoke_key(key)
    assert key.revoked_at == revoked_at


@pytest.mark.django_db
def test_it_mints_with_an_expiry_models_and_a_limit() -> None:
    cast = make_cast()
    expires_at = clock.now() + dt.timedelta(days=30)
    key, _ = keys.mint_key(
        cast.acme, user=cast.bob, name="n8n", expires_at=expires_at, allowed_routes=["b/b", "a/a", "a/a"], requests_per_minute=5
    )
    key.refresh_from_db()
    assert (key.expires_at, key.allowed_routes, key.requests_per_minute) == (expires_at, ["a/a", "b/b"], 5)


@pytest.mark.django_db
def test_it_bounds_the_keys_of_an_organization(monkeypatch: pytest.MonkeyPatch) -> None:
    cast = make_cast()
    monkeypatch.setattr(keys, "KEYS_MAX", 1)
    key, _ = keys.mint_key(cast.acme, user=cast.alice, name="um")
    with pytest.raises(TooMany):
        keys.mint_key(cast.acme, user=cast.alice, name="dois")
    keys.revoke_key(key)
    keys.mint_key(cast.acme, user=cast.alice, name="dois")
