"""Calls that a customer's own provider key serves, through real processes: whose key the provider sees, and what the call costs."""

from __future__ import annotations

import itertools
from decimal import Decimal
from math import ceil
from typing import Any

import httpx
import openai as openai_sdk
import pytest

from billing.models import Price, PriceVersion
from gateway import own_keys
from gateway.callers import read_caller
from gateway.credential_probes import probe_credentials, revive
from gateway.models import Credential, CredentialHealth, OwnKey, OwnKeyHealth
from gateway.secrets import encrypt, seal
from tests.gateway.world import Tenant, World, await_true, chat_body, sse_events

numbers = itertools.count(1)
INPUT, OUTPUT = 10 * 10**9, 30 * 10**9  # nanos per million: the prices of `make_price`


@pytest.fixture(scope="module")
def models(world: World) -> dict[str, str]:
    """Two providers' models; DeepSeek's fee is nothing."""
    names = {
        "openai": world.route("openai", "gpt-4o-mini").name,
        "embed": world.route("openai", "text-embedding-3-small", surface="embeddings", units={"input": "1"}).name,
        "deepseek": world.route("deepseek", "deepseek-chat").name,
    }
    draft = PriceVersion.objects.order_by("-pk").first()
    assert draft is not None
    copy = PriceVersion.objects.create(book=draft.book, number=draft.number + 1)
    for price in Price.objects.filter(version=draft):
        price.pk, price.version = None, copy
        price.own_key_percent = 0 if price.route_name == names["deepseek"] else 5
        price.save()
    PriceVersion.objects.filter(pk=copy.pk).update(
        status="published", effective_at=draft.effective_at, published_at=draft.published_at, published_by="test"
    )
    world.await_served(world.tenant(), *names.values())
    return names


@pytest.fixture(autouse=True)
def fresh(world: World) -> None:
    world.sandbox.post("/llm/__reset")
    for credential in Credential.objects.select_related("provider"):
        revive(credential)


def give_key(world: World, tenant: Tenant, slug: str, *, use: str = "first") -> tuple[OwnKey, str]:
    """A key, and the label by which the sandbox's ledger knows it."""
    label = f"own-{next(numbers)}"
    secret = f"sandbox-{slug}-{label}"
    organization = tenant.wallet.organization
    key = OwnKey.everywhere.create(
        organization=organization, provider=world.provider(slug), label="teste", use=use, last4=secret[-4:],
        secret=seal(secret.encode(), organization_id=organization.pk),
    )  # fmt: skip
    return key, label


def call(world: World, tenant: Tenant, model: str, **fields: Any) -> httpx.Response:
    return httpx.post(
        f"{world.gateway.url}/v1/chat/completions", json=chat_body(model, **fields), headers=tenant.headers, timeout=30
    )


def keys_used(world: World) -> list[str]:
    """Oldest first."""
    return [one["key"] for one in reversed(world.sandbox.ledger()["calls"])]


def settled_by(world: World, tenant: Tenant, model: str, label: str) -> httpx.Response:
    """The first call that this key serves: gateways know of it within two seconds."""
    answers = []

    def is_served() -> bool:
        answers.append(call(world, tenant, model))
        return keys_used(world)[-1:] == [label]

    await_true(is_served, why="the key is not used")
    return answers[-1]


def fee_of(usage: dict[str, Any], percent: int) -> int:
    return ceil(Decimal((usage["prompt_tokens"] * INPUT + usage["completion_tokens"] * OUTPUT) * percent) / (100 * 10**6))


def test_it_serves_first_at_the_fee_and_only_its_own_organization(world: World, models: dict[str, str]) -> None:
    acme, globex = world.tenant(), world.tenant()
    _, label = give_key(world, acme, "openai")
    answer = settled_by(world, acme, models["openai"], label)
    assert answer.status_code == 200, answer.text
    usage = answer.json()["usage"]
    assert usage["is_byok"] is True
    fee = fee_of(usage, 5)
    assert round(usage["cost"] * 10**9) == fee > 0
    record = acme.records()[-1]
    assert (record.is_own_key, record.cost_nanos, record.gross_nanos, record.net_nanos) == (True, 0, fee, fee)
    assert [attempt.get("is_own_key") for attempt in record.attempts] == [True]

    world.sandbox.post("/llm/__reset")
    other = call(world, globex, models["openai"]).json()["usage"]
    assert keys_used(world) == [""] and "is_byok" not in other
    assert round(other["cost"] * 10**9) == fee_of(other, 100)
    assert not globex.records()[-1].is_own_key and globex.records()[-1].gross_nanos == fee_of(other, 100)


