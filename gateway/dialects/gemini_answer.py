"""generateContent's answer → a chat completion in OpenAI's words."""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

import msgspec

from gateway.dialects.base import Tally, malformed
from gateway.dialects.gemini_signatures import extra_content, name_call
from gateway.dialects.gemini_usage import UsageMerger
from gateway.errors import UpstreamError

FINISH = {
    "STOP": "stop", "FINISH_REASON_UNSPECIFIED": "stop", "OTHER": "stop", "IMAGE_OTHER": "stop", "NO_IMAGE": "stop",
    "MAX_TOKENS": "length", "CONTINUATION": "length",
    "SAFETY": "content_filter", "RECITATION": "content_filter", "LANGUAGE": "content_filter", "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter", "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter", "PUP_LIMITED_DISABLED": "content_filter", "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter", "IMAGE_RECITATION": "content_filter",
}  # fmt: skip
# The model tripped over itself: what came is no answer, and asking again may give one.
FAILED = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE"}
)
NO_RAW: Final = msgspec.Raw(b"null")
_dumps = msgspec.json.encode


class FunctionCall(msgspec.Struct):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = NO_RAW


class Blob(msgspec.Struct, rename="camel"):
    data: str = ""
    mime_type: str = ""


class Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None

    def plain_text(self) -> str | None:
        """Its text, where it is nothing but text of the answer."""
        is_more = self.thought or self.thought_signature or self.function_call is not None or self.inline_data is not None
        return None if is_more else self.text


class Content(msgspec.Struct):
    parts: list[Part] | None = None


