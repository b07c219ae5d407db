"""`/v1/completions`, the legacy address: one prompt, asked of a chat model as a user's message. Pure.

What a chat can't do (several prompts, token arrays, a suffix, the best of several) is refused by its name. `echo` is done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway import sse
from gateway.calls import Caller, ChatCall, Message, ServedDeployment, ServedRoute
from gateway.dialects.base import ChatReader, Dialect, malformed
from gateway.error_bodies import as_openai
from gateway.errors import BadRequest, GatewayError
from gateway.parsing import CHOICES_MAX, MODEL_NAME_MAX, OUTPUT_TOKENS_ASKED_MAX, StreamOptions, parse_body
from tokia.errors import TokiaError

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

name = "completions"
OUTPUT_TOKENS_DEFAULT = 16  # as at OpenAI
LOGPROBS_MAX = 5
# Chat's own fields: here they would change what is asked.
NOT_OURS = (
    "messages", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "modalities", "audio", "top_logprobs",
    "max_completion_tokens", "response_format",
)  # fmt: skip
OWN = ("prompt", "suffix", "echo", "best_of", "logprobs", "stream_options", "drop_params", "max_tokens")  # not chat's


class CompletionsBody(msgspec.Struct):
    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    drop_params: bool | None = None


class Told(msgspec.Struct):
    """What is remembered until the answer."""

    echoed: str  # the prompt, where it comes back before the answer
    wants_usage: bool


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Answer(msgspec.Struct):
    """A whole completion, or a chunk."""

    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[_Choice] = []
    system_fingerprint: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decode_body = msgspec.json.Decoder(CompletionsBody).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


# ── In ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def read_call(process: GatewayProcess, caller: Caller, body: bytes) -> ChatCall:
    return parse_completion(body)


def parse_completion(body: bytes) -> ChatCall:
    """Raises BadRequest, naming the parameter."""
    typed, fields, decoded = parse_body(body, _decode_body)
    _check(typed, decoded)
    prompt = _read_prompt(decoded.get("prompt"))
    chat = {name: value for name, value in decoded.items() if name not in OWN}
    chat["messages"] = [{"role": "user", "content": prompt}]
    output_tokens = OUTPUT_TOKENS_DEFAULT if typed.max_tokens is None else typed.max_tokens
    chat["max_tokens"] = output_tokens
    if typed.logprobs is not None:
        chat["logprobs"] = True
        if typed.logprobs:
            chat["top_logprobs"] = typed.logprobs
    raw = {
        name: fields[name] if name in fields and name not in OWN else msgspec.Raw(msgspec.json.encode(chat[name])) for name in chat
    }
    wants_usage = bool(typed.stream_options and typed.stream_options.include_usage)
    return ChatCall(
        model=typed.model,
        fields=raw,
        decoded=chat,
        messages=[Message(role="user", content=prompt)],
        body_bytes=len(body),
        is_stream=bool(typed.stream),
        wants_usage=wants_usage,
        output_tokens_asked=output_tokens,
        choices=typed.n or 1,
        drops_unsupported=bool(typed.drop_params),
        told=Told(echoed=prompt if typed.echo else "", wants_usage=wants_usage),
    )


def _check(typed: CompletionsBody, decoded: dict[str, Any]) -> None:
    if not typed.model or len(typed.model) > MODEL_NAME_MAX:
        raise _invalid("model", "o nome de um modelo", "a model's name")
    for foreign in NOT_OURS:
        if decoded.get(foreign) is not None:
            raise BadRequest(
                f"'{foreign}' é de /v1/chat/completions, não deste endereço.", f"Unknown parameter: '{foreign}'.", param=foreign,
                code="unknown_parameter",
            )  # fmt: skip
    if typed.n is not None and not 1 <= typed.n <= CHOICES_MAX:
        raise _invalid("n", f"um inteiro de 1 a {CHOICES_MAX}", f"an integer from 1 to {CHOICES_MAX}")
    if typed.best_of is not None and typed.best_of != (typed.n or 1):
        raise _unsupported("best_of", "use 'n'", "use 'n'")
    if typed.suffix:
        raise _unsupported("suffix", "peça em 'prompt' o que falta no meio", "ask for what is missing in 'prompt'")
    if typed.max_tokens is not None and not 1 <= typed.max_tokens <= OUTPUT_TOKENS_ASKED_MAX:
        raise _invalid("max_tokens", "um inteiro maior que zero", "an integer above zero")
    if typed.logprobs is not None and not 0 <= typed.logprobs <= LOGPROBS_MAX:
        raise _invalid("logprobs", f"um inteiro de 0 a {LOGPROBS_MAX}", f"an integer from 0 to {LOGPROBS_MAX}")
    if typed.logprobs is not None and typed.echo:
        raise _unsupported("echo", "as probabilidades do próprio prompt não existem aqui", "a prompt has no logprobs here")
    if typed.stream_options is not None and not typed.stream:
        raise BadRequest(
            "'stream_options' só vale junto com 'stream': true.", "'stream_options' is only allowed when 'stream' is true.",
            param="stream_options",
        )  # fmt: skip


def _read_prompt(prompt: Any) -> str:
    if prompt is None:
        raise BadRequest(
            "Falta o campo obrigatório 'prompt'.", "Missing required parameter: 'prompt'.", param="prompt",
            code="missing_required_parameter",
        )  # fmt: skip
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int | list):
        raise _unsupported("prompt", "envie o texto, não os seus tokens", "send the text, not its tokens")
    if isinstance(prompt, list) and len(prompt) > 1:
        raise _unsupported("prompt", "envie um prompt por chamada", "send one prompt per call")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise _invalid("prompt", "um texto", "a string")
    return prompt


# ── Out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def native(deployment: ServedDeployment) -> Dialect | None:
    return None


def shape_answer(call: ChatCall, route: ServedRoute, completion: bytes) -> bytes:
    told: Told = call.told
    answer = _decode(completion)
    writer = _Writer(told)
    choices = [
        writer.choice(choice, choice.message or _Said(), choice.finish_reason or "stop")
        for choice in sorted(answer.choices, key=lambda choice: choice.index)
    ]
    return msgspec.json.encode({**_head(answer), "choices": choices, "usage": answer.usage})


class _Writer:
    """Choices of one answer: the prompt's echo before each, and where each token begins."""

    def __init__(self, told: Told) -> None:
        self._echoed = told.echoed
        self._offsets: dict[int, int] = {}

    def choice(self, choice: _Choice, said: _Said, finish_reason: str | None) -> dict[str, Any]:
        text = (said.content or "") + (said.refusal or "")
        if choice.index not in self._offsets:
            text = self._echoed + text
            self._offsets[choice.index] = 0
        logprobs = self._logprobs(choice)
        if finish_reason not in (None, "length", "content_filter"):
            finish_reason = "stop"
        return {"text": text, "index": choice.index, "logprobs": logprobs, "finish_reason": finish_reason}

    def _logprobs(self, choice: _Choice) -> dict[str, Any] | None:
        tokens = choice.logprobs.content if choice.logprobs else None
        if not tokens:
            return None
        offsets, at = [], self._offsets[choice.index]
        for token in tokens:
            offsets.append(at)
            at += len(token.token)
        self._offsets[choice.index] = at
        return {
            "tokens": [token.token for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{top.token: top.logprob for top in token.top_logprobs} for token in tokens],
            "text_offset": offsets,
        }


