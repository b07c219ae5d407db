"""A chat completion in OpenAI's words → the body of generateContent."""

from __future__ import annotations

import re
from typing import Any

from gateway.calls import ChatCall
from gateway.dialects.base import refuse
from gateway.dialects.gemini_contents import Conversation, unsupported
from gateway.dialects.gemini_models import Abilities, abilities_of
from gateway.dialects.gemini_schema import NodeBudget, SchemaTooLarge, fit_json_schema, fit_subset, needs_fit
from gateway.errors import BadRequest

Body = dict[str, Any]

STOPS_MAX = 5
SEED_MAX = 2**31 - 1
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
BUDGETS = {"minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 32_768}  # as Google maps them
_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
# Read here, or by whoever asks the dialect.
_READ = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "temperature", "top_p",
        "top_k", "frequency_penalty", "presence_penalty", "stop", "seed", "logprobs", "top_logprobs", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "reasoning_effort", "thinking", "modalities", "extra_body", "drop_params",
        "functions", "function_call", "logit_bias", "audio", "web_search_options",
    }
)  # fmt: skip
# They change no meaning: left out without asking, and named. With the values that say nothing.
_HINTS: dict[str, tuple[Any, ...]] = {
    "prediction": (), "service_tier": ("auto", "default"), "prompt_cache_key": (), "prompt_cache_retention": (),
    "prompt_cache_options": (), "store": (False,), "metadata": ({},), "user": (), "safety_identifier": (), "verbosity": ("medium",),
    "moderation": (), "cache_control": (),
}  # fmt: skip


def translate_chat(call: ChatCall, upstream_model: str, output_tokens: int) -> tuple[Body, tuple[str, ...]]:
    """The body, and the names of what was left out. Raises BadRequest, with the path, for what Gemini can't say."""
    abilities = abilities_of(upstream_model)
    asked, dropped = dict(call.decoded), list[str]()
    _refuse_unsayable(call, asked, abilities, dropped)
    conversation = Conversation(asked["messages"], abilities)
    dropped += sorted(conversation.hints)
    body: Body = {"contents": conversation.turns}
    if conversation.system:
        body["systemInstruction"] = {"parts": conversation.system}
    _translate_tools(call, asked, body, abilities, dropped)
    config: Body = {"maxOutputTokens": output_tokens}
    _translate_sampling(call, asked, config, abilities, dropped)
    _translate_thinking(call, asked, config, abilities, dropped)
    _translate_format(call, asked, config, abilities, dropped, has_tools="tools" in body)
    if conversation.details == {"low"}:
        config["mediaResolution"] = "MEDIA_RESOLUTION_LOW"
    body["generationConfig"] = config
    return body, tuple(dropped)


def _refuse_unsayable(call: ChatCall, asked: Body, abilities: Abilities, dropped: list[str]) -> None:
    if call.choices > abilities.candidates_max:
        raise unsupported("n", f"no máximo {abilities.candidates_max}", f"at most {abilities.candidates_max}")
    if asked.get("functions") or asked.get("function_call"):
        raise BadRequest(
            "'functions' não é aceito por este modelo: use 'tools'.", "'functions' is not supported by this model: use 'tools'.",
            param="functions", code="unsupported_parameter",
        )  # fmt: skip
    for name in call.fields:
        value = asked.get(name)
        if name in _READ or value is None:
            continue
        if name not in _HINTS:
            refuse(call, name, dropped)
        elif value not in _HINTS[name]:
            dropped.append(name)
    for name in ("logit_bias", "audio", "web_search_options"):
        if asked.get(name):
            refuse(call, name, dropped)
    if asked.get("web_search_options") == {}:  # an empty one asks for it as well
        refuse(call, "web_search_options", dropped)
    if asked.get("tools") and asked.get("parallel_tool_calls") is False:
        refuse(call, "parallel_tool_calls", dropped)


