"""OpenAI's images, and the hosts that speak them: whole answers and streams of partial pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.calls import ServedDeployment
from gateway.dialects.base import UpstreamRequest, malformed
from gateway.dialects.media import MediaTally, add, decode_members, idle_seconds, read_event
from gateway.dialects.openai import read_error, request_headers
from gateway.images_call import PARTIAL_IMAGE_TOKENS, ImagesCall, image_tokens, pixels_of
from gateway.media_fields import drop
from gateway.multipart import write_form
from gateway.tokens import count_text

__all__ = ["images_request", "open_images", "read_error", "read_images"]
OURS = ("drop_params",)
EVENT_BYTES_MAX = 48 * 1_048_576  # a picture in base64 within one event
COMPLETED = ("image_generation.completed", "image_edit.completed")


class _InputDetails(msgspec.Struct):
    image_tokens: int | None = None
    text_tokens: int | None = None
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    image_tokens: int | None = None
    text_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_data: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


# ── There ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def images_request(call: ImagesCall, deployment: ServedDeployment) -> UpstreamRequest:
    """Raises BadRequest for what GPT's image models no longer take: `style`, `quality` of DALL·E, and pictures by address."""
    dropped: list[str] = []
    left_out = {"model", *OURS}
    if deployment.is_strict:
        if call.response_format is not None:
            left_out.add("response_format")
            if call.response_format == "url":
                drop("response_format", dropped, drops_unsupported=call.drops_unsupported)
            else:
                dropped.append("response_format")  # what it asks for is what all answers are
        if call.style is not None:
            left_out.add("style")
            drop("style", dropped, drops_unsupported=call.drops_unsupported)
        if call.quality in ("standard", "hd"):
            left_out.add("quality")
            drop("quality", dropped, drops_unsupported=call.drops_unsupported)
    url = deployment.base_url + ("/images/edits" if call.is_edit else "/images/generations")
    headers: Sequence[tuple[str, str]] = request_headers(deployment)
    if call.form is None:
        fields = {name: raw for name, raw in call.fields.items() if name not in left_out}
        fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
        body = msgspec.json.encode(fields)
    else:
        texts = [("model", deployment.upstream_model), *(pair for pair in call.form.texts if pair[0] not in left_out)]
        content_type, body = write_form(texts, call.form.files)
        headers = [*(pair for pair in headers if pair[0] != "content-type"), ("content-type", content_type)]
    return UpstreamRequest(url, headers, body, tuple(dropped), idle_seconds())


# ── And back ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class ImagesAnswer(msgspec.Struct):
    """A whole answer: its members as they came."""

    members: dict[str, msgspec.Raw]
    images: int
    tally: MediaTally

    def with_usage(self, usage_raw: bytes) -> bytes:
        self.members["usage"] = msgspec.Raw(usage_raw)
        return msgspec.json.encode(self.members)


def read_images(body: bytes) -> ImagesAnswer:
    """Raises UpstreamError where the body is not an answer."""
    members = decode_members(body)
    try:
        images = len(_decode_data(members["data"]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        raise malformed() from None
    if not images:
        raise malformed("The provider gave no image.")
    tally = MediaTally(is_complete=True, delivered=len(body))
    read_usage(members.get("usage"), tally, images=images)
    return ImagesAnswer(members, images, tally)


def read_usage(raw: msgspec.Raw | None, tally: MediaTally, *, images: int) -> None:
    """OpenAI's totals and their details → disjoint buckets; details that contradict their totals are clamped into them."""
    if raw is None or bytes(raw) == b"null":
        tally.usage = Usage(images=images)
        return
    try:
        said = _decode_usage(raw)
    except msgspec.DecodeError:
        tally.is_suspect = True
        return
    details, made = said.input_tokens_details or _InputDetails(), said.output_tokens_details or _OutputDetails()
    total_in, total_out = max(0, said.input_tokens), max(0, said.output_tokens)
    pictures = min(max(0, details.image_tokens or 0), total_in)
    words = min(max(0, made.text_tokens or 0), total_out)
    parts = (details.image_tokens or 0) + (details.text_tokens or 0)
    made_parts = (made.image_tokens or 0) + (made.text_tokens or 0)
    if (
        min(said.input_tokens, said.output_tokens, details.image_tokens or 0, made.text_tokens or 0) < 0
        or (said.input_tokens_details is not None and parts != said.input_tokens)
        or (said.output_tokens_details is not None and made_parts != said.output_tokens)
    ):
        tally.is_suspect = True
    tally.usage_raw = bytes(raw)
    tally.usage = Usage(
        input_tokens=total_in - pictures,
        image_input_tokens=pictures,
        output_tokens=words,
        image_output_tokens=total_out - words,
        images=images,
    )


def shape_usage(usage: Usage) -> bytes:
    """Our buckets in OpenAI's shape."""
    total_in = usage.input_tokens + usage.image_input_tokens
    total_out = usage.output_tokens + usage.image_output_tokens
    return msgspec.json.encode(
        {
            "input_tokens": total_in,
            "input_tokens_details": {"image_tokens": usage.image_input_tokens, "text_tokens": usage.input_tokens},
            "output_tokens": total_out,
            "output_tokens_details": {"image_tokens": usage.image_output_tokens, "text_tokens": usage.output_tokens},
            "total_tokens": total_in + total_out,
        }
    )


class ImagesEvents:
    """Partial pictures pass; the last `completed` of as many as were asked for is the end."""

    bytes_max = EVENT_BYTES_MAX

    def __init__(self, call: ImagesCall) -> None:
        # Numbers only: a stream that runs for minutes does not keep the pictures that came with the call.
        self._prompt_tokens = count_text(call.prompt)
        self._image_tokens = image_tokens(call.quality, pixels_of(call.size)) + PARTIAL_IMAGE_TOKENS * call.partial_images
        self._steps = call.partial_images + 1
        self._left = call.n
        self._partials = 0
        self._done = Usage()

    def take(self, event: sse.Event, tally: MediaTally) -> bool:
        """Raises UpstreamError."""
        said = read_event(event)
        self._partials += said.type.endswith(".partial_image")
        if said.type not in COMPLETED:
            return False
        self._left -= 1
        self._partials = 0
        one = MediaTally()
        read_usage(said.usage, one, images=1)
        tally.is_suspect = tally.is_suspect or one.is_suspect
        if one.usage is not None:
            tally.usage_raw = one.usage_raw if tally.usage is None else None
            tally.usage = self._done = one.usage if tally.usage is None else add(tally.usage, one.usage)
        return self._left <= 0

    def counted(self) -> Usage:
        """The pictures that came whole, and of the one under way the part that its partial pictures are."""
        part = Usage(
            input_tokens=0 if self._done.input_tokens else self._prompt_tokens,
            image_output_tokens=-(-self._image_tokens * self._partials // self._steps),
            images=1 if self._partials else 0,
        )
        return add(self._done, part)


open_images = ImagesEvents
