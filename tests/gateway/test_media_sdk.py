"""The official SDK over every surface of media: what a customer's program does, and what it pays."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import subprocess
import wave
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from billing.money import to_brl
from tests.gateway.media_cast import make_png, make_routes, make_wav, reconcile
from tests.gateway.world import Tenant, World

WAV = make_wav(12.4)


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return make_routes(world)


@pytest.fixture
def client(world: World, routes: dict[str, str], tenant: Tenant) -> Iterator[openai.OpenAI]:
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        yield client


def paid(tenant: Tenant, headers: httpx.Headers | Any) -> None:
    [record] = tenant.records()
    assert Decimal(headers["x-tokia-cost-brl"]) == to_brl(record.net_nanos)
    assert headers["x-request-id"] == str(record.id)


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_draws_and_bills_tokens_by_kind(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    raw = client.images.with_raw_response.generate(
        model=routes["image"], prompt="Um tucano de óculos", n=2, size="1536x1024", quality="high", response_format="b64_json"
    )
    answer = raw.parse()
    assert answer.data is not None
    assert [base64.b64decode(image.b64_json or "")[:4] for image in answer.data] == [b"\x89PNG"] * 2
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2 * 6_240
    paid(tenant, raw.headers)
    assert raw.headers["x-tokia-dropped-params"] == "response_format"
    [record] = reconcile(world, tenant, calls=1)
    assert record.image_output_tokens == 12_480
    assert (record.surface, record.usage_source, record.outcome) == ("images", "upstream", "completed")
    body = json.loads(raw.text, parse_float=Decimal)
    assert body["usage"]["cost"] == to_brl(record.net_nanos).normalize()
    assert record.gross_nanos == record.input_tokens * 10_000 + 12_480 * 60_000


def test_it_bills_pictures_one_by_one_where_they_are_priced_so(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant
) -> None:
    answer = client.images.generate(model=routes["image-each"], prompt="Um tucano", n=3)
    assert answer.data is not None
    [record] = tenant.records()
    assert (record.images, record.image_output_tokens, record.input_tokens) == (3, 0, 0)
    assert record.gross_nanos == record.hold_nanos == 750_000_000


def test_it_streams_partial_pictures(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    with client.images.generate(model=routes["image"], prompt="Um tucano", stream=True, partial_images=2) as stream:
        events: list[Any] = list(stream)
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    [record] = reconcile(world, tenant, calls=1)
    assert record.is_stream
    assert record.first_token_ms is not None
    assert events[-1].usage.cost == float(to_brl(record.net_nanos))
    assert events[-1].usage.output_tokens == record.image_output_tokens


@pytest.mark.parametrize("is_stream", [False, True])
def test_it_edits_real_pictures(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, is_stream: bool
) -> None:
    images = [("um.png", make_png(), "image/png"), ("dois.png", make_png(32, noise=300_000), "image/png")]
    answer: Any = client.images.edit(
        model=routes["image"], image=images, mask=("m.png", make_png(), "image/png"), prompt="Ponha um chapéu", size="1024x1024",
        quality="low", stream=is_stream, user="ana",
    )  # fmt: skip
    if is_stream:
        events = list(answer)
        assert events[-1].type == "image_edit.completed"
        usage = events[-1].usage
    else:
        usage = answer.usage
    [record] = reconcile(world, tenant, calls=1)
    assert usage.input_tokens_details.image_tokens == record.image_input_tokens == 3 * 323
    assert record.image_output_tokens == 272


def test_it_edits_one_picture_given_as_a_file(client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    file = io.BytesIO(make_png())
    file.name = "foto.png"
    answer = client.images.edit(model=routes["image"], image=file, prompt="Mais claro")
    assert answer.data
    assert tenant.records()[0].image_input_tokens == 323


def test_it_edits_pictures_by_address_in_json(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    address = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    url = f"{world.gateway.url}/v1/images/edits"
    body: dict[str, Any] = {"model": routes["image"], "prompt": "Mais claro", "images": [{"image_url": address}]}
    answer = httpx.post(url, json=body, headers=tenant.headers, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["input_tokens_details"]["image_tokens"] == 323
    for bad in (
        {"file_id": "file-1"}, {"image_url": "https://x.example/x.png"}, {"image_url": "data:image/png;base64,AAAA"},
        {"image_url": "data:image/png;base64,%%%"}, {"image_url": "data:text/html;base64,AAAA"},
    ):  # fmt: skip
        refused = httpx.post(url, json={**body, "images": [bad]}, headers=tenant.headers, timeout=30)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "images[0].image_url"
    many = {**body, "n": 2, "mask": {"image_url": address}, "quality": "low", "stream": False, "metadata": {}}
    refused = httpx.post(url, json=many, headers=tenant.headers, timeout=30)
    assert refused.json()["error"]["param"] == "metadata"
    assert httpx.post(url, json={**many, "metadata": None}, headers=tenant.headers, timeout=30).status_code == 200
    records = reconcile(world, tenant, calls=2)
    assert [record.image_input_tokens for record in records] == [323, 646]


# ── Speech ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
@pytest.mark.parametrize("key", ["tts-1", "mini-tts"])
def test_it_speaks(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, key: str, kind: Any) -> None:
    text = "Olá! Aqui fala a Tokia, em português do Brasil, com acentuação e tudo. " * 6
    answer = client.audio.speech.create(model=routes[key], voice="coral", input=text, response_format=kind)
    sound = answer.read()
    magic = {"mp3": b"\xff\xf3", "opus": b"OggS", "aac": b"\xff\xf1", "flac": b"fLaC", "wav": b"RIFF", "pcm": b"\x00\x00"}
    assert sound.startswith(magic[kind])
    if kind == "wav":
        with wave.open(io.BytesIO(sound)) as read:
            assert read.getnframes() / read.getframerate() == pytest.approx(len(text) / 15, abs=0.01)
    [record] = reconcile(world, tenant, calls=1)
    if key == "tts-1":
        assert (record.characters, record.gross_nanos) == (len(text), len(text) * 90_000)
    else:
        assert record.audio_output_tokens == -(-len(text) * 20 // 15)
        assert record.usage_source == "upstream"


def test_it_says_the_cost_of_short_speech_in_a_header(client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    raw = client.audio.speech.with_raw_response.create(model=routes["tts-1"], voice="alloy", input="Oi", response_format="opus")
    assert raw.headers["content-type"] == "audio/ogg"
    paid(tenant, raw.headers)


def test_it_streams_speech_as_bytes_and_as_events(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant
) -> None:
    text = "Uma frase mais longa, para que haja vários pedaços de som. " * 20
    with client.audio.speech.with_streaming_response.create(
        model=routes["mini-tts"], voice="coral", input=text, response_format="wav", instructions="Fale baixo"
    ) as streamed:
        pieces = list(streamed.iter_bytes())
    whole = b"".join(pieces)
    body = {"model": routes["mini-tts"], "voice": "coral", "input": text, "response_format": "wav", "stream_format": "sse",
            "instructions": "Fale baixo"}  # fmt: skip
    answer = httpx.post(f"{world.gateway.url}/v1/audio/speech", json=body, headers=tenant.headers, timeout=30)
    events = [json.loads(line[6:], parse_float=Decimal) for line in answer.text.split("\n") if line.startswith("data: ")]
    assert b"".join(base64.b64decode(event.get("audio", "")) for event in events) == whole
    assert events[-1]["type"] == "speech.audio.done"
    records = reconcile(world, tenant, calls=2)
    assert events[-1]["usage"]["cost"] == to_brl(records[1].net_nanos).normalize()
    assert records[0].audio_output_tokens == records[1].audio_output_tokens == events[-1]["usage"]["output_tokens"]


# ── Transcription ────────────────────────────────────────────────────────────────────────────────────────────────────
FORMATS = ["json", "text", "srt", "verbose_json", "vtt"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("key", ["whisper", "groq", "voxtral"])
def test_it_transcribes_in_every_format_by_the_second(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, key: str, kind: Any
) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        model=routes[key], file=("fala.wav", WAV, "audio/wav"), response_format=kind, language="pt"
    )
    text = raw.text
    digest = hashlib.sha256(WAV).hexdigest()[:16]
    assert digest in text, "the file came through byte for byte"
    if kind in ("json", "verbose_json"):
        body = json.loads(text, parse_float=Decimal)
        assert body["usage"]["seconds"] == 13
        assert "cost" in body["usage"]
        if kind == "verbose_json":
            assert body["duration"] in (13, Decimal("12.4"))
            assert body["segments"][0]["end"] == Decimal("12.4")
    if kind == "vtt":
        assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:12.400\nTranscrição")
    if kind == "srt":
        assert text.startswith("1\n00:00:00,000 --> 00:00:12,400\nTranscrição")
    paid(tenant, raw.headers)
    [record] = reconcile(world, tenant, calls=1)
    assert (record.audio_seconds, record.usage_source, record.surface) == (13, "upstream", "transcriptions")


def test_it_bills_the_least_that_a_host_bills(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    client.audio.transcriptions.create(model=routes["groq"], file=("a.wav", make_wav(0.5), "audio/wav"))
    [record] = reconcile(world, tenant, calls=1)
    assert record.audio_seconds == 10


@pytest.mark.parametrize("key", ["whisper", "groq"])
def test_it_translates(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, key: str) -> None:
    with pytest.deprecated_call():  # so says the SDK; people use it
        answer: Any = client.audio.translations.create(model=routes[key], file=("a.wav", WAV, "audio/wav"))
    assert answer.text.startswith("Simulated translation of 12.4 seconds")
    [record] = reconcile(world, tenant, calls=1)
    assert (record.surface, record.audio_seconds) == ("translations", 13)


@pytest.mark.parametrize("kind", ["json", "text"])
def test_it_transcribes_by_tokens(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, kind: Any) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        model=routes["4o"], file=("a.wav", WAV, "audio/wav"), response_format=kind, prompt="Nomes: Tokia, PIX"
    )
    assert "Transcrição simulada" in raw.text
    paid(tenant, raw.headers)
    [record] = reconcile(world, tenant, calls=1)
    assert record.audio_input_tokens == 124
    assert record.gross_nanos == record.input_tokens * 14_000 + 124 * 33_000 + record.output_tokens * 55_000


def test_it_streams_a_transcription(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    stream = client.audio.transcriptions.create(model=routes["4o"], file=("a.wav", WAV, "audio/wav"), stream=True)
    events: list[Any] = list(stream)
    assert "".join(event.delta for event in events[:-1]) == events[-1].text
    assert events[-1].type == "transcript.text.done"
    [record] = reconcile(world, tenant, calls=1)
    assert events[-1].usage.cost == float(to_brl(record.net_nanos))
    assert (record.is_stream, record.outcome) == (True, "completed")


# ── Moderation ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_moderates(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    raw = client.moderations.with_raw_response.create(model=routes["moderation"], input=["Bom dia", "vou matar o processo"])
    answer = raw.parse()
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence
    paid(tenant, raw.headers)
    [record] = reconcile(world, tenant, calls=1)
    assert (record.requests, record.gross_nanos) == (1, 100_000)
    address = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    parts: Any = [{"type": "text", "text": "Oi"}, {"type": "image_url", "image_url": {"url": address}}]
    assert len(client.moderations.create(model=routes["moderation"], input=parts).results) == 1


# ── All at once ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_serves_the_async_sdk_on_every_surface(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant
) -> None:
    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as asked:

            async def read_events(stream: Any) -> list[Any]:
                return [event async for event in stream]

            sound = ("a.wav", WAV, "audio/wav")
            with pytest.deprecated_call():
                translation = asked.audio.translations.create(model=routes["whisper"], file=sound)
            await asyncio.gather(
                asked.images.generate(model=routes["image"], prompt="Um tucano", quality="low"),
                asked.images.edit(model=routes["image"], image=("a.png", make_png(), "image/png"), prompt="Azul", quality="low"),
                asked.audio.speech.create(model=routes["tts-1"], voice="alloy", input="Olá, mundo"),
                asked.audio.speech.create(model=routes["mini-tts"], voice="alloy", input="Olá, mundo"),
                asked.audio.transcriptions.create(model=routes["whisper"], file=sound),
                asked.audio.transcriptions.create(model=routes["groq"], file=sound, response_format="srt"),
                translation,
                asked.moderations.create(model=routes["moderation"], input="Oi"),
            )
            stream = await asked.audio.transcriptions.create(model=routes["4o"], file=sound, stream=True)
            assert (await read_events(stream))[-1].type == "transcript.text.done"
            pictures = await asked.images.generate(model=routes["image"], prompt="Um tucano", stream=True, quality="low")
            assert [event.type for event in await read_events(pictures)] == ["image_generation.completed"]

    asyncio.run(run())
    reconcile(world, tenant, calls=10)


@pytest.mark.curl
@pytest.mark.parametrize("header", ["Expect: 100-continue", "Transfer-Encoding: chunked", "Accept-Language: en"])
def test_it_takes_a_large_file_from_curl(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, tmp_path: Path, header: str
) -> None:
    """It asks to go on before it sends, or does not say how much it will send."""
    sound = tmp_path / 'um "nome" de arquivo.wav'
    sound.write_bytes(make_wav(300))
    command = ["curl", "-sS", "--fail-with-body", "-m", "30", "-H", f"Authorization: Bearer {tenant.secret}", "-H", header]
    command += ["-F", f"model={routes['whisper']}", "-F", f'file=@"{str(sound).replace(chr(34), chr(92) + chr(34))}"']
    told = subprocess.run([*command, f"{world.gateway.url}/v1/audio/transcriptions"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["usage"]["seconds"] == 300
    [record] = reconcile(world, tenant, calls=1)
    assert record.audio_seconds == 300


NODE = """
const [url, key, model] = process.argv.slice(1);
const form = new FormData();
form.set("model", model);
form.append("timestamp_granularities[]", "segment");
form.append("timestamp_granularities[]", "word");
form.set("response_format", "verbose_json");
let wav = [];
process.stdin.on("data", (piece) => wav.push(piece)).on("end", async () => {
  form.set("file", new File(wav, "ação \\"1\\".wav", { type: "audio/wav" }));
  const answer = await fetch(url, { method: "POST", body: form, headers: { authorization: `Bearer ${key}` } });
  console.log(JSON.stringify({ status: answer.status, told: await answer.json() }));
});
"""


@pytest.mark.node
def test_it_takes_a_form_from_javascript(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    url = f"{world.gateway.url}/v1/audio/transcriptions"
    told = subprocess.run(
        ["node", "-e", NODE, url, tenant.secret, routes["whisper"]], input=WAV, capture_output=True, check=True, timeout=60
    )
    answer = json.loads(told.stdout)
    assert (answer["status"], answer["told"]["usage"]["seconds"]) == (200, 13), answer
    assert hashlib.sha256(WAV).hexdigest()[:16] in answer["told"]["text"]