class _Token(msgspec.Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _TopTokens(msgspec.Struct):
    candidates: list[_Token] | None = None


class Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_TopTokens] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    content: Content | None = None
    finish_reason: str | None = None
    index: int = 0
    logprobs_result: Logprobs | None = None
    grounding_metadata: msgspec.Raw = NO_RAW


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class Answer(msgspec.Struct, rename="camel"):
    candidates: list[Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: msgspec.Raw = NO_RAW
    response_id: str | None = None
    model_version: str | None = None
    error: msgspec.Raw = NO_RAW


decode_answer = msgspec.json.Decoder(Answer).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class Said:
    """What one candidate, or a piece of it, says."""

    def __init__(self) -> None:
        self.text = ""
        self.thoughts = ""
        self.calls: list[dict[str, Any]] = []
        self.pictures: list[dict[str, Any]] = []
        self.signature: str | None = None

    def read(self, parts: list[Part], tally: Tally) -> None:
        for part in parts:
            if part.function_call is not None:
                self._read_call(part.function_call, part.thought_signature, tally)
                continue
            if part.inline_data is not None and not part.thought:
                self._read_picture(part.inline_data, part.thought_signature, tally)
                continue
            if part.text:
                tally.add_text(part.text)
                if part.thought:
                    self.thoughts += part.text
                else:
                    self.text += part.text
            self.signature = part.thought_signature or self.signature

    def _read_call(self, call: FunctionCall, signature: str | None, tally: Tally) -> None:
        raw = bytes(call.args)
        if raw[:1] not in (b"{", b"n"):
            raise malformed("The provider's function call has no arguments.")
        arguments = "{}" if raw == b"null" else msgspec.json.format(raw, indent=-1).decode()
        tally.add_text(call.name + arguments)
        told: dict[str, Any] = {
            "id": name_call(call.id, signature), "type": "function", "function": {"name": call.name, "arguments": arguments},
        }  # fmt: skip
        if signature:
            told["extra_content"] = extra_content(signature)
        self.calls.append(told)

    def _read_picture(self, blob: Blob, signature: str | None, tally: Tally) -> None:
        """In the form that clients of other gateways know."""
        url = f"data:{blob.mime_type};base64,{blob.data}"
        tally.delivered_bytes += len(url)
        told: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
        if signature:
            told["extra_content"] = extra_content(signature)
        self.pictures.append(told)


def finish_of(native: str, *, has_calls: bool) -> str:
    """Gemini says STOP where it calls functions too; the caller has to see the difference."""
    finish = FINISH.get(native, "stop")
    return "tool_calls" if has_calls and finish == "stop" else finish


def failed(native: str) -> UpstreamError:
    return UpstreamError(
        "O modelo não conseguiu formar uma resposta válida. Nada foi cobrado por esta tentativa; tente de novo.",
        "The model could not form a valid answer. Nothing was charged for this attempt; try again.",
        code=native.lower(), upstream_status=200,
    )  # fmt: skip


# ── Whole ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class ChatAnswer:
    def __init__(self, completion: dict[str, Any], tally: Tally) -> None:
        self._completion = completion
        self.tally = tally

    def with_usage(self, usage_raw: bytes) -> bytes:
        self._completion["usage"] = msgspec.Raw(usage_raw)
        return _dumps(self._completion)


def read_chat(body: bytes) -> ChatAnswer:
    try:
        answer = decode_answer(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed() from None
    id_ = answer.response_id or f"gen-{secrets.token_hex(12)}"
    tally = Tally(upstream_id=id_, is_complete=True)
    candidates = answer.candidates or []
    if candidates and all(candidate.finish_reason in FAILED for candidate in candidates):
        raise failed(candidates[0].finish_reason or "")
    choices = [_read_candidate(candidate, tally) for candidate in candidates]
    if not choices:
        blocked = answer.prompt_feedback.block_reason if answer.prompt_feedback else None
        if not blocked:
            raise malformed("The provider's answer has no candidates.")
        tally.finish_reason = "content_filter"
        message = {"role": "assistant", "content": None, "refusal": None}
        choices = [_choice(0, message, None, "content_filter", blocked)]
    merger = UsageMerger()
    merger.take(answer.usage_metadata)
    merger.fill(tally)
    completion = {
        "id": id_,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.model_version or "",
        "choices": choices,
    }
    return ChatAnswer(completion, tally)


def _read_candidate(candidate: Candidate, tally: Tally) -> dict[str, Any]:
    if candidate.finish_reason is None:
        raise malformed("The provider's answer did not end.")
    said = Said()
    said.read((candidate.content.parts if candidate.content else None) or [], tally)
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
    if said.thoughts:
        message["reasoning_content"] = said.thoughts
    if said.calls:
        message["tool_calls"] = said.calls
    if said.pictures:
        message["images"] = said.pictures
    if said.signature:
        message["extra_content"] = extra_content(said.signature)
    if annotations := _annotations(candidate.grounding_metadata, said.text):
        message["annotations"] = annotations
    finish = finish_of(candidate.finish_reason, has_calls=bool(said.calls))
    tally.finish_reason = tally.finish_reason or finish
    return _choice(candidate.index, message, read_logprobs(candidate.logprobs_result), finish, candidate.finish_reason)


def _choice(index: int, message: dict[str, Any], logprobs: Any, finish: str, native: str) -> dict[str, Any]:
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish, "native_finish_reason": native}


def read_logprobs(said: Logprobs | None) -> dict[str, Any] | None:
    if said is None or not said.chosen_candidates:
        return None
    tops = said.top_candidates or []
    content = []
    for place, chosen in enumerate(said.chosen_candidates):
        item = _token(chosen)
        item["top_logprobs"] = [_token(token) for token in (tops[place].candidates or [] if place < len(tops) else [])]
        content.append(item)
    return {"content": content, "refusal": None}


def _token(said: _Token) -> dict[str, Any]:
    return {"token": said.token, "logprob": said.log_probability, "bytes": list(said.token.encode())}


def _annotations(raw: msgspec.Raw, text: str) -> list[dict[str, Any]]:
    """Grounding as citations. Google counts its segments in bytes, OpenAI in characters."""
    if bytes(raw) == b"null":
        return []
    try:
        said = _decode_object(bytes(raw))
        chunks, encoded, annotations = said.get("groundingChunks") or [], text.encode(), []
        for support in said.get("groundingSupports") or []:
            segment = support["segment"]
            start, end = (len(encoded[: segment.get(name, 0)].decode(errors="ignore")) for name in ("startIndex", "endIndex"))
            for index in support.get("groundingChunkIndices") or []:
                web = chunks[index]["web"]
                citation = {"start_index": start, "end_index": end, "title": web.get("title", ""), "url": web["uri"]}
                annotations.append({"type": "url_citation", "url_citation": citation})
    except (msgspec.DecodeError, RecursionError, AttributeError, IndexError, KeyError, TypeError):
        return []  # they are an ornament: the answer stands without
    return annotations
