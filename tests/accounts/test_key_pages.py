from __future__ import annotations

import logging
import re

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.keys import change_key, check_key, find_key, revoke_key
from accounts.models import ApiKey
from gateway.surfaces.responses_store import KEY_OPTION
from tests.cast import make_cast
from tests.make import make_key

pytestmark = pytest.mark.django_db


def test_it_shows_a_new_key_once_with_filled_snippets(client: Client, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cast = make_cast()
    client.force_login(cast.alice)
    response = client.post("/app/chaves/nova/", {"name": "produção", "expires_in": "30", "requests_per_minute": "60"})
    page = response.content.decode()
    found = re.search(r"sk-tokia-[0-9A-Za-z]{49}", page)
    assert found
    secret = found[0]
    assert "no-store" in response["Cache-Control"]
    assert page.count(secret) == 7  # field, .env (twice), three snippets, the trial
    assert f"{settings.GATEWAY_URL}/v1" in page
    digest = check_key(secret)
    key = find_key(digest) if digest else None
    assert key is not None and key.name == "produção" and key.requests_per_minute == 60 and key.expires_at is not None
    for url in ("/app/chaves/", "/app/", "/app/chaves/nova/"):
        assert secret not in client.get(url).content.decode()
    assert secret not in caplog.text


def test_it_takes_only_well_formed_models(client: Client) -> None:
    cast = make_cast()
    client.force_login(cast.alice)
    page = client.post("/app/chaves/nova/", {"name": "x", "allowed_routes": ["openai/gpt-5-mini", "'; DROP TABLE"]})
    assert ApiKey.everywhere.count() == 0 and page.status_code == 200
    client.post("/app/chaves/nova/", {"name": "x", "allowed_routes": ["openai/gpt-5-mini", "tokia/demo"]})
    assert ApiKey.everywhere.get().allowed_routes == ["openai/gpt-5-mini", "tokia/demo"]


def test_a_key_stores_responses_only_where_it_was_ticked(client: Client) -> None:
    cast = make_cast()
    client.force_login(cast.alice)
    page = client.get("/app/chaves/nova/").content.decode()
    assert f"{KEY_OPTION} (30 dias, cifradas)" in page and "AI SDK" in page
    client.post("/app/chaves/nova/", {"name": "sem"})
    assert "Guarda respostas" not in client.get("/app/chaves/").content.decode()
    client.post("/app/chaves/nova/", {"name": "com", "stores_responses": "on"})
    assert dict(ApiKey.everywhere.values_list("name", "stores_responses")) == {"sem": False, "com": True}
    assert client.get("/app/chaves/").content.decode().count("Guarda respostas") == 1


def test_a_key_repeats_answers_only_where_it_was_chosen(client: Client) -> None:
    cast = make_cast()
    client.force_login(cast.alice)
    assert "Repetir respostas" in client.get("/app/chaves/nova/").content.decode()
    client.post("/app/chaves/nova/", {"name": "sem"})
    client.post("/app/chaves/nova/", {"name": "com", "cache_seconds": "3600"})
    refused = client.post("/app/chaves/nova/", {"name": "demais", "cache_seconds": "999999"})
    assert refused.status_code == 200
    assert dict(ApiKey.everywhere.values_list("name", "cache_seconds")) == {"sem": None, "com": 3600}
    assert client.get("/app/chaves/").content.decode().count("Repete respostas") == 1


def test_it_revokes_after_the_name_is_typed(client: Client) -> None:
    cast = make_cast()
    key, _ = make_key(organization=cast.acme, user=cast.alice, name="produção")
    client.force_login(cast.alice)
    client.post(f"/app/chaves/{key.pk}/revogar/", {"typed": "outra"})
    key.refresh_from_db()
    assert key.status == ApiKey.Status.ACTIVE
    client.post(f"/app/chaves/{key.pk}/revogar/", {"typed": "produção"})
    key.refresh_from_db()
    assert key.status == ApiKey.Status.REVOKED
    assert "Revogada" in client.get("/app/chaves/").content.decode()


def test_it_shows_a_developer_only_own_keys(client: Client) -> None:
    cast = make_cast()
    make_key(organization=cast.acme, user=cast.bob, name="de bob")
    hers, _ = make_key(organization=cast.acme, user=cast.alice, name="de alice")
    client.force_login(cast.bob)
    page = client.get("/app/chaves/").content.decode()
    assert "de bob" in page and "de alice" not in page
    assert client.post(f"/app/chaves/{hers.pk}/revogar/", {"typed": "de alice"}).status_code == 404


def test_it_escapes_what_a_customer_writes(client: Client) -> None:
    cast = make_cast()
    client.force_login(cast.alice)
    nasty = "<script>alert(1)</script>\"'"
    client.post("/app/chaves/nova/", {"name": nasty})
    client.post("/app/configuracoes/empresa/", {"tax_id_kind": "cnpj", "name": nasty, "trade_name": nasty})
    for url in ("/app/chaves/", "/app/", "/app/equipe/", "/app/configuracoes/empresa/"):
        assert "<script>alert(1)" not in client.get(url).content.decode()


def test_a_key_may_change_but_not_its_secret(client: Client) -> None:
    cast = make_cast()
    client.force_login(cast.alice)
    key, secret = make_key(organization=cast.acme, user=cast.alice, name="velha", allowed_routes=["gone/model"], cache_seconds=77)
    url = f"/app/chaves/{key.pk}/mudar/"
    page = client.get(url).content.decode()
    assert 'value="velha"' in page and 'value="77" selected' in page and "expires_in" not in page and secret not in page
    # The last model that is no longer sold stays ticked: without it the key would be open to all.
    assert 'value="gone/model" checked' in page
    data = {"name": " nova ", "requests_per_minute": "9", "stores_responses": "on", "cache_seconds": "3600",
            "allowed_routes": ["tokia/demo", "gone/model"]}  # fmt: skip
    answer = client.post(url, data, follow=True).content.decode()
    assert "Chave “nova” alterada" in answer and f'href="{url}"' in answer
    before = (bytes(key.key_hash), key.prefix, key.expires_at, key.created_by_id)
    key.refresh_from_db()
    assert (bytes(key.key_hash), key.prefix, key.expires_at, key.created_by_id) == before
    assert (key.name, key.requests_per_minute, key.stores_responses, key.cache_seconds) == ("nova", 9, True, 3_600)
    assert key.allowed_routes == ["gone/model", "tokia/demo"]
    client.post(url, {"name": "nova"})
    key.refresh_from_db()
    assert (key.requests_per_minute, key.stores_responses, key.cache_seconds, key.allowed_routes) == (None, False, None, [])
    for wrong in ({"name": ""}, {"name": "x", "requests_per_minute": "0"}, {"name": "x", "cache_seconds": "5"},
                  {"name": "x", "allowed_routes": "'; DROP TABLE"}):  # fmt: skip
        assert client.post(url, wrong).status_code == 200
    key.refresh_from_db()
    assert key.name == "nova"


def test_only_who_may_changes_a_key_and_nobody_a_revoked_one(client: Client) -> None:
    cast = make_cast()
    key, _ = make_key(organization=cast.acme, user=cast.alice, name="da Alice")
    url = f"/app/chaves/{key.pk}/mudar/"
    for person, status in ((cast.bob, 404), (cast.carol, 403), (cast.charlie, 404)):  # Bob develops: only his own
        client.force_login(person)
        assert client.get(url).status_code == client.post(url, {"name": "minha"}).status_code == status
    client.force_login(cast.alice)
    revoke_key(key)
    assert client.post(url, {"name": "viva"}).status_code == 404
    assert "Mudar da Alice" not in client.get("/app/chaves/").content.decode()
    assert (
        change_key(key, name="viva", allowed_routes=[], requests_per_minute=None, stores_responses=False, cache_seconds=None)
        is False
    )
    key.refresh_from_db()
    assert (key.name, key.status) == ("da Alice", "revoked")
