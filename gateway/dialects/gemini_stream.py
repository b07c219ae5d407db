"""streamGenerateContent's events → chunks of a chat completion in OpenAI's words."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from gateway import sse
from gateway.calls import ChatCall
from gateway.dialects.base import Tally, malformed
from gateway.dialects.gemini_answer import FAILED, NO_RAW, Answer, Candidate, Said, decode_answer, failed, finish_of, read_logprobs
from gateway.dialects.gemini_signatures import extra_content
from gateway.dialects.gemini_usage import UsageMerger
from gateway.errors import UpstreamError

_dumps = msgspec.json.encode


class ChatReader:
    """Each event holds a piece of some candidates; the last says why they ended. The body's end is the end."""

    said = ""
    may_end_by_eof = True

    def __init__(self, call: ChatCall, tally: Tally, *, read_stream_error: Callable[[bytes], UpstreamError]) -> None:
        self._tally = tally
        self._choices = call.choices
        self._read_stream_error = read_stream_error
        self._usage_null = b',"usage":null' if call.wants_usage else b""
        self._merger = UsageMerger()
        self._head = b""
        self._calls: dict[int, int] = {}  # candidate → tool calls so far; it is there once the candidate has begun
        self._pictures: dict[int, int] = {}
        self._signed: set[int] = set()
        self._finished: set[int] = set()

    def read(self, events: list[sse.Event]) -> bytes:
        return b"".join([self._read_event(data) for _, data in events if data])

    def _read_event(self, data: bytes) -> bytes:
        try:
            answer = decode_answer(data)
        except (msgspec.DecodeError, RecursionError):
            raise malformed("An event of the provider's stream could not be read.") from None
        if bytes(answer.error) != b"null":
            raise self._read_stream_error(data)
        return self._read_answer(answer)

    def _read_answer(self, answer: Answer) -> bytes:
        tally = self._tally
        if not self._head:
            tally.upstream_id = answer.response_id or f"gen-{secrets.token_hex(12)}"
            self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":' % (
                _dumps(tally.upstream_id), int(time.time()), _dumps(answer.model_version or ""),
            )  # fmt: skip
        if answer.usage_metadata is not NO_RAW:
            self._merger.take(answer.usage_metadata)
            self._merger.fill(tally)
        if answer.candidates is not None and len(answer.candidates) == 1:
            return self._read_candidate(answer.candidates[0])
        frames = [self._read_candidate(candidate) for candidate in answer.candidates or ()]
        blocked = answer.prompt_feedback.block_reason if answer.prompt_feedback else None
        if blocked and not answer.candidates and not self._calls:
            frames.append(self._chunk(0, {"role": "assistant", "content": ""}))
            frames.append(self._chunk(0, {}, finish="content_filter", native=blocked))
            tally.finish_reason = "content_filter"
        return b"".join(frames)

    def _read_candidate(self, candidate: Candidate) -> bytes:
        index = candidate.index
        if index in self._finished or not 0 <= index < self._choices:
            return b""
        native = candidate.finish_reason
        if native in FAILED:
            raise failed(native)
        parts = (candidate.content.parts if candidate.content else None) or []
        if len(parts) == 1 and native is None and candidate.logprobs_result is None and index in self._calls:
            text = parts[0].plain_text()
            if text:  # nearly every event
                self._tally.add_text(text)
                head = (self._head, index, _dumps(text), self._usage_null)
                return b'%b[{"index":%d,"delta":{"content":%b},"logprobs":null,"finish_reason":null}]%b}\n\n' % head
        said = Said()
        said.read(parts, self._tally)
        delta: dict[str, Any] = {} if index in self._calls else {"role": "assistant", "content": ""}
        self._add_said(delta, said, index)
        out = self._chunk(index, delta, logprobs=read_logprobs(candidate.logprobs_result)) if delta else b""
        if native is None:
            return out
        self._finished.add(index)
        finish = finish_of(native, has_calls=self._calls[index] > 0)
        if len(self._finished) == self._choices:
            self._tally.finish_reason = finish
        return out + self._chunk(index, {}, finish=finish, native=native)

    def _add_said(self, delta: dict[str, Any], said: Said, index: int) -> None:
        """Lists in a delta carry an index: the SDKs' accumulators ask for one."""
        if said.text:
            delta["content"] = said.text
        if said.thoughts:
            delta["reasoning_content"] = said.thoughts
        begun = self._calls.get(index, 0)
        if said.calls:
            delta["tool_calls"] = [{"index": begun + place, **call} for place, call in enumerate(said.calls)]
        self._calls[index] = begun + len(said.calls)
        shown = self._pictures.get(index, 0)
        if said.pictures:
            delta["images"] = [{"index": shown + place, **picture} for place, picture in enumerate(said.pictures)]
            self._pictures[index] = shown + len(said.pictures)
        if said.signature and index not in self._signed:  # once: accumulators join texts
            self._signed.add(index)
            delta["extra_content"] = extra_content(said.signature)

    def _chunk(
        self, index: int, delta: dict[str, Any], *, logprobs: Any = None, finish: str | None = None, native: str = ""
    ) -> bytes:
        choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        if finish is not None:
            choice["native_finish_reason"] = native
        return b"%b[%b]%b}\n\n" % (self._head, _dumps(choice), self._usage_null)

    def usage_frame(self, usage_raw: bytes) -> bytes:
        return self._head + b'[],"usage":' + usage_raw + b"}\n\n"
