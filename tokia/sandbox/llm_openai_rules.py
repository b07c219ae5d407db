"""What OpenAI and the OpenAI-compatible providers refuse in a request, each in its own way. Pure."""

from __future__ import annotations

import re
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.llm_hosts import find_slip, shape_of
from tokia.sandbox.llm_providers import Provider, is_reasoning_model
from tokia.sandbox.llm_refusals import ProviderError

Body = dict[str, Any]

CHAT_FIELDS = frozenset(
    {
        "messages", "model", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "metadata", "modalities", "moderation", "n", "parallel_tool_calls",
        "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream",
        "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
        "web_search_options",
    }
)  # fmt: skip
EMBEDDING_FIELDS = frozenset({"input", "model", "dimensions", "encoding_format", "user"})
# Google's OpenAI endpoint knows fewer fields and says so.
GOOGLE_FIELDS = frozenset(
    {
        "messages", "model", "audio", "frequency_penalty", "max_completion_tokens", "max_tokens", "modalities", "n",
        "parallel_tool_calls", "presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "stream",
        "stream_options", "temperature", "tool_choice", "tools", "top_p", "user", "extra_body",
    }
)  # fmt: skip
MISTRAL_FIELDS = frozenset(
    {
        "messages", "model", "temperature", "top_p", "max_tokens", "stream", "stream_options", "stop", "random_seed",
        "metadata", "response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n",
        "prediction", "parallel_tool_calls", "prompt_mode", "reasoning_effort", "safe_prompt", "guardrails",
    }
)  # fmt: skip
MISTRAL_EMBEDDING_FIELDS = frozenset({"input", "model", "metadata", "output_dimension", "output_dtype", "encoding_format"})
MESSAGE_FIELDS = {
    "developer": {"role", "content", "name"},
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "refusal", "audio", "tool_calls", "function_call"},
    "tool": {"role", "content", "tool_call_id"},
    "function": {"role", "content", "name"},
}
MISTRAL_MESSAGE_FIELDS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
NUMBER_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}
INTEGER_RANGES = {"n": (1, 128), "max_tokens": (1, 2**31), "max_completion_tokens": (1, 2**31), "top_logprobs": (0, 20)}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TOOLS_MAX = 128
STOP_MAX = 4
INPUTS_MAX = 2048


def refuse_bad_chat(body: Body, *, provider: Provider) -> None:
    """Raise ProviderError for the first thing that this provider would refuse."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise ProviderError(400, "you must provide a model parameter")
    _refuse_unknown_fields(body, provider=provider)
    _refuse_bad_numbers(body)
    _refuse_bad_stream(body, provider=provider)
    if provider.slug in ("openai", "azure"):
        _refuse_for_model(body)
    _refuse_bad_messages(body, provider=provider)
    _refuse_bad_tools(body, provider=provider)
    _refuse_bad_format(body, provider=provider)
    slip = find_slip(body, shape_of(provider.slug))
    if slip is not None:
        raise ProviderError(400, slip[1], param=slip[0], code="unsupported_parameter")


def refuse_bad_embedding(body: Body, *, provider: Provider) -> None:
    """Raise ProviderError for a bad request of embeddings."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise ProviderError(400, "you must provide a model parameter")
    if provider.unknown_fields == "refuse":
        for name in body:
            if name not in EMBEDDING_FIELDS:
                raise unknown_parameter(name, provider=provider)
    if provider.unknown_fields == "forbid":
        _forbid([((name,), body[name]) for name in body if name not in MISTRAL_EMBEDDING_FIELDS])
    asked = body.get("input")
    if asked is None:
        raise _missing("input")
    items = asked if isinstance(asked, list) else [asked]
    if isinstance(asked, list) and asked and all(isinstance(item, int) for item in asked):
        items = [asked]
    if not items or len(items) > INPUTS_MAX or any(not _is_embeddable(item) for item in items):
        raise ProviderError(400, "'$.input' is invalid. Please check the API reference.", param=None, code=None)
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise _bad_value("encoding_format", "Supported values are: 'float' and 'base64'.")
    dimensions = body.get("dimensions")
    if dimensions is not None and (not isinstance(dimensions, int) or not 1 <= dimensions <= 3072):
        raise _bad_value("dimensions", "Expected an integer from 1 to 3072.")


