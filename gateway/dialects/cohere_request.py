"""A chat completion in OpenAI's words → Cohere v2's `/v2/chat`: its parameters. The turns are in `cohere_messages`.

Cohere refuses every field that it does not know, so only what is translated here goes up; the rest is refused by name, or dropped
and told. Ranges and rules: the published types of Cohere's SDK 7.3 and docs.cohere.com.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gateway.calls import ChatCall, ServedRoute
from gateway.dialects.base import refuse
from gateway.dialects.cohere_messages import translate_messages, unsupported
from gateway.errors import BadRequest

STOPS_MAX = 5
K_MAX = 500
P_MIN, P_MAX = 0.01, 0.99
TOOL_CHOICES = "auto, required, none, uma função ou allowed_tools"
TOOL_CHOICES_ENGLISH = "auto, required, none, a function or allowed_tools"
THINKING_BUDGETS = {"minimal": 512, "low": 1_024, "medium": 4_096, "high": 16_384, "xhigh": 32_768, "max": 0}  # 0: without a bound
# Translated below, or read by the gateway itself.
TRANSLATED = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
        "k", "p", "frequency_penalty", "presence_penalty", "seed", "stop", "tools", "tool_choice", "parallel_tool_calls",
        "response_format", "reasoning_effort", "thinking", "n", "logprobs", "top_logprobs", "documents", "citation_options",
        "safety_mode",
    }
)  # fmt: skip
# Hints: the answer means the same without them.
HINTS = frozenset(
    {
        "prediction", "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "store", "metadata",
        "user", "safety_identifier", "verbosity",
    }
)  # fmt: skip
# Values that ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logit_bias": ({},), "modalities": (["text"], []), "functions": ([],), "function_call": ("none", "auto"), "min_p": (0,),
    "repetition_penalty": (1,),
}  # fmt: skip
# The first Command R models: their `tool_choice` is not taken.
_OLD_MODEL = re.compile(r"command-r(-plus)?(-0[348]-2024)?")


def translate_chat(
    call: ChatCall, route: ServedRoute, upstream_model: str, output_tokens: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, and the names of what was dropped. Raises BadRequest, with the path, for what Cohere can't say."""
    asked = {name: value for name, value in call.decoded.items() if value is not None and name != "drop_params"}
    dropped: list[str] = []
    for name, value in asked.items():
        if name in HINTS:
            dropped.append(name)
        elif name not in TRANSLATED and value not in NEUTRAL.get(name, ()):
            refuse(call, name, dropped)
    is_reasoning = route.is_reasoning or "reasoning" in upstream_model
    body: dict[str, Any] = {"model": upstream_model, "max_tokens": output_tokens}
    body["messages"] = translate_messages(
        asked["messages"],
        dropped,
        takes_images="vision" in route.capabilities or "vision" in upstream_model,
        is_reasoning=is_reasoning,
    )
    _translate_tools(call, asked, body, dropped, takes_choice=_OLD_MODEL.fullmatch(upstream_model) is None)
    _translate_documents(asked, body)
    _translate_format(call, asked, body, dropped)
    _translate_thinking(call, asked, body, dropped, is_reasoning=is_reasoning)
    _translate_sampling(call, asked, body, dropped)
    _translate_choices(call, asked, body, dropped)
    if stops := _stops(asked.get("stop")):
        body["stop_sequences"] = stops
    if call.is_stream:
        body["stream"] = True
    return body, tuple(sorted(set(dropped)))


# ── Tools, documents, format ─────────────────────────────────────────────────────────────────────────────────────────
def _translate_tools(
    call: ChatCall, asked: dict[str, Any], body: dict[str, Any], dropped: list[str], *, takes_choice: bool
) -> None:
    tools = asked.get("tools") or []
    if not tools:
        if asked.get("tool_choice", "none") not in ("none", "auto"):
            raise unsupported("tool_choice", "'tools' junto", "'tools' along with it")
        return
    translated = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice, names = _read_choice(asked.get("tool_choice"))
    if choice is not None and not takes_choice:
        refuse(call, "tool_choice", dropped)
        choice, names = None, None
    if names is not None:  # Cohere can't name one: only those that may be called go up
        chosen = [tool for tool in translated if tool["function"]["name"] in names]
        if {tool["function"]["name"] for tool in chosen} != names:
            raise unsupported("tool_choice", "o nome de uma das 'tools'", "the name of one of 'tools'")
        translated = chosen
    body["tools"] = translated
    if choice is not None:
        body["tool_choice"] = choice
    if asked.get("parallel_tool_calls") is False and choice != "NONE":
        refuse(call, "parallel_tool_calls", dropped)
    _translate_strict(call, tools, body, dropped)


