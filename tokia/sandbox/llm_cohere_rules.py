"""What Cohere's v2 API refuses in a request of chat, embed or rerank. Pure. Field by field, its published types say the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.llm_refusals import ProviderError

Body = dict[str, Any]

CHAT_FIELDS = frozenset(
    {
        "model", "messages", "stream", "tools", "strict_tools", "documents", "citation_options", "response_format", "safety_mode",
        "max_tokens", "stop_sequences", "temperature", "seed", "frequency_penalty", "presence_penalty", "k", "p", "logprobs",
        "tool_choice", "thinking", "priority",
    }
)  # fmt: skip
EMBED_FIELDS = frozenset(
    {
        "model", "input_type", "texts", "images", "inputs", "max_tokens", "output_dimension", "embedding_types", "truncate",
        "priority",
    }
)  # fmt: skip
RERANK_FIELDS = frozenset({"model", "query", "documents", "top_n", "max_tokens_per_doc", "relevant_spans", "priority"})
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 1), "p": (0.01, 0.99), "k": (0, 500), "frequency_penalty": (0, 1), "presence_penalty": (0, 1),
    "max_tokens": (1, 2**31), "seed": (0, 2**64),
}  # fmt: skip
STOPS_MAX = 5
TEXTS_MAX = 96
DOCUMENTS_MAX = 10_000
DIMENSIONS = (256, 512, 1024, 1536)
INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
VECTOR_TYPES = {"float", "int8", "uint8", "binary", "ubinary", "base64"}
OLD_MODEL = re.compile(r"command-r(-plus)?(-0[348]-2024)?")  # they take no tool_choice
IMAGE_URL = re.compile(r"https?://|data:image/(png|jpe?g|webp|gif);base64,", re.IGNORECASE)


def refuse_bad_chat(body: Body, *, model: str) -> None:
    """Raise ProviderError for the first thing that the API would refuse."""
    _refuse_fields(body, CHAT_FIELDS, required=("model", "messages"))
    for name, (least, most) in RANGES.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise _bad(f"{name} must be between {least} and {most} inclusive.")
    stops = body.get("stop_sequences", [])
    if not isinstance(stops, list) or len(stops) > STOPS_MAX or not all(isinstance(stop, str) and stop for stop in stops):
        raise _bad(f"stop_sequences must be a list of at most {STOPS_MAX} non-empty strings.")
    _refuse_messages(body["messages"], takes_images="vision" in model)
    _refuse_tools(body, model=model)
    _refuse_format(body)
    thinking = body.get("thinking")
    if thinking is not None:
        if not is_reasoning(model):
            raise _bad(f"thinking is not supported for model '{model}'.")
        budget = thinking.get("token_budget", 1) if isinstance(thinking, dict) else 0
        if not isinstance(budget, int) or budget < 1:
            raise _bad("thinking.token_budget must be a positive integer.")


def refuse_bad_embed(body: Body, *, model: str) -> None:
    _refuse_fields(body, EMBED_FIELDS, required=("model", "input_type", "embedding_types"))
    if body["input_type"] not in INPUT_TYPES:
        raise _bad(f"valid input_type must be one of {', '.join(INPUT_TYPES)}.")
    texts = body.get("texts")
    if not isinstance(texts, list) or not texts:
        raise _bad("at least one of texts, images or inputs must be provided.")
    if len(texts) > TEXTS_MAX:
        raise _bad(f"total number of texts must be at most {TEXTS_MAX} - received {len(texts)}")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise _bad("texts must be non-empty strings.")
    kinds = body["embedding_types"]
    if not isinstance(kinds, list) or not kinds or not set(kinds) <= VECTOR_TYPES:
        raise _bad("embedding_types must be a list of valid types.")
    dimension = body.get("output_dimension")
    if dimension is not None and (dimension not in DIMENSIONS or not model.startswith("embed-v4")):
        raise _bad(f"output_dimension must be one of {DIMENSIONS} and is supported from embed-v4.0 on.")
    if body.get("truncate") not in (None, "NONE", "START", "END"):
        raise _bad("truncate must be one of NONE, START, END.")


def refuse_bad_rerank(body: Body, *, model: str) -> None:
    _refuse_fields(body, RERANK_FIELDS, required=("model", "query", "documents"))
    if not isinstance(body["query"], str) or not body["query"].strip():
        raise _bad("query must not be empty.")
    documents = body["documents"]
    if not isinstance(documents, list) or not 1 <= len(documents) <= DOCUMENTS_MAX:
        raise _bad(f"the number of documents must be between 1 and {DOCUMENTS_MAX}.")
    if not all(isinstance(document, str) and document.strip() for document in documents):
        raise _bad("documents must be non-empty strings.")
    for name in ("top_n", "max_tokens_per_doc"):
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise _bad(f"{name} must be a positive integer.")
    if body.get("relevant_spans") is not None and not model.startswith("rerank-v5"):
        raise _bad("relevant_spans is supported from rerank-v5.0 on.")


RULES: dict[str, Callable[..., None]] = {"chat": refuse_bad_chat, "embed": refuse_bad_embed, "rerank": refuse_bad_rerank}


def is_reasoning(model: str) -> bool:
    return "reasoning" in model


def text_of(content: Json) -> str:
    """The text of a message's content, whichever form it has; thinking is not text."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text") or "") for part in content or () if isinstance(part, dict) and part.get("text"))


