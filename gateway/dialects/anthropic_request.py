"""A chat completion in OpenAI's words → Anthropic Messages."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from gateway.calls import ChatCall
from gateway.dialects.anthropic_schema import SAYABLE, SchemaUnsayable, fit_output_schema, fit_tool_schema
from gateway.errors import BadRequest

Block = dict[str, Any]

CACHE_MARKS_MAX = 4
TOOL_ID_MAX = 128
THINKING_BUDGETS = {"minimal": 1_024, "low": 1_024, "medium": 4_096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
THINKING_BUDGET_MIN = 1_024
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_JSON_ONLY = "Respond only with one valid JSON object, without any text around it."
_NEW_MODEL = re.compile(r"claude-[a-z]+-(\d+)(?:-(\d{1,2}))?(?:-\d{8})?$")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,(.*)", re.DOTALL)
_NOT_ID = re.compile(r"[^A-Za-z0-9_-]")


def translate_chat(call: ChatCall, upstream_model: str, output_tokens: int) -> dict[str, Any]:
    """Raises BadRequest, with the path, for what Messages can't say."""
    asked = dict(call.decoded)
    if call.choices != 1:
        raise BadRequest(
            "Este modelo dá uma resposta por chamada: use 'n': 1.", "This model gives one answer per call: use 'n': 1.",
            param="n", code="unsupported_value",
        )  # fmt: skip
    if asked.get("functions"):
        raise BadRequest(
            "'functions' não é aceito por este modelo: use 'tools'.", "'functions' is not supported by this model: use 'tools'.",
            param="functions", code="unsupported_parameter",
        )  # fmt: skip
    system, messages = _translate_messages(asked["messages"])
    body: dict[str, Any] = {"model": upstream_model, "max_tokens": output_tokens}
    if (format_ := asked.get("response_format")) and format_.get("type") == "json_object":
        system.append({"type": "text", "text": _JSON_ONLY})
    if system:
        is_plain = len(system) == 1 and "cache_control" not in system[0]
        body["system"] = system[0]["text"] if is_plain else system
    body["messages"] = messages
    _translate_tools(asked, body)
    _translate_format(asked, body)
    _translate_thinking(asked, body, is_new=is_new_model(upstream_model))
    _translate_sampling(asked, body, is_new=is_new_model(upstream_model))
    if stops := _stops(asked.get("stop")):
        body["stop_sequences"] = stops
    user = asked.get("safety_identifier") or asked.get("user")
    if isinstance(user, str) and user:
        body["metadata"] = {"user_id": user[:256]}
    if call.is_stream:
        body["stream"] = True
    _trim_cache_marks(body)
    return body