def test_it_serves_streams_and_embeddings(world: World, models: dict[str, str]) -> None:
    tenant = world.tenant()
    _, label = give_key(world, tenant, "openai")
    settled_by(world, tenant, models["openai"], label)
    stream = call(world, tenant, models["openai"], stream=True, stream_options={"include_usage": True})
    usage = next(event["usage"] for event in reversed(sse_events(stream.text)) if event != "[DONE]" and event.get("usage"))
    assert usage["is_byok"] is True and round(usage["cost"] * 10**9) == fee_of(usage, 5)
    body = {"model": models["embed"], "input": "uma frase qualquer para somar"}
    answer = httpx.post(f"{world.gateway.url}/v1/embeddings", json=body, headers=tenant.headers, timeout=30).json()
    assert answer["usage"]["is_byok"] is True
    assert round(answer["usage"]["cost"] * 10**9) == ceil(Decimal(answer["usage"]["prompt_tokens"] * 10**9 * 5) / 10**8)
    assert set(keys_used(world)[-2:]) == {label}
    assert [record.is_own_key for record in tenant.records()[-2:]] == [True, True]


def test_a_fee_of_nothing_costs_nothing_and_is_still_a_usage_record(world: World, models: dict[str, str]) -> None:
    tenant = world.tenant()
    _, label = give_key(world, tenant, "deepseek")
    answer = settled_by(world, tenant, models["deepseek"], label)
    assert answer.json()["usage"]["cost"] == 0 and answer.headers["x-tokia-cost-brl"] == "0"
    before = tenant.fresh().posted_nanos
    assert call(world, tenant, models["deepseek"]).status_code == 200
    record = tenant.records()[-1]
    assert (record.is_own_key, record.gross_nanos, record.net_nanos, record.outcome) == (True, 0, 0, "completed")
    assert record.output_tokens > 0 and tenant.fresh().posted_nanos == before and tenant.fresh().held_nanos == 0


def test_first_falls_to_ours_where_it_is_refused_and_its_owner_is_told(world: World, models: dict[str, str]) -> None:
    tenant = world.tenant()
    key, label = give_key(world, tenant, "openai")
    settled_by(world, tenant, models["openai"], label)
    world.sandbox.post("/llm/__keys", {"key": f"sandbox-openai-{label}", "status": 401})
    answer = call(world, tenant, models["openai"])
    assert answer.status_code == 200 and "is_byok" not in answer.json()["usage"]
    record = tenant.records()[-1]
    assert not record.is_own_key and record.gross_nanos == fee_of(answer.json()["usage"], 100) and record.cost_nanos >= 0
    first, second = record.attempts
    assert (first["is_own_key"], first["status"], first["error"]) == (True, 401, "own_key_refused")
    assert second["status"] == 200 and not second.get("is_own_key")
    await_true(lambda: OwnKeyHealth.everywhere.filter(pk=key.pk, refused_at__isnull=False).exists())
    assert OwnKeyHealth.everywhere.get(pk=key.pk).refused_reason == "chave inválida ou revogada"
    assert not CredentialHealth.objects.exclude(dead_at=None).exists()  # ours is not to blame


