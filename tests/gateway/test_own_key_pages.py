"""The pages of own provider keys through Django's client, against a provider that answers: who may do what, what is never shown."""

from __future__ import annotations

import logging

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from accounts.models import Membership, Role, SnapshotVersion, User
from gateway import own_keys
from gateway.models import OwnKey, OwnKeyHealth, Provider
from gateway.own_keys import OwnKeyRefused, providers_for_own_keys
from gateway.provider_accounts import TAKEN, UNKNOWN, BalanceSeen, ProviderAway, read_balance, try_key
from gateway.secrets import SecretUnreadable, unseal
from tests.cast import Cast, make_cast
from tests.gateway.world import Sandbox
from tests.make import make_price, make_provider, make_route

pytestmark = pytest.mark.django_db
LIST, ADD = "/app/chaves-de-provedores/", "/app/chaves-de-provedores/nova/"
SECRET = "sandbox-openai-own-acme-7f3a9c"


@pytest.fixture
def openai(db: None, sandbox: Sandbox) -> Provider:
    cache.clear()
    sandbox.post("/llm/__reset")
    provider = make_provider(slug="openai", base_url=sandbox.base_url("openai"))
    Provider.objects.filter(pk=provider.pk).update(name="OpenAI")
    make_price(route=make_route(provider=provider))
    provider.refresh_from_db()
    return provider


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def store(cast: Cast, provider: Provider, *, use: str = "first", secret: str = SECRET) -> OwnKey:
    return own_keys.store_own_key(cast.acme, user=cast.alice, provider=provider, label="conta da Acme", secret=secret, use=use)


def form(openai: Provider, /, **fields: object) -> dict[str, object]:
    return {"provider": openai.pk, "label": "conta da Acme", "secret": SECRET, "use": "only", **fields}


def test_an_owner_stores_a_key_and_never_sees_it_again(
    cast: Cast, openai: Provider, caplog: pytest.LogCaptureFixture, sandbox: Sandbox
) -> None:
    caplog.set_level(logging.DEBUG)
    alice = as_(cast.alice)
    page = alice.get(LIST).content.decode()
    assert "Nenhuma chave guardada" in page and "5% do preço de tabela" in page
    version = SnapshotVersion.objects.get(subject="callers").number
    stored = alice.post(ADD, form(openai), follow=True)
    assert stored.redirect_chain == [(LIST, 302)]
    key = OwnKey.everywhere.get()
    assert (key.organization, key.provider, key.use, key.last4, key.created_by) == (
        cast.acme,
        openai,
        "only",
        "7f3a9c"[-4:],
        cast.alice,
    )
    assert SnapshotVersion.objects.get(subject="callers").number > version
    assert SECRET.encode() not in bytes(key.secret)
    assert unseal(bytes(key.secret), organization_id=cast.acme.pk).decode() == SECRET
    with pytest.raises(SecretUnreadable):
        unseal(bytes(key.secret), organization_id=cast.globex.pk)
    shown = stored.content.decode()
    assert "OpenAI aceitou a chave" in shown and "…3a9c" in shown and "Aceita" in shown
    for text in (shown, alice.get(LIST).content.decode(), alice.get(ADD).content.decode(), caplog.text):
        assert SECRET not in text and "own-acme" not in text


def test_a_key_that_its_provider_refuses_is_not_stored(cast: Cast, openai: Provider, sandbox: Sandbox) -> None:
    alice = as_(cast.alice)
    refused = alice.post(ADD, form(openai, secret="sk-proj-inventada-0001"))
    page = refused.content.decode()
    assert refused.status_code == 400 and "OpenAI recusou esta chave (chave inválida ou revogada)" in page
    assert "sk-proj-inventada-0001" not in page and not OwnKey.everywhere.exists()
    for secret in ("curta", "com espaço no meio", "acentuação-própria", "linha\nnova-de-cabecalho"):
        assert alice.post(ADD, form(openai, secret=secret)).status_code == 400, secret
    for fields in ({"provider": 999_999}, {"use": "always"}, {"label": ""}, {"label": "x" * 61}, {"provider": "x"}):
        assert alice.post(ADD, form(openai, **fields)).status_code == 400, fields
    assert not OwnKey.everywhere.exists()


