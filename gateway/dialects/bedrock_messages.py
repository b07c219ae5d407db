"""Messages in OpenAI's words → Converse's system blocks and turns."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from gateway.dialects.bedrock_families import Family
from gateway.errors import BadRequest

Block = dict[str, Any]

CACHE_POINT = "cachePoint"
IMAGE_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
AUDIO_FORMATS = frozenset({"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "mpeg", "pcm", "webm"})
DOCUMENT_FORMATS = {
    "application/pdf": "pdf", "text/csv": "csv", "application/msword": "doc", "application/vnd.ms-excel": "xls",
    "text/html": "html",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx", "text/plain": "txt", "text/markdown": "md",
}  # fmt: skip
TOOL_ID_MAX = 64
DOCUMENT_NAME_MAX = 190  # of 200: a number may follow
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,(.*)", re.DOTALL)
_NOT_ID = re.compile(r"[^A-Za-z0-9_.:-]")
_NOT_NAME = re.compile(r"[^A-Za-z0-9()\[\] -]")


def translate_messages(asked: list[dict[str, Any]], family: Family) -> tuple[list[Block], list[dict[str, Any]]]:
    """The system's blocks, and turns that begin with the user and alternate. Raises BadRequest, with the path."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(asked):
        path = f"messages[{index}]"
        role = message["role"]
        if role in ("system", "developer"):
            system += _text_blocks(message.get("content"), f"{path}.content", family)
            continue
        if role == "assistant":
            speaker, blocks = "assistant", _assistant_blocks(message, path, family)
        elif role == "tool":
            speaker, blocks = "user", _tool_result(message, path, family)
        elif role == "function":
            raise unsupported(f"{path}.role", "mensagens 'tool'", "'tool' messages")
        else:
            speaker, blocks = "user", _user_blocks(message.get("content"), f"{path}.content", family)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": speaker, "content": blocks})
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [{"text": "."}]})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"] = _results_first(turn["content"])
    _trim_prefill(turns)
    _fit_documents(turns)
    return system, turns


def _results_first(blocks: list[Block]) -> list[Block]:
    """A cache point stays behind the block that it marks."""
    results: list[Block] = []
    others: list[Block] = []
    place = others
    for block in blocks:
        if CACHE_POINT not in block:
            place = results if "toolResult" in block else others
        place.append(block)
    return results + others


def _trim_prefill(turns: list[dict[str, Any]]) -> None:
    last = turns[-1]
    if last["role"] == "assistant":
        block = [block for block in last["content"] if CACHE_POINT not in block][-1]
        if "text" in block:
            block["text"] = block["text"].rstrip()  # never blank: blank texts were left out


def _fit_documents(turns: list[dict[str, Any]]) -> None:
    """Names are unique in a request; a turn with a document has a text."""
    seen: set[str] = set()
    for turn in turns:
        documents = [block["document"] for block in turn["content"] if "document" in block]
        for document in documents:
            name, number = document["name"], 1
            while document["name"] in seen:
                number += 1
                document["name"] = f"{name} ({number})"
            seen.add(document["name"])
        if documents and not any("text" in block for block in turn["content"]):
            turn["content"].append({"text": "."})


# ── Blocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def cache_point(part: Any, family: Family) -> Block | None:
    """The mark behind a block that carries `cache_control`. It changes no meaning: where a family takes none, there is none."""
    mark = part.get("cache_control") if isinstance(part, dict) else None
    if not isinstance(mark, dict) or not family.caches:
        return None
    point: Block = {"type": "default"}
    if family.caches_an_hour and mark.get("ttl") in ("5m", "1h"):
        point["ttl"] = mark["ttl"]
    return {CACHE_POINT: point}


def _marked(block: Block, part: Any, family: Family) -> list[Block]:
    mark = cache_point(part, family)
    return [block, mark] if mark else [block]


def _text_blocks(content: Any, path: str, family: Family) -> list[Block]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}] if content.strip() else []
    blocks: list[Block] = []
    for index, part in enumerate(content):
        if part.get("type") not in ("text", "refusal"):
            raise unsupported(f"{path}[{index}].type", "só texto", "text only")
        text = part.get("text") or part.get("refusal") or ""
        if text.strip():
            blocks += _marked({"text": text}, part, family)
    return blocks


def _user_blocks(content: Any, path: str, family: Family) -> list[Block]:
    if not isinstance(content, list):
        return _text_blocks(content, path, family)
    blocks: list[Block] = []
    for index, part in enumerate(content):
        where = f"{path}[{index}]"
        match part.get("type"):
            case "image_url":
                blocks += _marked(_image_block(part.get("image_url"), f"{where}.image_url"), part, family)
            case "file":
                blocks += _marked(_file_block(part.get("file"), f"{where}.file"), part, family)
            case "input_audio":
                blocks += _marked(_audio_block(part.get("input_audio"), f"{where}.input_audio"), part, family)
            case "text":
                blocks += _text_blocks([part], path, family)
            case _:
                raise unsupported(f"{where}.type", "text, image_url, file ou input_audio", "text, image_url, file or input_audio")
    return blocks