def test_only_never_falls_to_ours_and_says_whose_key_it_was(world: World, models: dict[str, str]) -> None:
    tenant = world.tenant()
    _, label = give_key(world, tenant, "openai", use="only")
    settled_by(world, tenant, models["openai"], label)
    world.sandbox.post("/llm/__reset")
    world.sandbox.post("/llm/__keys", {"key": f"sandbox-openai-{label}", "status": 402})
    posted = tenant.fresh().posted_nanos
    with (
        openai_sdk.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret) as client,
        pytest.raises(openai_sdk.PermissionDeniedError) as raised,
    ):
        client.chat.completions.create(**chat_body(models["openai"]))
    error = raised.value
    assert error.code == "own_key_refused" and "chave própria da sua empresa no provedor Openai foi recusada" in error.message
    assert "sem saldo no provedor" in error.message and "sandbox-" not in error.message
    assert keys_used(world) == []  # not asked with ours
    record = tenant.records()[-1]
    assert (record.outcome, record.gross_nanos, record.error_code) == ("failed", 0, "own_key_refused")
    assert tenant.fresh().posted_nanos == posted and tenant.fresh().held_nanos == 0
    health = OwnKeyHealth.everywhere.filter(own_key__organization=tenant.wallet.organization)
    await_true(lambda: health.filter(refused_reason="sem saldo no provedor").exists())
    world.sandbox.post("/llm/__keys", {"key": f"sandbox-openai-{label}"})  # its owner paid the provider
    assert call(world, tenant, models["openai"]).status_code == 200 and keys_used(world) == [label]
    await_true(lambda: health.filter(refused_at=None, refused_reason="").exists())


def test_a_reserve_serves_where_ours_is_refused(world: World, models: dict[str, str]) -> None:
    tenant = world.tenant()
    _, label = give_key(world, tenant, "openai", use="failover")
    world.sandbox.post("/llm/__keys", {"key": "sandbox-openai", "status": 401})
    answer = settled_by(world, tenant, models["openai"], label)
    assert answer.status_code == 200 and answer.json()["usage"]["is_byok"] is True
    assert tenant.records()[-1].is_own_key
    await_true(lambda: CredentialHealth.objects.exclude(dead_at=None).exists())
    assert call(world, tenant, models["openai"]).status_code == 200
    assert [attempt["status"] for attempt in tenant.records()[-1].attempts] == [200]  # ours is not even asked any more
    world.sandbox.post("/llm/__keys", {"key": "sandbox-openai"})
    assert probe_credentials() == (1, 0)
    await_true(lambda: call(world, tenant, models["openai"]).status_code == 200 and keys_used(world)[-1] == "")
    assert not tenant.records()[-1].is_own_key


def test_a_removed_key_is_not_used_any_more(world: World, models: dict[str, str]) -> None:
    tenant = world.tenant()
    key, label = give_key(world, tenant, "openai")
    settled_by(world, tenant, models["openai"], label)
    own_keys.remove_own_key(key)
    await_true(lambda: call(world, tenant, models["openai"]).status_code == 200 and keys_used(world)[-1] == "")


def test_one_that_cannot_be_opened_is_left_out(world: World, models: dict[str, str]) -> None:
    tenant = world.tenant()
    key, label = give_key(world, tenant, "openai")
    settled_by(world, tenant, models["openai"], label)
    OwnKey.everywhere.filter(pk=key.pk).update(secret=encrypt("sandbox-openai-outra"))
    await_true(lambda: call(world, tenant, models["openai"]).status_code == 200 and keys_used(world)[-1] == "")
    assert "own key unreadable" in world.gateway.log.read_text()


def test_batches_never_use_it(world: World, models: dict[str, str]) -> None:
    tenant = world.tenant()
    give_key(world, tenant, "openai")
    caller = read_caller(tenant.key.pk)
    assert caller is not None and caller.own_keys == ()


def test_models_tell_the_fee(world: World, models: dict[str, str]) -> None:
    answer = httpx.get(f"{world.gateway.url}/v1/models", headers=world.tenant().headers).json()
    told = {item["id"]: item["pricing"]["own_key_percent"] for item in answer["data"]}
    assert told[models["openai"]] == "5" and told[models["deepseek"]] == "0"


def test_no_secret_is_in_the_logs(world: World, models: dict[str, str]) -> None:
    log = world.gateway.log.read_text()
    assert "sandbox-openai-own" not in log and "sandbox-deepseek-own" not in log
    assert Credential.objects.exists()
