"""`Idempotency-Key`: a retried POST of `/v1` is run once, paid once, and told again byte for byte."""

from __future__ import annotations

import datetime as dt
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import openai
import psycopg
import pytest
import redis
from django.core.management import call_command

from billing.money import to_brl
from billing.reconcile import find_violations
from gateway import keeping
from gateway.models import Batch, IdempotentCall, StoredFile
from gateway.secrets import unseal
from gateway.tasks import purge_idempotent_calls
from tests.gateway.batch_cast import jsonl, line_of
from tests.gateway.media_cast import make_png, make_routes, make_wav
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body, sse_events
from tests.stores import stores
from tokia import clock

CHAT = "/v1/chat/completions"
UNITS = {"input": "10", "output": "30"}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {
        "chat": world.route("openai", "gpt-4o-mini", name="idem/chat", units=UNITS).name,
        "claude": world.route("anthropic", "claude-sonnet-4-6", name="idem/claude", units=UNITS).name,
        "embed": world.route(
            "openai", "text-embedding-3-small", name="idem/embed", units={"input": "1"}, surface="embeddings"
        ).name,
        "rerank": world.route("cohere", "rerank-v3.5", name="idem/rerank", units={"search": "0.02"}, surface="rerank").name,
        **make_routes(world, "image", "tts-1", "whisper", "moderation"),
    }


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    return tenant


def post(
    world: World, tenant: Tenant, path: str = CHAT, *, key: str, gateway: Gateway | None = None, **kwargs: Any
) -> httpx.Response:
    headers = {**tenant.headers, "idempotency-key": key, **kwargs.pop("headers", {})}
    return httpx.post((gateway or world.gateway).url + path, headers=headers, timeout=60, **kwargs)


def upstream_calls(world: World) -> int:
    return len(world.sandbox.ledger()["calls"])


def agree(first: httpx.Response, again: httpx.Response) -> None:
    """The same answer of the same call."""
    assert first.status_code == again.status_code == 200, (first.text[:500], again.text[:500])
    assert again.content == first.content
    assert again.headers["x-tokia-idempotent-replay"] == "true"
    assert "x-tokia-idempotent-replay" not in first.headers
    for name in ("content-type", "x-request-id", "x-tokia-model", "x-tokia-provider", "x-tokia-cost-brl"):
        assert again.headers.get(name) == first.headers.get(name) or name not in first.headers, name


