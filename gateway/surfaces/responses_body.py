"""The fields of a Responses request beside its input: each works, is echoed, or is refused by its name. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from gateway.errors import BadRequest
from gateway.parsing import MODEL_NAME_MAX, OUTPUT_TOKENS_ASKED_MAX, parse_body
from gateway.surfaces.responses_tools import echo_tools, own_tools, read_tool_choice, read_tools

# Known to OpenAI, and not served here: null is as good as absent.
NOT_SERVED = (
    "access_programs", "background_options", "context_management", "conversation", "image", "moderation", "prompt",
)  # fmt: skip
# What `include` may ask for: the first two change the answer, the third is always there, the others belong to tools we refuse.
ENCRYPTED_REASONING = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
INCLUDABLE = frozenset(
    {
        ENCRYPTED_REASONING, LOGPROBS, "message.input_image.image_url", "file_search_call.results", "web_search_call.results",
        "web_search_call.action.sources", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
    }
)  # fmt: skip
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SUMMARIES = ("auto", "concise", "detailed")
VERBOSITIES = ("low", "medium", "high")
METADATA_MAX, METADATA_KEY_MAX, METADATA_VALUE_MAX = 16, 64, 512
TOP_LOGPROBS_MAX = 20
ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "safety_identifier", "user",
)  # fmt: skip


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_obfuscation: bool | None = None


class Reasoning(msgspec.Struct, forbid_unknown_fields=True):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class Text(msgspec.Struct, forbid_unknown_fields=True):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class CacheOptions(msgspec.Struct, forbid_unknown_fields=True):
    mode: str | None = None
    ttl: str | None = None


class ResponsesBody(msgspec.Struct):
    """The fields that have one type. `input`, `tools` and `tool_choice` are read by hand."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    background: bool | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    truncation: str | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    reasoning: Reasoning | None = None
    text: Text | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: CacheOptions | None = None
    drop_params: bool | None = None  # ours, as in chat completions


KNOWN = frozenset({*ResponsesBody.__struct_fields__, "input", "tools", "tool_choice", *NOT_SERVED})
_decode = msgspec.json.Decoder(ResponsesBody).decode


class Asked(NamedTuple):
    """A body that was understood: its own fields, the chat's fields that they come to, and what the answer echoes."""

    typed: ResponsesBody
    input: Any
    chat: dict[str, Any]
    shown: dict[str, Any]
    dropped: tuple[str, ...]

    @property
    def includes(self) -> list[str]:
        return self.typed.include or []


def read_body(body: bytes) -> Asked:
    """Raises BadRequest, naming the parameter."""
    typed, _, decoded = parse_body(body, _decode)
    for name in decoded:
        if name not in KNOWN:
            raise BadRequest(
                f"Parâmetro desconhecido: '{name[:100]}'.", f"Unknown parameter: '{name[:100]}'.", param=name[:100],
                code="unknown_parameter",
            )  # fmt: skip
    _refuse(typed, decoded)
    if decoded.get("input") is None:
        raise BadRequest(
            "Falta o campo obrigatório 'input'.", "Missing required parameter: 'input'.", param="input",
            code="missing_required_parameter",
        )  # fmt: skip
    dropped: list[str] = []
    if typed.truncation == "auto":  # refused above, unless the caller wants such things left out
        dropped.append("truncation")
    decoded["tools"] = own_tools(decoded.get("tools"), dropped if typed.drop_params else None)
    tools = read_tools(decoded["tools"])
    chat: dict[str, Any] = {"model": typed.model}
    tools_sent, choice = read_tool_choice(decoded.get("tool_choice"), tools)
    if tools_sent:
        chat["tools"] = tools_sent
        if choice != "auto":
            chat["tool_choice"] = choice
        if typed.parallel_tool_calls is not None:
            chat["parallel_tool_calls"] = typed.parallel_tool_calls
    _set_numbers(typed, chat)
    _set_format(typed, chat)
    _set_reasoning(typed, chat)
    _set_hints(typed, chat)
    return Asked(typed, decoded["input"], chat, _shown(typed, decoded), tuple(dropped))


# ── Refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _refuse(typed: ResponsesBody, decoded: dict[str, Any]) -> None:
    for name in NOT_SERVED:
        if decoded.get(name) is not None:
            raise not_served(name)
    if typed.background:
        raise not_served("background")
    if typed.truncation not in (None, "disabled", "auto"):
        raise one_of("truncation", ("disabled", "auto"))
    if typed.truncation == "auto" and not typed.drop_params:
        raise not_served("truncation")
    if not typed.model or len(typed.model) > MODEL_NAME_MAX:
        raise invalid("model", "o nome de um modelo", "a model's name")
    if typed.stream_options is not None and not typed.stream:
        raise BadRequest(
            "'stream_options' só vale junto com 'stream': true.", "'stream_options' is only allowed when 'stream' is true.",
            param="stream_options",
        )  # fmt: skip
    for index, name in enumerate(typed.include or ()):
        if name not in INCLUDABLE:
            expected = ", ".join(sorted(INCLUDABLE))
            raise invalid(f"include[{index}]", f"um destes: {expected}", f"one of: {expected}")
    _check_metadata(typed.metadata)
    if typed.max_tool_calls is not None and typed.max_tool_calls < 1:
        raise invalid("max_tool_calls", "um inteiro maior que zero", "an integer above zero")


def _check_metadata(metadata: dict[str, str] | None) -> None:
    if metadata is None:
        return
    if len(metadata) > METADATA_MAX:
        raise invalid("metadata", f"no máximo {METADATA_MAX} pares", f"at most {METADATA_MAX} pairs")
    for key, value in metadata.items():
        if len(key) > METADATA_KEY_MAX or len(value) > METADATA_VALUE_MAX:
            limits = f"{METADATA_KEY_MAX}/{METADATA_VALUE_MAX}"
            raise invalid(f"metadata.{key[:64]}", f"no máximo {limits} caracteres", f"at most {limits} characters")


