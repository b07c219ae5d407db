"""What Anthropic's Messages API refuses in a request. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.llm_anthropic_schema import find_schema_slip
from tokia.sandbox.llm_refusals import ProviderError

Body = dict[str, Any]

VERSIONS = ("2023-06-01", "2026-10-21")
NEWEST_VERSION = "2026-10-21"
FIELDS = frozenset(
    {
        "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "temperature", "top_p",
        "top_k", "tools", "tool_choice", "thinking", "service_tier", "container", "cache_control", "inference_geo",
        "output_config", "speed", "diagnostics", "user_profile_id", "workspace_id",
    }
)  # fmt: skip
# Fields that only a beta of the header `anthropic-beta` opens, by the beta's name without its date.
BETA_FIELDS = {
    "context-management": {"context_management"}, "structured-outputs": {"output_format"}, "mcp-client": {"mcp_servers"},
}  # fmt: skip
SAMPLING_FIELDS = ("temperature", "top_p", "top_k")
BLOCK_TYPES = {
    "user": ("text", "image", "document", "search_result", "tool_result"),
    "assistant": ("text", "tool_use", "thinking", "redacted_thinking"),
}
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
CACHE_BREAKPOINTS_MAX = 4
THINKING_MIN = 1024
# From 4.7 on (and 5) a model takes no sampling parameters and no fixed thinking budget, whatever the version.
NEW_MODEL = re.compile(r"claude-(?:(?:[a-z]+-)?(?:4-[789]|[5-9])|mythos|fable)")


def refuse_bad_headers(headers: Any) -> str:
    """The API version of the request. Raises ProviderError."""
    version = headers.get("anthropic-version")
    if version is None:
        raise ProviderError(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise ProviderError(400, f'anthropic-version: "{version}" is not a valid version.')
    return str(version)


def fields_of_betas(header: str) -> frozenset[str]:
    """The fields that a header `anthropic-beta` opens."""
    names = [part.strip().rstrip("0123456789-") for part in header.split(",")]
    return frozenset().union(*(BETA_FIELDS.get(name, ()) for name in names))


def refuse_bad_messages_request(body: Body, *, version: str, opened: frozenset[str] = frozenset()) -> None:
    """Raise ProviderError for the first thing that the API would refuse. `opened`: fields that a beta opens."""
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise _bad(f"{name}: Field required")
    for name in body:
        if name not in FIELDS and name not in opened:
            raise _bad(f"{name}: Extra inputs are not permitted")
    if not isinstance(body["model"], str) or not body["model"]:
        raise _bad("model: String should have at least 1 character")
    if not _is_integer(body["max_tokens"]) or body["max_tokens"] < 1:
        raise _bad("max_tokens: Input should be greater than or equal to 1")
    _refuse_sampling(body, version=version)
    _refuse_stop(body)
    _refuse_system(body)
    tools = _refuse_tools(body)
    _refuse_schemas(body)
    _refuse_thinking(body)
    _refuse_messages(body["messages"], has_tools=bool(tools), thinking=_thinks(body))
    if count_breakpoints(body) > CACHE_BREAKPOINTS_MAX:
        raise _bad(f"A maximum of {CACHE_BREAKPOINTS_MAX} blocks with cache_control may be provided. "
                   f"Found {count_breakpoints(body)}.")  # fmt: skip


def _refuse_schemas(body: Body) -> None:
    """Of structured outputs, and of tools that are strict."""
    config = body.get("output_config")
    format_ = config.get("format") if isinstance(config, dict) else None
    if isinstance(format_, dict) and (slip := find_schema_slip(format_.get("schema"))) is not None:
        raise _bad(f"output_config.format.schema: {slip}")
    for index, tool in enumerate(body.get("tools") or []):
        if tool.get("strict") is True and (slip := find_schema_slip(tool.get("input_schema"))) is not None:
            raise _bad(f"tools.{index}.custom.input_schema: {slip}")


def sign_thinking(text: str) -> str:
    """The signature of a thinking block: whoever sends the block back must send this too."""
    return base64.b64encode(hashlib.sha512(f"sandbox {text}".encode()).digest()).decode()


def blocks_of(content: Json) -> list[Body]:
    """A message's content as blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or [] if isinstance(block, dict)]


def count_breakpoints(value: Json) -> int:
    if isinstance(value, dict):
        own = 1 if isinstance(value.get("cache_control"), dict) else 0
        return own + sum(count_breakpoints(item) for name, item in value.items() if name != "cache_control")
    return sum(count_breakpoints(item) for item in value) if isinstance(value, list) else 0


