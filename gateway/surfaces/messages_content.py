"""The turns of Anthropic's Messages → a chat completion's messages: text, pictures, documents, tools and thinking."""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.parsing import invalid

Json = dict[str, Any]

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# Ids of tool calls: ours wear a prefix that no id of Anthropic's has, and lose it on the way back, so whatever another provider
# keeps in its ids (Gemini its signatures) comes home whole.
_OWN_ID, _CODED_ID = "toolu__", "toolu_-"
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+")


class Translation:
    """A chat completion's fields as they come together, and what was left out of them."""

    def __init__(self, *, drops: bool) -> None:
        self.fields: Json = {}
        self.dropped: list[str] = []
        self.paths: list[str] = []  # of the turn that each of the messages came from
        self._drops = drops

    def refuse(self, path: str) -> None:
        """`path` changes what is asked for and chat can't say it: BadRequest, unless the caller wants such things left out."""
        if not self._drops:
            raise BadRequest(
                f"Este modelo não aceita '{path}'. Tire-o, ou envie o cabeçalho 'x-tokia-drop-params: true' para ignorá-lo.",
                f"This model does not support '{path}'. Remove it, or send the header 'x-tokia-drop-params: true' to ignore it.",
                param=path,
                code="unsupported_parameter",
            )
        self.dropped.append(path)

    def marked(self, part: Json, block: Json) -> Json:
        """The part with the block's hint for the prompt cache; a dialect that has no such hint leaves it out."""
        if isinstance(block.get("cache_control"), dict):
            part["cache_control"] = block["cache_control"]
        return part


def translate_turns(body: Json, out: Translation) -> None:
    """Fills `fields["messages"]`. Raises BadRequest."""
    messages: list[Json] = []
    out.fields["messages"] = messages
    if body.get("system"):
        _add(messages, out, "system", {"role": "system", "content": _text_content(body["system"], "system", out)})
    for index, turn in enumerate(body["messages"]):
        path = f"messages[{index}]"
        content = turn["content"]
        if turn["role"] == "assistant":
            message = _assistant(content, path, out)
            if message is not None:
                _add(messages, out, path, message)
        elif turn["role"] == "system":
            _add(messages, out, path, {"role": "system", "content": _text_content(content, f"{path}.content", out)})
        elif isinstance(content, str):
            _add(messages, out, path, {"role": "user", "content": content})
        else:
            for message in _user(content, path, out):
                _add(messages, out, path, message)


def _add(messages: list[Json], out: Translation, path: str, message: Json) -> None:
    messages.append(message)
    out.paths.append(path)


def _text_content(content: Any, path: str, out: Translation) -> str | list[Json]:
    """Text blocks as one text, or as parts where one of them has a mark for the cache."""
    if isinstance(content, str):
        return content
    parts = []
    for index, block in enumerate(content):
        if block.get("type") != "text":
            out.refuse(f"{path}[{index}].type")
        elif text := _text(block, f"{path}[{index}]"):
            parts.append(out.marked({"type": "text", "text": text}, block))
    if any("cache_control" in part for part in parts):
        return parts
    return "\n\n".join(part["text"] for part in parts)


def _text(block: Json, path: str) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise invalid(f"{path}.text", "um texto", "a string")
    return text


# ── The user's turns ─────────────────────────────────────────────────────────────────────────────────────────────────
def _user(content: list[Json], path: str, out: Translation) -> list[Json]:
    """The tools' answers, one message each, then the rest in one. A tool's message holds only text: its pictures follow there."""
    results: list[Json] = []
    parts: list[Json] = []
    for index, block in enumerate(content):
        where = f"{path}.content[{index}]"
        if block["type"] == "tool_result":
            results.append(_tool_result(block, where, parts, out))
        else:
            parts += _parts(block, where, out)
    if not parts:
        return results
    is_plain = all(part["type"] == "text" and "cache_control" not in part for part in parts)
    said: str | list[Json] = "\n\n".join(part["text"] for part in parts) if is_plain else parts
    return [*results, {"role": "user", "content": said}]


def _tool_result(block: Json, path: str, parts: list[Json], out: Translation) -> Json:
    id_ = block.get("tool_use_id")
    if not isinstance(id_, str):
        raise invalid(f"{path}.tool_use_id", "um texto", "a string")
    content = block.get("content")
    texts = [content] if isinstance(content, str) else []
    for index, inner in enumerate(content if isinstance(content, list) else ()):
        for part in _parts(_object(inner, f"{path}.content[{index}]"), f"{path}.content[{index}]", out):
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                parts += [{"type": "text", "text": f"[from the result of tool call {id_}]"}, part]
                texts.append("[see the attachment below]")
    text = "\n".join(texts)
    if block.get("is_error") is True:  # chat has no word for it: the model reads it
        text = text if text.lower().startswith(("error", "<tool_use_error")) else f"Error: {text}"
    return out.marked({"role": "tool", "tool_call_id": home_id(id_), "content": text}, block)


def _parts(block: Json, path: str, out: Translation) -> list[Json]:
    kind = block.get("type")
    if kind == "text":
        text = _text(block, path)
        return [out.marked({"type": "text", "text": text}, block)] if text else []
    if kind == "image":
        return [out.marked(_image(block.get("source"), f"{path}.source", out), block)]
    if kind == "document":
        return _document(block, path, out)
    if kind == "search_result":
        return [out.marked({"type": "text", "text": _search_result(block, path, out)}, block)]
    out.refuse(f"{path}.type")
    return []