class Shaper:
    """Chunks in, chunks out."""

    passes = False

    def __init__(self, told: Told) -> None:
        self._told = told
        self._writer = _Writer(told)
        self._head: dict[str, Any] = {}

    def read(self, frames: bytes) -> bytes:
        out = []
        for frame in frames.split(b"\n\n"):
            data = frame.removeprefix(b"data: ")
            if not data or data == b"[DONE]":
                continue
            chunk = _decode(data)
            self._head = _head(chunk)
            choices = [self._writer.choice(choice, choice.delta or _Said(), choice.finish_reason) for choice in chunk.choices]
            if choices:
                out.append(self._frame(choices, None))
        return b"".join(out)

    def _frame(self, choices: list[dict[str, Any]], usage: msgspec.Raw | None) -> bytes:
        usage_field = {"usage": usage} if self._told.wants_usage else {}
        return sse.frame(msgspec.json.encode({**self._head, "choices": choices, **usage_field}))

    def end(self, reader: ChatReader, usage_raw: bytes) -> bytes:
        return self._frame([], msgspec.Raw(usage_raw)) + sse.DONE if self._told.wants_usage else sse.DONE

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        return sse.frame(as_openai(error, is_english=is_english))


def _decode(data: bytes) -> _Answer:
    try:
        return _decode_answer(data)
    except (msgspec.DecodeError, RecursionError):
        raise malformed() from None


def _head(answer: _Answer) -> dict[str, Any]:
    head: dict[str, Any] = {
        "id": "cmpl-" + answer.id.removeprefix("chatcmpl-"),
        "object": "text_completion",
        "created": answer.created,
        "model": answer.model,
    }
    if answer.system_fingerprint:
        head["system_fingerprint"] = answer.system_fingerprint
    return head


def open_shaper(call: ChatCall, route: ServedRoute) -> Shaper:
    return Shaper(call.told)


def keeps(call: ChatCall) -> bool:
    return False


async def keep(process: GatewayProcess, caller: Caller, call: ChatCall, last: bytes) -> bytes:
    return last


# ── Refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def error_body(error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
    return as_openai(error, is_english=is_english)


def error_frame(error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
    return sse.frame(as_openai(error, is_english=is_english))


def _unsupported(param: str, advice: str, english: str) -> BadRequest:
    return BadRequest(
        f"'{param}' assim não é aceito: {advice}.", f"'{param}' is not supported like this: {english}.", param=param,
        code="unsupported_parameter",
    )  # fmt: skip


def _invalid(param: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Valor inválido em '{param}': esperado {expected}.", f"Invalid value for '{param}': expected {english}.", param=param
    )
