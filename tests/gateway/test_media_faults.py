"""Media when things go wrong: upstreams, callers, forms and wallets. Nobody pays for what was not delivered, and no hold stays."""

from __future__ import annotations

import base64
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.models import Deployment, Route
from tests.gateway.media_cast import SOLD, make_png, make_routes, make_wav
from tests.gateway.world import Gateway, Tenant, World, await_true, sse_events

WAV = make_wav(12.4)
TEXT = "Uma frase longa, para que haja muitos pedaços de som. " * 40
PATHS = {
    "images": "/v1/images/generations", "edits": "/v1/images/edits", "speech": "/v1/audio/speech",
    "transcriptions": "/v1/audio/transcriptions", "translations": "/v1/audio/translations", "moderations": "/v1/moderations",
}  # fmt: skip
SURFACES = {"images": "image", "edits": "image", "speech": "tts-1", "transcriptions": "whisper", "translations": "whisper",
            "moderations": "moderation"}  # fmt: skip


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return make_routes(world)


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    return tenant


def call_of(surface: str, model: str, **fields: Any) -> dict[str, Any]:
    """httpx's arguments for a plain call."""
    bodies: dict[str, dict[str, Any]] = {
        "images": {"prompt": "Um tucano", "quality": "low"}, "speech": {"input": TEXT, "voice": "alloy"},
        "moderations": {"input": "Oi"},
    }  # fmt: skip
    if surface in bodies:
        return {"json": {"model": model, **bodies[surface], **fields}}
    if surface == "edits":
        data = {"model": model, "prompt": "Azul", "quality": "low", **fields}
        return {"data": data, "files": {"image": ("a.png", make_png(), "image/png")}}
    return {"data": {"model": model, **fields}, "files": {"file": ("a.wav", WAV, "audio/wav")}}


def ask(world: World, tenant: Tenant, surface: str, model: str, /, gateway: Gateway | None = None, **fields: Any) -> httpx.Response:
    url = (gateway or world.gateway).url + PATHS[surface]
    return httpx.post(url, headers=tenant.headers, timeout=30, **call_of(surface, model, **fields))


def free(tenant: Tenant) -> None:
    assert tenant.fresh().held_nanos == 0
    assert tenant.wallet.posted_nanos == 100 * 10**9


# ── Upstreams ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("401", 502, "provider_unavailable"),
        ("429", 429, "rate_limit_exceeded"),
        ("500", 502, "upstream_error"),
        ("503", 503, "provider_overloaded"),
        ("html", 502, "provider_malformed"),
        ("redirect", 502, "upstream_error"),
    ],
)
def test_it_maps_refusals(
    world: World, ready: Tenant, routes: dict[str, str], surface: str, fault: str, status: int, code: str
) -> None:
    world.sandbox.script("openai", fault)
    answer = ask(world, ready, surface, routes[SURFACES[surface]])
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert "sandbox" not in answer.text.lower()
    [record] = ready.records()
    assert (record.outcome, record.net_nanos, record.usage_source) == ("failed", 0, "none")
    free(ready)


@pytest.mark.parametrize("surface", PATHS)
def test_it_asks_the_next_deployment(world: World, ready: Tenant, surface: str) -> None:
    sold = SOLD[SURFACES[surface]]
    name = f"next/{surface}"
    if not Route.objects.filter(name=name).exists():
        route = world.route(
            "openai", f"fault-503-{sold.model}", name=name, units=sold.units, surface=sold.surface, output_tokens_max=0,
            output_tokens_default=0, capabilities=list(sold.capabilities),
        )  # fmt: skip
        Deployment.objects.create(route=route, provider=world.provider("openai"), upstream_model=sold.model, priority=5)
    world.await_served(ready, name)
    answer = ask(world, ready, surface, name)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-tokia-attempts"] == "2"
    [record] = ready.records()
    assert [attempt["status"] for attempt in record.attempts] == [503, 200]
    assert record.outcome == "completed"


