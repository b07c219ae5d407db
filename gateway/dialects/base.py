"""What every dialect gives, and what they share: usage in disjoint buckets, and an upstream's refusal as ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.calls import ChatCall, EmbeddingsCall, ServedDeployment, ServedRoute
from gateway.errors import BadRequest, UpstreamError, scrub
from gateway.rerank_call import RerankCall

FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
TEXTS_JOINED = 256  # pieces of a stream that are joined into one, so that a long stream holds few objects


class UpstreamRequest(msgspec.Struct, frozen=True):
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    dropped: tuple[str, ...] = ()  # parameters that the format can't say and that were left out; the caller is told their names
    idle_seconds: float = 0.0  # how long the answer may be silent; 0: as long as any


class Tally(msgspec.Struct):
    """What an answer has brought so far: enough to bill it wherever it ends."""

    texts: list[str] = []  # text, reasoning and tool arguments that were delivered
    delivered_bytes: int = 0
    usage: Usage | None = None  # as the upstream says, in our buckets
    usage_raw: bytes | None = None  # the same in OpenAI's shape, for the caller
    is_suspect: bool = False  # what the upstream says can't be true
    finish_reason: str = ""
    upstream_id: str = ""
    is_complete: bool = False  # it ended as the dialect says that an answer ends

    def add_text(self, text: str) -> None:
        self.texts.append(text)
        self.delivered_bytes += len(text)
        if len(self.texts) >= TEXTS_JOINED:
            self.texts = ["".join(self.texts)]

    @property
    def text(self) -> str:
        return "".join(self.texts)


class ChatReader(Protocol):
    """Reads one streamed answer: upstream events in, frames for the caller out, the tally filled on the way."""

    said: str  # the text of the event that was read last, where it brought that and nothing else; else empty (`gateway.refrain`)
    may_end_by_eof: bool  # after a finish reason the end of the body is an end; else only the dialect's own last event is

    def read(self, events: list[sse.Event]) -> bytes:
        """Raises UpstreamError for an error event or an event that can't be read."""

    def usage_frame(self, usage_raw: bytes) -> bytes:
        """The last chunk: no choices, and the usage."""


class ChatAnswer(Protocol):
    """One whole answer."""

    tally: Tally

    def with_usage(self, usage_raw: bytes) -> bytes:
        """The answer's body in OpenAI's shape with this usage object."""


class EventParser(Protocol):
    """Bytes of a stream in, however they were cut; whole events out."""

    def feed(self, chunk: bytes) -> list[sse.Event]:
        """Raises sse.LineTooLong, UpstreamError."""

    def close(self) -> list[sse.Event]: ...

    @property
    def is_between(self) -> bool:
        """Nothing of an event has come yet."""