def _refuse_fields(body: Body, known: frozenset[str], *, required: tuple[str, ...]) -> None:
    for name in body:
        if name not in known:
            raise ProviderError(400, f"unknown field: parameter '{name}' is not a valid field")
    for name in required:
        if body.get(name) in (None, ""):
            raise _bad(f"{name} is required.")
    if not isinstance(body["model"], str):
        raise _bad("model must be a string.")
    if not isinstance(body.get("stream", False), bool):
        raise _bad("stream must be a boolean.")


def _refuse_messages(messages: Json, *, takes_images: bool) -> None:
    if not isinstance(messages, list) or not messages:
        raise _bad("messages must be a non-empty list.")
    waiting: list[str] = []
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "user", "assistant", "tool"):
            raise _bad(f"messages[{index}].role must be one of system, user, assistant, tool.")
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                raise _bad(f"messages[{index}]: tool_call_id has no tool call before it.")
            waiting.remove(message["tool_call_id"])
        elif waiting:
            raise _bad(f"messages[{index}]: tool calls {', '.join(waiting)} have no results.")
        content = message.get("content")
        if role == "assistant":
            calls = message.get("tool_calls") or []
            if not calls and not text_of(content).strip():
                raise _bad(f"messages[{index}]: assistant message must have non-empty content or tool calls.")
            waiting = [str(call.get("id")) for call in calls]
            continue
        images = [part for part in content if isinstance(part, dict) and "image_url" in part] if isinstance(content, list) else []
        if not images and not text_of(content).strip():
            raise _bad(f"messages[{index}]: content must not be empty.")
        for part in images:
            if not takes_images:
                raise _bad("image inputs are not supported for this model.")
            if not IMAGE_URL.match(str((part["image_url"] or {}).get("url"))):
                raise _bad("image_url.url must be a web address or a data URI of PNG, JPEG, WebP or GIF.")
    if waiting:
        raise _bad(f"tool calls {', '.join(waiting)} have no results.")
    if messages[-1]["role"] not in ("user", "tool"):
        raise _bad("the last message must be of role user or tool.")


def _refuse_tools(body: Body, *, model: str) -> None:
    tools = body.get("tools")
    if tools is not None and (not isinstance(tools, list) or not tools):
        raise _bad("tools must be a non-empty list.")
    for index, tool in enumerate(tools or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            raise _bad(f"tools[{index}].function.name is required.")
        schema = function.get("parameters")
        if not isinstance(schema, dict) or schema.get("type", "object") != "object":
            raise _bad(f"tools[{index}].function.parameters is required and must be an object schema.")
        if body.get("strict_tools") and not schema.get("required"):
            raise _bad(f"tools[{index}]: with strict_tools each tool must have at least one required parameter.")
    choice = body.get("tool_choice")
    if choice is not None:
        if choice not in ("REQUIRED", "NONE"):
            raise _bad("tool_choice must be one of REQUIRED, NONE.")
        if not tools:
            raise _bad("tool_choice may only be used with tools.")
        if OLD_MODEL.fullmatch(model):
            raise _bad(f"tool_choice is not supported for model '{model}'.")
    if body.get("strict_tools") and not tools:
        raise _bad("strict_tools may only be used with tools.")


def _refuse_format(body: Body) -> None:
    wanted = body.get("response_format")
    has_sources = bool(body.get("tools") or body.get("documents"))
    if body.get("safety_mode") is not None and has_sources:
        raise _bad("safety_mode is not configurable with tools or documents.")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in ("text", "json_object"):
        raise _bad("response_format.type must be one of text, json_object.")
    if kind == "json_object" and has_sources:
        raise _bad("response_format is not supported with tools or documents.")
    schema = wanted.get("json_schema")
    if schema is not None and (kind == "text" or not isinstance(schema, dict) or schema.get("type") != "object"):
        raise _bad("response_format.json_schema must be a schema whose top level type is object.")


def _bad(message: str) -> ProviderError:
    return ProviderError(400, f"invalid request: {message}")