def is_new_model(upstream_model: str) -> bool:
    """4.7 and later: they refuse sampling parameters and `thinking.type: enabled`, and take an effort."""
    found = _NEW_MODEL.match(upstream_model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= (4, 7)


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _translate_messages(asked: list[dict[str, Any]]) -> tuple[list[Block], list[dict[str, Any]]]:
    """The system's blocks, and turns that alternate: consecutive ones of a role are joined."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(asked):
        path = f"messages[{index}]"
        role = message["role"]
        if role in ("system", "developer"):
            system += _text_blocks(message.get("content"), f"{path}.content")
            continue
        if role == "assistant":
            speaker, blocks = "assistant", _assistant_blocks(message, path)
        elif role == "tool":
            speaker, blocks = "user", [_tool_result(message, path)]
        elif role == "function":
            raise _unsupported(f"{path}.role", "função", "function")
        else:
            speaker, blocks = "user", _user_blocks(message.get("content"), f"{path}.content")
        if not blocks:
            continue
        if turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": speaker, "content": blocks})
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": "."}]})
    _put_results_first(turns)
    _trim_prefill(turns)
    return system, turns


def _put_results_first(turns: list[dict[str, Any]]) -> None:
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")


def _trim_prefill(turns: list[dict[str, Any]]) -> None:
    last = turns[-1]
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        text = last["content"][-1]["text"].rstrip()
        if text:
            last["content"][-1]["text"] = text
        elif len(last["content"]) > 1:
            last["content"].pop()
        else:
            turns.pop()


def _text_blocks(content: Any, path: str) -> list[Block]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks = []
    for index, part in enumerate(content):
        if part.get("type") not in ("text", "refusal"):
            raise _unsupported(f"{path}[{index}].type", "só texto", "text only")
        text = part.get("text") or part.get("refusal") or ""
        if text.strip():
            blocks.append(_marked({"type": "text", "text": text}, part))
    return blocks


def _user_blocks(content: Any, path: str) -> list[Block]:
    if not isinstance(content, list):
        return _text_blocks(content, path)
    blocks: list[Block] = []
    for index, part in enumerate(content):
        where = f"{path}[{index}]"
        kind = part.get("type")
        if kind == "image_url":
            blocks.append(_marked(_image_block(part.get("image_url"), f"{where}.image_url"), part))
        elif kind == "file":
            blocks.append(_marked(_file_block(part.get("file"), f"{where}.file"), part))
        else:
            blocks += _text_blocks([part], path)
    return blocks


def _image_block(image: Any, path: str) -> Block:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise _unsupported(path, "um endereço de imagem", "an image URL")
    if found := _DATA_URL.fullmatch(url):
        kind = found[1].lower().replace("image/jpg", "image/jpeg")
        if kind not in IMAGE_TYPES:
            raise _unsupported(path, "JPEG, PNG, GIF ou WebP", "JPEG, PNG, GIF or WebP")
        return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": found[2]}}
    if not url.startswith("https://"):
        raise _unsupported(path, "um endereço https:// ou data:", "an https:// or data: URL")
    return {"type": "image", "source": {"type": "url", "url": url}}


def _file_block(file: Any, path: str) -> Block:
    data = file.get("file_data") if isinstance(file, dict) else None
    found = _DATA_URL.fullmatch(data) if isinstance(data, str) else None
    if not found or found[1] != "application/pdf":
        raise _unsupported(path, "um PDF em file_data", "a PDF in file_data")
    block: Block = {"type": "document", "source": {"type": "base64", "media_type": found[1], "data": found[2]}}
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return block


def _assistant_blocks(message: dict[str, Any], path: str) -> list[Block]:
    """Thinking that the client kept comes first, then text, then tool calls."""
    kept = message.get("thinking_blocks")
    blocks: list[Block] = [_without_index(block) for block in kept if isinstance(block, dict)] if isinstance(kept, list) else []
    for name in ("audio", "function_call"):
        if message.get(name) is not None:
            raise _unsupported(f"{path}.{name}", "texto ou 'tool_calls'", "text or 'tool_calls'")
    blocks += _text_blocks(message.get("content") or message.get("refusal"), f"{path}.content")
    for index, tool_call in enumerate(message.get("tool_calls") or []):
        where = f"{path}.tool_calls[{index}]"
        function = tool_call.get("function") if isinstance(tool_call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise _unsupported(f"{where}.function", "uma função com nome", "a function with a name")
        arguments = _arguments(function.get("arguments"), f"{where}.function.arguments")
        blocks.append({"type": "tool_use", "id": tool_id(tool_call.get("id")), "name": function["name"], "input": arguments})
    return blocks


def _without_index(block: Block) -> Block:
    """Our streams number thinking blocks; Messages refuses the number."""
    return {name: value for name, value in block.items() if name != "index"}


def _arguments(text: Any, path: str) -> dict[str, Any]:
    if text is None or (isinstance(text, str) and not text.strip()):
        return {}
    try:
        arguments = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise _unsupported(path, "um objeto JSON", "a JSON object")
    return arguments


def _tool_result(message: dict[str, Any], path: str) -> Block:
    content = message.get("content")
    block: Block = {"type": "tool_result", "tool_use_id": tool_id(message.get("tool_call_id"))}
    if isinstance(content, str):
        if content:
            block["content"] = content
    elif content:
        block["content"] = _user_blocks(content, f"{path}.content")
    return _marked(block, message)


def tool_id(id_: Any) -> str:
    """A foreign id in Anthropic's alphabet; a call and its result keep the same one, and two ids stay two."""
    if not isinstance(id_, str) or not id_:
        return "toolu_unknown"
    fitted = _NOT_ID.sub("_", id_)
    if fitted == id_ and len(id_) <= TOOL_ID_MAX:
        return id_
    return f"{fitted[: TOOL_ID_MAX - 17]}_{hashlib.sha256(id_.encode('utf-8', 'replace')).hexdigest()[:16]}"


# ── Tools and format ─────────────────────────────────────────────────────────────────────────────────────────────────
def _translate_tools(asked: dict[str, Any], body: dict[str, Any]) -> None:
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(asked.get("tools") or [])]
    names_in_history = {
        block["name"]
        for turn in body["messages"]
        for block in turn["content"]
        if isinstance(block, dict) and block.get("type") == "tool_use"
    }
    if not tools and names_in_history:  # tool blocks in the history need their tools, which may not be called now
        tools = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in sorted(names_in_history)]
        body["tools"] = tools
        body["tool_choice"] = {"type": "none"}
        return
    if not tools:
        return
    body["tools"] = tools
    choice = _tool_choice(asked.get("tool_choice"))
    if asked.get("parallel_tool_calls") is False:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice:
        body["tool_choice"] = choice


def _tool(tool: Any, path: str) -> Block:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type", "function") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _unsupported(path, "uma ferramenta do tipo 'function'", "a tool of type 'function'")
    translated: Block = {"name": function["name"], "input_schema": fit_tool_schema(function.get("parameters"))}
    if isinstance(function.get("description"), str):
        translated["description"] = function["description"]
    if function.get("strict") is True:
        translated["strict"] = True
        try:
            translated["input_schema"] = fit_output_schema({"properties": {}, **translated["input_schema"]})
        except SchemaUnsayable:
            where = f"{path}.function.parameters"
            raise _unsupported(where, *SAYABLE) from None
    return _marked(translated, tool if "cache_control" in tool else function)