def unknown_parameter(path: str, *, provider: Provider) -> ProviderError:
    if provider.slug == "google":
        name = path.rsplit(".", 1)[-1]
        return ProviderError(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    return ProviderError(400, f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def message_text(content: Json) -> str:
    """The text of a message's content, whichever form it has."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in parts if isinstance(part, dict))


def _refuse_unknown_fields(body: Body, *, provider: Provider) -> None:
    if provider.unknown_fields == "refuse":
        known = GOOGLE_FIELDS if provider.slug == "google" else CHAT_FIELDS
        for name in body:
            if name not in known:
                raise unknown_parameter(name, provider=provider)
    if provider.unknown_fields == "forbid":
        found: list[tuple[tuple[str | int, ...], Json]] = [((name,), body[name]) for name in body if name not in MISTRAL_FIELDS]
        # Mistral takes `stream_options` but not `include_usage` in it: its streams always end with usage.
        options = body.get("stream_options")
        if isinstance(options, dict) and "include_usage" in options:
            found.append((("stream_options", "include_usage"), options["include_usage"]))
        _forbid(found)


def _refuse_bad_numbers(body: Body) -> None:
    for name, (least, most) in NUMBER_RANGES.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _bad_type(name, "a decimal", value)
        if not least <= value <= most:
            side, word = ("below_min", f">= {least}") if value < least else ("above_max", f"<= {most}")
            text = (
                f"Invalid '{name}': decimal {side.replace('_', ' ')}imum value. Expected a value {word}, but got {value} instead."
            )
            raise ProviderError(400, text, param=name, code=f"decimal_{side}_value")
    for name, (first, last) in INTEGER_RANGES.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise _bad_type(name, "an integer", value)
        if not first <= value <= last:
            side, word = ("below_min", f">= {first}") if value < first else ("above_max", f"<= {last}")
            text = (
                f"Invalid '{name}': integer {side.replace('_', ' ')}imum value. Expected a value {word}, but got {value} instead."
            )
            raise ProviderError(400, text, param=name, code=f"integer_{side}_value")
    stop = body.get("stop")
    if stop is not None and not isinstance(stop, str):
        if not isinstance(stop, list) or not all(isinstance(item, str) for item in stop):
            raise _bad_type("stop", "a string or an array of strings", stop)
        if len(stop) > STOP_MAX:
            raise ProviderError(400, f"Invalid 'stop': array too long. Expected an array with maximum length {STOP_MAX}.",
                                param="stop", code="array_above_max_length")  # fmt: skip


def _refuse_bad_stream(body: Body, *, provider: Provider) -> None:
    if not isinstance(body.get("stream", False), bool | None):
        raise _bad_type("stream", "a boolean", body["stream"])
    if body.get("stream_options") is not None and not body.get("stream"):
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ProviderError(400, text, param="stream_options")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise ProviderError(400, "'top_logprobs' is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    if provider.slug == "groq" and (body.get("logprobs") or (body.get("n") or 1) != 1):
        raise ProviderError(400, "'logprobs' and 'n' > 1 are not supported")


def _refuse_for_model(body: Body) -> None:
    model = body["model"]
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise ProviderError(400, text, code="invalid_parameter_combination")
    if not is_reasoning_model(model):
        if body.get("reasoning_effort") is not None:
            raise ProviderError(400, "Unrecognized request argument supplied: reasoning_effort")
        return
    if body.get("max_tokens") is not None:
        text = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        raise ProviderError(400, text, param="max_tokens", code="unsupported_parameter")
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        raise _bad_value("reasoning_effort", f"Supported values are: {', '.join(EFFORTS)}.")
    if effort == "none":
        return
    for name in ("temperature", "top_p"):
        if body.get(name) not in (None, 1):
            text = (
                f"Unsupported value: '{name}' does not support {body[name]} with this model. "
                "Only the default (1) value is supported."
            )
            raise ProviderError(400, text, param=name, code="unsupported_value")


def _refuse_bad_messages(body: Body, *, provider: Provider) -> None:
    messages = body.get("messages")
    if messages is None:
        raise _missing("messages")
    if not isinstance(messages, list):
        raise _bad_type("messages", "an array of objects", messages)
    if not messages:
        text = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise ProviderError(400, text, param="messages", code="empty_array")
    fields = MISTRAL_MESSAGE_FIELDS if provider.unknown_fields == "forbid" else MESSAGE_FIELDS
    forbidden: list[tuple[tuple[str | int, ...], Json]] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _bad_type(path, "an object", message)
        role = message.get("role")
        if role not in fields:
            raise _bad_value(f"{path}.role", f"Supported values are: {', '.join(fields)}.")
        unknown = [name for name in message if name not in fields[role]]
        if unknown and provider.slug in ("openai", "azure"):
            raise unknown_parameter(f"{path}.{unknown[0]}", provider=provider)
        forbidden += [(("messages", index, role, name), message[name]) for name in unknown]
        _refuse_bad_content(message, path)
        if provider.slug == "openai":
            _refuse_cache_marks(message.get("content"), f"{path}.content", provider=provider)
    if provider.unknown_fields == "forbid":
        _forbid(forbidden)
    _refuse_unanswered_calls(messages)


def _refuse_bad_content(message: Body, path: str) -> None:
    content = message.get("content")
    if message["role"] == "assistant":
        if content is None and not any(message.get(name) for name in ("tool_calls", "function_call", "audio", "refusal")):
            text = f"Invalid value for 'content': expected a string, got null. ({path})"
            raise ProviderError(400, text, param=f"{path}.content")
        if message.get("tool_calls") == []:
            text = f"Invalid '{path}.tool_calls': empty array. Expected an array with minimum length 1."
            raise ProviderError(400, text, param=f"{path}.tool_calls", code="empty_array")
    elif content is None:
        raise ProviderError(400, f"Invalid value for 'content': expected a string, got null. ({path})", param=f"{path}.content")
    if content is not None and not isinstance(content, str | list):
        raise _bad_type(f"{path}.content", "one of a string or array of objects", content)
    if isinstance(content, list):
        for index, part in enumerate(content):
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise _bad_type(f"{path}.content[{index}]", "an object with a type", part)
            if part["type"] == "text" and not isinstance(part.get("text"), str):
                raise _missing(f"{path}.content[{index}].text")


def _refuse_cache_marks(items: Json, path: str, *, provider: Provider) -> None:
    """`cache_control` is Anthropic's word; OpenAI names it as unknown, on parts and on tools."""
    for index, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict) and "cache_control" in item:
            raise unknown_parameter(f"{path}[{index}].cache_control", provider=provider)


def _refuse_unanswered_calls(messages: list[Body]) -> None:
    waiting: dict[str, None] = {}
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                text = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise ProviderError(400, text, param=f"messages.[{index}].role")
            waiting.pop(message["tool_call_id"])
            continue
        _refuse_waiting(waiting, index)
        for call in message.get("tool_calls") or ():
            if not isinstance(call, dict) or not isinstance(call.get("id"), str):
                raise _missing(f"messages[{index}].tool_calls[0].id")
            waiting[call["id"]] = None
    _refuse_waiting(waiting, len(messages))


def _refuse_waiting(waiting: dict[str, None], index: int) -> None:
    if waiting:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(waiting)}"
        )
        raise ProviderError(400, text, param=f"messages.[{index}].role")


