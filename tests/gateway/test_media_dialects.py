"""Calls for media, read and said to every host; their answers, read under any re-chunking; what they bill."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import PriceList, UnitPrice, Usage
from gateway.calls import ServedDeployment, ServedRoute
from gateway.dialects import azure_media, openai_images, openai_moderations, openai_speech, openai_transcriptions
from gateway.dialects.media import MediaTally
from gateway.errors import AnswerBroken, BadRequest, GatewayError, UpstreamError
from gateway.images_call import bound_of, parse_edit_form, parse_edit_json, parse_generation
from gateway.lanes import Settled
from gateway.media import Basis, clamp, priced_part
from gateway.media_events import EventsReader
from gateway.moderation_call import parse_moderation
from gateway.multipart import File, Form, parse_form
from gateway.speech import Sound, SoundOfEvents
from gateway.speech_call import bound_of as bound_of_speech
from gateway.speech_call import counted_of as counted_of_speech
from gateway.speech_call import parse_speech
from gateway.transcription_call import check_route, parse_transcription
from tests.gateway.media_cast import make_png, make_wav

SETTLED = Settled(net_nanos=5, gross_nanos=5, is_estimate=False)
NANOS = UnitPrice(amount_nanos=1_000_000, per_units=1)


def prices(*units: str) -> PriceList:
    return PriceList(1, "1", dict.fromkeys(units, NANOS))


def deployment(slug: str = "openai", *, model: str = "the-model", is_strict: bool = True) -> ServedDeployment:
    return ServedDeployment(
        id=1, provider_slug=slug, provider_name=slug, dialect="openai", base_url="https://host/v1", upstream_model=model,
        priority=0, weight=1, secret="sk-x", is_strict=is_strict, is_simulated=False,
    )  # fmt: skip


def route(*capabilities: str) -> ServedRoute:
    return ServedRoute(
        name="a/b", display_name="b", maker="a", surface="images", description="", context_tokens=1_000, output_tokens_max=0,
        output_tokens_default=0, token_factor_percent=105, capabilities=capabilities, is_reasoning=False, created=0, prices=None,
        deployments=(),
    )  # fmt: skip


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def image_form(*names: str, **fields: str) -> Form:
    return Form(list(fields.items()), [File(name, memoryview(make_png()), "png", "image/png") for name in names])


def sound_form(data: bytes | None = None, /, **fields: str) -> Form:
    file = File("file", memoryview(make_wav(2) if data is None else data), "wav", "audio/wav")
    return Form(list({"model": "m", **fields}.items()), [file])


def param_of(call: Any, *args: Any, **kwargs: Any) -> str | None:
    with pytest.raises(GatewayError) as refused:
        call(*args, **kwargs)
    assert refused.value.status in (400, 413)
    return refused.value.param


# ── What is refused, by name ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "m"}, "prompt"),
        ({"prompt": "x"}, "model"),
        ({"model": "m", "prompt": ""}, "prompt"),
        ({"model": "m", "prompt": "x" * 32_001}, "prompt"),
        ({"model": "m", "prompt": 5}, "prompt"),
        ({"model": "m", "prompt": "x", "n": 0}, "n"),
        ({"model": "m", "prompt": "x", "n": 11}, "n"),
        ({"model": "m", "prompt": "x", "n": 10**30}, "n"),
        ({"model": "m", "prompt": "x", "n": "2"}, "n"),
        ({"model": "m", "prompt": "x", "size": "1x1"}, "size"),
        ({"model": "m", "prompt": "x", "size": "9999x9999"}, "size"),
        ({"model": "m", "prompt": "x", "size": "1024x1024x"}, "size"),
        ({"model": "m", "prompt": "x", "quality": "best"}, "quality"),
        ({"model": "m", "prompt": "x", "output_format": "svg"}, "output_format"),
        ({"model": "m", "prompt": "x", "output_format": "gif"}, "output_format"),
        ({"model": "m", "prompt": "x", "output_compression": 101}, "output_compression"),
        ({"model": "m", "prompt": "x", "partial_images": 2}, "partial_images"),
        ({"model": "m", "prompt": "x", "partial_images": 4, "stream": True}, "partial_images"),
        ({"model": "m", "prompt": "x", "response_format": "png"}, "response_format"),
        ({"model": "m", "prompt": "x", "api_base": "http://x"}, "api_base"),
    ],
)
def test_it_refuses_bad_calls_for_pictures(fields: dict[str, Any], param: str) -> None:
    assert param_of(parse_generation, body(**fields)) == param


def test_it_refuses_bad_forms_with_pictures() -> None:
    good = {"model": "m", "prompt": "x"}
    assert param_of(parse_edit_form, image_form(**good)) == "image"
    assert param_of(parse_edit_form, image_form(*["image[]"] * 17, **good)) == "image"
    assert param_of(parse_edit_form, image_form("image", "other", **good)) == "other"
    assert param_of(parse_edit_form, image_form("image", **good, n="two")) == "n"
    assert param_of(parse_edit_form, image_form("image", **good, base_url="http://x")) == "base_url"
    assert param_of(parse_edit_form, image_form("image", model="m")) == "prompt"
    assert param_of(parse_edit_form, Form(list(good.items()), [File("image", memoryview(b""), "png", "")])) == "image"
    assert param_of(parse_edit_form, Form(list(good.items()), [File("image", memoryview(b"GIF89a"), "gif", "")])) == "image"
    assert param_of(parse_edit_json, body(**good)) == "images"
    assert param_of(parse_edit_json, body(**good, images=[{"image_url": "https://x.example/a.png"}])) == "images[0].image_url"
    call = parse_edit_form(image_form("image", "mask", **good, n="2", stream="True", partial_images="1"))
    assert (call.n, call.is_stream, call.input_images) == (2, True, 2)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": "x", "voice": "v"}, "model"),
        ({"model": "m", "input": "", "voice": "v"}, "input"),
        ({"model": "m", "input": "x" * 4_097, "voice": "v"}, "input"),
        ({"model": "m", "input": "x"}, "voice"),
        ({"model": "m", "input": "x", "voice": ""}, "voice"),
        ({"model": "m", "input": "x", "voice": {"id": 5}}, "voice.id"),
        ({"model": "m", "input": "x", "voice": "v", "speed": 0.1}, "speed"),
        ({"model": "m", "input": "x", "voice": "v", "speed": 1e300}, "speed"),
        ({"model": "m", "input": "x", "voice": "v", "response_format": "ogg"}, "response_format"),
        ({"model": "m", "input": "x", "voice": "v", "stream_format": "x"}, "stream_format"),
    ],
)
def test_it_refuses_bad_calls_for_speech(fields: dict[str, Any], param: str) -> None:
    assert param_of(parse_speech, body(**fields)) == param


def test_it_refuses_bad_calls_for_ears() -> None:
    def asked(data: bytes | None = None, *, translation: bool = False, **fields: str) -> str | None:
        return param_of(parse_transcription, sound_form(data, **fields), is_translation=translation)

    assert asked(model="") == "model"
    assert asked(response_format="xml") == "response_format"
    assert asked(temperature="2") == "temperature"
    assert asked(temperature="hot") == "temperature"
    assert asked(stream="maybe") == "stream"
    assert asked(b"") == "file"
    assert asked(translation=True, stream="true") == "stream"
    assert asked(translation=True, response_format="diarized_json") == "response_format"
    assert param_of(parse_transcription, Form([("model", "m")], []), is_translation=False) == "file"
    text = Form([("model", "m")], [File("file", memoryview(b"hello there"), "txt", "text/plain")])
    assert param_of(parse_transcription, text, is_translation=False) == "file"
    large = Form([("model", "m")], [File("file", memoryview(bytes(26 * 1_048_576)), "wav", "")])
    assert param_of(parse_transcription, large, is_translation=False) == "file"
    nameless = Form([("model", "m")], [File("file", memoryview(make_wav(1)), "", "")])
    assert parse_transcription(nameless, is_translation=False).file.extension == "wav"


@pytest.mark.parametrize(
    ("fields", "capabilities", "is_translation", "param"),
    [
        ({"response_format": "srt"}, (), False, "response_format"),
        ({"response_format": "srt"}, ("timestamps",), False, None),
        ({"response_format": "diarized_json"}, ("timestamps",), False, "response_format"),
        ({"stream": "true"}, ("timestamps",), False, "stream"),
        ({"stream": "true"}, ("streaming",), False, None),
        ({"stream": "true", "response_format": "vtt"}, ("streaming", "timestamps"), False, "stream"),
        ({"timestamp_granularities[]": "word"}, ("timestamps",), False, "timestamp_granularities"),
        ({"timestamp_granularities[]": "word", "response_format": "verbose_json"}, ("timestamps",), False, None),
        ({}, (), True, "model"),
        ({}, ("translation",), True, None),
    ],
)
def test_it_refuses_what_a_route_can_not_hear(
    fields: dict[str, str], capabilities: tuple[str, ...], is_translation: bool, param: str | None
) -> None:
    call = parse_transcription(sound_form(**fields), is_translation=is_translation)
    if param is None:
        check_route(call, route(*capabilities))
    else:
        assert param_of(check_route, call, route(*capabilities)) == param


def test_it_refuses_bad_calls_for_moderation() -> None:
    assert parse_moderation(body(input="x")).model == "omni-moderation-latest"
    for given_input in ([], ["x", {"type": "text", "text": "y"}], [{"type": "file"}], ["x"] * 513, 5, None):
        assert (param_of(parse_moderation, body(input=given_input)) or "").startswith("input")


# ── What hosts are asked ─────────────────────────────────────────────────────────────────────────────────────────────
def test_it_asks_strict_hosts_only_what_they_take() -> None:
    call = parse_generation(body(model="m", prompt="x", response_format="b64_json", background="opaque"))
    request = openai_images.images_request(call, deployment())
    assert json.loads(request.body) == {"model": "the-model", "prompt": "x", "background": "opaque"}
    assert request.dropped == ("response_format",)
    loose = openai_images.images_request(call, deployment(is_strict=False))
    assert json.loads(loose.body)["response_format"] == "b64_json"
    for fields in ({"response_format": "url"}, {"style": "vivid"}, {"quality": "hd"}):
        asked = parse_generation(body(model="m", prompt="x", **fields))
        assert param_of(openai_images.images_request, asked, deployment()) == next(iter(fields))
        dropped = parse_generation(body(model="m", prompt="x", drop_params=True, **fields))
        request = openai_images.images_request(dropped, deployment())
        assert request.dropped == tuple(fields)
        assert json.loads(request.body) == {"model": "the-model", "prompt": "x"}


def test_it_asks_each_host_for_a_format_that_tells_the_seconds() -> None:
    def asked(slug: str, kind: str, *, by_second: bool = True, **fields: str) -> dict[str, str]:
        call = parse_transcription(sound_form(response_format=kind, **fields), is_translation=False)
        request = openai_transcriptions.transcription_request(call, deployment(slug), by_second=by_second)
        form = parse_form(request.body, dict(request.headers)["content-type"].encode())
        assert bytes(form.files[0].data) == make_wav(2)
        return dict(form.texts)

    assert asked("openai", "json")["response_format"] == "json"
    assert asked("openai", "text")["response_format"] == "json"
    assert asked("openai", "srt")["response_format"] == "verbose_json"
    assert asked("openai", "text", by_second=False)["response_format"] == "json"
    assert asked("groq", "json")["response_format"] == "verbose_json"
    assert asked("groq", "vtt")["response_format"] == "verbose_json"
    assert asked("mistral", "json") == {"model": "the-model"}
    assert asked("mistral", "srt") == {"model": "the-model", "timestamp_granularities[]": "segment"}
    with pytest.raises(BadRequest):
        asked("mistral", "json", prompt="PIX")
    assert "prompt" not in asked("mistral", "json", prompt="PIX", drop_params="true")
    assert asked("openai", "json", prompt="PIX", language="pt")["language"] == "pt"


def test_it_asks_for_events_where_tokens_are_billed() -> None:
    call = parse_speech(body(model="m", input="x", voice="v", instructions="low", stream_format="audio"))
    sent = json.loads(openai_speech.speech_request(call, deployment(), as_events=True).body)
    assert sent == {"model": "the-model", "input": "x", "voice": "v", "instructions": "low", "stream_format": "sse"}
    assert "stream_format" not in json.loads(openai_speech.speech_request(call, deployment(), as_events=False).body)
    assert param_of(openai_speech.speech_request, call, deployment(model="tts-1"), as_events=False) == "instructions"


def test_it_asks_azure_at_its_own_addresses() -> None:
    pictures = parse_generation(body(model="m", prompt="x"))
    ears = parse_transcription(sound_form(), is_translation=True)
    voice = parse_speech(body(model="m", input="x", voice="v"))
    dated = dataclasses.replace(deployment("azure"), base_url="https://me.openai.azure.com")
    for request, verb in (
        (azure_media.images_request(pictures, dated), "images/generations"),
        (azure_media.speech_request(voice, dated, as_events=True), "audio/speech"),
        (azure_media.transcription_request(ears, dated, by_second=True), "audio/translations"),
    ):
        assert request.url == f"https://me.openai.azure.com/openai/deployments/the-model/{verb}?api-version=2024-10-21"
        assert ("api-key", "sk-x") in request.headers
        assert "authorization" not in dict(request.headers)


# ── What answers bill ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("usage", "expected", "is_suspect"),
    [
        (
            {"input_tokens": 30, "output_tokens": 300, "input_tokens_details": {"image_tokens": 20, "text_tokens": 10}},
            Usage(input_tokens=10, image_input_tokens=20, image_output_tokens=300, images=1),
            False,
        ),
        (
            {"input_tokens": 9, "output_tokens": 300, "output_tokens_details": {"image_tokens": 290, "text_tokens": 10}},
            Usage(input_tokens=9, output_tokens=10, image_output_tokens=290, images=1),
            False,
        ),
        (
            {"input_tokens": 30, "output_tokens": 300, "input_tokens_details": {"image_tokens": 50, "text_tokens": 10}},
            Usage(image_input_tokens=30, image_output_tokens=300, images=1),
            True,
        ),
        ({"input_tokens": -5, "output_tokens": -5}, Usage(images=1), True),
        ({"input_tokens": "5", "output_tokens": "6"}, None, True),
        (None, Usage(images=1), False),
    ],
)
def test_it_reads_the_tokens_of_pictures(usage: Any, expected: Usage | None, is_suspect: bool) -> None:
    told = {"created": 1, "data": [{"b64_json": "x"}], **({"usage": usage} if usage else {})}
    answer = openai_images.read_images(json.dumps(told).encode())
    assert (answer.tally.usage, answer.tally.is_suspect) == (expected, is_suspect)
    assert json.loads(answer.with_usage(b'{"cost":1}'))["usage"] == {"cost": 1}


@pytest.mark.parametrize(
    ("slug", "told", "seconds", "is_suspect"),
    [
        ("openai", {"usage": {"type": "duration", "seconds": 12.4}}, 13, False),
        ("openai", {"usage": {"type": "duration", "seconds": 12.0000001}}, 12, False),
        ("openai", {"usage": {"type": "duration", "seconds": 0}}, 1, False),
        ("openai", {"duration": 12.4}, 13, False),
        ("groq", {"duration": 2.5}, 10, False),
        ("groq", {"duration": 12.5}, 13, False),
        ("mistral", {"usage": {"prompt_audio_seconds": 4, "prompt_tokens": 9}}, 4, False),
        ("openai", {"usage": {"type": "duration", "seconds": -3}}, None, True),
        ("openai", {"usage": {"type": "duration", "seconds": 1e300}}, None, True),
        ("openai", {"usage": {"type": "duration", "seconds": []}}, None, True),
        ("openai", {}, None, False),
    ],
)
def test_it_reads_the_seconds_of_sounds(slug: str, told: dict[str, Any], seconds: int | None, is_suspect: bool) -> None:
    call = parse_transcription(sound_form(), is_translation=False)
    answer = openai_transcriptions.read_transcription(call, json.dumps({"text": "oi", **told}).encode(), deployment(slug))
    assert answer.tally.is_suspect == is_suspect
    assert answer.tally.usage == (None if seconds is None else Usage(audio_seconds=seconds))


def test_it_reads_the_tokens_of_sounds() -> None:
    call = parse_transcription(sound_form(), is_translation=False)
    usage = {
        "type": "tokens",
        "input_tokens": 124,
        "input_token_details": {"audio_tokens": 120, "text_tokens": 4},
        "output_tokens": 9,
    }
    answer = openai_transcriptions.read_transcription(call, json.dumps({"text": "oi", "usage": usage}).encode(), deployment())
    assert answer.tally.usage == Usage(input_tokens=4, audio_input_tokens=120, output_tokens=9)
    usage["input_token_details"] = {"audio_tokens": 500, "text_tokens": 4}
    answer = openai_transcriptions.read_transcription(call, json.dumps({"text": "oi", "usage": usage}).encode(), deployment())
    assert answer.tally.is_suspect
    assert answer.tally.usage == Usage(audio_input_tokens=124, output_tokens=9)


@pytest.mark.parametrize(
    "told", [b"", b"[]", b"{}", b'{"data":[]}', b'{"data":5}', b"<html>", b'{"text":5}', b'{"results":[{}]}', b"\xff"]
)
def test_it_refuses_answers_that_are_none(told: bytes) -> None:
    call = parse_transcription(sound_form(), is_translation=False)
    for read in (
        lambda: openai_images.read_images(told),
        lambda: openai_transcriptions.read_transcription(call, told, deployment()),
        lambda: openai_moderations.read_moderation(parse_moderation(body(input="x")), told),
    ):
        with pytest.raises(UpstreamError) as refused:
            read()
        assert refused.value.retryable


def test_it_bills_within_the_bound_and_only_what_has_a_price() -> None:
    bound = Usage(input_tokens=10, image_output_tokens=100, images=2)
    basis = Basis(prices("input", "image_output"), bound, Usage(input_tokens=4, image_output_tokens=50, images=2))
    said = MediaTally(usage=Usage(input_tokens=3, image_output_tokens=70, images=2))
    assert basis.whole(said) == (Usage(input_tokens=3, image_output_tokens=70), "upstream")
    absurd = MediaTally(usage=Usage(input_tokens=10**12, image_output_tokens=10**12))
    assert basis.whole(absurd) == (Usage(input_tokens=10, image_output_tokens=100), "suspect")
    assert basis.whole(MediaTally()) == (Usage(input_tokens=4, image_output_tokens=50), "counted")
    assert basis.whole(MediaTally(usage=Usage(images=2))) == (Usage(input_tokens=4, image_output_tokens=50), "counted")
    assert basis.part(MediaTally(), Usage(input_tokens=4)) == (Usage(requests=0), "none")
    assert basis.part(MediaTally(delivered=5), Usage(input_tokens=400)) == (Usage(input_tokens=10), "counted")
    each = Basis(prices("image"), bound, Usage(images=2))
    assert each.whole(said) == (Usage(images=2), "upstream")
    assert priced_part(prices("request"), said.usage or Usage()) == Usage()
    assert clamp(Usage(cached_input_tokens=8, input_tokens=8), bound) == Usage(cached_input_tokens=8, input_tokens=2)


@pytest.mark.parametrize("size", ["auto", "1024x1024", "1536x1024", "3840x2160"])
@pytest.mark.parametrize("quality", ["auto", "low", "medium", "high"])
def test_it_holds_more_for_more(size: str, quality: str) -> None:
    def bound(**fields: Any) -> Usage:
        return bound_of(parse_generation(body(model="m", prompt="x", size=size, quality=quality, **fields)), route())

    one, many = bound(), bound(n=10)
    assert many.image_output_tokens == 10 * one.image_output_tokens > one.images == 1
    assert bound(stream=True, partial_images=3).image_output_tokens >= one.image_output_tokens + 300
    published = {"low": (272, 408), "medium": (1_056, 1_584), "high": (4_160, 6_240)}
    if quality in published and size != "3840x2160":
        assert one.image_output_tokens > published[quality][size != "1024x1024"]


def test_it_holds_more_for_slow_speech() -> None:
    def asked(**fields: Any) -> Usage:
        return bound_of_speech(parse_speech(body(model="m", input="x" * 1_000, voice="v", **fields)), route())

    assert asked(speed=0.25).audio_output_tokens == 4 * asked().audio_output_tokens == 4 * asked(speed=4).audio_output_tokens
    call = parse_speech(body(model="m", input="x" * 1_000, voice="v", response_format="pcm"))
    assert counted_of_speech(call, delivered=48_000).audio_output_tokens == 21
    assert counted_of_speech(call, delivered=48_000).characters == 15
    assert counted_of_speech(call, delivered=10**9).characters == 1_000


# ── Streams, under any re-chunking ───────────────────────────────────────────────────────────────────────────────────
SPOKEN = [bytes([number]) * 100 for number in range(1, 5)]


def events(*items: dict[str, Any], named: bool = False, tail: bytes = b"") -> bytes:
    lines = [
        (b"event: " + str(item["type"]).encode() + b"\n" if named else b"") + b"data: " + json.dumps(item).encode() + b"\n\n"
        for item in items
    ]
    return b"".join(lines) + tail


def chunks(data: st.DataObject, whole: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(st.data())
def test_it_takes_sound_out_of_events_however_they_are_cut(data: st.DataObject) -> None:
    call = parse_speech(body(model="m", input="oi " * 50, voice="v", response_format="pcm"))
    deltas = [{"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()} for piece in SPOKEN]
    usage = {"input_tokens": 7, "output_tokens": 21, "total_tokens": 28}
    whole = events(*deltas, {"type": "speech.audio.done", "usage": usage}, tail=b"data: [DONE]\n\n")
    reader = SoundOfEvents(call, openai_speech)
    sound = b"".join(reader.read(chunk) for chunk in chunks(data, whole) if chunk)
    assert reader.tally.is_complete
    assert len(sound) < 400, "the last bytes wait"
    assert sound + reader.last(SETTLED, Usage(), "upstream") == b"".join(SPOKEN)
    assert reader.tally.usage == Usage(input_tokens=7, audio_output_tokens=21)
    with pytest.raises(AnswerBroken):
        reader.fail(BadRequest("a", "b"), is_english=True)


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1))
def test_it_holds_back_the_last_sound(pieces: list[bytes]) -> None:
    reader = Sound(parse_speech(body(model="m", input="x", voice="v")))
    sent = b"".join(reader.read(piece) for piece in pieces)
    assert sent == b"".join(pieces[:-1])
    assert reader.read(None) == b""
    assert reader.tally.is_complete
    assert sent + reader.last(SETTLED, Usage(), "counted") == b"".join(pieces)


@given(st.data(), st.booleans())
def test_it_relays_events_and_prices_the_last_however_they_are_cut(data: st.DataObject, named: bool) -> None:
    call = parse_generation(body(model="m", prompt="x", stream=True, n=2, partial_images=1))
    usage = {"input_tokens": 3, "output_tokens": 100, "input_tokens_details": {"image_tokens": 0, "text_tokens": 3}}
    partial = {"type": "image_generation.partial_image", "b64_json": "AAAA", "partial_image_index": 0}
    done = {"type": "image_generation.completed", "b64_json": "BBBB", "usage": usage}
    whole = events(partial, done, partial, done, named=named, tail=b"data: [DONE]\n\n")
    reader = EventsReader(openai_images.open_images(call), openai_images.shape_usage)
    ready = b"".join(reader.read(chunk) for chunk in chunks(data, whole) if chunk)
    assert ready == events(partial, done, partial, named=named)
    assert reader.tally.usage == Usage(input_tokens=6, image_output_tokens=200, images=2)
    last = reader.last(SETTLED, reader.tally.usage, "upstream")
    told = json.loads(last.partition(b"data: ")[2])
    assert told["usage"]["output_tokens"] == 200
    assert told["usage"]["cost"] == 5e-9
    assert last.startswith(b"event: image_generation.completed\ndata: " if named else b"data: ")


def test_it_reads_every_end_of_a_streamed_transcription() -> None:
    call = parse_transcription(sound_form(stream="true"), is_translation=False)
    usage = {"type": "tokens", "input_tokens": 20, "output_tokens": 3, "total_tokens": 23}
    delta, done = {"type": "transcript.text.delta", "delta": "Olá"}, {"type": "transcript.text.done", "text": "Olá"}
    segment = {"type": "transcript.text.segment", "id": "1", "start": 0, "end": 1, "speaker": "A", "text": "Olá"}

    def opened() -> EventsReader:
        return EventsReader(openai_transcriptions.open_transcription(call), openai_transcriptions.shape_usage)

    reader = opened()
    assert reader.read(events(delta, segment, {**done, "usage": usage})) == events(delta, segment)
    assert reader.tally.usage == Usage(audio_input_tokens=20, output_tokens=3)
    without = opened()
    without.read(events(delta, done))
    assert (without.tally.is_complete, without.tally.usage) == (True, None)
    assert without.counted().audio_input_tokens == 20
    cut = opened()
    cut.read(events(delta))
    assert cut.read(None) == b""
    assert not cut.tally.is_complete
    assert cut.counted().output_tokens >= 1
    both = opened()
    assert both.read(events(delta, segment) + b'data: {"error":{"message":"x"}}\n\n') == events(delta, segment)
    assert both.tally.failure is not None
    for broken in (
        b'data: {"error":{"message":"x","code":"rate_limit_exceeded"}}\n\n',
        b'event: error\ndata: {"message":"x"}\n\n',
        b'data: {"type":"error","error":{"message":"x"}}\n\n',
        b"data: {broken\n\n",
        b"data: []\n\n",
        b"data: " + b"x" * (5 * 1_048_576),
    ):
        with pytest.raises(UpstreamError):
            opened().read(broken)


def test_it_writes_subtitles() -> None:
    call = parse_transcription(sound_form(response_format="srt"), is_translation=False)
    segments = [{"start": 0, "end": 1.5, "text": " Olá --> mundo"}, {"start": 3_661.0625, "end": 3_662, "text": " fim"}]
    told = json.dumps({"text": "Olá", "segments": segments, "duration": 3_662}).encode()
    answer = openai_transcriptions.read_transcription(call, told, deployment())
    assert answer.with_usage(b"{}").decode() == (
        "1\n00:00:00,000 --> 00:00:01,500\nOlá -> mundo\n\n2\n01:01:01,062 --> 01:01:02,000\nfim\n\n"
    )
    with pytest.raises(UpstreamError):
        openai_transcriptions.read_transcription(call, b'{"text":"x"}', deployment())
