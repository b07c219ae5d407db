"""Several keys of ours at one provider, through real gateways: even load, sticky sessions, dead keys, limits, what is left."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from gateway.credential_probes import probe_credentials, read_balances, revive
from gateway.models import Credential, CredentialHealth, Provider
from gateway.secrets import encrypt
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def second(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("second"), GATEWAY_PROCESSES="2")
    gateway.start()
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def model(world: World) -> str:
    return world.route("openai", "gpt-4o-mini").name


@pytest.fixture
def pool(world: World, model: str) -> list[Credential]:
    """Two keys of ours, both new, and nothing else at this provider."""
    world.sandbox.post("/llm/__reset")
    provider = world.provider("openai")
    Credential.objects.filter(provider=provider).update(is_active=False)
    return [add_key(provider) for _ in range(2)]


def add_key(provider: Provider, **fields: Any) -> Credential:
    secret = f"sandbox-{provider.slug}-pool-{next(numbers)}"
    return Credential.objects.create(provider=provider, label=secret, secret=encrypt(secret), last4=secret[-4:], **fields)


def call(world: World, tenant: Tenant, model: str, *, gateway: Gateway | None = None, **fields: Any) -> httpx.Response:
    url = f"{(gateway or world.gateway).url}/v1/chat/completions"
    return httpx.post(url, json=chat_body(model, **fields), headers=tenant.headers, timeout=30)


def label_of(credential: Credential) -> str:
    return credential.label.removeprefix("sandbox-openai-")


def keys_used(world: World) -> Counter[str]:
    return Counter(one["key"] for one in world.sandbox.ledger()["calls"])


def await_pool(world: World, tenant: Tenant, model: str, pool: list[Credential], *gateways: Gateway) -> None:
    """Until every gateway uses all of them and nobody else."""
    wanted = {label_of(credential) for credential in pool}
    for gateway in gateways or (world.gateway,):

        def is_used(gateway: Gateway = gateway) -> bool:
            world.sandbox.post("/llm/__reset")
            for _ in range(12):
                call(world, tenant, model, gateway=gateway)
            return set(keys_used(world)) == wanted

        await_true(is_used, seconds=20, why=f"not {wanted}: {keys_used(world)}")
    world.sandbox.post("/llm/__reset")


def refuse(world: World, credential: Credential, status: int) -> None:
    world.sandbox.post("/llm/__keys", {"key": credential.label, "status": status})


def test_load_is_even_and_sessions_stay(world: World, model: str, pool: list[Credential]) -> None:
    tenant = world.tenant()
    await_pool(world, tenant, model, pool)
    for _ in range(80):
        assert call(world, tenant, model).status_code == 200
    used = keys_used(world)
    assert sum(used.values()) == 80 and all(20 <= used[label_of(credential)] <= 60 for credential in pool), used
    kept: Counter[str] = Counter()
    for session in range(20):
        world.sandbox.post("/llm/__reset")
        for _ in range(4):
            call(world, tenant, model, session_id=f"conversa-{session}")
        [(key, count)] = keys_used(world).items()  # one key for the whole conversation
        assert count == 4
        kept[key] += 1
    assert len(kept) == 2, kept  # and not all conversations on the same


def test_a_dead_key_is_rotated_out_everywhere_and_comes_back(
    world: World, model: str, pool: list[Credential], second: Gateway
) -> None:
    tenant, dead = world.tenant(), pool[0]
    await_pool(world, tenant, model, pool, world.gateway, second)
    refuse(world, dead, 401)

    def has_met_it() -> bool:
        assert call(world, tenant, model).status_code == 200  # the living one answers
        return any(attempt["status"] == 401 for attempt in tenant.records()[-1].attempts)

    await_true(has_met_it, seconds=20)
    await_true(lambda: CredentialHealth.objects.filter(pk=dead.pk, dead_at__isnull=False).exists())
    time.sleep(1.0)  # the other process knows it by then
    count = len(tenant.records())
    for gateway in (world.gateway, second):
        for _ in range(10):
            assert call(world, tenant, model, gateway=gateway).status_code == 200
    tried = [attempt["status"] for record in tenant.records()[count:] for attempt in record.attempts]
    assert tried == [200] * 20  # nobody asks with it any more
    assert CredentialHealth.objects.get(pk=dead.pk).dead_reason == "401: chave inválida ou revogada"

    assert probe_credentials() == (0, 0)  # still refused
    assert CredentialHealth.objects.get(pk=dead.pk).dead_at is not None
    refuse(world, dead, 0)
    assert probe_credentials() == (1, 0)
    await_pool(world, tenant, model, pool, world.gateway, second)


def test_a_key_that_is_forbidden_one_model_is_tried_before_it_dies(world: World, model: str, pool: list[Credential]) -> None:
    tenant, suspect = world.tenant(), pool[0]
    await_pool(world, tenant, model, pool)
    refuse(world, suspect, 403)

    def is_suspect() -> bool:
        assert call(world, tenant, model).status_code == 200
        return CredentialHealth.objects.filter(pk=suspect.pk, dead_at=None).exclude(dead_reason="").exists()

    await_true(is_suspect, seconds=20)
    refuse(world, suspect, 0)  # its list of models is allowed: it was about the one model
    assert probe_credentials(only_suspects=True) == (1, 0)
    revive(suspect)
    refuse(world, suspect, 403)
    await_true(is_suspect, seconds=20)
    assert probe_credentials(only_suspects=True) == (0, 1)  # everything is forbidden
    assert CredentialHealth.objects.get(pk=suspect.pk).dead_at is not None
    revive(suspect)


def test_a_keys_minute_is_kept_and_the_others_take_over(world: World, model: str, pool: list[Credential], second: Gateway) -> None:
    tenant, limited = world.tenant(), pool[0]
    Credential.objects.filter(pk=limited.pk).update(requests_per_minute=20)
    await_true(lambda: not _is_near_minutes_end(), seconds=45)
    await_pool(world, tenant, model, pool, world.gateway, second)  # some of the minute is spent by now
    world.sandbox.post("/llm/__reset")
    began = int(time.time() // 60)
    for number in range(100):
        assert call(world, tenant, model, gateway=(world.gateway, second)[number % 2]).status_code == 200
    minutes = int(time.time() // 60) - began + 1  # on a busy machine a second one begins meanwhile
    assert keys_used(world)[label_of(limited)] <= 22 * minutes, keys_used(world)
    assert all(len(record.attempts) == 1 for record in tenant.records()[-100:])  # nobody was asked in vain


def test_a_minute_that_nobody_has_left_is_said(world: World, model: str, pool: list[Credential]) -> None:
    tenant, (only, other) = world.tenant(), pool
    await_pool(world, tenant, model, pool)
    Credential.objects.filter(pk=other.pk).update(is_active=False)
    Credential.objects.filter(pk=only.pk).update(requests_per_minute=3)
    await_true(lambda: not _is_near_minutes_end(), seconds=45)
    answers: list[httpx.Response] = []

    def is_refused() -> bool:
        answers.append(call(world, tenant, model))
        return answers[-1].status_code != 200

    await_true(is_refused, seconds=20)
    told = answers[-1].status_code, answers[-1].json()["error"]["code"]  # by whether it went before or while it was prepared
    assert told in ((503, "no_provider_available"), (429, "rate_limit_exceeded"))
    assert int(answers[-1].headers["retry-after"]) > 0
    assert tenant.fresh().held_nanos == 0


def test_what_is_left_at_the_provider_is_shown(world: World, model: str, pool: list[Credential]) -> None:
    tenant = world.tenant()
    await_pool(world, tenant, model, pool)
    provider = world.provider("deepseek")
    await_true(lambda: CredentialHealth.objects.filter(pk__in=[one.pk for one in pool], limits_at__isnull=False).count() == 2)
    assert read_balances() == 1
    staff = User.objects.create_user("admin@tokia.com.br", "correct horse battery staple", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="gateway"))
    CredentialHealth.objects.filter(pk=pool[0].pk).update(
        dead_at=CredentialHealth.objects.get(pk=pool[0].pk).limits_at, dead_reason="401: chave inválida ou revogada"
    )
    client = Client()
    client.force_login(staff)
    page = client.get("/admin/gateway/credential/").content.decode()
    assert "9.998 de 10.000 requisições, 1.998.765 de 2.000.000 tokens" in page
    assert "USD 110,00" in page and "este provedor não informa" in page and "recusada desde" in page
    for state, count in (("recusada", 1), ("suspeita", 0)):
        found = client.get(f"/admin/gateway/credential/?situacao={state}").content.decode()
        assert (pool[0].label in found) is bool(count), state
    detail = client.get(f"/admin/gateway/credential/{pool[0].pk}/change/").content.decode()
    assert "chave inválida ou revogada" in detail
    data = {"action": "try_again", "_selected_action": [pool[0].pk, pool[1].pk]}
    told = client.post("/admin/gateway/credential/", data, follow=True).content.decode()
    assert "1 de volta ao rodízio" in told
    assert CredentialHealth.objects.get(pk=pool[0].pk).dead_at is None
    assert provider.credentials.get().health.balance == 110


def _is_near_minutes_end() -> bool:
    return time.time() % 60 > 25