def _tool(tool: Any, path: str) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type", "function") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise unsupported(path, "uma ferramenta do tipo 'function'", "a tool of type 'function'")
    schema = function.get("parameters")
    if schema is not None and not isinstance(schema, dict):
        raise unsupported(f"{path}.function.parameters", "um JSON Schema", "a JSON Schema")
    translated: dict[str, Any] = {"name": function["name"]}
    if isinstance(function.get("description"), str):
        translated["description"] = function["description"]
    translated["parameters"] = schema or {"type": "object", "properties": {}}
    return {"type": "function", "function": translated}


def _translate_strict(call: ChatCall, tools: list[dict[str, Any]], body: dict[str, Any], dropped: list[str]) -> None:
    """`strict` of one tool holds for all: stricter than asked, never laxer. Each tool needs a required parameter then."""
    sent = {tool["function"]["name"]: tool["function"] for tool in body["tools"]}
    strict = [
        index for index, tool in enumerate(tools) if tool["function"].get("strict") is True and tool["function"]["name"] in sent
    ]
    if not strict:
        return
    if all(function["parameters"].get("required") for function in sent.values()):
        body["strict_tools"] = True
    else:
        refuse(call, f"tools[{strict[0]}].function.strict", dropped)


def _read_choice(choice: Any) -> tuple[str | None, set[str] | None]:
    """REQUIRED, NONE or nothing, and the names that alone may be called (None: all)."""
    if choice is None or choice == "auto":
        return None, None
    if choice in ("required", "none"):
        return str(choice).upper(), None
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "allowed_tools" and isinstance(choice.get("allowed_tools"), dict):
        allowed = choice["allowed_tools"]
        names = _names(allowed.get("tools") if isinstance(allowed.get("tools"), list) else [])
        return "REQUIRED" if allowed.get("mode") == "required" else None, names
    if kind == "function":
        return "REQUIRED", _names([choice])
    raise unsupported("tool_choice", TOOL_CHOICES, TOOL_CHOICES_ENGLISH)