def test_a_retry_gets_the_same_bytes_and_pays_nothing(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"])
    first, again = (post(world, ready, key="um", json=body) for _ in range(2))
    agree(first, again)
    [record] = ready.records()
    assert first.headers["x-request-id"] == str(record.id)
    assert Decimal(again.headers["x-tokia-cost-brl"]) == to_brl(record.net_nanos).normalize()
    told = json.loads(first.text, parse_float=Decimal)["usage"]
    assert told["cost"] == to_brl(record.net_nanos).normalize()
    gross, net = record.gross_nanos, record.net_nanos
    assert told["cost_details"] == {"currency": "BRL", "list_cost": to_brl(gross).normalize(), "discount": to_brl(gross - net)}
    assert upstream_calls(world) == 1
    assert post(world, ready, key="dois", json=body).headers["x-request-id"] != str(record.id)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("stream", [False, True])
def test_it_holds_for_every_surface_of_a_chat_model(
    world: World, routes: dict[str, str], ready: Tenant, path: str, stream: bool
) -> None:
    asked: dict[str, Any] = {"model": routes["claude" if path == "/v1/messages" else "chat"], "stream": stream}
    asks: dict[str, dict[str, Any]] = {
        CHAT: {"messages": [{"role": "user", "content": "Oi"}]},
        "/v1/completions": {"prompt": "Oi"},
        "/v1/responses": {"input": "Oi", "store": True},
        "/v1/messages": {"messages": [{"role": "user", "content": "Oi"}], "max_tokens": 50},
    }
    asked |= asks[path]
    if stream and path in (CHAT, "/v1/completions"):
        asked["stream_options"] = {"include_usage": True}
    first, again = (post(world, ready, path, key="s", json=asked) for _ in range(2))
    agree(first, again)
    [record] = ready.records()
    assert upstream_calls(world) == 1
    assert Decimal(again.headers["x-tokia-cost-brl"]) == to_brl(record.net_nanos).normalize()
    told = json.loads(first.text, parse_float=Decimal) if not stream else None
    if stream:
        told = next(
            found
            for event in reversed(sse_events(first.text))
            if isinstance(event, dict) and "cost" in (found := event.get("response", event).get("usage") or {})
        )
        assert Decimal(str(told["cost"])) == to_brl(record.net_nanos).normalize()
    elif told is not None:
        assert told["usage"]["cost"] == to_brl(record.net_nanos).normalize()
    if path == "/v1/messages":
        assert again.headers["request-id"] == str(record.id)
    if path == "/v1/responses" and not stream:
        stored = httpx.get(f"{world.gateway.url}/v1/responses/{first.json()['id']}", headers=ready.headers)
        assert json.loads(stored.text, parse_float=Decimal)["usage"]["cost"] == to_brl(record.net_nanos).normalize()


def test_it_holds_for_every_other_surface(world: World, routes: dict[str, str], ready: Tenant) -> None:
    form = {"model": routes["whisper"]}
    asked: dict[str, dict[str, Any]] = {
        "/v1/embeddings": {"json": {"model": routes["embed"], "input": "Oi"}},
        "/v1/rerank": {"json": {"model": routes["rerank"], "query": "oi", "documents": ["a", "b"]}},
        "/v1/images/generations": {"json": {"model": routes["image"], "prompt": "Um tucano"}},
        "/v1/moderations": {"json": {"model": routes["moderation"], "input": "Oi"}},
        "/v1/audio/speech": {"json": {"model": routes["tts-1"], "input": "Oi, tudo bem?", "voice": "alloy"}},
        "/v1/audio/transcriptions": {"data": form, "files": {"file": ("a.wav", make_wav(1.5), "audio/wav")}},
        "/v1/audio/translations": {"data": form, "files": {"file": ("a.wav", make_wav(1.5), "audio/wav")}},
        "/v1/images/edits": {
            "data": {"model": routes["image"], "prompt": "Com óculos"}, "files": {"image": ("a.png", make_png(), "image/png")},
        },
    }  # fmt: skip
    boundary = {"content-type": "multipart/form-data; boundary=tokia"}
    for number, (path, request) in enumerate(asked.items(), 1):
        if "files" in request:  # the same bytes again: a retry sends what it sent
            built = httpx.Request("POST", world.gateway.url, headers=boundary, **request)
            request = {"content": built.read(), "headers": boundary}
        first, again = (post(world, ready, path, key="s", **request) for _ in range(2)) if number == 1 else (
            post(world, ready, path, key=path, **request), post(world, ready, path, key=path, **request)
        )  # fmt: skip
        agree(first, again)
        assert len(ready.records()) == number, path
        assert Decimal(again.headers["x-tokia-cost-brl"]) == to_brl(ready.records()[-1].net_nanos).normalize(), path
    assert post(world, ready, "/v1/rerank", key="s", **asked["/v1/rerank"]).json()["error"]["code"] == "idempotency_key_reused"
    assert ready.fresh().held_nanos == 0


def test_a_file_and_a_batch_are_made_once(world: World, routes: dict[str, str], ready: Tenant) -> None:
    boundary = {"content-type": "multipart/form-data; boundary=tokia"}
    content = jsonl(line_of(1, routes["chat"]))
    request = httpx.Request(
        "POST", world.gateway.url, headers=boundary, data={"purpose": "batch"}, files={"file": ("a.jsonl", content)}
    )
    first, again = (post(world, ready, "/v1/files", key="f", content=request.read(), headers=boundary) for _ in range(2))
    agree(first, again)
    assert StoredFile.everywhere.filter(organization_id=ready.wallet.organization_id).count() == 1
    order = {"input_file_id": first.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch, same = (post(world, ready, "/v1/batches", key="b", json=order) for _ in range(2))
    agree(batch, same)
    assert Batch.everywhere.filter(organization_id=ready.wallet.organization_id).count() == 1
    Batch.everywhere.all().delete()


def test_openais_sdk_reads_a_stream_that_is_told_again(world: World, routes: dict[str, str], ready: Tenant) -> None:
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=ready.secret, max_retries=0) as client:

        def ask() -> tuple[list[str], Any]:
            stream = client.chat.completions.create(
                model=routes["chat"], messages=[{"role": "user", "content": "Conte até dez."}], stream=True,
                stream_options={"include_usage": True}, extra_headers={"Idempotency-Key": "sdk"},
            )  # fmt: skip
            chunks = list(stream)
            return [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices], chunks[-1].usage

        assert ask() == ask()
    [record] = ready.records()
    assert record.is_stream
    assert upstream_calls(world) == 1


def test_fifty_at_once_on_two_gateways_are_one_call(world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path) -> None:
    other = Gateway(tmp_path)
    other.start()
    world.await_served(ready, *routes.values(), gateway=other)
    world.sandbox.script("openai", "slowfirst:300")
    body = chat_body(routes["chat"])

    def ask(number: int) -> httpx.Response:
        return post(world, ready, key="corrida", json=body, gateway=other if number % 2 else world.gateway)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 409}
    assert statuses[200] >= 1
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["error"]["code"] == "idempotency_in_progress"
            assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("1", "true")
    assert upstream_calls(world) == 1
    [record] = ready.records()
    assert ready.fresh().posted_nanos == 100 * 10**9 - record.net_nanos
    assert {post(world, ready, key="corrida", json=body, gateway=one).status_code for one in (other, world.gateway)} == {200}
    assert other.stop() == 0