# ── Sampling ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _translate_sampling(call: ChatCall, asked: Body, config: Body, abilities: Abilities, dropped: list[str]) -> None:
    for name, theirs in (("temperature", "temperature"), ("top_p", "topP"), ("top_k", "topK")):
        value = asked.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float):
            raise unsupported(name, "um número", "a number")
        if abilities.takes_sampling:
            config[theirs] = value
        elif value != 1 or name == "top_k":
            dropped.append(name)
    for name, theirs in (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")):
        if asked.get(name):
            if abilities.takes_penalties:
                config[theirs] = asked[name]
            else:
                refuse(call, name, dropped)
    if call.choices > 1:
        config["candidateCount"] = call.choices
    stop = asked.get("stop")
    stops = [text for text in ([stop] if isinstance(stop, str) else stop or []) if text]
    if len(stops) > STOPS_MAX:
        raise unsupported("stop", f"no máximo {STOPS_MAX} textos", f"at most {STOPS_MAX} sequences")
    if stops:
        config["stopSequences"] = stops
    seed = asked.get("seed")
    if seed is not None:
        if isinstance(seed, int) and not isinstance(seed, bool) and -SEED_MAX - 1 <= seed <= SEED_MAX:
            config["seed"] = seed
        else:
            dropped.append("seed")
    _translate_logprobs(call, asked, config, abilities, dropped)


def _translate_logprobs(call: ChatCall, asked: Body, config: Body, abilities: Abilities, dropped: list[str]) -> None:
    if not asked.get("logprobs"):
        return
    if not abilities.takes_logprobs:
        refuse(call, "logprobs", dropped)
        return
    config["responseLogprobs"] = True
    top = asked.get("top_logprobs")
    if isinstance(top, int) and top > 0:
        config["logprobs"] = top


# ── Thinking ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _translate_thinking(call: ChatCall, asked: Body, config: Body, abilities: Abilities, dropped: list[str]) -> None:
    """`reasoning_effort`; Anthropic's `thinking` as /v1/messages brings it; Google's own `extra_body.google.thinking_config`."""
    own = _google_thinking(call, asked, abilities, dropped)
    if own is not None:
        config["thinkingConfig"] = own
        return
    effort, budget = asked.get("reasoning_effort"), None
    path = "reasoning_effort"
    thinking = asked.get("thinking")
    if isinstance(thinking, dict) and effort is None:
        path = "thinking"
        budget = thinking.get("budget_tokens")
        budget = budget if isinstance(budget, int) and budget > 0 else None
        if thinking.get("type") == "disabled":
            effort = "none"
        elif thinking.get("type") in ("enabled", "adaptive"):
            effort = _effort_of(budget) if budget else "auto"
    if effort is None:
        return
    if effort not in EFFORTS and effort != "auto":
        raise unsupported(path, ", ".join(EFFORTS), ", ".join(EFFORTS))
    if abilities.levels:
        chosen = _level_config(call, effort, abilities, path, dropped)
    elif abilities.budget_max:
        chosen = _budget_config(call, effort, budget, abilities, path, dropped)
    elif effort not in ("none", "auto"):
        refuse(call, path, dropped)
        return
    else:
        return
    if effort != "none":
        chosen["includeThoughts"] = True
    if chosen:
        config["thinkingConfig"] = chosen


def _effort_of(budget: int) -> str:
    return next(effort for effort in ("low", "medium", "high", "max") if budget <= BUDGETS[effort] or effort == "max")


def _level_config(call: ChatCall, effort: str, abilities: Abilities, path: str, dropped: list[str]) -> Body:
    levels = abilities.levels
    match effort:
        case "auto":
            return {}
        case "none" if "MINIMAL" in levels:
            return {"thinkingLevel": "MINIMAL"}
        case "none":  # it can't be turned off
            refuse(call, path, dropped)
            return {"thinkingLevel": levels[0]}
        case "minimal" | "low":
            wanted = effort.upper()
        case "medium":
            wanted = "MEDIUM"
        case _:
            wanted = "HIGH"
    order = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
    return {"thinkingLevel": next((level for level in order[order.index(wanted) :] if level in levels), levels[-1])}


def _budget_config(call: ChatCall, effort: str, budget: int | None, abilities: Abilities, path: str, dropped: list[str]) -> Body:
    if effort == "none":
        if abilities.can_rest:
            return {"thinkingBudget": 0}
        refuse(call, path, dropped)
        return {"thinkingBudget": abilities.budget_min}
    if effort == "auto":
        return {"thinkingBudget": -1}
    return {"thinkingBudget": min(abilities.budget_max, max(abilities.budget_min, budget or BUDGETS[effort]))}


def _google_thinking(call: ChatCall, asked: Body, abilities: Abilities, dropped: list[str]) -> Body | None:
    extra = asked.get("extra_body")
    if not extra:
        return None
    google = extra.get("google") if isinstance(extra, dict) else None
    own = google.get("thinking_config") if isinstance(google, dict) else None
    names = {"thinking_budget": "thinkingBudget", "thinking_level": "thinkingLevel", "include_thoughts": "includeThoughts"}
    is_known = isinstance(own, dict) and set(own) <= set(names) and len(google or ()) == 1 and len(extra) == 1
    if not is_known or not isinstance(own, dict) or not (abilities.levels or abilities.budget_max):
        refuse(call, "extra_body", dropped)
        return None
    config = {names[name]: value for name, value in own.items() if value is not None}
    if isinstance(config.get("thinkingLevel"), str):
        config["thinkingLevel"] = config["thinkingLevel"].upper()
    return config


# ── Tools and format ─────────────────────────────────────────────────────────────────────────────────────────────────
def _translate_tools(call: ChatCall, asked: Body, body: Body, abilities: Abilities, dropped: list[str]) -> None:
    if not asked.get("tools"):
        return
    fit = _Fit(call, "tools", abilities)
    tools = [_declaration(tool, f"tools[{index}]", fit) for index, tool in enumerate(asked["tools"])]
    names = [tool["name"] for tool in tools]
    if len(set(names)) < len(names):
        index = next(index for index, name in enumerate(names) if names.index(name) < index)
        raise unsupported(f"tools[{index}].function.name", "nomes diferentes", "names that differ")
    body["tools"] = [{"functionDeclarations": tools}]
    is_strict = any(tool["function"].get("strict") is True for tool in asked["tools"])
    choice = _tool_choice(asked.get("tool_choice"), names, is_strict=is_strict and abilities.takes_json_schema)
    if choice is not None:
        body["toolConfig"] = {"functionCallingConfig": choice}


def _declaration(tool: Any, path: str, fit: _Fit) -> Body:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type", "function") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise unsupported(path, "uma ferramenta do tipo 'function'", "a tool of type 'function'")
    if not _FUNCTION_NAME.fullmatch(function["name"]):
        raise unsupported(
            f"{path}.function.name", "letras, números e _.:- após uma letra ou _", "letters, digits and _.:- after a letter or _"
        )
    declaration: Body = {"name": function["name"]}
    if isinstance(function.get("description"), str):
        declaration["description"] = function["description"]
    schema = function.get("parameters")
    if isinstance(schema, dict) and schema and not _is_empty(schema):
        declaration["parametersJsonSchema" if fit.is_whole else "parameters"] = fit(schema, f"{path}.function.parameters")
    return declaration


def _is_empty(schema: Body) -> bool:
    return schema.get("type", "object") == "object" and not schema.get("properties") and set(schema) <= {
        "type", "properties", "required", "additionalProperties", "$schema"
    } and not schema.get("additionalProperties")  # fmt: skip


class _Fit:
    """Makes the schemas of one member of the body what the model takes."""

    def __init__(self, call: ChatCall, member: str, abilities: Abilities) -> None:
        raw = call.fields.get(member)
        self.is_whole = abilities.takes_json_schema
        self._is_fit = self.is_whole and raw is not None and not needs_fit(bytes(raw))
        self._budget = NodeBudget()

    def __call__(self, schema: Body, path: str) -> Body:
        """Raises BadRequest."""
        if self._is_fit:
            return schema
        try:
            return fit_json_schema(schema, self._budget) if self.is_whole else fit_subset(schema, self._budget)
        except SchemaTooLarge:
            raise unsupported(path, "um esquema menor", "a smaller schema") from None


def _tool_choice(choice: Any, names: list[str], *, is_strict: bool) -> Body | None:
    expected = "auto, required, none, allowed_tools ou uma função de 'tools'"
    english = "auto, required, none, allowed_tools or a function of 'tools'"
    if choice is None or choice == "auto":
        return {"mode": "VALIDATED"} if is_strict else None if choice is None else {"mode": "AUTO"}
    if choice in ("required", "none"):
        return {"mode": "ANY" if choice == "required" else "NONE"}
    if not isinstance(choice, dict):
        raise unsupported("tool_choice", expected, english)
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        allowed = allowed if isinstance(allowed, dict) else {}
        tools = allowed.get("tools")
        chosen = [_name_of(tool) for tool in tools] if isinstance(tools, list) else []
        mode = {"auto": "VALIDATED", "required": "ANY"}.get(str(allowed.get("mode")))
    else:
        chosen, mode = [_name_of(choice)], "ANY"
    if mode is None or not chosen or any(name not in names for name in chosen):
        raise unsupported("tool_choice", expected, english)
    return {"mode": mode, "allowedFunctionNames": chosen}


def _name_of(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    return str(function.get("name")) if isinstance(function, dict) else ""


def _translate_format(
    call: ChatCall, asked: Body, config: Body, abilities: Abilities, dropped: list[str], *, has_tools: bool
) -> None:
    modalities = asked.get("modalities")
    if modalities and modalities != ["text"]:
        is_sayable = isinstance(modalities, list) and all(kind in ("text", "image") for kind in modalities)
        if is_sayable and abilities.gives_pictures:
            config["responseModalities"] = [kind.upper() for kind in modalities]
        else:
            refuse(call, "modalities", dropped)
    format_ = asked.get("response_format") or {}
    kind = format_.get("type", "text")
    if kind == "text":
        return
    if kind not in ("json_object", "json_schema"):
        raise unsupported("response_format.type", "text, json_object ou json_schema", "text, json_object or json_schema")
    if has_tools and not abilities.takes_tools_with_json:
        refuse(call, "response_format", dropped)
        return
    config["responseMimeType"] = "application/json"
    if kind == "json_schema":
        wrapped = format_.get("json_schema")
        schema = wrapped.get("schema") if isinstance(wrapped, dict) else None
        if not isinstance(schema, dict):
            raise unsupported("response_format.json_schema.schema", "um JSON Schema", "a JSON Schema")
        fit = _Fit(call, "response_format", abilities)
        config["responseJsonSchema" if fit.is_whole else "responseSchema"] = fit(schema, "response_format.json_schema.schema")
