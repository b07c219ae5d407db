"""A body of Anthropic's Messages → what a `ChatCall` needs: checked, outlined for counting, and translated where that is possible.

The path of a fault is the caller's own (`messages[2].content[0].source`), never that of the translation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from gateway.calls import Message, Part
from gateway.errors import BadRequest
from gateway.parsing import MESSAGES_MAX, MODEL_NAME_MAX, OUTPUT_TOKENS_ASKED_MAX, invalid, parse_body
from gateway.surfaces.messages_content import Translation, translate_turns

Json = dict[str, Any]

# Fields that mean something only to Anthropic and nothing to an answer's meaning: left out elsewhere, and named.
HINTS = frozenset({"cache_control", "service_tier", "diagnostics"})
KNOWN = frozenset(
    {
        "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "temperature", "top_p", "top_k",
        "tools", "tool_choice", "thinking", "output_config", "output_format", "context_management", "drop_params",
    }
)  # fmt: skip
TOOLS_MAX = 2_000
# A budget of thinking, as the efforts that other models know: the inverse of the table of the Messages dialect.
BUDGETS = ((2_048, "low"), (8_192, "medium"))
EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
USER_CHARS_MAX = 64
URL_DOCUMENT_PARTS = 40  # pictures that a document of unknown length is held for
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Block(msgspec.Struct):
    type: str


class Turn(msgspec.Struct):
    role: str
    content: str | list[Block]


class MessageBody(msgspec.Struct):
    """The fields that we read, with Anthropic's types."""

    model: str
    messages: Annotated[list[Turn], msgspec.Meta(max_length=MESSAGES_MAX)]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    tools: Annotated[list[dict[str, msgspec.Raw]], msgspec.Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: Block | None = None
    thinking: Block | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, msgspec.Raw] | None = None
    output_config: dict[str, msgspec.Raw] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    drop_params: bool | None = None  # ours: leave out what the model can't take


class Asked(msgspec.Struct):
    """A body that was read."""

    typed: MessageBody
    members: dict[str, msgspec.Raw]  # byte for byte, without ours
    decoded: Json


_decode_body = msgspec.json.Decoder(MessageBody).decode


def _decode(body: bytes) -> MessageBody:
    """Raises BadRequest for too many of something, before any other pass; msgspec's errors for the rest."""
    try:
        return _decode_body(body)
    except msgspec.ValidationError as error:
        if f"length <= {TOOLS_MAX}" in str(error):
            raise invalid("tools", f"no máximo {TOOLS_MAX} ferramentas", f"at most {TOOLS_MAX} tools") from None
        if f"length <= {MESSAGES_MAX}" in str(error):
            raise invalid("messages", f"no máximo {MESSAGES_MAX} mensagens", f"at most {MESSAGES_MAX} messages") from None
        raise


def parse_message(body: bytes, *, is_count: bool = False) -> Asked:
    """Raises BadRequest, with the path of the field at fault. `is_count`: nothing is generated, so `max_tokens` is not needed."""
    typed, members, decoded = parse_body(body, _decode)
    if not typed.model or len(typed.model) > MODEL_NAME_MAX:
        raise invalid("model", "o nome de um modelo", "a model's name")
    if not typed.messages:
        raise invalid("messages", "ao menos uma mensagem", "at least one message")
    for index, turn in enumerate(typed.messages):
        if turn.role not in ("user", "assistant", "system"):
            raise invalid(f"messages[{index}].role", "'user' ou 'assistant'", "'user' or 'assistant'")
    if not is_count:
        if typed.max_tokens is None:
            raise BadRequest(
                "Falta o campo obrigatório 'max_tokens'.", "Missing required parameter: 'max_tokens'.", param="max_tokens",
                code="missing_required_parameter",
            )  # fmt: skip
        if not 1 <= typed.max_tokens <= OUTPUT_TOKENS_ASKED_MAX:
            raise invalid("max_tokens", "um inteiro maior que zero", "an integer above zero")
    if typed.tool_choice is not None and not typed.tools:
        raise invalid("tool_choice", "só junto com 'tools'", "only together with 'tools'")
    members.pop("drop_params", None)
    return Asked(typed, members, decoded)


