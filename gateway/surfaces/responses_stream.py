"""A chat completion → a response: whole, or frame by frame as it is streamed. Pure.

Every event has its name and a rising sequence number; the last one is response.completed, .incomplete or .failed. No [DONE].
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from gateway.calls import ServedRoute
from gateway.dialects.base import ChatReader, malformed
from gateway.error_bodies import doc_url
from gateway.errors import GatewayError
from gateway.secrets import SecretUnreadable, seal, unseal
from gateway.surfaces.responses_answer import Delta, Draft, Told
from gateway.surfaces.responses_input import Thoughts
from tokia.errors import TokiaError

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}  # why an answer is incomplete


class _Logprobs(msgspec.Struct):
    content: list[Any] | None = None
    refusal: list[Any] | None = None


class _Choice(msgspec.Struct):
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    service_tier: str | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cost: msgspec.Raw = msgspec.Raw(b"null")
    cost_details: msgspec.Raw = msgspec.Raw(b"null")


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: msgspec.Raw
    service_tier: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_thoughts = msgspec.json.Decoder(Thoughts).decode


# ── Thoughts, sealed ─────────────────────────────────────────────────────────────────────────────────────────────────
def seal_thoughts(thoughts: Thoughts, *, organization_id: int) -> str:
    return seal(msgspec.json.encode(thoughts), organization_id=organization_id).decode()


def open_thoughts(sealed: str, *, organization_id: int) -> Thoughts | None:
    """None for what was not sealed here for this organization."""
    try:
        return _decode_thoughts(unseal(sealed.encode(), organization_id=organization_id))
    except (SecretUnreadable, msgspec.DecodeError):
        return None


# ── Whole ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def shape_whole(told: Told, route: ServedRoute, completion: bytes) -> bytes:
    """Keeps what is to be stored in `told`."""
    try:
        said = _decode_completion(completion)
    except (msgspec.DecodeError, RecursionError):
        raise malformed() from None
    draft = open_draft(told, route, is_stream=False)
    choice = said.choices[0] if said.choices else _Choice()
    draft.take(choice.message or Delta(), choice.logprobs.content if choice.logprobs else None)
    return msgspec.json.encode(finish(draft, told, choice.finish_reason or "", said.service_tier, bytes(said.usage)))


def open_draft(told: Told, route: ServedRoute, *, is_stream: bool) -> Draft:
    organization_id = told.organization_id
    return Draft(
        told, route.name, is_stream=is_stream, seal=lambda thoughts: seal_thoughts(thoughts, organization_id=organization_id)
    )


def finish(draft: Draft, told: Told, finish_reason: str, service_tier: str | None, usage_raw: bytes) -> dict[str, Any]:
    """The response of a whole answer; `told` gets what is stored."""
    reason = REASONS.get(finish_reason, "")
    draft.close(is_whole=not reason)
    if service_tier:
        told.shown["service_tier"] = service_tier
    status = "incomplete" if reason else "completed"
    completed_at = None if reason else int(time.time())
    response = draft.respond(status, reason=reason, usage=shape_usage(usage_raw), completed_at=completed_at)
    if told.is_stored:
        told.kept = msgspec.json.encode(draft.stored(response))
    return response


def shape_usage(raw: bytes) -> dict[str, Any]:
    """Chat's usage in Responses' names, and our cost as it came."""
    try:
        said = _decode_usage(raw)
    except (msgspec.DecodeError, RecursionError):
        said = _Usage()
    details, outputs = said.prompt_tokens_details or _InputDetails(), said.completion_tokens_details or _OutputDetails()
    return {
        "input_tokens": said.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": details.cached_tokens or said.prompt_cache_hit_tokens or 0,
            "cache_write_tokens": details.cache_write_tokens or 0,
        },
        "output_tokens": said.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": outputs.reasoning_tokens or 0},
        "total_tokens": said.prompt_tokens + said.completion_tokens,
        "cost": said.cost,
        "cost_details": said.cost_details,
    }


# ── Streamed ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class Shaper:
    """Chunks in, events out."""

    passes = False

    def __init__(self, told: Told, route: ServedRoute) -> None:
        self._told = told
        self._draft = open_draft(told, route, is_stream=True)
        self._is_begun = False
        self._finish_reason = ""
        self._service_tier: str | None = None

    def read(self, frames: bytes) -> bytes:
        for frame in frames.split(b"\n\n"):
            data = frame.removeprefix(b"data: ")
            if not data or data == b"[DONE]":
                continue
            try:
                chunk = _decode_chunk(data)
            except (msgspec.DecodeError, RecursionError):
                raise malformed("An event of the provider's stream could not be read.") from None
            self._begin()
            self._service_tier = chunk.service_tier or self._service_tier
            for choice in chunk.choices:
                if choice.delta is not None:
                    self._draft.take(choice.delta, choice.logprobs.content if choice.logprobs else None)
                self._finish_reason = choice.finish_reason or self._finish_reason
        return self._draft.drain()

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            response = self._draft.respond("in_progress")
            self._draft.tell("response.created", response=response)
            self._draft.tell("response.in_progress", response=response)

    def end(self, reader: ChatReader, usage_raw: bytes) -> bytes:
        self._begin()
        response = finish(self._draft, self._told, self._finish_reason, self._service_tier, usage_raw)
        self._draft.tell(f"response.{response['status']}", response=response)
        return self._draft.drain()

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        """What was delivered stays, marked as incomplete; then the error, which OpenAI's SDK raises."""
        self._begin()
        self._draft.close(is_whole=False)
        message = error.english if is_english else error.message
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        usage = shape_usage(error.usage_raw) if error.usage_raw else None
        failed = self._draft.respond("failed", error={"code": code, "message": message}, usage=usage)
        self._draft.tell("response.failed", response=failed)
        self._draft.tell("error", **error_fields(error, is_english=is_english))
        return self._draft.drain()


def error_fields(error: TokiaError, *, is_english: bool) -> dict[str, Any]:
    """Of an `error` event: flat, as OpenAI's types say, and as the object that its SDKs raise."""
    message = error.english if is_english and isinstance(error, GatewayError) else error.message
    kind = error.type if isinstance(error, GatewayError) else "api_error"
    flat = {"message": message, "code": error.code, "param": error.param}
    return {**flat, "error": {**flat, "type": kind, "doc_url": doc_url(error.code)}}