def _image_block(image: Any, path: str) -> Block:
    url = image.get("url") if isinstance(image, dict) else image
    found = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    kind = IMAGE_FORMATS.get(found[1].lower()) if found else None
    if found is None or kind is None or not found[2]:
        raise unsupported(path, "PNG, JPEG, GIF ou WebP em base64 (data:)", "PNG, JPEG, GIF or WebP in base64 (data:)")
    return {"image": {"format": kind, "source": {"bytes": found[2]}}}


def _audio_block(audio: Any, path: str) -> Block:
    kind, data = (audio.get("format"), audio.get("data")) if isinstance(audio, dict) else (None, None)
    if not isinstance(kind, str) or kind not in AUDIO_FORMATS or not isinstance(data, str) or not data:
        raise unsupported(path, "áudio em base64 de formato conhecido", "audio in base64 of a known format")
    return {"audio": {"format": kind, "source": {"bytes": data}}}


def _file_block(file: Any, path: str) -> Block:
    data = file.get("file_data") if isinstance(file, dict) else None
    found = _DATA_URL.fullmatch(data) if isinstance(data, str) else None
    kind = DOCUMENT_FORMATS.get(found[1].lower()) if found else None
    if found is None or kind is None or not found[2]:
        raise unsupported(path, "um PDF, documento, planilha ou texto em file_data", "a PDF, document, sheet or text in file_data")
    filename = file.get("filename")
    return {"document": {"format": kind, "name": _document_name(filename), "source": {"bytes": found[2]}}}


def _document_name(filename: Any) -> str:
    """Without its ending, in the characters that Converse takes."""
    stem = filename.rsplit(".", 1)[0] if isinstance(filename, str) else ""
    return " ".join(_NOT_NAME.sub(" ", stem).split())[:DOCUMENT_NAME_MAX].strip() or "document"


def _assistant_blocks(message: dict[str, Any], path: str, family: Family) -> list[Block]:
    """Thinking that the client kept comes first, then text, then tool calls."""
    blocks: list[Block] = []
    kept = message.get("thinking_blocks")
    if family.takes_thinking and isinstance(kept, list):
        blocks += [block for kept_block in kept if (block := _thinking_block(kept_block))]
    for name in ("audio", "function_call"):
        if message.get(name) is not None:
            raise unsupported(f"{path}.{name}", "texto ou 'tool_calls'", "text or 'tool_calls'")
    blocks += _text_blocks(message.get("content") or message.get("refusal"), f"{path}.content", family)
    for index, tool_call in enumerate(message.get("tool_calls") or []):
        where = f"{path}.tool_calls[{index}]"
        function = tool_call.get("function") if isinstance(tool_call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise unsupported(f"{where}.function", "uma função com nome", "a function with a name")
        arguments = _arguments(function.get("arguments"), f"{where}.function.arguments")
        use = {"toolUseId": tool_id(tool_call.get("id")), "name": function["name"], "input": arguments}
        blocks += _marked({"toolUse": use}, tool_call, family)
    return blocks


def _thinking_block(kept: Any) -> Block | None:
    """One with its signature; without it, it would be refused."""
    if not isinstance(kept, dict):
        return None
    if kept.get("type") == "redacted_thinking" and isinstance(kept.get("data"), str) and kept["data"]:
        return {"reasoningContent": {"redactedContent": kept["data"]}}
    if kept.get("type") == "thinking" and isinstance(kept.get("thinking"), str) and isinstance(kept.get("signature"), str):
        return {"reasoningContent": {"reasoningText": {"text": kept["thinking"], "signature": kept["signature"]}}}
    return None


def _arguments(text: Any, path: str) -> dict[str, Any]:
    if text is None or (isinstance(text, str) and not text.strip()):
        return {}
    try:
        arguments = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise unsupported(path, "um objeto JSON", "a JSON object")
    return arguments


def _tool_result(message: dict[str, Any], path: str, family: Family) -> list[Block]:
    content = _user_blocks(message.get("content"), f"{path}.content", family)
    marks = [block for block in content if CACHE_POINT in block]  # they stand beside a result, never in it
    result = {
        "toolUseId": tool_id(message.get("tool_call_id")),
        "content": [block for block in content if CACHE_POINT not in block],
    }
    if any("audio" in block for block in result["content"]):
        raise unsupported(f"{path}.content", "texto, imagens ou arquivos", "text, images or files")
    blocks = _marked({"toolResult": result}, message, family)
    return blocks if len(blocks) > 1 else [*blocks, *marks[-1:]]


def tool_id(id_: Any) -> str:
    """A foreign id in Converse's alphabet and length; a call and its result keep the same one, and two ids stay
    two."""
    if not isinstance(id_, str) or not id_:
        return "tooluse_unknown"
    fitted = _NOT_ID.sub("_", id_)
    if fitted == id_ and len(id_) <= TOOL_ID_MAX:
        return id_
    return f"{fitted[: TOOL_ID_MAX - 17]}_{hashlib.sha256(id_.encode('utf-8', 'replace')).hexdigest()[:16]}"


def unsupported(path: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Este modelo não aceita o que veio em '{path}': esperado {expected}.",
        f"This model does not accept '{path}': expected {english}.",
        param=path,
        code="unsupported_value",
    )