def _names(chosen: Iterable[Any]) -> set[str]:
    names: set[str] = set()
    for item in chosen:
        function = item.get("function") if isinstance(item, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise unsupported("tool_choice", TOOL_CHOICES, TOOL_CHOICES_ENGLISH)
        names.add(function["name"])
    if not names:
        raise unsupported("tool_choice", TOOL_CHOICES, TOOL_CHOICES_ENGLISH)
    return names


def _translate_documents(asked: dict[str, Any], body: dict[str, Any]) -> None:
    """What the answer may cite, in Cohere's own words: they have no others."""
    documents = asked.get("documents", [])
    if not isinstance(documents, list):
        raise unsupported("documents", "uma lista", "a list")
    for index, document in enumerate(documents):
        is_named = isinstance(document, dict) and document.keys() <= {"id", "data"} and isinstance(document.get("id", ""), str)
        if not isinstance(document, str) and not (is_named and isinstance(document.get("data"), dict)):
            raise unsupported(f"documents[{index}]", "um texto ou {id, data}", "a string or {id, data}")
    if documents:
        body["documents"] = documents
    options = asked.get("citation_options")
    if options is not None:
        modes = ("ENABLED", "DISABLED", "FAST", "ACCURATE", "OFF")
        if not isinstance(options, dict) or options.keys() != {"mode"} or str(options["mode"]).upper() not in modes:
            raise unsupported("citation_options", f"mode: {', '.join(modes)}", f"mode: {', '.join(modes)}")
        body["citation_options"] = {"mode": str(options["mode"]).upper()}
    mode = asked.get("safety_mode")
    if mode is not None:
        if mode not in ("CONTEXTUAL", "STRICT", "OFF"):
            raise unsupported("safety_mode", "CONTEXTUAL, STRICT ou OFF", "CONTEXTUAL, STRICT or OFF")
        if "tools" in body or documents:
            raise unsupported("safety_mode", "nem 'tools' nem 'documents' junto", "neither 'tools' nor 'documents' along with it")
        body["safety_mode"] = mode


def _translate_format(call: ChatCall, asked: dict[str, Any], body: dict[str, Any], dropped: list[str]) -> None:
    format_ = asked.get("response_format")
    if not isinstance(format_, dict) or format_.get("type") == "text":
        return
    translated: dict[str, Any] = {"type": "json_object"}
    if format_.get("type") == "json_schema":
        wrapped = format_.get("json_schema")
        schema = wrapped.get("schema") if isinstance(wrapped, dict) else None
        if not isinstance(schema, dict):
            raise unsupported("response_format.json_schema.schema", "um JSON Schema", "a JSON Schema")
        if schema.get("type", "object") != "object":
            raise unsupported("response_format.json_schema.schema.type", "object no nível de cima", "object at the top level")
        translated["json_schema"] = schema
    elif format_.get("type") != "json_object":
        raise unsupported("response_format.type", "text, json_object ou json_schema", "text, json_object or json_schema")
    if "tools" in body or "documents" in body:
        refuse(call, "response_format", dropped)
    else:
        body["response_format"] = translated


# ── Thinking and sampling ────────────────────────────────────────────────────────────────────────────────────────────
def _translate_thinking(
    call: ChatCall, asked: dict[str, Any], body: dict[str, Any], dropped: list[str], *, is_reasoning: bool
) -> None:
    """Models that reason do so unless told not to. The budget leaves room for the answer, as it is within `max_tokens`."""
    effort, native = asked.get("reasoning_effort"), asked.get("thinking")
    if native is not None:
        kind = native.get("type") if isinstance(native, dict) else None
        if kind not in ("enabled", "disabled", "adaptive"):
            raise unsupported("thinking.type", "enabled ou disabled", "enabled or disabled")
        budget = native.get("token_budget", native.get("budget_tokens", 0))
        name = "thinking"
    elif effort is not None:
        if not isinstance(effort, str) or (effort != "none" and effort not in THINKING_BUDGETS):
            known = ", ".join(["none", *THINKING_BUDGETS])
            raise unsupported("reasoning_effort", known, known)
        kind = "disabled" if effort == "none" else "enabled"
        budget = THINKING_BUDGETS.get(effort, 0)
        name = "reasoning_effort"
    else:
        return
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 0:
        raise unsupported("thinking.token_budget", "um inteiro maior que zero", "an integer above zero")
    if not is_reasoning:
        if kind != "disabled":
            refuse(call, name, dropped)
        return
    if kind == "disabled":
        body["thinking"] = {"type": "disabled"}
        return
    body["thinking"] = {"type": "enabled"}
    if budget:
        body["thinking"]["token_budget"] = max(1, min(budget, body["max_tokens"] - 1))


def _translate_sampling(call: ChatCall, asked: dict[str, Any], body: dict[str, Any], dropped: list[str]) -> None:
    """Where Cohere's range ends before OpenAI's, its end is the nearest; the caller is told. A negative penalty asks for the
    opposite of what Cohere has."""
    temperature = asked.get("temperature")
    if temperature is not None:
        body["temperature"] = _within(temperature, "temperature", 0, 2, most=1, dropped=dropped)
    top_p = asked.get("top_p", asked.get("p"))
    if top_p is not None:
        _within(top_p, "top_p", 0, 1, most=1, dropped=dropped)
        body["p"] = min(P_MAX, max(P_MIN, top_p))
    top_k = asked.get("top_k", asked.get("k"))
    if top_k is not None:
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < -1:
            raise unsupported("top_k", "um inteiro", "an integer")
        if top_k > 0:
            body["k"] = _within(top_k, "top_k", 0, top_k, most=K_MAX, dropped=dropped)
    for name in ("frequency_penalty", "presence_penalty"):
        penalty = asked.get(name, 0)
        if penalty < 0:
            _within(penalty, name, -2, 2, most=2, dropped=dropped)
            refuse(call, name, dropped)
        elif penalty > 0:
            body[name] = _within(penalty, name, -2, 2, most=1, dropped=dropped)
    seed = asked.get("seed")
    if seed is not None:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise unsupported("seed", "um inteiro", "an integer")
        if 0 <= seed < 2**63:
            body["seed"] = seed
        else:
            dropped.append("seed")


def _within(value: Any, name: str, least: float, last: float, *, most: float, dropped: list[str]) -> Any:
    """The value, or `most` where it is above; outside of OpenAI's own range it is refused. Raises BadRequest."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= last:
        raise unsupported(name, f"um número de {least} a {last}", f"a number from {least} to {last}")
    if value > most:
        dropped.append(name)
        return most
    return value


def _translate_choices(call: ChatCall, asked: dict[str, Any], body: dict[str, Any], dropped: list[str]) -> None:
    if call.choices != 1:
        refuse(call, "n", dropped)
    if asked.get("logprobs"):
        body["logprobs"] = True
        if asked.get("top_logprobs"):
            refuse(call, "top_logprobs", dropped)


def _stops(stop: Any) -> list[str]:
    stops = [text for text in ([stop] if isinstance(stop, str) else stop or []) if text]
    if len(stops) > STOPS_MAX:
        raise BadRequest(
            f"Este modelo aceita até {STOPS_MAX} textos em 'stop'.", f"This model takes at most {STOPS_MAX} strings in 'stop'.",
            param="stop", code="unsupported_value",
        )  # fmt: skip
    return stops