def _refuse_bad_tools(body: Body, *, provider: Provider) -> None:
    tools = body.get("tools")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None and not (name == "tool_choice" and body[name] == "none"):
                text = f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."
                raise ProviderError(400, text, param=name)
        return
    if not isinstance(tools, list) or not 1 <= len(tools) <= TOOLS_MAX:
        raise ProviderError(400, f"Invalid 'tools': expected an array of 1 to {TOOLS_MAX}.", param="tools", code="empty_array")
    names = []
    if provider.slug == "openai":
        _refuse_cache_marks(tools, "tools", provider=provider)
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(tool, dict) and tool.get("type") == "custom":
            names.append(str(tool.get("custom", {}).get("name")))
            continue
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise _missing(f"tools[{index}].function")
        if not isinstance(function.get("name"), str) or not TOOL_NAME.fullmatch(function["name"]):
            text = f"Invalid 'tools[{index}].function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
            raise ProviderError(400, text, param=f"tools[{index}].function.name", code="invalid_value")
        if provider.slug == "openai" and function.get("strict"):
            _refuse_loose_schema(function.get("parameters") or {}, where=f"function '{function['name']}'")
        names.append(function["name"])
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        wanted = (choice.get("function") or choice.get("custom") or {}).get("name")
        if choice.get("type") in ("function", "custom") and wanted not in names:
            text = f"Invalid value for 'tool_choice': tool '{wanted}' not found in 'tools' parameter."
            raise ProviderError(400, text, param="tool_choice")
    elif choice not in (None, "none", "auto", "required", "any"):
        raise _bad_value("tool_choice", "Supported values are: 'none', 'auto' and 'required'.")


