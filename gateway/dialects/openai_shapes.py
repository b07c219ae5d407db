"""What hosts write otherwise than OpenAI in their answers, put into OpenAI's words.

Only for what was found to be odd: whatever is as OpenAI writes it passes byte for byte.

| theirs | ours |
|---|---|
| `reasoning` (Groq, Together, vLLM, Ollama) | `reasoning_content`, which clients read |
| `content` as a list of thinking and text (Mistral) | `reasoning_content` and `content` |
| finish reasons of their own (`eos`, `model_length`, …) | OpenAI's; theirs stays as `native_finish_reason` |
| a streamed tool call without `index` | the index of its place |
| a streamed choice without `delta` (Azure's late filter results) | an empty delta |
| a streamed choice with the whole `message` so far (Perplexity) | without it |
| `citations`, `search_results` (Perplexity) | kept, and `annotations` of the message |
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.dialects.base import FINISH_REASONS
from gateway.errors import UpstreamError

FINISH = {"eos": "stop", "end_turn": "stop", "stop_sequence": "stop", "model_length": "length", "max_tokens": "length",
          "content_filtered": "content_filter", "safety": "content_filter", "tool_use": "tool_calls"}  # fmt: skip
# Not an end but a breakdown: DeepSeek, Mistral, vLLM.
BROKEN = frozenset({"insufficient_system_resource", "error", "abort"})
_MARK = re.compile(r"\[(\d{1,3})\]")


class Piece(msgspec.Struct):
    """A part of a content that is a list (Mistral)."""

    type: str = ""
    text: str | None = None
    thinking: list[Piece] | str | None = None


Content = str | list[Piece] | None


def split_content(content: Content) -> tuple[str, str]:
    """Text and thinking."""
    if isinstance(content, str) or content is None:
        return content or "", ""
    text = "".join(piece.text or "" for piece in content if piece.type == "text")
    thoughts = [
        piece.thinking if isinstance(piece.thinking, str) else "".join(inner.text or "" for inner in piece.thinking or ())
        for piece in content
    ]
    return text, "".join(thoughts)


def is_odd_finish(reason: str | None) -> bool:
    """Raises UpstreamError where the reason is a breakdown of the host."""
    if reason is None or reason in FINISH_REASONS:
        return False
    if reason in BROKEN:
        raise UpstreamError(
            "A resposta do provedor foi interrompida. Só o que foi entregue é cobrado.",
            "The provider's answer was cut. Only what was delivered is charged.",
            code="upstream_cut",
        )
    return True


def openai_finish(reason: str) -> str:
    return reason if reason in FINISH_REASONS else FINISH.get(reason.lower(), "stop")


def reshape(raw: bytes) -> bytes:
    """A whole completion, or a chunk of one, in OpenAI's words."""
    body: dict[str, Any] = msgspec.json.decode(raw)
    for choice in body["choices"]:
        name = "delta" if "message" not in choice or "delta" in choice else "message"
        if name == "delta":
            choice.pop("message", None)
        message = choice.get(name)
        if not isinstance(message, dict):
            message = choice[name] = {}
        _reshape_message(message, is_delta=name == "delta")
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason not in FINISH_REASONS:
            choice["finish_reason"], choice["native_finish_reason"] = openai_finish(reason), reason
        if name == "message" and not message.get("annotations"):
            annotations = annotate(message.get("content"), body)
            if annotations:
                message["annotations"] = annotations
    return msgspec.json.encode(body)


def _reshape_message(message: dict[str, Any], *, is_delta: bool) -> None:
    if isinstance(message.get("content"), list):
        text, thinking = split_content(msgspec.convert(message["content"], list[Piece]))
        message["content"] = text if text or is_delta else None
        if thinking:
            message["reasoning_content"] = thinking
    if isinstance(message.get("reasoning"), str) and not message.get("reasoning_content"):
        message["reasoning_content"] = message.pop("reasoning")
    for place, tool_call in enumerate(message.get("tool_calls") or ()):
        if is_delta and isinstance(tool_call, dict) and tool_call.get("index") is None:
            tool_call["index"] = place


def annotate(content: Any, body: dict[str, Any]) -> list[dict[str, Any]]:
    """OpenAI's url_citation for every mark [n] in the text, from the sources that stand beside the choices."""
    results = body.get("search_results")
    sources = [(one.get("url"), one.get("title")) for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    if not sources and isinstance(body.get("citations"), list):
        sources = [(one, "") for one in body["citations"]]
    annotations = []
    for mark in _MARK.finditer(content) if isinstance(content, str) and sources else ():
        number = int(mark[1])
        if 1 <= number <= len(sources) and isinstance(sources[number - 1][0], str):
            url, title = sources[number - 1]
            citation = {"url": url, "title": title or "", "start_index": mark.start(), "end_index": mark.end()}
            annotations.append({"type": "url_citation", "url_citation": citation})
    return annotations