@pytest.mark.parametrize("fault", ["truncated", "reset", "shortlength", "longlength"])
@pytest.mark.parametrize("surface", ["images", "transcriptions", "moderations"])
def test_it_charges_nothing_for_a_broken_whole_answer(
    world: World, ready: Tenant, routes: dict[str, str], surface: str, fault: str
) -> None:
    world.sandbox.script("openai", fault)
    answer = ask(world, ready, surface, routes[SURFACES[surface]])
    assert answer.status_code == 502, answer.text[:200]
    free(ready)


@pytest.mark.parametrize("key", ["tts-1", "mini-tts"])
def test_it_breaks_off_sound_that_was_cut_and_charges_what_came(
    world: World, ready: Tenant, routes: dict[str, str], key: str
) -> None:
    world.sandbox.script("openai", "reset:6")
    got = b""
    body = call_of("speech", routes[key], response_format="pcm")["json"]
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", world.gateway.url + PATHS["speech"], json=body, headers=ready.headers, timeout=30) as answer,
    ):
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            got += piece
    await_true(lambda: bool(ready.records()))
    [record] = ready.records()
    assert (record.outcome, record.usage_source) == ("cut", "counted")
    assert 0 < len(got) <= 6 * 4_096
    used = record.characters or record.audio_output_tokens
    assert 0 < used <= len(got) * 21 // 48_000 + 10
    assert 0 < record.net_nanos < (record.hold_nanos or 0)
    assert ready.fresh().held_nanos == 0


@pytest.mark.parametrize("key", ["tts-1", "mini-tts"])
def test_it_charges_a_caller_who_leaves_what_came(world: World, ready: Tenant, routes: dict[str, str], key: str) -> None:
    world.sandbox.script("openai", "stallmid:5")
    body = call_of("speech", routes[key], response_format="pcm")["json"]
    with httpx.stream("POST", world.gateway.url + PATHS["speech"], json=body, headers=ready.headers, timeout=30) as answer:
        next(answer.iter_bytes())
    await_true(lambda: bool(ready.records()))
    [record] = ready.records()
    assert (record.outcome, record.error_code) == ("cancelled", "client_gone")
    assert 0 < record.net_nanos < (record.hold_nanos or 0)
    await_true(lambda: world.sandbox.ledger()["in_flight"] == 0, why="the upstream is let go at once")


@pytest.mark.parametrize("surface", ["images", "edits", "transcriptions"])
def test_it_charges_nothing_to_a_caller_who_leaves_before_the_answer(
    world: World, ready: Tenant, routes: dict[str, str], surface: str
) -> None:
    world.sandbox.script("openai", "stall")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            world.gateway.url + PATHS[surface], headers=ready.headers, timeout=1.5, **call_of(surface, routes[SURFACES[surface]])
        )
    await_true(lambda: bool(ready.records()))
    [record] = ready.records()
    assert (record.outcome, record.net_nanos) == ("cancelled", 0)
    free(ready)


@pytest.mark.parametrize(
    ("fault", "code"), [("reset:3", "provider_unreachable"), ("cleaneof:3", "upstream_cut"), ("errormid:3", None)]
)
def test_it_ends_a_broken_stream_of_text_with_an_error(
    world: World, ready: Tenant, routes: dict[str, str], fault: str, code: str | None
) -> None:
    world.sandbox.script("openai", fault)
    answer = ask(world, ready, "transcriptions", routes["4o"], stream="true")
    told = sse_events(answer.text)
    assert [event["type"] for event in told[:-1]] == ["transcript.text.delta"] * 3
    assert told[-1]["error"]["message"]
    if code:
        assert told[-1]["error"]["code"] == code
    [record] = ready.records()
    assert (record.outcome, record.usage_source) == ("cut", "counted")
    assert (record.audio_input_tokens, record.output_tokens > 0) == (130, True)