def _refuse_sampling(body: Body, *, version: str) -> None:
    present = [name for name in SAMPLING_FIELDS if name in body]
    if present and (version == NEWEST_VERSION or NEW_MODEL.match(body["model"])):
        raise _bad(f"{present[0]}: Extra inputs are not permitted")
    temperature = body.get("temperature", 1)
    if not isinstance(temperature, int | float) or isinstance(temperature, bool):
        raise _bad("temperature: Input should be a valid number")
    if not 0 <= temperature <= 1:
        side = "less than or equal to 1" if temperature > 1 else "greater than or equal to 0"
        raise _bad(f"temperature: Input should be {side}")
    top_p = body.get("top_p", 1)
    if not isinstance(top_p, int | float) or not 0 <= top_p <= 1:
        raise _bad("top_p: Input should be less than or equal to 1")
    if {"temperature", "top_p"} <= set(body):
        raise _bad("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")


def _refuse_stop(body: Body) -> None:
    stop = body.get("stop_sequences", [])
    if not isinstance(stop, list) or not all(isinstance(item, str) for item in stop):
        raise _bad("stop_sequences: Input should be a valid list")
    if any(not item.strip() for item in stop):
        raise _bad("stop_sequences: each stop sequence must contain non-whitespace")
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict) or set(metadata) - {"user_id"}:
        raise _bad("metadata: Extra inputs are not permitted")
    if not isinstance(body.get("stream", False), bool):
        raise _bad("stream: Input should be a valid boolean")


def _refuse_system(body: Body) -> None:
    system = body.get("system", "")
    if not isinstance(system, str | list):
        raise _bad("system: Input should be a valid string or list")
    for index, block in enumerate(system if isinstance(system, list) else []):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise _bad(f"system.{index}.type: Input should be 'text'")
        if not block.get("text"):
            raise _bad(f"system: text content blocks must be non-empty (system.{index})")