def test_one_key_for_each_provider(cast: Cast, openai: Provider) -> None:
    store(cast, openai)
    again = as_(cast.alice).post(ADD, form(openai, secret=SECRET + "2"))
    assert again.status_code == 400 and "Já há uma chave para OpenAI" in again.content.decode()
    charlie = as_(cast.charlie)
    assert charlie.post(ADD, form(openai, secret="sandbox-openai-globex")).status_code == 302  # each organization has its own
    assert "conta da Acme" in charlie.get(LIST).content.decode()  # its own label, typed the same
    assert OwnKey.everywhere.filter(organization=cast.globex).get().last4 == "obex"


def test_nobody_tries_found_keys_through_us(cast: Cast, openai: Provider) -> None:
    alice = as_(cast.alice)
    for number in range(own_keys.TRIES_PER_MINUTE):
        alice.post(ADD, form(openai, secret=f"sk-achada-{number:04d}"))
    last = alice.post(ADD, form(openai))
    assert last.status_code == 400 and "Muitas tentativas" in last.content.decode()


def test_the_address_is_never_the_customers(cast: Cast, openai: Provider) -> None:
    """Azure's is of our own resource, the local ones are our machines; nothing that is posted names an address."""
    for slug, dialect in (("azure", "azure"), ("local", "openai"), ("vllm", "openai"), ("morto", "openai")):
        provider = make_provider(slug=slug, dialect=dialect)
        if slug != "morto":  # serves nothing
            make_route(provider=provider)
        posted = as_(cast.alice).post(ADD, form(provider, base_url="http://169.254.169.254/", provider_url="http://127.0.0.1/"))
        assert posted.status_code == 400, slug
    assert list(providers_for_own_keys()) == [openai]
    as_(cast.alice).post(ADD, form(openai, base_url="http://169.254.169.254/"))
    openai.refresh_from_db()
    assert "169.254" not in openai.base_url and OwnKey.everywhere.count() == 1


def test_its_use_changes_and_it_is_tried_and_removed(cast: Cast, openai: Provider, sandbox: Sandbox) -> None:
    key = store(cast, openai)
    alice, base = as_(cast.alice), f"{LIST}{key.pk}/"
    assert alice.post(f"{base}uso/", {"use": "failover"}).status_code == 302
    key.refresh_from_db()
    assert key.use == "failover"
    assert "Escolha um uso" in alice.post(f"{base}uso/", {"use": "always"}, follow=True).content.decode()

    sandbox.post("/llm/__keys", {"key": SECRET, "status": 402})
    tried = alice.post(f"{base}testar/", follow=True).content.decode()
    assert "OpenAI recusou a chave: sem saldo no provedor" in tried and "Recusada" in tried
    health = OwnKeyHealth.everywhere.get(pk=key.pk)
    assert health.refused_at is not None and health.refused_reason == "sem saldo no provedor"
    version = SnapshotVersion.objects.get(subject="callers").number
    sandbox.post("/llm/__keys", {"key": SECRET})
    tried = alice.post(f"{base}testar/", follow=True).content.decode()
    assert "OpenAI aceita a chave" in tried and "Recusada" not in tried
    assert SnapshotVersion.objects.get(subject="callers").number == version  # what a provider says moves no snapshot

    alice.post(f"{base}remover/", {"typed": "outra"})
    assert OwnKey.everywhere.exists()
    removed = alice.post(f"{base}remover/", {"typed": "OpenAI"}, follow=True).content.decode()
    assert "removida" in removed and not OwnKey.everywhere.exists()
    assert alice.post(f"{base}testar/").status_code == 404


def test_a_provider_that_does_not_answer_refuses_nothing(cast: Cast, openai: Provider) -> None:
    Provider.objects.filter(pk=openai.pk).update(base_url="http://127.0.0.1:9/v1")
    stored = as_(cast.alice).post(ADD, form(openai), follow=True).content.decode()
    assert "não respondeu" in stored and "Ainda não conferida" in stored
    key = OwnKey.everywhere.get()
    tried = as_(cast.alice).post(f"{LIST}{key.pk}/testar/", follow=True).content.decode()
    assert "não respondeu agora" in tried