def _image(source: Any, path: str, out: Translation) -> Json:
    source = _object(source, path)
    if source.get("type") == "base64" and isinstance(source.get("data"), str):
        if source.get("media_type") not in IMAGE_TYPES:
            raise invalid(f"{path}.media_type", "JPEG, PNG, GIF ou WebP", "JPEG, PNG, GIF or WebP")
        return {"type": "image_url", "image_url": {"url": f"data:{source['media_type']};base64,{source['data']}"}}
    if source.get("type") == "url" and isinstance(source.get("url"), str):
        return {"type": "image_url", "image_url": {"url": source["url"]}}
    out.refuse(f"{path}.type")
    return {"type": "text", "text": "[image]"}


def _document(block: Json, path: str, out: Translation) -> list[Json]:
    """A PDF becomes a file, any other document its text; its title and context are text in both cases."""
    _refuse_citations(block, path, out)
    source = _object(block.get("source"), f"{path}.source")
    title, context = block.get("title"), block.get("context")
    head = "\n".join(text for text in (title, context) if isinstance(text, str) and text)
    kind, data = source.get("type"), source.get("data")
    if kind == "base64" and isinstance(data, str) and source.get("media_type") == "application/pdf":
        name = title if isinstance(title, str) and title else "document.pdf"
        file = {"filename": name, "file_data": f"data:application/pdf;base64,{data}"}
        about = [{"type": "text", "text": context}] if isinstance(context, str) and context else []
        return [*about, out.marked({"type": "file", "file": file}, block)]
    parts: list[Json] = [{"type": "text", "text": head}] if head else []
    if kind == "text" and isinstance(data, str):
        parts.append({"type": "text", "text": data})
    elif kind == "content" and isinstance(source.get("content"), str):
        parts.append({"type": "text", "text": source["content"]})
    elif kind == "content" and isinstance(source.get("content"), list):
        for index, inner in enumerate(source["content"]):
            where = f"{path}.source.content[{index}]"
            parts += _parts(_object(inner, where), where, out)
    else:  # a URL, or a file at Anthropic: nobody else would read it
        out.refuse(f"{path}.source.type")
    if parts:
        out.marked(parts[-1], block)
    return parts


def _search_result(block: Json, path: str, out: Translation) -> str:
    _refuse_citations(block, path, out)
    content = block.get("content")
    texts = [inner.get("text") for inner in content if isinstance(inner, dict)] if isinstance(content, list) else []
    lines = [block.get("title"), block.get("source"), *texts]
    return "\n".join(line for line in lines if isinstance(line, str))


def _refuse_citations(block: Json, path: str, out: Translation) -> None:
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled") is True:
        out.refuse(f"{path}.citations")


# ── The assistant's turns ────────────────────────────────────────────────────────────────────────────────────────────
def _assistant(content: str | list[Json], path: str, out: Translation) -> Json | None:
    """Thinking is kept both ways: as text, which some hosts ask for in a tool loop, and as blocks with their signatures."""
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts: list[Json] = []
    thoughts: list[str] = []
    kept: list[Json] = []
    calls: list[Json] = []
    for index, block in enumerate(content):
        where = f"{path}.content[{index}]"
        match block["type"]:
            case "text":
                if text := _text(block, where):
                    texts.append(out.marked({"type": "text", "text": text}, block))
            case "thinking":
                kept.append({name: value for name, value in block.items() if name in ("type", "thinking", "signature")})
                thoughts.append(str(block.get("thinking") or ""))
            case "redacted_thinking":
                kept.append({name: value for name, value in block.items() if name in ("type", "data")})
            case "tool_use":
                calls.append(_tool_use(block, where, out))
            case _:
                out.refuse(f"{where}.type")
    message: Json = {"role": "assistant"}
    if texts:
        is_plain = not any("cache_control" in part for part in texts)
        message["content"] = "".join(part["text"] for part in texts) if is_plain else texts
    elif calls:
        message["content"] = None
    else:
        return None
    if calls:
        message["tool_calls"] = calls
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if signed := [block for block in kept if block.get("signature") or block.get("data")]:
        message["thinking_blocks"] = signed
    return message


def _tool_use(block: Json, path: str, out: Translation) -> Json:
    id_, name, arguments = block.get("id"), block.get("name"), block.get("input")
    if not isinstance(id_, str) or not isinstance(name, str):
        raise invalid(path, "'id' e 'name'", "'id' and 'name'")
    if not isinstance(arguments, dict):
        raise invalid(f"{path}.input", "um objeto", "an object")
    function = {"name": name, "arguments": msgspec.json.encode(arguments).decode()}
    return out.marked({"id": home_id(id_), "type": "function", "function": function}, block)


# ── Ids of tool calls ────────────────────────────────────────────────────────────────────────────────────────────────
def away_id(id_: str) -> str:
    """A provider's id as Anthropic's clients know ids."""
    if id_.startswith("toolu_") and not id_.startswith((_OWN_ID, _CODED_ID)):
        return id_
    if _PLAIN_ID.fullmatch(id_):
        return _OWN_ID + id_
    return _CODED_ID + base64.urlsafe_b64encode(id_.encode()).decode().rstrip("=")


def home_id(id_: str) -> str:
    """The id that `away_id` was given; any other stays as it is."""
    if id_.startswith(_OWN_ID):
        return id_[len(_OWN_ID) :]
    if id_.startswith(_CODED_ID):
        coded = id_[len(_CODED_ID) :]
        try:
            return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
        except ValueError:
            return id_
    return id_


def _object(value: Any, path: str) -> Json:
    if not isinstance(value, dict):
        raise invalid(path, "um objeto", "an object")
    return value
