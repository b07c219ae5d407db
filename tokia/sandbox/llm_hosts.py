"""Where the hosts that speak OpenAI's Chat Completions differ from it and from each other: rows, and what dresses an answer so.

Written from each host's own documentation of late 2026, independently of who calls them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokia.sandbox.asgi import Json

FINISH_WISH = re.compile(r"\[finish_reason=([a-z_]+)\]")  # in the user's text: this answer ends so
SAFE = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "safe"}}
SOURCES = (("https://example.com/um", "Um"), ("https://example.com/dois", "Dois"))
SOURCE_MARKS = " [1][2]"


@dataclass(frozen=True)
class HostShape:
    """`reasoning`: the member that tells the thinking; "content": a list of contents does; empty: the host keeps it to itself.
    `refuses`: fields that are a 400."""

    reasoning: str = ""
    ends_with_usage: bool = False  # its streams end with usage although nobody asked
    usage_on_finish_only: bool = False  # on the chunk with the finish reason, never on one of its own
    usage_everywhere: bool = False  # every chunk has the usage so far (Perplexity)
    reasoning_beside: bool = False  # reasoning tokens are not within completion_tokens
    whole_tools: bool = False  # a streamed tool call comes in one chunk
    indexed_tools: bool = True
    finishes: Mapping[str, str] = field(default_factory=dict)
    has_done: bool = True
    has_sources: bool = False
    has_filters: bool = False
    takes_developer: bool = True
    takes_names: bool = True
    takes_prefill: bool = True
    refuses: frozenset[str] = frozenset()
    errors: str = "openai"


SHAPES: Mapping[str, HostShape] = {
    "azure": HostShape(has_filters=True, errors="azure"),
    "cohere": HostShape(whole_tools=True),
    "deepseek": HostShape(
        reasoning="reasoning_content", ends_with_usage=True, usage_on_finish_only=True, takes_developer=False,
        refuses=frozenset({"n"}),
    ),
    "fireworks": HostShape(
        reasoning="reasoning_content", ends_with_usage=True, usage_on_finish_only=True, takes_developer=False, errors="fireworks"
    ),
    "google": HostShape(whole_tools=True),
    "groq": HostShape(
        reasoning="reasoning", ends_with_usage=True, whole_tools=True, takes_names=False,
        refuses=frozenset({"logprobs", "top_logprobs", "logit_bias"}),
    ),
    "mistral": HostShape(
        reasoning="content", ends_with_usage=True, usage_on_finish_only=True, whole_tools=True, takes_prefill=False,
    ),
    "ollama": HostShape(reasoning="reasoning", whole_tools=True, errors="ollama"),
    "perplexity": HostShape(
        usage_everywhere=True, ends_with_usage=True, usage_on_finish_only=True, has_done=False, has_sources=True,
        takes_developer=False, takes_prefill=False,
        refuses=frozenset({"tools", "functions", "logprobs", "logit_bias", "stop", "seed", "stream_options"}),
        errors="perplexity",
    ),
    "together": HostShape(
        reasoning="reasoning", ends_with_usage=True, usage_on_finish_only=True, finishes={"stop": "eos"}, takes_developer=False,
        indexed_tools=False,
    ),
    "vllm": HostShape(reasoning="reasoning", errors="vllm"),
    "xai": HostShape(
        reasoning="reasoning_content", reasoning_beside=True, whole_tools=True, refuses=frozenset({"logit_bias"}), errors="xai"
    ),
}  # fmt: skip
PLAIN = HostShape()


def shape_of(slug: str) -> HostShape:
    return SHAPES.get(slug, PLAIN)


def finish_of(shape: HostShape, finish: str, user_text: str) -> str:
    wish = FINISH_WISH.search(user_text)
    return wish[1] if wish else shape.finishes.get(finish, finish)


def find_slip(body: dict[str, Json], shape: HostShape) -> tuple[str, str] | None:
    """`(param, message)` of the first thing that this host would refuse and OpenAI would not."""
    for name in body:
        if name in shape.refuses and body[name] not in (None, [], {}) and not (name == "n" and body[name] == 1):
            return name, f"The parameter '{name}' is not supported."
    for index, message in enumerate(body["messages"]):
        if message["role"] == "developer" and not shape.takes_developer:
            return f"messages[{index}].role", "unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`"
        if message.get("name") is not None and message["role"] != "tool" and not shape.takes_names:
            return f"messages[{index}].name", "property 'name' is unsupported"
    last = body["messages"][-1]
    if last["role"] == "assistant" and not shape.takes_prefill and last.get("prefix") is not True:
        return "messages", "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
    if body.get("continue_final_message") and body.get("add_generation_prompt") is not False:
        return "continue_final_message", "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
    return None


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def dress_usage(usage: dict[str, Any], *, slug: str, reasoning_tokens: int) -> None:
    """What a host's usage has beside OpenAI's three numbers."""
    shape = shape_of(slug)
    if shape.reasoning_beside:
        usage["completion_tokens"] -= reasoning_tokens
        usage["num_sources_used"] = 0
    if slug in ("xai", "fireworks", "together", "vllm", "azure") and reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning_tokens}
    if slug == "perplexity":
        usage |= {"search_context_size": "low", "cost": {"request_cost": 0.005, "total_cost": 0.006}}


def dress_message(message: dict[str, Any], *, slug: str, reasoning: str) -> None:
    shape = shape_of(slug)
    if shape.has_sources and isinstance(message.get("content"), str):
        message["content"] += SOURCE_MARKS
    if not reasoning or not shape.reasoning:
        return
    if shape.reasoning == "content":
        thought: Json = {"type": "thinking", "thinking": [{"type": "text", "text": reasoning}], "closed": True}
        message["content"] = [thought, {"type": "text", "text": message["content"] or ""}]
    else:
        message[shape.reasoning] = reasoning


def reasoning_delta(shape: HostShape, piece: str) -> dict[str, Json]:
    if shape.reasoning == "content":
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}]}
    return {shape.reasoning: piece}


def dress_body(body: dict[str, Any], *, slug: str) -> None:
    """A whole completion or a chunk with choices."""
    shape = shape_of(slug)
    if shape.has_sources:
        body["citations"] = [url for url, _ in SOURCES]
        body["search_results"] = [{"url": url, "title": title, "date": None} for url, title in SOURCES]
    if shape.has_filters:
        for choice in body["choices"]:
            choice["content_filter_results"] = SAFE
    if shape.has_filters and body["object"] == "chat.completion":
        body["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": SAFE}]


def opening_chunk() -> dict[str, Json]:
    """What Azure sends first: no choices."""
    filters = [{"prompt_index": 0, "content_filter_results": SAFE}]
    return {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": filters}


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def error_body(slug: str, *, status: int, message: str, kind: str, param: str | None, code: str | None) -> Json:
    """As that host writes it; None: as OpenAI does."""
    match shape_of(slug).errors:
        case "azure" if status == 401:
            return {
                "statusCode": 401,
                "message": "Unauthorized. Access token is missing, invalid or expired.",
            }
        case "azure":
            return {"error": {"code": code or str(status), "message": message, "param": param, "type": None}}
        case "xai":
            told = "Client specified an invalid argument" if status < 500 else "The service is unavailable"
            return {"code": told, "error": message}
        case "vllm":
            return {"error": {"message": message, "type": "BadRequestError", "param": param, "code": status}}
        case "ollama":
            return {"error": {"message": message, "type": "api_error", "param": None, "code": None}}
        case "perplexity":
            return {"error": {"message": message, "type": "bad_request", "code": status}}
        case "fireworks":
            return {"error": {"object": "error", "type": kind, "code": code or kind, "message": message}}
    return None