def _refuse_bad_format(body: Body, *, provider: Provider) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    if not isinstance(wanted, dict) or wanted.get("type") not in ("text", "json_object", "json_schema"):
        raise _bad_value("response_format.type", "Supported values are: 'json_object', 'json_schema' and 'text'.")
    if wanted["type"] == "json_object" and provider.slug in ("openai", "groq", "deepseek"):
        texts = " ".join(message_text(message.get("content")) for message in body["messages"])
        if "json" not in texts.lower():
            text = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            raise ProviderError(400, text, param="messages")
    if wanted["type"] == "json_schema":
        schema = wanted.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("name"), str):
            raise _missing("response_format.json_schema.name")
        if provider.slug == "openai" and schema.get("strict"):
            _refuse_loose_schema(schema.get("schema") or {}, where=f"response_format '{schema['name']}'")


def _refuse_loose_schema(schema: Json, *, where: str) -> None:
    """Strict schemas close every object and require every property."""
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            text = f"Invalid schema for {where}: In context=(), 'additionalProperties' is required to be supplied and to be false."
            raise ProviderError(400, text, code="invalid_json_schema")
        missing = set(schema.get("properties", {})) - set(schema.get("required", ()))
        if missing:
            text = (
                f"Invalid schema for {where}: In context=(), 'required' is required to be supplied and to be an array "
                f"including every key in properties. Missing '{sorted(missing)[0]}'."
            )
            raise ProviderError(400, text, code="invalid_json_schema")
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), schema.get("items")]
    for item in [*inner, *schema.get("anyOf", ())]:
        _refuse_loose_schema(item, where=where)


def _forbid(found: list[tuple[tuple[str | int, ...], Json]]) -> None:
    if found:
        details: list[dict[str, Json]] = [
            {"type": "extra_forbidden", "loc": ["body", *path], "msg": "Extra inputs are not permitted", "input": value}
            for path, value in found
        ]
        raise ProviderError(422, "Extra inputs are not permitted", details=details)


def _is_embeddable(item: Json) -> bool:
    if isinstance(item, str):
        return bool(item)
    return isinstance(item, list) and bool(item) and all(isinstance(token, int) for token in item)


def _missing(path: str) -> ProviderError:
    return ProviderError(400, f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def _bad_type(path: str, expected: str, value: Json) -> ProviderError:
    text = f"Invalid type for '{path}': expected {expected}, but got {type(value).__name__} instead."
    return ProviderError(400, text, param=path, code="invalid_type")


def _bad_value(path: str, hint: str) -> ProviderError:
    return ProviderError(400, f"Invalid value for '{path}'. {hint}", param=path, code="invalid_value")