def _refuse_tools(body: Body) -> list[Body]:
    tools = body.get("tools", [])
    if not isinstance(tools, list):
        raise _bad("tools: Input should be a valid list")
    names = set()
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or not TOOL_NAME.fullmatch(str(tool.get("name", ""))):
            raise _bad(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool["name"] in names:
            raise _bad("tools: Tool names must be unique.")
        names.add(tool["name"])
        schema = tool.get("input_schema")
        if tool.get("type", "custom") != "custom":
            continue
        unknown = set(tool) - {"type", "name", "description", "input_schema", "cache_control", "strict", "allowed_callers",
                               "defer_loading", "input_examples", "eager_input_streaming"}  # fmt: skip
        if unknown:
            raise _bad(f"tools.{index}.custom.{sorted(unknown)[0]}: Extra inputs are not permitted")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise _bad(f"tools.{index}.custom.input_schema.type: Field required")
        if {"oneOf", "anyOf", "allOf"} & set(schema):
            text = "input_schema does not support oneOf, allOf, or anyOf at the top level"
            raise _bad(f"tools.{index}.custom.input_schema: {text}")
    choice = body.get("tool_choice")
    if choice is not None:
        if not tools:
            raise _bad("tool_choice: may only be specified while providing tools")
        if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "tool", "none"):
            raise _bad("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
        if choice["type"] == "tool" and choice.get("name") not in names:
            raise _bad(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")
    return tools


def _thinks(body: Body) -> bool:
    return bool(isinstance(body.get("thinking"), dict) and body["thinking"].get("type") == "enabled")


def _refuse_thinking(body: Body) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    if not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "disabled", "adaptive"):
        raise _bad("thinking.type: Input should be 'enabled', 'disabled' or 'adaptive'")
    if thinking["type"] != "enabled":
        return
    if NEW_MODEL.match(body["model"]):
        raise _bad('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".')
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < THINKING_MIN:
        raise _bad(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {THINKING_MIN}")
    if budget >= body["max_tokens"]:
        raise _bad("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature", 1) != 1:
        raise _bad("`temperature` may only be set to 1 when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise _bad("Thinking may not be enabled when tool_choice forces tool use.")


def _refuse_messages(messages: Json, *, has_tools: bool, thinking: bool) -> None:
    if not isinstance(messages, list) or not messages:
        raise _bad("messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in BLOCK_TYPES:
            raise _bad(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if unknown := set(message) - {"role", "content"}:
            raise _bad(f"messages.{index}.{sorted(unknown)[0]}: Extra inputs are not permitted")
        if not isinstance(message.get("content"), str | list):
            raise _bad(f"messages.{index}.content: Input should be a valid string or list")
        is_last = index == len(messages) - 1
        if not message["content"] and not (is_last and message["role"] == "assistant"):
            raise _bad(f"messages.{index}: all messages must have non-empty content except for the optional final "
                       "assistant message")  # fmt: skip
        if isinstance(message["content"], list):
            for position, block in enumerate(message["content"]):
                _refuse_block(block, role=message["role"], path=f"messages.{index}.content.{position}", has_tools=has_tools)
    if messages[0]["role"] != "user":
        raise _bad('messages: first message must use the "user" role')
    _refuse_prefill(messages[-1], thinking=thinking)
    _refuse_unpaired_tools(messages)
    if thinking:
        _refuse_lost_thinking(messages)


def _refuse_block(block: Json, *, role: str, path: str, has_tools: bool) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in BLOCK_TYPES[role]:
        raise _bad(f"{path}.type: Input tag '{kind}' found using 'type' does not match any of the expected tags for {role}")
    if kind == "text" and (not isinstance(block.get("text"), str) or not block["text"].strip()):
        empty = "text content blocks must be non-empty" if not block.get("text") else (
            "text content blocks must contain non-whitespace text")  # fmt: skip
        raise _bad(f"messages: {empty}")
    if kind == "image":
        source = block.get("source", {})
        if source.get("type") == "base64" and source.get("media_type") not in IMAGE_TYPES:
            raise _bad(f"{path}.image.source.base64.media_type: Input should be {', '.join(IMAGE_TYPES)}")
        if source.get("type") not in ("base64", "url", "file"):
            raise _bad(f"{path}.image.source: Input tag does not match any of the expected tags")
    if kind in ("tool_use", "tool_result"):
        if not has_tools:
            raise _bad("Requests which include `tool_use` or `tool_result` blocks must define tools")
        identifier = block.get("id" if kind == "tool_use" else "tool_use_id")
        if not isinstance(identifier, str) or not TOOL_ID.fullmatch(identifier):
            raise _bad(f"{path}.{kind}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if kind == "tool_use" and not isinstance(block.get("input"), dict):
        raise _bad(f"{path}.tool_use.input: Input should be a valid dictionary")
    if kind == "thinking" and block.get("signature") != sign_thinking(str(block.get("thinking"))):
        raise _bad(f"{path}: Invalid `signature` in `thinking` block")


def _refuse_prefill(last: Body, *, thinking: bool) -> None:
    if last["role"] != "assistant":
        return
    if thinking:
        raise _bad("messages: a final assistant message is not supported when thinking is enabled")
    blocks = blocks_of(last["content"])
    if blocks and blocks[-1].get("type") == "text" and blocks[-1]["text"] != blocks[-1]["text"].rstrip():
        raise _bad("messages: final assistant content cannot end with trailing whitespace")


def _refuse_unpaired_tools(messages: list[Body]) -> None:
    waiting: list[str] = []
    called: set[str] = set()
    for index, message in enumerate(_joined(messages)):
        blocks = message["blocks"]
        results = [block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"]
        if waiting:
            missing = [identifier for identifier in waiting if identifier not in results]
            first_others = [block.get("type") for block in blocks[: len(results)]]
            if missing or any(kind != "tool_result" for kind in first_others):
                raise _bad(
                    f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                    f"{', '.join(missing or waiting)}. Each `tool_use` block must have a corresponding `tool_result` block "
                    "in the next message."
                )
        for identifier in results:
            if identifier not in waiting:
                raise _bad(
                    f"messages.{index}.content: unexpected `tool_use_id` found in `tool_result` blocks: {identifier}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
        waiting = [str(block["id"]) for block in blocks if block.get("type") == "tool_use"]
        if called & {*waiting} or len({*waiting}) < len(waiting):
            raise _bad(f"messages.{index}: `tool_use` ids must be unique")
        called |= {*waiting}
    if waiting:
        raise _bad(f"messages: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(waiting)}")


def _refuse_lost_thinking(messages: list[Body]) -> None:
    """Within a running tool loop the assistant's turn begins with its thinking."""
    joined = _joined(messages)
    if len(joined) < 2 or not any(block.get("type") == "tool_result" for block in joined[-1]["blocks"]):
        return
    first = joined[-2]["blocks"][0].get("type")
    if first not in ("thinking", "redacted_thinking"):
        raise _bad(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. "
            "When `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )


def _joined(messages: list[Body]) -> list[dict[str, Any]]:
    """Consecutive messages of one role are one turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["blocks"] += blocks_of(message["content"])
        else:
            turns.append({"role": message["role"], "blocks": list(blocks_of(message["content"]))})
    return turns


def _is_integer(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bad(message: str) -> ProviderError:
    return ProviderError(400, message)