class Dialect(Protocol):
    """A wire format. All of it is pure."""

    stream_type: str  # media type of a streamed answer

    def chat_request(self, call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
        """Asked for before money is held. Raises BadRequest, naming the parameter, for what the format can't say (`refuse`)."""

    def open_parser(self) -> EventParser: ...

    def read_chat(self, body: bytes) -> ChatAnswer:
        """Raises UpstreamError where the body is not an answer."""

    def open_stream(self, call: ChatCall) -> tuple[ChatReader, Tally]: ...

    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError: ...


class EmbeddingsAnswer(msgspec.Struct):
    """One answer's vectors, in the order of its inputs. `input_tokens` None: the upstream did not say."""

    vectors: list[list[float] | str]  # numbers, or base64 of little-endian float32
    input_tokens: int | None = None
    model: str = ""


class EmbeddingsDialect(Protocol):
    """A wire format's embeddings. Pure."""

    def embeddings_requests(self, call: EmbeddingsCall, deployment: ServedDeployment) -> list[UpstreamRequest]:
        """One, or several where the host takes fewer inputs at once; asked in turn, their vectors follow each other.

        Raises BadRequest, naming the parameter, for what the format can't say."""

    def read_embeddings(self, body: bytes) -> EmbeddingsAnswer:
        """Raises UpstreamError where the body is not an answer."""

    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError: ...


class RankedDocument(msgspec.Struct):
    index: int  # in the documents that were sent
    relevance_score: float


class RerankAnswer(msgspec.Struct):
    """The best first. `searches` None: the upstream did not say how many search units it was."""

    results: list[RankedDocument]
    searches: int | None = None
    id: str = ""


class RerankDialect(Protocol):
    """A wire format's reranking. Pure."""

    def rerank_request(self, call: RerankCall, deployment: ServedDeployment) -> UpstreamRequest:
        """Raises BadRequest, naming the parameter, for what the format can't say."""

    def read_rerank(self, body: bytes) -> RerankAnswer:
        """Raises UpstreamError where the body is not an answer."""

    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError: ...


def refuse(call: ChatCall, param: str, dropped: list[str]) -> None:
    """`param` changes what is asked for and can't be said: refused, unless the caller wants it left out. Raises BadRequest."""
    if not call.drops_unsupported:
        raise BadRequest(
            f"Este modelo não aceita '{param}'. Tire-o, ou envie \"drop_params\": true para que ele seja ignorado.",
            f"This model does not support '{param}'. Remove it, or send \"drop_params\": true to have it ignored.",
            param=param,
            code="unsupported_parameter",
        )
    dropped.append(param)


def bucket_usage(
    *,
    prompt: int,
    cached: int,
    cache_write: int,
    completion: int,
    reasoning: int,
    audio_input: int = 0,
    image_input: int = 0,
    audio_output: int = 0,
    image_output: int = 0,
) -> tuple[Usage, bool]:
    """Disjoint buckets from totals (prompt with its cached, written, audio and image parts, completion with its others).

    Also whether they contradict each other; parts are then clamped into their totals, and totals to zero. Sound and pictures may
    have been read from a cache: where the parts of a prompt are more than the prompt, what was cached stays cached.
    """
    is_suspect = min(prompt, cached, cache_write, completion, reasoning) < 0
    if is_suspect:
        prompt, completion = max(0, prompt), max(0, completion)
        cached, cache_write, reasoning = max(0, cached), max(0, cache_write), max(0, reasoning)
    if cached + cache_write > prompt or reasoning > completion:
        is_suspect = True
        cached = min(cached, prompt)
        cache_write = min(cache_write, prompt - cached)
        reasoning = min(reasoning, completion)
    fresh, text = prompt - cached - cache_write, completion - reasoning
    if audio_input or image_input or audio_output or image_output:
        is_suspect = is_suspect or min(audio_input, image_input, audio_output, image_output) < 0
        is_suspect = is_suspect or audio_input + image_input > prompt or audio_output + image_output > text
        audio_input = min(max(0, audio_input), fresh)
        image_input = min(max(0, image_input), fresh - audio_input)
        audio_output = min(max(0, audio_output), text)
        image_output = min(max(0, image_output), text - audio_output)
    usage = Usage(
        input_tokens=fresh - audio_input - image_input,
        cached_input_tokens=cached,
        cache_write_tokens=cache_write,
        output_tokens=text - audio_output - image_output,
        reasoning_tokens=reasoning,
        audio_input_tokens=audio_input,
        audio_output_tokens=audio_output,
        image_input_tokens=image_input,
        image_output_tokens=image_output,
    )
    return usage, is_suspect


def openai_usage(usage: Usage) -> bytes:
    """Our buckets in OpenAI's shape; sound and pictures are told where there were any."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    into = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
    out = {"reasoning_tokens": usage.reasoning_tokens}
    if not usage.is_text:
        media = (
            (into, "audio_tokens", usage.audio_input_tokens), (into, "image_tokens", usage.image_input_tokens),
            (out, "audio_tokens", usage.audio_output_tokens), (out, "image_tokens", usage.image_output_tokens),
        )  # fmt: skip
        for details, name, tokens in media:
            if tokens:
                details[name] = tokens
    return msgspec.json.encode(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": into,
            "completion_tokens_details": out,
        }
    )


def error_of_status(
    status: int, *, message: str, code: str = "", param: str | None = None, retry_after: str | None = None, secret: str = ""
) -> UpstreamError:
    """An upstream's refusal as the caller sees it: our account's troubles are ours, the request's troubles are theirs."""
    said = scrub(message, secrets=(secret,)) if message else ""
    if status in (401, 402, 403) or code in ("insufficient_quota", "billing_error", "authentication_error", "permission_error"):
        return UpstreamError(
            "O provedor deste modelo não pôde atender agora. Já fomos avisados; nada foi cobrado.",
            "This model's provider could not serve now. Nothing was charged.",
            code="provider_unavailable", upstream_status=status,
        )  # fmt: skip
    if status == 429:
        seconds = parse_retry_after(retry_after)
        return UpstreamError(
            "O provedor deste modelo está no limite de requisições. Tente de novo em instantes.",
            "This model's provider is at its rate limit. Try again in a moment.",
            status=429, code="rate_limit_exceeded", type_="rate_limit_error", retry_after_seconds=seconds or 1.0,
            upstream_status=status,
        )  # fmt: skip
    if status in (400, 405, 413, 415, 422):
        if code in ("exceed_context_size_error", "context_length_exceeded") or "prompt is too long" in message:
            code = "context_length_exceeded"
        return UpstreamError(
            f"O provedor recusou a requisição: {said}" if said else "O provedor recusou a requisição.",
            f"The provider refused the request: {said}" if said else "The provider refused the request.",
            status=400, code=code or "invalid_value", param=param, type_="invalid_request_error", is_retryable=False,
            upstream_status=status,
        )  # fmt: skip
    if status in (408, 504):
        return timed_out(upstream_status=status)
    if status in (503, 529):
        return UpstreamError(
            "O provedor deste modelo está sobrecarregado. Tente de novo em instantes.",
            "This model's provider is overloaded. Try again in a moment.",
            status=503, code="provider_overloaded", retry_after_seconds=parse_retry_after(retry_after) or 2.0,
            upstream_status=status,
        )  # fmt: skip
    return UpstreamError(
        "O provedor deste modelo falhou. Nada foi cobrado por esta tentativa.",
        "This model's provider failed. Nothing was charged for this attempt.",
        upstream_status=status,
    )


def timed_out(*, upstream_status: int = 0) -> UpstreamError:
    return UpstreamError(
        "O provedor deste modelo demorou demais para responder.",
        "This model's provider took too long to answer.",
        status=504,
        code="provider_timeout",
        upstream_status=upstream_status,
    )


def malformed(english: str = "The provider's answer could not be read.") -> UpstreamError:
    return UpstreamError("A resposta do provedor veio corrompida.", english, code="provider_malformed")


def filtered() -> UpstreamError:
    """An answer that its filter left nothing of, where somebody else may be asked."""
    return UpstreamError(
        "O filtro de conteúdo do provedor barrou a resposta.",
        "The provider's content filter blocked the answer.",
        code="content_filter", status=400, upstream_status=200, is_retryable=False,
    )  # fmt: skip


def parse_retry_after(value: str | None) -> float | None:
    """Seconds; a date or rubbish is no answer. At most ten minutes."""
    try:
        return min(600.0, max(0.0, float(value))) if value else None
    except ValueError:
        return None


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""
