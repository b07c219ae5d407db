"""The edge: who may enter, with what body, at what pace; and that every refusal is OpenAI's JSON."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from accounts.keys import new_secret, revoke_key
from accounts.models import Organization
from tests.examples import IN_FORCE_SECONDS
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def route(world: World) -> str:
    return world.route("openai", "gpt-4o-mini", units={"input": "10", "output": "30"}).name


@pytest.fixture
def ready(world: World, route: str, tenant: Tenant) -> Tenant:
    world.await_served(tenant, route)
    return tenant


@pytest.fixture(scope="module")
def small(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that takes bodies of 1 MiB at most, so that the test need not send twenty."""
    gateway = Gateway(tmp_path_factory.mktemp("small"), GATEWAY_BODY_BYTES_MAX="1048576")
    gateway.start()
    yield gateway
    assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "unknown_url"),
        ("GET", "/v1/fine_tuning/jobs", 404, "unknown_url"),
        ("POST", "/v1/responses", 401, "invalid_api_key"),
        ("GET", "/v1/responses", 405, "method_not_allowed"),
        ("POST", "/v1/completions", 401, "invalid_api_key"),
        ("POST", "/v1/fine_tuning/jobs", 404, "unknown_url"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/credits", 405, "method_not_allowed"),
        ("POST", CHAT, 401, "invalid_api_key"),
        ("GET", "/v1/models", 401, "invalid_api_key"),
        ("GET", "/v1/key", 401, "invalid_api_key"),
    ],
)
def test_it_refuses_in_openais_shape(world: World, method: str, path: str, status: int, code: str) -> None:
    answer = httpx.request(method, world.gateway.url + path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code", "doc_url"}


def test_it_speaks_portuguese_unless_asked_for_english(world: World) -> None:
    url = f"{world.gateway.url}/v1/models"
    assert "chave" in httpx.get(url).json()["error"]["message"]
    assert "key" in httpx.get(url, headers={"accept-language": "en-US"}).json()["error"]["message"]


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_it_takes_the_key_from_either_header(world: World, ready: Tenant, header: str) -> None:
    value = f"Bearer {ready.secret}" if header == "authorization" else ready.secret
    assert httpx.get(f"{world.gateway.url}/v1/models", headers={header: value}).status_code == 200


def test_it_tells_wrong_keys_apart_from_those_that_may_not(world: World, ready: Tenant, route: str) -> None:
    def ask(secret: str) -> tuple[int, str]:
        answer = httpx.post(world.gateway.url + CHAT, json=chat_body(route), headers={"authorization": f"Bearer {secret}"})
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    assert ask(new_secret()) == (401, "invalid_api_key")  # well-formed, unknown
    assert ask(ready.secret[:-1] + ("0" if ready.secret[-1] != "0" else "1")) == (401, "invalid_api_key")
    assert ask("' OR 1=1 --") == (401, "invalid_api_key")
    assert ask(world.tenant(allowed_routes=["openai/other"]).secret) == (403, "model_not_allowed")
    assert ask(ready.secret)[0] == 200
    Organization.objects.filter(pk=ready.key.organization_id).update(is_suspended=True)
    await_true(lambda: ask(ready.secret) == (403, "organization_suspended"))
    Organization.objects.filter(pk=ready.key.organization_id).update(is_suspended=False)
    await_true(lambda: ask(ready.secret)[0] == 200)


def test_it_shows_a_key_its_own_organization_and_no_session_anything(world: World, ready: Tenant) -> None:
    stranger = world.tenant(brl="7.00", requests_per_minute=77)
    paths = ("/v1/models", "/v1/credits", "/v1/key")
    for path in paths:
        assert httpx.get(world.gateway.url + path, cookies={"sessionid": "a" * 32}).status_code == 401
    credits = httpx.get(f"{world.gateway.url}/v1/credits", headers=stranger.headers).json()["data"]
    assert (credits["total_credits"], credits["total_usage"]) == (7, 0)
    limits = [
        httpx.get(f"{world.gateway.url}/v1/key", headers=tenant.headers).json()["data"]["rate_limit"]["requests"]
        for tenant in (stranger, ready)
    ]
    assert limits[0] == 77 != limits[1]


def test_it_refuses_a_revoked_key(world: World, ready: Tenant) -> None:
    def status() -> int:
        return httpx.get(f"{world.gateway.url}/v1/models", headers=ready.headers).status_code

    assert status() == 200
    revoke_key(ready.key)
    await_true(lambda: status() == 401, seconds=IN_FORCE_SECONDS)


@pytest.mark.parametrize("has_length", [True, False])
def test_it_refuses_a_body_beyond_the_limit_by_its_real_bytes(
    small: Gateway, world: World, ready: Tenant, has_length: bool
) -> None:
    world.await_served(ready, gateway=small)

    def pieces() -> Iterator[bytes]:
        for _ in range(80):
            yield b" " * 65_536

    content: Any = b" " * (2 * 1_048_576) if has_length else pieces()
    try:
        answer = httpx.post(small.url + CHAT, content=content, headers=ready.headers)
    except httpx.WriteError:
        return  # refused before all of it was sent
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_it_refuses_compressed_bodies(world: World, ready: Tenant) -> None:
    answer = httpx.post(world.gateway.url + CHAT, content=b"x", headers={**ready.headers, "content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_encoding")


def test_it_ends_a_body_that_never_comes(world: World, ready: Tenant, tmp_path: Path) -> None:
    """The deadline is 30 s; a gateway whose clock runs that fast is started for the test."""
    gateway = Gateway(tmp_path, GATEWAY_BODY_SECONDS="1")
    gateway.start()
    try:
        world.await_served(ready, gateway=gateway)
        host, port = gateway.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=15) as connection:
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ready.secret}\r\ncontent-length: 100\r\n\r\n{{"
            connection.sendall(head.encode())
            started = time.monotonic()
            answer = connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert time.monotonic() - started < 6
    finally:
        assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"not json", None),
        (b'{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}', "model"),
        (json.dumps(chat_body("x", api_base="http://169.254.169.254")).encode(), "api_base"),
        (b'{"model":"x","messages":[{"role":"user","content":"a"}],"temperature":NaN}', None),
    ],
)
def test_it_refuses_bad_bodies_over_the_wire(world: World, ready: Tenant, raw: bytes, param: str | None) -> None:
    answer = httpx.post(world.gateway.url + CHAT, content=raw, headers=ready.headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert ready.records() == []


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
    ],
    ids=["length and chunked", "two lengths", "space before the colon", "folded"],
)
def test_it_leaves_no_room_for_smuggling(world: World, head: bytes) -> None:
    host, port = world.gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_it_never_forwards_the_callers_headers(world: World, ready: Tenant, route: str) -> None:
    """The sandbox refuses a wrong key, so a passed Authorization would show; cookies and the rest have nowhere to go."""
    headers = {**ready.headers, "cookie": "a=b", "x-forwarded-for": "1.2.3.4", "openai-organization": "org-x"}
    answer = httpx.post(world.gateway.url + CHAT, json=chat_body(route), headers=headers)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert not any(name.startswith("openai-organization") for name in answer.headers)


def test_it_is_alive_and_ready(world: World) -> None:
    assert httpx.get(f"{world.gateway.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{world.gateway.url}/readyz").status_code == 200