# ── For counting ─────────────────────────────────────────────────────────────────────────────────────────────────────
def outline_messages(decoded: Json) -> list[Message]:
    """What is counted of a body that nobody translates: its texts, its pictures, its documents."""
    outlined: list[Message] = []
    for turn in decoded["messages"]:
        content = turn["content"]
        if isinstance(content, str):
            outlined.append(Message(turn["role"], content))
        else:
            parts: list[Part] = []
            for block in content:
                _outline_block(block, parts)
            outlined.append(Message(turn["role"], parts))
    if decoded.get("system"):  # last, so that the others keep their places
        outlined.append(Message("system", _texts_of(decoded["system"])))
    return outlined


def _texts_of(blocks: Any) -> str:
    if isinstance(blocks, str):
        return blocks
    return "\n".join(text for block in blocks if isinstance(text := block.get("text"), str))


def _outline_block(block: Any, parts: list[Part]) -> None:
    if not isinstance(block, dict):
        return
    kind, source = block.get("type"), block.get("source")
    if kind == "image":
        parts.append(Part("image_url", image_url=""))
        return
    if kind == "document" and isinstance(source, dict):
        _outline_document(source, parts)
        return
    for name in ("text", "thinking", "data", "title", "source"):
        if isinstance(value := block.get(name), str):
            parts.append(Part("text", text=value))
    if "input" in block:
        parts.append(Part("text", text=f"{block.get('name')} {msgspec.json.encode(block['input']).decode()}"))
    content = block.get("content")
    if isinstance(content, str):
        parts.append(Part("text", text=content))
    elif isinstance(content, list):
        for inner in content:
            _outline_block(inner, parts)
    elif isinstance(content, dict):
        parts.append(Part("text", text=msgspec.json.encode(content).decode()))


def _outline_document(source: Json, parts: list[Part]) -> None:
    data, content = source.get("data"), source.get("content")
    if source.get("type") == "text" and isinstance(data, str):
        parts.append(Part("text", text=data))
    elif isinstance(data, str):
        parts.append(Part("file", file={"file_data": msgspec.Raw(data.encode())}))
    elif isinstance(content, str):
        parts.append(Part("text", text=content))
    elif isinstance(content, list):
        for inner in content:
            _outline_block(inner, parts)
    else:
        parts += [Part("image_url", image_url="")] * URL_DOCUMENT_PARTS


# ── To a chat completion ─────────────────────────────────────────────────────────────────────────────────────────────
def translate_message(asked: Asked, *, drops: bool, can_reason: bool) -> Translation:
    """The same call as a chat completion. Raises BadRequest, with the caller's path, for what chat can't say and `drops` does not
    allow to leave out; what was left out is named in the translation's `dropped`."""
    body = asked.decoded
    out = Translation(drops=drops)
    for name, value in body.items():
        if name in HINTS and value is not None:
            out.dropped.append(name)
        elif name not in KNOWN and value is not None:
            out.refuse(name)
    out.fields["model"] = body["model"]
    translate_turns(body, out)
    if asked.typed.max_tokens is not None:
        out.fields["max_completion_tokens"] = asked.typed.max_tokens
    for name in ("temperature", "top_p", "top_k", "stream"):
        if body.get(name) is not None:
            out.fields[name] = body[name]
    if stops := [stop for stop in asked.typed.stop_sequences or () if stop.strip()]:
        out.fields["stop"] = stops
    _translate_user(body.get("metadata"), out)
    _translate_tools(body, out)
    _translate_thinking(body, out, can_reason=can_reason)
    _translate_format(body, out)
    _translate_context(body.get("context_management"), out)
    return out


def _translate_user(metadata: Any, out: Translation) -> None:
    user = metadata.get("user_id") if metadata else None
    if (
        isinstance(user, str) and user
    ):  # OpenAI takes 64 characters: a longer one leaves as its hash, which tells users apart as well
        out.fields["user"] = user if len(user) <= USER_CHARS_MAX else hashlib.sha256(user.encode()).hexdigest()


