"""A chat completion in OpenAI's words → Converse. Messages are in `bedrock_messages`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.calls import ChatCall
from gateway.dialects.anthropic_schema import SAYABLE, SchemaUnsayable, fit_output_schema, fit_tool_schema
from gateway.dialects.base import refuse
from gateway.dialects.bedrock_families import Family, family_of
from gateway.dialects.bedrock_messages import CACHE_POINT, Block, cache_point, translate_messages, unsupported

CACHE_POINTS_MAX = 4
THINKING_BUDGETS = {"minimal": 1_024, "low": 1_024, "medium": 4_096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
THINKING_BUDGET_MIN = 1_024
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_JSON_ONLY = "Respond only with one valid JSON object, without any text around it."
_UNAVAILABLE = "Not available now: do not call it."
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What is said below; what changes no meaning and is left out by name; what says nothing with this value.
SAID = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "temperature", "top_p", "top_k",
        "stop", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "thinking", "drop_params",
    }
)  # fmt: skip
HINTS = frozenset(
    {
        "seed", "prediction", "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "store",
        "metadata", "user", "safety_identifier", "verbosity",
    }
)  # fmt: skip
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},),
    "modalities": (["text"],), "functions": ([],), "function_call": ("auto", "none"),
}  # fmt: skip


@dataclass(slots=True)
class Draft:
    """A request on its way."""

    call: ChatCall
    asked: dict[str, Any]
    family: Family
    body: dict[str, Any]
    extra: dict[str, Any]  # additionalModelRequestFields: what one family takes beyond Converse
    dropped: list[str]


def translate_chat(call: ChatCall, upstream_model: str, output_tokens: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, and the names of what was left out. Raises BadRequest, with the path, for what Converse can't say."""
    family = family_of(upstream_model)
    draft = Draft(call, dict(call.decoded), family, {}, {}, [])
    _refuse_unsaid(draft)
    system, messages = translate_messages(draft.asked["messages"], family)
    body = draft.body
    _translate_format(draft, system)
    if system:
        body["system"] = system
    body["messages"] = messages
    body["inferenceConfig"] = {"maxTokens": output_tokens}
    _translate_tools(draft)
    _translate_thinking(draft)
    _translate_sampling(draft)
    if stops := _stops(draft):
        body["inferenceConfig"]["stopSequences"] = stops
    if any(message.name is not None and message.role != "tool" for message in call.messages):
        draft.dropped.append("messages[].name")
    if draft.extra:
        body["additionalModelRequestFields"] = draft.extra
    _trim_cache_points(body)
    return body, tuple(draft.dropped)


def _refuse_unsaid(draft: Draft) -> None:
    """What changes the answer and has no word in Converse."""
    for name, value in draft.asked.items():
        if name in SAID or value is None or any(value == neutral for neutral in NEUTRAL.get(name, ())):
            continue
        if name in HINTS:
            draft.dropped.append(name)
        else:
            refuse(draft.call, name, draft.dropped)


def _stops(draft: Draft) -> list[str]:
    stop = draft.asked.get("stop")
    stops = [text for text in ([stop] if isinstance(stop, str) else stop or []) if isinstance(text, str) and text]
    said = [text for text in stops if text.strip()]
    if len(said) < len(stops):  # blank ones are no stop sequences there
        refuse(draft.call, "stop", draft.dropped)
    return said


# ── Tools and format ─────────────────────────────────────────────────────────────────────────────────────────────────
def _translate_tools(draft: Draft) -> None:
    asked, family = draft.asked, draft.family
    names = _names_in_history(draft.body["messages"])
    choice = _tool_choice(asked.get("tool_choice"))
    tools: list[Block] = []
    for index, tool in enumerate(asked.get("tools") or []):
        tools += _tool(tool, f"tools[{index}]", family)
    if tools and choice == "none":
        if not names:
            return  # no tools, no calls
        refuse(draft.call, "tool_choice", draft.dropped)  # their blocks in the history need the tools, which could then be called
        choice = None
    if not tools:
        # Blocks in the history need their tools, although the caller offers none any more.
        schema = {"json": {"type": "object"}}
        tools = [{"toolSpec": {"name": name, "description": _UNAVAILABLE, "inputSchema": schema}} for name in names]
        choice = None
    if not tools:
        return
    draft.body["toolConfig"] = {"tools": tools}
    if isinstance(choice, dict):
        draft.body["toolConfig"]["toolChoice"] = choice
    if asked.get("parallel_tool_calls") is False and asked.get("tools"):
        if family.takes_thinking:  # Claude's own word for it
            draft.extra["tool_choice"] = _claude_choice(choice) | {"disable_parallel_tool_use": True}
        else:
            refuse(draft.call, "parallel_tool_calls", draft.dropped)