@pytest.mark.parametrize("role", list(Role))
def test_each_role_sees_and_does_its_own(cast: Cast, openai: Provider, role: Role) -> None:
    key = store(cast, openai)
    Membership.everywhere.filter(user=cast.bob).update(role=role)
    bob, base = as_(cast.bob), f"{LIST}{key.pk}/"
    manages = role in (Role.OWNER, Role.ADMIN)
    listed = bob.get(LIST)
    assert listed.status_code == (403 if role == Role.FINANCE else 200)
    if role != Role.FINANCE:
        assert ("Remover a chave?" in listed.content.decode()) is manages
    assert bob.get(ADD).status_code == (200 if manages else 403)
    assert bob.post(ADD, form(openai)).status_code == (400 if manages else 403)
    assert bob.post(f"{base}uso/", {"use": "only"}).status_code == (302 if manages else 403)
    assert bob.post(f"{base}testar/").status_code == (302 if manages else 403)
    assert bob.post(f"{base}remover/", {"typed": "OpenAI"}).status_code == (302 if manages else 403)
    assert OwnKey.everywhere.exists() is not manages


def test_a_hostile_label_is_text(cast: Cast, openai: Provider) -> None:
    as_(cast.alice).post(ADD, form(openai, label="<script>alert(1)</script>"))
    page = as_(cast.alice).get(LIST).content.decode()
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page


def test_reseal_covers_them(cast: Cast, openai: Provider, settings: Settings) -> None:
    from cryptography.fernet import Fernet

    key = store(cast, openai)
    before = bytes(key.secret)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.ENCRYPTION_KEYS]
    call_command("reseal")
    key.refresh_from_db()
    assert bytes(key.secret) != before
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    assert unseal(bytes(key.secret), organization_id=cast.acme.pk).decode() == SECRET
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(OwnKeyRefused, match="Não conseguimos abrir"):
        own_keys.check_own_key(key)


@pytest.mark.parametrize("slug", ["openai", "anthropic", "google", "cohere", "deepseek", "groq", "mistral", "azure"])
def test_every_dialect_says_whether_it_takes_a_key(db: None, sandbox: Sandbox, slug: str) -> None:
    dialect = {"anthropic": "anthropic", "google": "gemini", "cohere": "cohere", "azure": "azure"}.get(slug, "openai")
    provider = make_provider(slug=slug, dialect=dialect, base_url=sandbox.base_url(slug))
    assert try_key(provider, f"sandbox-{slug}-own").verdict == TAKEN
    refused = try_key(provider, "errada-de-todo")
    assert (refused.verdict, refused.status, refused.reason) == ("refused", 401, "chave inválida ou revogada")
    provider.base_url = "http://127.0.0.1:9"
    assert try_key(provider, f"sandbox-{slug}").verdict == UNKNOWN
    provider.dialect = Provider.Dialect.BEDROCK
    assert try_key(provider, "AKIA:secret").verdict == UNKNOWN


def test_balances_are_read_where_they_are_told(db: None, sandbox: Sandbox) -> None:
    from decimal import Decimal

    from gateway.provider_accounts import _read_deepseek, _read_openrouter

    provider = make_provider(slug="deepseek", base_url=sandbox.base_url("deepseek"))
    assert read_balance(provider, "sandbox-deepseek") == BalanceSeen(Decimal("110.00"), "USD")
    with pytest.raises(ProviderAway):
        read_balance(provider, "errada")
    with pytest.raises(ProviderAway):
        read_balance(make_provider(slug="openai", base_url=sandbox.base_url("openai")), "sandbox-openai")
    two = {
        "is_available": True,
        "balance_infos": [{"currency": "USD", "total_balance": "0.00"}, {"currency": "CNY", "total_balance": "8.5"}],
    }
    assert _read_deepseek(two) == BalanceSeen(Decimal("8.5"), "CNY")
    assert _read_openrouter({"data": {"total_credits": 100.5, "total_usage": 25.75}}) == BalanceSeen(Decimal("74.75"), "USD")