def _translate_tools(body: Json, out: Translation) -> None:
    tools = []
    for index, tool in enumerate(body.get("tools") or ()):
        if translated := _tool(tool, f"tools[{index}]", out):
            tools.append(translated)
    if not tools:
        return
    out.fields["tools"] = tools
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type")
    if kind == "tool":
        if not isinstance(choice.get("name"), str):
            raise invalid("tool_choice.name", "o nome de uma ferramenta", "a tool's name")
        out.fields["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif kind in ("auto", "any", "none"):
        out.fields["tool_choice"] = "required" if kind == "any" else kind
    else:
        raise invalid("tool_choice.type", "auto, any, tool ou none", "auto, any, tool or none")
    if choice.get("disable_parallel_tool_use") is True and kind != "none":
        out.fields["parallel_tool_calls"] = False


def _tool(tool: Json, path: str, out: Translation) -> Json | None:
    kind = tool.get("type") or "custom"
    if kind != "custom":  # run by Anthropic's servers, or known to its models alone
        out.refuse(f"{path}.type")
        return None
    name, schema = tool.get("name"), tool.get("input_schema")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise invalid(f"{path}.name", "até 128 letras, dígitos, _ ou -", "up to 128 letters, digits, _ or -")
    if not isinstance(schema, dict):
        raise invalid(f"{path}.input_schema", "um JSON Schema", "a JSON Schema")
    if tool.get("defer_loading") is True:
        out.refuse(f"{path}.defer_loading")
    if tool.get("allowed_callers") not in (None, ["direct"]):
        out.refuse(f"{path}.allowed_callers")
    function: Json = {"name": name, "parameters": schema}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    if examples := tool.get("input_examples"):
        shown = msgspec.json.encode(examples).decode()
        function["description"] = f"{function.get('description', '')}\n\nExamples of input: {shown}".strip()
    if tool.get("strict") is True and is_closed(schema):
        function["strict"] = True
    return out.marked({"type": "function", "function": function}, tool)


def is_closed(schema: Any) -> bool:
    """Whether every object of a schema names all it may have and requires it: what OpenAI's `strict` asks for."""
    if not isinstance(schema, dict):
        return not isinstance(schema, list) or all(is_closed(item) for item in schema)
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        names, required = list(properties) if isinstance(properties, dict) else [], schema.get("required") or []
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if any(name not in required for name in names):
            return False
    inner = [*(properties.values() if isinstance(properties, dict) else ()), schema.get("items"), schema.get("anyOf")]
    defs = schema.get("$defs")
    inner += defs.values() if isinstance(defs, dict) else ()
    return all(is_closed(item) for item in inner)


def _translate_thinking(body: Json, out: Translation, *, can_reason: bool) -> None:
    """How much to think. `adaptive` leaves it to the model, so one that does not reason has done what was asked."""
    thinking, config = body.get("thinking") or {}, body.get("output_config") or {}
    kind, effort = thinking.get("type"), config.get("effort")
    if kind not in (None, "enabled", "adaptive", "disabled", "between_tools"):
        raise invalid("thinking.type", "enabled, adaptive ou disabled", "enabled, adaptive or disabled")
    if effort is not None and effort not in EFFORTS:
        raise invalid("output_config.effort", ", ".join(sorted(EFFORTS)), ", ".join(sorted(EFFORTS)))
    if effort is None and kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
            raise invalid("thinking.budget_tokens", "um inteiro maior que zero", "an integer above zero")
        effort = next((name for most, name in BUDGETS if budget <= most), "high")
    if kind in ("disabled", "between_tools"):  # no word of chat's says this to every model
        out.dropped.append("thinking")
    elif can_reason:
        if effort is not None:
            out.fields["reasoning_effort"] = effort
    else:
        out.dropped += ["thinking"] if kind == "enabled" else []
        out.dropped += ["output_config.effort"] if config.get("effort") is not None else []


def _translate_format(body: Json, out: Translation) -> None:
    config = body.get("output_config") or {}
    for name, value in config.items():
        if name not in ("effort", "format") and value is not None:
            out.refuse(f"output_config.{name}")
    path = "output_config.format" if config.get("format") is not None else "output_format"
    asked = config.get("format") if config.get("format") is not None else body.get("output_format")
    if asked is None:
        return
    schema = asked.get("schema") if isinstance(asked, dict) and asked.get("type") == "json_schema" else None
    if not isinstance(schema, dict):
        raise invalid(path, "'json_schema' com um schema", "'json_schema' with a schema")
    wrapped = {"name": "output", "schema": schema, "strict": is_closed(schema)}
    out.fields["response_format"] = {"type": "json_schema", "json_schema": wrapped}


def _translate_context(management: Any, out: Translation) -> None:
    """Clearing old thinking is a hint: other models are not sent it. Clearing tool results changes what is read."""
    edits = management.get("edits") if isinstance(management, dict) else None
    for index, edit in enumerate(edits if isinstance(edits, list) else ()):
        kind = edit.get("type") if isinstance(edit, dict) else None
        if isinstance(kind, str) and kind.startswith("clear_thinking_"):
            out.dropped.append(f"context_management.edits[{index}]")
        else:
            out.refuse(f"context_management.edits[{index}]")


def encode_fields(fields: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