# ── Worked ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _set_numbers(typed: ResponsesBody, chat: dict[str, Any]) -> None:
    if typed.max_output_tokens is not None:
        if not 1 <= typed.max_output_tokens <= OUTPUT_TOKENS_ASKED_MAX:
            raise invalid("max_output_tokens", "um inteiro maior que zero", "an integer above zero")
        chat["max_completion_tokens"] = typed.max_output_tokens
    for name, value, most in (("temperature", typed.temperature, 2), ("top_p", typed.top_p, 1)):
        if value is not None:
            if not 0 <= value <= most:
                raise invalid(name, f"um número de 0 a {most}", f"a number from 0 to {most}")
            chat[name] = value
    if typed.top_logprobs is not None and not 0 <= typed.top_logprobs <= TOP_LOGPROBS_MAX:
        raise invalid("top_logprobs", f"um inteiro de 0 a {TOP_LOGPROBS_MAX}", f"an integer from 0 to {TOP_LOGPROBS_MAX}")
    if typed.top_logprobs or LOGPROBS in (typed.include or ()):
        chat["logprobs"] = True
        if typed.top_logprobs:
            chat["top_logprobs"] = typed.top_logprobs


def _set_format(typed: ResponsesBody, chat: dict[str, Any]) -> None:
    if typed.text is None:
        return
    if typed.text.verbosity is not None:
        if typed.text.verbosity not in VERBOSITIES:
            raise one_of("text.verbosity", VERBOSITIES)
        chat["verbosity"] = typed.text.verbosity
    asked = typed.text.format
    if asked is None or asked.get("type") == "text":
        return
    if asked.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
        return
    if asked.get("type") != "json_schema":
        raise one_of("text.format.type", ("text", "json_object", "json_schema"))
    if not isinstance(asked.get("name"), str) or not asked["name"]:
        raise invalid("text.format.name", "um nome", "a name")
    if not isinstance(asked.get("schema"), dict):
        raise invalid("text.format.schema", "um JSON Schema", "a JSON Schema")
    for name in asked:
        if name not in ("type", "name", "schema", "strict", "description"):
            raise invalid(f"text.format.{name[:64]}", "um campo conhecido", "a known field")
    wrapped = {name: value for name, value in asked.items() if name != "type" and value is not None}
    chat["response_format"] = {"type": "json_schema", "json_schema": wrapped}


def _set_reasoning(typed: ResponsesBody, chat: dict[str, Any]) -> None:
    """A model's thoughts are always given as a summary; how long it is (`summary`) is the model's own."""
    asked = typed.reasoning
    if asked is None:
        return
    for name, value, known in (
        ("effort", asked.effort, EFFORTS), ("summary", asked.summary, SUMMARIES),
        ("generate_summary", asked.generate_summary, SUMMARIES),
    ):  # fmt: skip
        if value is not None and value not in known:
            raise one_of(f"reasoning.{name}", known)
    if asked.context not in (None, "auto", "all_turns"):  # what is sent to us is sent on
        raise not_served("reasoning.context")
    if asked.mode not in (None, "standard"):
        raise not_served("reasoning.mode")
    if asked.effort is not None:
        chat["reasoning_effort"] = asked.effort


def _set_hints(typed: ResponsesBody, chat: dict[str, Any]) -> None:
    """They go on as they are; a dialect that can't say one leaves it out and tells its name."""
    for name in ("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"):
        if getattr(typed, name) is not None:
            chat[name] = getattr(typed, name)
    if typed.prompt_cache_options is not None:
        chat["prompt_cache_options"] = _without_none(typed.prompt_cache_options)
    if typed.service_tier not in (None, "auto", "default"):  # those two are what is given to who asks for nothing
        chat["service_tier"] = typed.service_tier


# ── Echoed ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _shown(typed: ResponsesBody, decoded: dict[str, Any]) -> dict[str, Any]:
    """The members of the answer that repeat the request, with the defaults of what was not said."""
    shown = {name: decoded.get(name) for name in ECHOED}
    reasoning, text = typed.reasoning or Reasoning(), typed.text or Text()
    return {
        **shown,
        "background": False,
        "conversation": None,
        "metadata": typed.metadata or {},
        "parallel_tool_calls": typed.parallel_tool_calls is not False,
        "prompt": None,
        "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary or reasoning.generate_summary},
        "service_tier": typed.service_tier or "default",
        "temperature": 1.0 if typed.temperature is None else typed.temperature,
        "text": {"format": text.format or {"type": "text"}, "verbosity": text.verbosity or "medium"},
        "tool_choice": decoded.get("tool_choice") or "auto",
        "tools": echo_tools(decoded.get("tools") or []),
        "top_logprobs": typed.top_logprobs or 0,
        "top_p": 1.0 if typed.top_p is None else typed.top_p,
        "truncation": "disabled",
    }


def _without_none(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if value is not None}


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def not_served(param: str) -> BadRequest:
    return BadRequest(
        f"'{param}' não é oferecido aqui.", f"'{param}' is not supported here.", param=param, code="unsupported_parameter"
    )


def invalid(param: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Valor inválido em '{param}': esperado {expected}.", f"Invalid value for '{param}': expected {english}.", param=param
    )


def one_of(param: str, known: tuple[str, ...]) -> BadRequest:
    return invalid(param, f"um destes: {', '.join(known)}", f"one of: {', '.join(known)}")
