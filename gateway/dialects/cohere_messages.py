"""The turns of a chat completion in OpenAI's words → Cohere v2's messages."""

from __future__ import annotations

import json
import re
from typing import Any

from gateway.dialects.base import text_of
from gateway.errors import BadRequest

Block = dict[str, Any]
Turn = dict[str, Any]

IMAGE_URL = re.compile(r"https://|data:image/(?:png|jpe?g|webp|gif);base64,", re.IGNORECASE)
DETAILS = ("auto", "low", "high")


def translate_messages(asked: list[dict[str, Any]], dropped: list[str], *, takes_images: bool, is_reasoning: bool) -> list[Turn]:
    """Raises BadRequest, with the path, for what Cohere can't say. Empty turns, which it refuses, are left out."""
    turns: list[Turn] = []
    last_path = f"messages[{len(asked) - 1}]"
    for index, message in enumerate(asked):
        path = f"messages[{index}]"
        if isinstance(message.get("name"), str) and message["role"] != "tool":
            dropped.append("messages[].name")
        match message["role"]:
            case "system" | "developer":
                content: Any = _text(message.get("content"), f"{path}.content")
                turn: Turn | None = {"role": "system", "content": content} if content.strip() else None
            case "user":
                content = _user_content(message.get("content"), f"{path}.content", takes_images=takes_images)
                turn = {"role": "user", "content": content} if content else None
            case "assistant":
                turn = _assistant_turn(message, path, is_reasoning=is_reasoning)
            case "tool":
                turn = _tool_turn(message, path)
            case _:
                raise unsupported(f"{path}.role", "outro papel que 'function'", "another role than 'function'")
        if turn is not None:
            turns.append(turn)
        elif path == last_path:
            raise unsupported(f"{path}.content", "um texto", "a text")
    last = turns[-1]
    if last["role"] == "assistant":
        raise unsupported(f"{last_path}.role", "'user' ou 'tool' por último", "'user' or 'tool' at the end")
    if last["role"] == "system":  # Cohere answers the user or a tool only: what stands last is what is asked
        last["role"] = "user"
    return turns


def unsupported(path: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Este modelo não aceita o que veio em '{path}': esperado {expected}.",
        f"This model does not accept '{path}': expected {english}.",
        param=path,
        code="unsupported_value",
    )


def _text(content: Any, path: str) -> str:
    """The text of a content that holds nothing else."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for index, part in enumerate(content):
        if part.get("type") not in ("text", "refusal"):
            raise unsupported(f"{path}[{index}].type", "só texto", "text only")
        texts.append(part.get("text") or part.get("refusal") or "")
    return "\n".join(text for text in texts if text)


def _user_content(content: Any, path: str, *, takes_images: bool) -> str | list[Block]:
    """A text, or blocks where there are pictures or several texts; empty where there is nothing."""
    if not isinstance(content, list):
        return content if isinstance(content, str) and content.strip() else ""
    blocks: list[Block] = []
    for index, part in enumerate(content):
        where = f"{path}[{index}]"
        match part.get("type"):
            case "text":
                if (part.get("text") or "").strip():
                    blocks.append({"type": "text", "text": part["text"]})
            case "image_url" if takes_images:
                blocks.append({"type": "image_url", "image_url": _image(part.get("image_url"), f"{where}.image_url")})
            case _:
                kinds = ("texto ou imagem", "text or an image") if takes_images else ("só texto", "text only")
                raise unsupported(f"{where}.type", *kinds)
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return str(blocks[0]["text"])
    return blocks


def _image(image: Any, path: str) -> Block:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str) or not IMAGE_URL.match(url):
        raise unsupported(path, "https:// ou data: de PNG, JPEG, WebP ou GIF", "https:// or data: of PNG, JPEG, WebP or GIF")
    block: Block = {"url": url}
    if isinstance(image, dict) and image.get("detail") in DETAILS:
        block["detail"] = image["detail"]
    return block


def _assistant_turn(message: dict[str, Any], path: str, *, is_reasoning: bool) -> Turn | None:
    """Thoughts go back as the plan of the tool calls that they led to, or, to a model that reasons, as thinking; other models do
    not take them back. None: it says nothing."""
    if message.get("audio") is not None:
        raise unsupported(f"{path}.audio", "texto", "text")
    if message.get("function_call") is not None:
        raise unsupported(f"{path}.function_call", "'tool_calls'", "'tool_calls'")
    text = _text(message.get("content"), f"{path}.content") or text_of(message.get("refusal"))
    thoughts = text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))
    calls = [
        _tool_call(tool_call, f"{path}.tool_calls[{index}]") for index, tool_call in enumerate(message.get("tool_calls") or [])
    ]
    turn: Turn = {"role": "assistant"}
    if calls:
        turn["tool_calls"] = calls
    if thoughts.strip():
        if is_reasoning:
            turn["content"] = [{"type": "thinking", "thinking": thoughts}]
        elif calls:
            turn["tool_plan"] = thoughts
    if text.strip():
        said = {"type": "text", "text": text}
        turn["content"] = [*turn["content"], said] if "content" in turn else text
    if text.strip() and (citations := _citations(message.get("citations"))):
        turn["citations"] = citations
    return turn if calls or text.strip() else None


def _tool_call(tool_call: Any, path: str) -> Block:
    function = tool_call.get("function") if isinstance(tool_call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise unsupported(f"{path}.function", "uma função com nome", "a function with a name")
    arguments = function.get("arguments")
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        arguments = "{}"
    try:
        is_object = isinstance(json.loads(arguments), dict) if isinstance(arguments, str) else False
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise unsupported(f"{path}.function.arguments", "um objeto JSON", "a JSON object")
    if not isinstance(tool_call.get("id"), str) or not tool_call["id"]:
        raise unsupported(f"{path}.id", "um texto", "a string")
    return {"id": tool_call["id"], "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _tool_turn(message: dict[str, Any], path: str) -> Turn:
    """An empty result is an empty object: Cohere refuses a result without any content."""
    if not isinstance(message.get("tool_call_id"), str) or not message["tool_call_id"]:
        raise unsupported(f"{path}.tool_call_id", "um texto", "a string")
    content = _text(message.get("content"), f"{path}.content")
    return {"role": "tool", "tool_call_id": message["tool_call_id"], "content": content if content.strip() else "{}"}


def _citations(echoed: Any) -> list[Block]:
    """Cohere's citations as `cohere_answer` gave them; what is not one of them is left out."""
    known = ("start", "end", "text", "sources", "content_index", "type")
    citations = []
    for citation in echoed if isinstance(echoed, list) else []:
        if isinstance(citation, dict) and isinstance(citation.get("start"), int) and isinstance(citation.get("sources"), list):
            citations.append({name: citation[name] for name in known if name in citation})
    return citations