def _names_in_history(messages: list[dict[str, Any]]) -> list[str]:
    return sorted({block["toolUse"]["name"] for turn in messages for block in turn["content"] if "toolUse" in block})


def _tool(tool: Any, path: str, family: Family) -> list[Block]:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type", "function") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise unsupported(path, "uma ferramenta do tipo 'function'", "a tool of type 'function'")
    if not _TOOL_NAME.fullmatch(name):
        raise unsupported(f"{path}.function.name", "até 64 letras, algarismos, _ ou -", "up to 64 letters, digits, _ or -")
    schema = function.get("parameters")
    schema = dict(schema) if isinstance(schema, dict) else {"properties": {}}
    schema["type"] = "object"
    if family.takes_thinking:  # Claude
        schema = fit_tool_schema(schema)
    spec: Block = {"name": name, "inputSchema": {"json": schema}}
    if isinstance(function.get("description"), str) and function["description"]:
        spec["description"] = function["description"]
    if function.get("strict") is True:
        spec["strict"] = True
    mark = cache_point(tool if "cache_control" in tool else function, family) if family.caches_tools else None
    return [{"toolSpec": spec}, mark] if mark else [{"toolSpec": spec}]


def _tool_choice(choice: Any) -> Block | str | None:
    """Converse's choice; "none" where no tool may be called; None where nothing was asked."""
    if choice is None:
        return None
    if isinstance(choice, str):
        kinds: dict[str, Block | str] = {"auto": {"auto": {}}, "required": {"any": {}}, "none": "none"}
        if choice in kinds:
            return kinds[choice]
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise unsupported("tool_choice", "auto, required, none ou uma função", "auto, required, none or a function")
    return {"tool": {"name": function["name"]}}


def _claude_choice(choice: Block | str | None) -> Block:
    if isinstance(choice, dict) and "tool" in choice:
        return {"type": "tool", "name": choice["tool"]["name"]}
    return {"type": "any" if isinstance(choice, dict) and "any" in choice else "auto"}


def _translate_format(draft: Draft, system: list[Block]) -> None:
    format_ = draft.asked.get("response_format")
    if not isinstance(format_, dict):
        return
    if format_.get("type") == "json_object":
        system.append({"text": _JSON_ONLY})
    if format_.get("type") not in (None, "text", "json_object", "json_schema"):
        raise unsupported("response_format.type", "text, json_object ou json_schema", "text, json_object or json_schema")
    if format_.get("type") != "json_schema":
        return
    wrapped = format_.get("json_schema")
    schema = wrapped.get("schema") if isinstance(wrapped, dict) else None
    if not isinstance(wrapped, dict) or not isinstance(schema, dict):
        raise unsupported("response_format.json_schema.schema", "um JSON Schema", "a JSON Schema")
    if draft.family.takes_thinking:  # Claude
        try:
            schema = fit_output_schema(schema)
        except SchemaUnsayable:
            raise unsupported("response_format.json_schema.schema", *SAYABLE) from None
    told: Block = {"schema": json.dumps(schema, ensure_ascii=False, separators=(",", ":"))}
    for name in ("name", "description"):
        if isinstance(wrapped.get(name), str):
            told[name] = wrapped[name]
    draft.body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": told}}}


# ── Thinking and sampling ────────────────────────────────────────────────────────────────────────────────────────────
def _translate_thinking(draft: Draft) -> None:
    asked, family = draft.asked, draft.family
    thinking = _thinking_of(draft)
    if thinking is not None and not (family.is_new and asked.get("reasoning_effort")):
        takes_budget = not (family.is_new and thinking.get("type") == "enabled")  # a new Claude measures its thinking itself
        draft.extra["thinking"] = thinking if takes_budget else {"type": "adaptive"}
        return
    effort = asked.get("reasoning_effort")
    if effort is None or effort == "none":
        return
    if not isinstance(effort, str) or effort not in EFFORTS:
        raise unsupported("reasoning_effort", ", ".join(["none", *EFFORTS]), ", ".join(["none", *EFFORTS]))
    if family.effort:
        level = family.efforts.get(effort, "high")
        if level != EFFORTS[effort]:
            draft.dropped.append("reasoning_effort")  # said as the nearest one that there is
        draft.extra |= family.say_effort(level)
    elif not family.takes_thinking or family.never_thinks:
        refuse(draft.call, "reasoning_effort", draft.dropped)
    else:
        _think(draft, effort)


