"""What Bedrock refuses in a Converse request beyond its published types, in AWS's words where they are known. Pure."""

from __future__ import annotations

import re
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.llm_anthropic_rules import sign_thinking
from tokia.sandbox.llm_refusals import ProviderError

Body = dict[str, Any]

CACHE_POINTS_MAX = 4
THINKING_MIN = 1024
DOCUMENT_NAME = re.compile(r"(?!.*\s\s)[A-Za-z0-9\s()\[\]-]{1,200}")
CLAUDE = re.compile(r"anthropic\.claude")
# From 4.7 on a Claude takes no sampling parameters and no fixed thinking budget.
NEW_CLAUDE = re.compile(r"anthropic\.claude-(?:(?:[a-z]+-)?(?:4-[789]|[5-9])|mythos|fable)")
NOVA = re.compile(r"amazon\.nova")
# What each family takes in additionalModelRequestFields; the others take nothing there.
EXTRA_FIELDS = (
    (CLAUDE, {"thinking", "top_k", "tool_choice", "anthropic_beta", "output_config"}),
    (re.compile(r"amazon\.nova-2"), {"inferenceConfig", "reasoningConfig"}),
    (NOVA, {"inferenceConfig"}),
    (re.compile(r"openai\."), {"reasoning_effort"}),
    (re.compile(r"mistral\."), {"top_k"}),
    (re.compile(r"cohere\."), {"k"}),
)


def refuse_bad_converse(body: Body, *, model: str) -> None:
    """Raise ProviderError for the first thing that AWS would refuse."""
    messages = body.get("messages") or []
    if not messages:
        raise bad("The messages field is required.")
    _refuse_turns(messages, model=model)
    _refuse_tools(body, model=model)
    _refuse_cache_points(body, model=model)
    _refuse_extra(body, model=model)
    _refuse_thinking(body, model=model)
    config = body.get("inferenceConfig") or {}
    if NEW_CLAUDE.search(model) and {"temperature", "topP"} & set(config):
        raise bad("`temperature` is deprecated for this model.")
    if CLAUDE.search(model) and {"temperature", "topP"} <= set(config):
        raise bad("The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model.")
    if any(not stop.strip() for stop in config.get("stopSequences", [])):
        raise bad("The model returned the following errors: stop_sequences: each stop sequence must contain non-whitespace")


def bad(message: str) -> ProviderError:
    return ProviderError(400, message, kind="ValidationException")


# ── Turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _refuse_turns(messages: list[Body], *, model: str) -> None:
    if messages[0]["role"] != "user":
        raise bad("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
    names: list[str] = []
    for index, message in enumerate(messages):
        if index and message["role"] == messages[index - 1]["role"]:
            raise bad("A conversation must alternate between user and assistant roles. Make sure the conversation alternates.")
        if not message["content"]:
            raise bad(f"The content field in the Message object at messages.{index} is empty. Add a ContentBlock object.")
        for place, block in enumerate(message["content"]):
            _refuse_block(block, role=message["role"], path=f"messages.{index}.content.{place}", model=model)
        documents = [block["document"] for block in message["content"] if "document" in block]
        if documents and not any("text" in block for block in message["content"]):
            raise bad("A text block must be provided with a document block in the content field of the user message.")
        names += [document["name"] for document in documents]
    if len(names) != len(set(names)):
        raise bad("Invalid document name: document names must be unique in a request.")
    last = messages[-1]
    if last["role"] == "assistant" and "text" in last["content"][-1]:
        text = last["content"][-1]["text"]
        if text != text.rstrip():
            raise bad("The model returned the following errors: final assistant content cannot end with trailing whitespace")
    _refuse_unpaired_tools(messages)


def _refuse_block(block: Body, *, role: str, path: str, model: str) -> None:
    [kind] = block
    allowed = ("text", "toolUse", "reasoningContent", "cachePoint") if role == "assistant" else (
        "text", "image", "document", "audio", "toolResult", "cachePoint")  # fmt: skip
    if kind not in allowed:
        raise bad(f"The {kind} block at {path} is not allowed in a message of role {role}.")
    if kind == "text" and not block["text"].strip():
        raise bad(f"The text field in the ContentBlock object at {path} is blank. Add text to the text field, and try again.")
    if kind == "document" and not DOCUMENT_NAME.fullmatch(block["document"]["name"]):
        raise bad(
            "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and "
            "square brackets. The name can't contain more than one consecutive whitespace character."
        )
    if kind == "toolUse" and not isinstance(block["toolUse"]["input"], dict):
        raise bad(f"The format of the value at {path}.toolUse.input is invalid. Provide a json object for the field and try again.")
    if kind == "toolResult":
        for inner in block["toolResult"]["content"]:
            if "text" in inner and not inner["text"].strip():
                raise bad(f"The text field in the ContentBlock object at {path}.toolResult is blank.")
    if kind == "reasoningContent":
        said = block[kind].get("reasoningText")
        if not CLAUDE.search(model):
            raise bad("This model doesn't support the reasoningContent field. Remove it and try again.")
        if said and said.get("signature") != sign_thinking(said["text"]):
            raise bad(f"The model returned the following errors: {path}: Invalid `signature` in `thinking` block")


def _refuse_unpaired_tools(messages: list[Body]) -> None:
    waiting: list[str] = []
    for index, message in enumerate(messages):
        blocks = [block for block in message["content"] if "cachePoint" not in block]
        results = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
        if set(results) - set(waiting) or len(results) > len(waiting):
            text = f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks"
            raise bad(f"{text} of previous turn.")
        if set(waiting) - set(results) or any("toolResult" not in block for block in blocks[: len(waiting)]):
            raise bad(f"Expected toolResult blocks at messages.{index}.content for the following Ids: {', '.join(waiting)}")
        waiting = [block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block]
        if len(waiting) != len(set(waiting)):
            raise bad(f"The toolUse blocks at messages.{index}.content contain duplicate Ids.")
    if waiting:
        raise bad(f"Expected toolResult blocks for the following Ids: {', '.join(waiting)}")


# ── The rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _refuse_tools(body: Body, *, model: str) -> None:
    tools = (body.get("toolConfig") or {}).get("tools") or []
    names = [tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool]
    used = [block for message in body["messages"] for block in message["content"] if {"toolUse", "toolResult"} & set(block)]
    if used and not names:
        raise bad("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
    if len(names) != len(set(names)):
        raise bad("The toolConfig field contains duplicate tool names.")
    for tool in tools:
        schema = tool.get("toolSpec", {}).get("inputSchema", {}).get("json", {"type": "object"})
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise bad("The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object.")
    choice = (body.get("toolConfig") or {}).get("toolChoice") or {}
    if "tool" in choice and choice["tool"]["name"] not in names:
        raise bad(f"The tool {choice['tool']['name']} in toolChoice is not defined in toolConfig.tools.")
    if NOVA.search(model) and any("cachePoint" in tool for tool in tools):
        raise bad("Malformed input request: #/toolConfig/tools/0: extraneous key [cachePoint] is not permitted")


def _refuse_cache_points(body: Body, *, model: str) -> None:
    lists = [(body.get("toolConfig") or {}).get("tools") or [], body.get("system") or []]
    lists += [message["content"] for message in body["messages"]]
    points = [block["cachePoint"] for blocks in lists for block in blocks if "cachePoint" in block]
    if points and not CLAUDE.search(model) and not NOVA.search(model):
        raise ProviderError(
            403, "You invoked an unsupported model or your request did not allow prompt caching.", kind="AccessDeniedException"
        )
    if len(points) > CACHE_POINTS_MAX:
        raise bad(f"A maximum of {CACHE_POINTS_MAX} cache points may be provided. Found {len(points)}.")
    lives = [point.get("ttl", "5m") for point in points]
    if NOVA.search(model) and "1h" in lives:
        raise bad("This model doesn't support the ttl field.")
    if lives != sorted(lives):  # "1h" before "5m"
        raise bad("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.")
    if any(blocks and "cachePoint" in blocks[0] for blocks in lists):
        raise bad("A cachePoint must follow the block that it caches.")


def _refuse_extra(body: Body, *, model: str) -> None:
    extra = body.get("additionalModelRequestFields")
    if extra is None:
        return
    if not isinstance(extra, dict):
        raise bad("The additionalModelRequestFields field must be a JSON object.")
    known: set[str] = next((fields for pattern, fields in EXTRA_FIELDS if pattern.search(model)), set())
    if unknown := sorted(set(extra) - known):
        raise bad(
            f"Malformed input request: #: extraneous key [{unknown[0]}] is not permitted, please reformat your input and try again."
        )
    if NEW_CLAUDE.search(model) and "top_k" in extra:
        raise bad("`top_k` is deprecated for this model.")
    effort = (extra.get("reasoningConfig") or {}).get("maxReasoningEffort")
    if effort == "high" and body.get("inferenceConfig"):
        raise bad("temperature, topP and maxTokens must be unset when maxReasoningEffort is high.")
    if extra.get("reasoning_effort", "low") not in ("low", "medium", "high"):
        raise bad("reasoning_effort must be low, medium or high.")


def _refuse_thinking(body: Body, *, model: str) -> None:
    thinking: Json = (body.get("additionalModelRequestFields") or {}).get("thinking")
    effort = (body.get("outputConfig") or {}).get("effort")
    if effort is not None and effort not in ("low", "medium", "high", "xhigh", "max"):
        raise bad("outputConfig.effort: unsupported value")
    if effort in ("xhigh", "max") and not thinking:
        raise bad("When extended thinking is disabled, the effort level is capped at high.")
    if effort is not None and not NEW_CLAUDE.search(model):
        raise bad("This model doesn't support the outputConfig.effort field.")
    if thinking is None or thinking.get("type") == "disabled":
        return
    if thinking.get("type") == "enabled":
        if NEW_CLAUDE.search(model):
            raise bad('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".')
        budget, most = thinking.get("budget_tokens"), (body.get("inferenceConfig") or {}).get("maxTokens")
        if not isinstance(budget, int) or budget < THINKING_MIN:
            raise bad(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {THINKING_MIN}")
        if most is not None and budget >= most:
            raise bad("`max_tokens` must be greater than `thinking.budget_tokens`.")
        if (body.get("inferenceConfig") or {}).get("temperature", 1) != 1:
            raise bad("`temperature` may only be set to 1 when thinking is enabled.")
    if {"any", "tool"} & set((body.get("toolConfig") or {}).get("toolChoice") or {}):
        raise bad("Thinking may not be enabled when tool_choice forces tool use.")
    messages = body["messages"]
    if messages[-1]["role"] == "assistant":
        raise bad("a final assistant message is not supported when thinking is enabled")
    if len(messages) > 1 and any("toolResult" in block for block in messages[-1]["content"]):
        first = messages[-2]["content"][0]
        if "reasoningContent" not in first:
            raise bad(f"messages.{len(messages) - 2}.content.0: Expected `thinking`, but found `{next(iter(first))}`.")