def test_it_bills_partial_pictures_of_a_broken_stream(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    world.sandbox.script("openai", "cleaneof:1")
    answer = ask(world, ready, "images", routes["image"], stream=True, partial_images=1, size="1024x1024")
    told = sse_events(answer.text.replace("event: image_generation.partial_image\n", ""))
    assert (told[0]["type"], "error" in told[-1]) == ("image_generation.partial_image", True)
    [record] = ready.records()
    assert (record.outcome, record.image_output_tokens) == ("cut", (272 + 100) // 2)


def test_it_tries_elsewhere_when_a_stream_fails_before_it_began(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    world.sandbox.script("openai", "errorfirst")
    answer = ask(world, ready, "transcriptions", routes["4o"], stream="true")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
    free(ready)


@pytest.mark.parametrize(
    ("fault", "source"),
    [("nousage", "counted"), ("absurdusage", "suspect"), ("negativeusage", "suspect"), ("stringusage", "suspect")],
)
@pytest.mark.parametrize(("surface", "key"), [("images", "image"), ("transcriptions", "whisper"), ("transcriptions", "4o")])
def test_it_bills_sanely_whatever_usage_it_is_told(
    world: World, ready: Tenant, routes: dict[str, str], surface: str, key: str, fault: str, source: str
) -> None:
    world.sandbox.script("openai", fault)
    answer = ask(world, ready, surface, routes[key])
    assert answer.status_code == 200, answer.text[:300]
    [record] = ready.records()
    assert record.usage_source == source
    assert record.hold_nanos is not None
    assert 0 < record.gross_nanos <= record.hold_nanos
    assert json.loads(answer.text)["usage"]["cost"] > 0


@pytest.mark.parametrize("fault", ["nousage", "nodone", "crlf", "comments", "onebyte", "bom", "multiline"])
def test_it_reads_streams_however_they_are_dressed(world: World, ready: Tenant, routes: dict[str, str], fault: str) -> None:
    world.sandbox.script("openai", fault)
    answer = ask(
        world, ready, "speech", routes["mini-tts"], input="Olá, tudo bem com você?", response_format="pcm", stream_format="sse"
    )
    assert answer.status_code == 200
    told = sse_events(answer.text)
    [record] = ready.records()
    if fault == "nodone":
        assert (record.outcome, "error" in told[-1]) == ("cut", True)
    else:
        assert (record.outcome, told[-1]["type"]) == ("completed", "speech.audio.done")
        assert told[-1]["usage"]["cost"] > 0
    assert record.audio_output_tokens > 0


def test_it_relays_endless_sound_in_flat_memory(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    world.sandbox.script("openai", "endless")
    body = call_of("speech", routes["tts-1"], response_format="pcm")["json"]
    before, got = resident_kib(world.gateway), 0
    with httpx.stream("POST", world.gateway.url + PATHS["speech"], json=body, headers=ready.headers, timeout=30) as answer:
        for piece in answer.iter_bytes():
            got += len(piece)
            if got > 60_000_000:
                break
        assert resident_kib(world.gateway) - before < 40_000
    await_true(lambda: bool(ready.records()))
    [record] = ready.records()
    assert record.characters == len(TEXT), "never more than the text has"


def resident_kib(gateway: Gateway) -> int:
    lines = Path(f"/proc/{gateway.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


# ── Callers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("surface", PATHS)
def test_it_names_a_model_that_is_not_served_at_the_address(
    world: World, ready: Tenant, routes: dict[str, str], surface: str
) -> None:
    chat = world.route("openai", "gpt-4o-mini", name=f"chat/of-{surface}").name
    wrong = routes["moderation" if surface != "moderations" else "tts-1"]
    world.await_served(ready, chat)
    for model in (chat, wrong, "no/such-model"):
        answer = ask(world, ready, surface, model)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (404, "model", "model_not_found")
        assert model in error["message"]
    refused = httpx.post(
        f"{world.gateway.url}/v1/chat/completions", headers=ready.headers,
        json={"model": wrong, "messages": [{"role": "user", "content": "Oi"}]},
    )  # fmt: skip
    assert refused.status_code == 404
    assert ready.records() == []


HOSTILE: list[tuple[str, dict[str, Any], int]] = [
    ("images", {"content": b"{"}, 400),
    ("images", {"content": b'{"prompt":' + b"[" * 5_000 + b"]" * 5_000 + b"}"}, 400),
    ("images", {"json": {f"f{number}": number for number in range(10_000)}}, 400),
    ("images", {"json": {"model": "m", "prompt": {"a": 1}}}, 400),
    ("images", {"json": {"model": "m", "prompt": "x", "n": 10**40}}, 400),
    ("speech", {"json": {"model": "m", "input": "x" * 100_000, "voice": "v"}}, 400),
    ("speech", {"json": {"model": "m", "input": ["x"] * 10_000, "voice": "v"}}, 400),
    ("moderations", {"json": {"input": [["x"]] * 1_000}}, 400),
    ("moderations", {"json": []}, 400),
    ("edits", {"json": {"model": "m", "prompt": "x"}}, 400),
    ("edits", {"data": {"model": "m", "prompt": "x"}, "files": {"image": ("a.exe", b"MZ", "image/png")}}, 400),
    ("edits", {"data": {f"f{number}": "x" for number in range(10_000)}, "files": {"image": b"x"}}, 400),
    ("transcriptions", {"json": {"model": "m"}}, 415),
    ("transcriptions", {"content": b"--x\r\n\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
    ("transcriptions", {"content": b"--x\r\n" * 100_000, "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
    ("transcriptions", {"content": b"abc", "headers": {"content-type": "multipart/form-data"}}, 400),
    ("transcriptions", {"content": b"abc", "headers": {"content-encoding": "gzip"}}, 415),
    ("transcriptions", {"data": {"model": "m"}, "files": {"file": ("a.txt", b"hello", "text/plain")}}, 400),
    ("transcriptions", {"data": {"model": "m"}, "files": [("file", ("a.wav", WAV))] * 2}, 400),
    ("transcriptions", {"data": {"model": "m", "api_key": "x"}, "files": {"file": ("a.wav", WAV)}}, 400),
    ("translations", {"data": {"model": "m", "stream": "true"}, "files": {"file": ("a.wav", WAV)}}, 400),
    ("transcriptions", {"data": {"model": "m"}, "files": {"file": ("a.wav", bytes(26 * 1_048_576))}}, 413),
    ("transcriptions", {"content": bytes(28 * 1_048_576), "headers": {"content-type": "multipart/form-data; boundary=x"}}, 413),
]


@pytest.mark.parametrize(("surface", "sent", "status"), HOSTILE, ids=range(len(HOSTILE)))
def test_it_refuses_hostile_calls_in_time_and_holds_nothing(
    world: World, ready: Tenant, surface: str, sent: dict[str, Any], status: int
) -> None:
    headers = {**ready.headers, **sent.get("headers", {})}
    sent = {name: value for name, value in sent.items() if name != "headers"}
    with httpx.Client(base_url=world.gateway.url, headers=ready.headers, timeout=30) as client:
        assert client.get("/v1/models").status_code == 200  # connected
        best = 1e9
        for _ in range(3):
            request = client.build_request("POST", PATHS[surface], headers=headers, **sent)
            size = len(request.read())
            began = time.perf_counter()
            try:
                answer = client.send(request)
            except (httpx.WriteError, httpx.ReadError):  # a body that is refused by its length alone is not read
                assert status == 413
                return
            best = min(best, time.perf_counter() - began)
    assert answer.status_code == status, answer.text[:300]
    error = answer.json()["error"]
    assert error["message"] and error["type"] == "invalid_request_error"
    assert best < (0.05 if size < 5_000_000 else 0.5)
    assert ready.records() == []
    free(ready)


@pytest.mark.parametrize("surface", PATHS)
def test_it_knows_its_methods_and_keys(world: World, ready: Tenant, surface: str) -> None:
    for method in ("GET", "DELETE", "PUT"):
        assert httpx.request(method, world.gateway.url + PATHS[surface], headers=ready.headers).status_code == 405
    assert httpx.post(world.gateway.url + PATHS[surface]).status_code == 401


@pytest.mark.parametrize(
    ("surface", "key", "fields", "param"),
    [
        ("transcriptions", "4o", {"response_format": "srt"}, "response_format"),
        ("transcriptions", "whisper", {"stream": "true"}, "stream"),
        ("transcriptions", "voxtral", {"prompt": "PIX"}, "prompt"),
        ("translations", "4o", {}, "model"),
        ("translations", "voxtral", {}, "model"),
        ("speech", "tts-1", {"stream_format": "sse"}, "stream_format"),
        ("speech", "tts-1", {"instructions": "baixo"}, "instructions"),
        ("images", "image", {"response_format": "url"}, "response_format"),
        ("images", "image", {"style": "vivid"}, "style"),
        ("edits", "image", {"quality": "hd"}, "quality"),
    ],
)
def test_it_refuses_before_money_what_a_model_can_not_do(
    world: World, ready: Tenant, routes: dict[str, str], surface: str, key: str, fields: dict[str, Any], param: str
) -> None:
    answer = ask(world, ready, surface, routes[key], **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert ready.records() == []
    assert world.sandbox.ledger()["totals"] == []


def test_it_tells_the_provider_s_own_refusal_and_charges_nothing(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    answer = ask(world, ready, "images", routes["image"], background="transparent", output_format="jpeg")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "background")
    free(ready)


@pytest.mark.parametrize(("surface", "key"), [("images", "image"), ("speech", "tts-1"), ("transcriptions", "whisper")])
def test_it_wants_the_money_first(world: World, routes: dict[str, str], surface: str, key: str) -> None:
    poor = world.tenant(brl="0.000001")
    world.await_served(poor, routes[key])
    world.sandbox.post("/llm/__reset")
    answer = ask(world, poor, surface, routes[key])
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "insufficient_balance")
    assert world.sandbox.ledger()["totals"] == []


def test_it_serves_no_route_without_a_price_for_what_it_makes(world: World, tenant: Tenant) -> None:
    world.route("openai", "gpt-image-1-mini", name="half/priced", units={"input": "10"}, surface="images")
    world.await_served(tenant, "half/priced")
    answer = ask(world, tenant, "images", "half/priced")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "price_missing")


def test_it_keeps_no_file_and_logs_none_of_it(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    mark = b"SEGREDO-DO-CLIENTE"
    files = {"file": ("segredo-no-nome.wav", WAV + mark, "audio/wav")}
    url = world.gateway.url + PATHS["transcriptions"]
    data = {"model": routes["whisper"], "prompt": mark.decode()}
    assert httpx.post(url, data=data, files=files, headers=ready.headers, timeout=30).status_code == 200
    world.sandbox.script("openai", "500")
    assert httpx.post(url, data=data, files=files, headers=ready.headers, timeout=30).status_code == 502
    log = world.gateway.log.read_bytes()
    assert mark not in log
    assert b"segredo-no-nome" not in log
    assert base64.b64encode(mark) not in log
    for opened in Path(f"/proc/{world.gateway.pid}/fd").iterdir():
        target = str(opened.resolve())
        assert not target.endswith((".wav", ".tmp")), target


def test_it_bounds_all_uploads_together(world: World, ready: Tenant, routes: dict[str, str], tmp_path: Path) -> None:
    """Two bodies under way are more than this gateway keeps: the second is refused, and served when the first has gone."""
    small = Gateway(tmp_path, GATEWAY_UPLOADS_BYTES_MAX="700000")
    small.start()
    try:
        world.await_served(ready, routes["whisper"], gateway=small)
        with socket.create_connection(("127.0.0.1", int(small.url.rpartition(":")[2]))) as slow:
            slow.sendall(
                f"POST {PATHS['transcriptions']} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ready.secret}\r\n"
                "content-type: multipart/form-data; boundary=x\r\ncontent-length: 400000\r\n\r\n--x".encode()
            )
            time.sleep(0.3)
            answer = ask(world, ready, "transcriptions", routes["whisper"], gateway=small)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        await_true(
            lambda: ask(world, ready, "transcriptions", routes["whisper"], gateway=small).status_code == 200,
            why="room is given back",
        )
    finally:
        small.stop()