def test_another_request_under_the_same_key_is_refused(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"])
    assert post(world, ready, key="k", json=body).status_code == 200
    refusals = [
        post(world, ready, key="k", json={**body, "temperature": 1}),
        post(world, ready, "/v1/embeddings", key="k", json=body),
        post(world, ready, "/v1/messages", key="k", json=body),
    ]
    for refused in refusals:
        assert refused.status_code == 422
        assert "idempotency_key_reused" in refused.text or refused.json()["type"] == "error"
    assert len(ready.records()) == 1


def test_a_key_is_its_api_keys_own(world: World, routes: dict[str, str], ready: Tenant) -> None:
    stranger = world.tenant()
    world.await_served(stranger, *routes.values())
    body = chat_body(routes["chat"])
    mine, theirs = post(world, ready, key="k", json=body), post(world, stranger, key="k", json={**body, "max_tokens": 5})
    assert (mine.status_code, theirs.status_code) == (200, 200)
    assert mine.headers["x-request-id"] != theirs.headers["x-request-id"]
    assert (len(ready.records()), len(stranger.records())) == (1, 1)


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", "olá".encode()])
def test_a_key_that_is_none_is_refused(world: World, routes: dict[str, str], ready: Tenant, key: bytes) -> None:
    headers = {**{name.encode(): value.encode() for name, value in ready.headers.items()}, b"idempotency-key": key}
    refused = httpx.post(world.gateway.url + CHAT, headers=headers, json=chat_body(routes["chat"]), timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_idempotency_key")
    assert ready.records() == []
    assert post(world, ready, key="~" * 255, json=chat_body(routes["chat"])).status_code == 200


def test_what_was_refused_or_failed_runs_anew(world: World, routes: dict[str, str], ready: Tenant) -> None:
    """A refusal, a failure of the provider, and want of balance leave the key free: also for a request that was mended."""
    assert post(world, ready, key="k", json={"model": routes["chat"]}).status_code == 400
    assert post(world, ready, key="k", json=chat_body("idem/none")).status_code == 404
    world.sandbox.script("openai", "500", times=4)
    failed = post(world, ready, key="k", json=chat_body(routes["chat"]))
    assert failed.status_code == 502
    world.sandbox.post("/llm/__reset")
    first, again = (post(world, ready, key="k", json=chat_body(routes["chat"])) for _ in range(2))
    agree(first, again)
    assert [record.outcome for record in ready.records()] == ["failed", "completed"]
    poor = world.tenant(brl="0.0001")
    world.await_served(poor, *routes.values())
    assert [post(world, poor, key="k", json=chat_body(routes["chat"])).status_code for _ in range(2)] == [402, 402]
    assert not IdempotentCall.everywhere.filter(organization_id=poor.wallet.organization_id).exists()


def test_a_stream_that_broke_after_it_was_charged_is_not_run_again(world: World, routes: dict[str, str], ready: Tenant) -> None:
    world.sandbox.script("openai", "reset:3")
    body = chat_body(routes["chat"], stream=True)
    cut = post(world, ready, key="k", json=body)
    assert "error" in sse_events(cut.text)[-1]
    [record] = ready.records()
    assert record.outcome == "cut" and record.gross_nanos > 0
    refused = post(world, ready, key="k", json=body)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (409, "false")
    error = json.loads(refused.text, parse_float=Decimal)["error"]
    assert error["code"] == "idempotency_call_interrupted"
    assert error["usage"]["cost"] == to_brl(record.net_nanos).normalize()
    assert str(record.id) in error["message"]
    assert len(ready.records()) == 1


def test_a_caller_who_hung_up_in_the_stream_pays_once(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"], stream=True, max_tokens=500)
    world.sandbox.script("openai", "stallmid:3")
    headers = {**ready.headers, "idempotency-key": "k"}
    with httpx.stream("POST", world.gateway.url + CHAT, json=body, headers=headers, timeout=30) as answer:
        pieces = answer.iter_bytes()  # a name, so that it is not closed before the retry
        next(pieces)
        busy = post(world, ready, key="k", json=body)
        assert (busy.status_code, busy.json()["error"]["code"]) == (409, "idempotency_in_progress")
    await_true(lambda: bool(ready.records()))
    world.sandbox.post("/llm/__release")
    refused = post(world, ready, key="k", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_call_interrupted")
    assert len(ready.records()) == 1


def test_an_answer_too_large_to_keep_is_delivered_once_and_never_paid_twice(
    world: World, routes: dict[str, str], ready: Tenant
) -> None:
    assert keeping.ANSWER_BYTES_MAX == 4 * 1_048_576
    inputs = ["Oi"] * 200  # a vector of 1536 numbers is 30 kB of text
    body = {"model": routes["embed"], "input": inputs, "encoding_format": "float"}
    first = post(world, ready, "/v1/embeddings", key="k", json=body)
    assert first.status_code == 200 and len(first.content) > keeping.ANSWER_BYTES_MAX
    refused = post(world, ready, "/v1/embeddings", key="k", json=body)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (409, "false")
    assert refused.json()["error"]["code"] == "idempotency_answer_too_large"
    assert len(ready.records()) == 1


def test_an_organization_adds_its_part_of_a_day_and_no_more(
    world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path
) -> None:
    small = Gateway(tmp_path, IDEMPOTENCY_BYTES_MAX="3000")
    small.start()
    world.await_served(ready, *routes.values(), gateway=small)
    body = chat_body(routes["chat"])
    statuses = []
    for number in range(4):
        assert post(world, ready, key=f"k{number}", json=body, gateway=small).status_code == 200
        statuses.append(post(world, ready, key=f"k{number}", json=body, gateway=small).status_code)
    assert statuses[0] == 200 and statuses[-1] == 409
    assert len(ready.records()) == 4
    assert small.stop() == 0


def test_what_is_kept_is_sealed_and_survives_valkey(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"], stream=True)
    first = post(world, ready, key="k", json=body)
    row = IdempotentCall.everywhere.get(organization_id=ready.wallet.organization_id)
    sealed = bytes(row.body)
    for text in (b"Tokia", b"choices", b"chat.completion", b"x-tokia", b"delta"):
        assert text not in sealed
    assert row.headers == {}
    assert b"chat.completion.chunk" in zlib.decompress(unseal(sealed, organization_id=row.organization_id))
    assert len(sealed) < len(first.content)
    with redis.Redis.from_url(stores.valkey.url) as valkey:
        valkey.flushall()
    agree(first, post(world, ready, key="k", json=body))
    call_command("reseal", stdout=StringIO())
    assert bytes(IdempotentCall.everywhere.get(pk=row.pk).body) != sealed
    agree(first, post(world, ready, key="k", json=body))


def test_a_key_is_free_again_when_its_time_is_over(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"])
    first = post(world, ready, key="k", json=body)
    rows = IdempotentCall.everywhere.filter(organization_id=ready.wallet.organization_id)
    [row] = rows
    assert row.expires_at - row.created_at == dt.timedelta(hours=24)
    purge_idempotent_calls()
    assert rows.exists()
    rows.update(expires_at=clock.now())
    other = post(world, ready, key="k", json={**body, "max_tokens": 7})  # not purged yet, and over all the same
    assert other.status_code == 200 and other.headers["x-request-id"] != first.headers["x-request-id"]
    rows.update(expires_at=clock.now(), created_at=clock.now() - dt.timedelta(hours=25))
    purge_idempotent_calls()
    assert not rows.exists()
    assert len(ready.records()) == 2


def test_the_databases_restart_is_not_noticed(world: World, routes: dict[str, str], ready: Tenant) -> None:
    """Connections that were kept have ended, all of them: no call is refused for it once the database is back."""
    body = chat_body(routes["chat"], max_tokens=5)

    def call(number: int) -> int:
        return post(world, ready, key=f"restart-{number}", json=body).status_code

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(call, range(24))) == {200}
    with psycopg.connect(stores.postgres.superuser_url) as connection:
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name IN ('tokia-gateway-idempotency', 'tokia-gateway-read')"
        ).fetchone()
    assert ended is not None and ended[0] > 1
    assert [call(number) for number in range(30, 34)] == [200] * 4
    assert httpx.get(f"{world.gateway.url}/v1/credits", headers=ready.headers).status_code == 200


def test_the_rate_limit_counts_retries(world: World, routes: dict[str, str]) -> None:
    tenant = world.tenant(requests_per_minute=6)
    world.await_served(tenant, *routes.values())
    statuses = [post(world, tenant, key="k", json=chat_body(routes["chat"])).status_code for _ in range(14)]
    assert 429 in statuses
    assert not {409, 422, 500} & set(statuses)
    assert len(tenant.records()) == 1


@pytest.fixture(autouse=True, scope="module")
def _whole(world: World) -> Iterator[None]:
    yield
    assert find_violations() == []
