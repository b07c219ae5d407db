"""Pictures, sound and moderation as OpenAI, Groq and Mistral serve them: the official SDK is happy, slips are refused."""

from __future__ import annotations

import base64
import io
import wave
import zlib
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.media_cast import make_png, make_wav
from tests.sandbox.conftest import Sandbox

WAV = make_wav(3.2)


@pytest.fixture
def client(sandbox: Sandbox) -> openai.OpenAI:
    sandbox.post("/llm/__reset")
    return openai.OpenAI(base_url=f"{sandbox.url}/llm/openai/v1", api_key="sandbox-openai", max_retries=0)


def test_it_draws_real_pictures_of_the_size_that_was_asked(client: openai.OpenAI, sandbox: Sandbox) -> None:
    answer = client.images.generate(model="gpt-image-1-mini", prompt="Um tucano", size="1024x1536", quality="low")
    assert answer.data is not None
    picture = base64.b64decode(answer.data[0].b64_json or "")
    assert (picture[:8], int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (b"\x89PNG\r\n\x1a\n", 1024, 1536)
    length = int.from_bytes(picture[33:37])
    assert len(zlib.decompress(picture[41 : 41 + length])) == 1536 * (1 + 3 * 1024)
    call = sandbox.last_call()
    assert answer.usage is not None
    assert (call["usage"]["image_output_tokens"], call["usage"]["images"]) == (answer.usage.output_tokens, 1) == (408, 1)


def test_it_speaks_a_wav_as_long_as_the_text(client: openai.OpenAI, sandbox: Sandbox) -> None:
    sound = client.audio.speech.create(model="tts-1", voice="alloy", input="a" * 30, response_format="wav").read()
    with wave.open(io.BytesIO(sound)) as read:
        assert read.getnframes() / read.getframerate() == 2.0
    assert sandbox.last_call()["usage"]["characters"] == 30


def test_it_bills_a_sound_by_its_own_header(client: openai.OpenAI, sandbox: Sandbox) -> None:
    answer: Any = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV), response_format="verbose_json")
    assert (answer.duration, answer.usage.seconds) == (3.2, 4)
    assert sandbox.last_call()["usage"]["audio_seconds"] == 4
    text = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV), response_format="text")
    assert "3.2 segundos" in str(text)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("images/generations", {"model": "gpt-image-2", "prompt": "x", "response_format": "b64_json"}, "response_format"),
        ("images/generations", {"model": "gpt-image-2", "prompt": "x", "style": "vivid"}, "style"),
        ("images/generations", {"model": "gpt-image-2", "prompt": "x", "n": 11}, "n"),
        ("images/generations", {"model": "gpt-image-2", "prompt": "x", "n": "two"}, "n"),
        ("images/generations", {"model": "gpt-image-2", "prompt": "x", "quality": "hd"}, "quality"),
        ("images/generations", {"model": "gpt-image-1-mini", "prompt": "x", "size": "640x480"}, "size"),
        ("images/generations", {"model": "gpt-image-2", "prompt": "x", "seed": 1}, "seed"),
        ("images/generations", {"model": "gpt-image-2"}, "prompt"),
        ("images/edits", {"model": "gpt-image-2", "prompt": "x"}, "image"),
        ("audio/speech", {"model": "tts-1", "input": "x", "voice": "v", "stream_format": "sse"}, "stream_format"),
        ("audio/speech", {"model": "tts-1", "input": "x", "voice": "v", "instructions": "y"}, "instructions"),
        ("audio/speech", {"model": "tts-1", "input": "x"}, "voice"),
        ("audio/speech", {"model": "tts-1", "input": "x", "voice": "v", "response_format": "ogg"}, "response_format"),
        ("audio/speech", {"model": "tts-1", "input": "x" * 4_097, "voice": "v"}, "input"),
        ("moderations", {"input": "x", "drop_params": True}, "drop_params"),
    ],
)
def test_it_refuses_what_openai_refuses(sandbox: Sandbox, path: str, body: dict[str, Any], param: str) -> None:
    answer = sandbox.http.post(f"/llm/openai/v1/{path}", json=body, headers={"authorization": "Bearer sandbox-openai"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


@pytest.mark.parametrize("model", ["dall-e-3", "gpt-image-1", "gpt-4o"])
def test_it_serves_no_retired_model(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError):
        client.images.generate(model=model, prompt="x")


@pytest.mark.parametrize(
    ("slug", "prefix", "fields", "status"),
    [
        ("openai", "/v1", {"model": "gpt-4o-transcribe", "response_format": "srt"}, 400),
        ("openai", "/v1", {"model": "whisper-1", "timestamp_granularities[]": "word"}, 400),
        ("openai", "/v1", {"model": "whisper-1", "file_url": "x"}, 400),
        ("groq", "/openai/v1", {"model": "whisper-large-v3", "response_format": "srt"}, 400),
        ("groq", "/openai/v1", {"model": "whisper-large-v3"}, 200),
        ("mistral", "/v1", {"model": "voxtral-mini-2602", "response_format": "json"}, 422),
        ("mistral", "/v1", {"model": "voxtral-mini-2602"}, 200),
    ],
)
def test_it_refuses_what_each_host_can_not_hear(
    sandbox: Sandbox, slug: str, prefix: str, fields: dict[str, str], status: int
) -> None:
    answer = sandbox.http.post(
        f"/llm/{slug}{prefix}/audio/transcriptions", data=fields, files={"file": ("a.wav", WAV)},
        headers={"authorization": f"Bearer sandbox-{slug}"},
    )  # fmt: skip
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "body", [b"", b"--x--", b"--x\r\n\r\nno head\r\n--x--", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb"]
)
def test_it_refuses_broken_forms(sandbox: Sandbox, body: bytes) -> None:
    headers = {"authorization": "Bearer sandbox-openai", "content-type": "multipart/form-data; boundary=x"}
    assert sandbox.http.post("/llm/openai/v1/audio/transcriptions", content=body, headers=headers).status_code == 400


def test_it_wants_its_key_and_real_pictures(sandbox: Sandbox) -> None:
    url, good = "/llm/openai/v1/images/edits", {"authorization": "Bearer sandbox-openai"}
    data = {"model": "gpt-image-2", "prompt": "x"}

    def edit(file: bytes, headers: dict[str, str]) -> httpx.Response:
        return sandbox.http.post(url, data=data, files={"image": ("a.png", file)}, headers=headers)

    assert edit(make_png(), {}).status_code == 401
    assert edit(b"GIF89a", good).json()["error"]["code"] == "invalid_image_file"
    assert edit(make_png(), good).status_code == 200