def _tool_choice(choice: Any) -> Block | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        kinds = {"auto": "auto", "required": "any", "none": "none"}
        if choice not in kinds:
            raise _unsupported("tool_choice", "auto, required, none ou uma função", "auto, required, none or a function")
        return {"type": kinds[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _unsupported("tool_choice", "auto, required, none ou uma função", "auto, required, none or a function")
    return {"type": "tool", "name": function["name"]}


def _translate_format(asked: dict[str, Any], body: dict[str, Any]) -> None:
    format_ = asked.get("response_format")
    if format_ and format_.get("type") == "json_schema":
        wrapped = format_.get("json_schema")
        schema = wrapped.get("schema") if isinstance(wrapped, dict) else None
        if not isinstance(schema, dict):
            raise _unsupported("response_format.json_schema.schema", "um JSON Schema", "a JSON Schema")
        try:
            fitted = fit_output_schema(schema)
        except SchemaUnsayable:
            raise _unsupported("response_format.json_schema.schema", *SAYABLE) from None
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": fitted}
    elif format_ and format_.get("type") not in (None, "text", "json_object"):
        raise _unsupported("response_format.type", "text, json_object ou json_schema", "text, json_object or json_schema")


# ── Thinking and sampling ────────────────────────────────────────────────────────────────────────────────────────────
def _translate_thinking(asked: dict[str, Any], body: dict[str, Any], *, is_new: bool) -> None:
    if isinstance(asked.get("thinking"), dict):  # in Anthropic's own words
        body["thinking"] = asked["thinking"]
        return
    effort = asked.get("reasoning_effort")
    if effort is None or effort == "none":
        return
    if not isinstance(effort, str) or effort not in EFFORTS:
        raise _unsupported("reasoning_effort", ", ".join(["none", *EFFORTS]), ", ".join(["none", *EFFORTS]))
    is_possible = not _is_forced(body) and not _is_loop_without_thinking(body["messages"])
    if is_new:
        body.setdefault("output_config", {})["effort"] = EFFORTS[effort]
        if is_possible:
            body["thinking"] = {"type": "adaptive", "display": "summarized"}  # the newest ones would keep it to themselves
        return
    budget = min(THINKING_BUDGETS[effort], body["max_tokens"] - 1)
    if is_possible and budget >= THINKING_BUDGET_MIN:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _is_forced(body: dict[str, Any]) -> bool:
    return body.get("tool_choice", {}).get("type") in ("any", "tool")


def _is_loop_without_thinking(turns: list[dict[str, Any]]) -> bool:
    """The running tool loop must begin with its thinking block, which OpenAI's clients do not return."""
    if turns[-1]["role"] != "user" or not any(block["type"] == "tool_result" for block in turns[-1]["content"]):
        return False
    calls = turns[-2]["content"] if len(turns) > 1 else []
    return not (calls and calls[0].get("type") in ("thinking", "redacted_thinking"))


def _translate_sampling(asked: dict[str, Any], body: dict[str, Any], *, is_new: bool) -> None:
    if is_new or body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        return
    temperature, top_p = asked.get("temperature"), asked.get("top_p")
    if temperature is not None:
        body["temperature"] = min(1.0, max(0.0, temperature))
    elif top_p is not None:
        body["top_p"] = top_p
    if isinstance(asked.get("top_k"), int):
        body["top_k"] = asked["top_k"]


def _stops(stop: Any) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    return [text for text in stops if isinstance(text, str) and text.strip()]


# ── Cache marks and refusals ─────────────────────────────────────────────────────────────────────────────────────────
def _marked(block: Block, part: Any) -> Block:
    mark = part.get("cache_control") if isinstance(part, dict) else None
    if isinstance(mark, dict):
        block["cache_control"] = mark
    return block


def _trim_cache_marks(body: dict[str, Any]) -> None:
    """At most four are allowed: the last ones cover the longest prefix."""
    system = body.get("system")
    marked = [tool for tool in body.get("tools", []) if "cache_control" in tool]
    marked += [block for block in system if "cache_control" in block] if isinstance(system, list) else []
    for turn in body["messages"]:
        for block in turn["content"]:
            inner = block.get("content")  # of a tool's result
            marked += [part for part in inner if "cache_control" in part] if isinstance(inner, list) else []
            marked += [block] if "cache_control" in block else []
    for block in marked[:-CACHE_MARKS_MAX] if len(marked) > CACHE_MARKS_MAX else []:
        del block["cache_control"]


def _unsupported(path: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Este modelo não aceita o que veio em '{path}': esperado {expected}.",
        f"This model does not accept '{path}': expected {english}.",
        param=path,
        code="unsupported_value",
    )