def _thinking_of(draft: Draft) -> Block | None:
    """In Anthropic's own words, as chat takes them, or as the call came at `/v1/messages`."""
    thinking = draft.asked.get("thinking")
    if isinstance(thinking, dict) and not draft.family.takes_thinking:
        refuse(draft.call, "thinking", draft.dropped)
        return None
    if thinking is None and draft.family.takes_thinking and draft.call.native is not None and "thinking" in draft.call.native:
        thinking = msgspec.json.decode(draft.call.native["thinking"])
    return thinking if isinstance(thinking, dict) else None


def _think(draft: Draft, effort: str) -> None:
    """Claude's thinking, where Claude allows it: it forces no tool, and a running tool loop begins with its thinking."""
    body = draft.body
    choice = body.get("toolConfig", {}).get("toolChoice", {})
    is_possible = not ({"any", "tool"} & set(choice)) and not _is_loop_without_thinking(body["messages"])
    if draft.family.is_new:
        body.setdefault("outputConfig", {})["effort"] = EFFORTS[effort] if is_possible else min(EFFORTS[effort], "high", key=_rank)
        if is_possible:
            draft.extra["thinking"] = {"type": "adaptive", "display": "summarized"}
        return
    budget = min(THINKING_BUDGETS[effort], body["inferenceConfig"]["maxTokens"] - 1)
    if is_possible and budget >= THINKING_BUDGET_MIN:
        draft.extra["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        draft.dropped.append("reasoning_effort")


def _rank(effort: str) -> int:
    return list(EFFORTS.values()).index(effort)


def _is_loop_without_thinking(turns: list[dict[str, Any]]) -> bool:
    if turns[-1]["role"] != "user" or not any("toolResult" in block for block in turns[-1]["content"]):
        return False
    calls = turns[-2]["content"] if len(turns) > 1 else []
    return not (calls and "reasoningContent" in calls[0])


def _translate_sampling(draft: Draft) -> None:
    asked, family = draft.asked, draft.family
    temperature, top_p, top_k = asked.get("temperature"), asked.get("top_p"), asked.get("top_k")
    thinks = draft.extra.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if family.is_new or thinks:  # they take none, and 1 is what they do
        for name, value in (("temperature", temperature), ("top_p", top_p), ("top_k", top_k)):
            if value is not None and value != 1:
                draft.dropped.append(name)
        return
    config = draft.body["inferenceConfig"]
    if temperature is not None:
        config["temperature"] = min(1.0, max(0.0, temperature))
        if config["temperature"] != temperature:
            draft.dropped.append("temperature")  # said as the nearest one that there is
    if top_p is not None:
        if temperature is not None and family.takes_thinking:  # Claude takes one of the two
            if top_p != 1:
                draft.dropped.append("top_p")
        else:
            config["topP"] = top_p
    if top_k is not None:
        if not isinstance(top_k, int):
            raise unsupported("top_k", "um inteiro", "an integer")
        if family.top_k:
            draft.extra |= family.say_top_k(top_k)
        else:
            refuse(draft.call, "top_k", draft.dropped)


# ── Cache points ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _trim_cache_points(body: dict[str, Any]) -> None:
    """At most four are allowed: the last ones cover the longest prefix."""
    lists = [body.get("toolConfig", {}).get("tools", []), body.get("system", []), *(turn["content"] for turn in body["messages"])]
    surplus = sum(CACHE_POINT in block for blocks in lists for block in blocks) - CACHE_POINTS_MAX
    for blocks in lists:
        for place in [place for place, block in enumerate(blocks) if CACHE_POINT in block]:
            if surplus > 0:
                blocks[place] = {}
                surplus -= 1
        blocks[:] = [block for block in blocks if block]
