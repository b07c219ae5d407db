"""Messages in OpenAI's words → Gemini's system instruction and contents. Raises BadRequest, with the path of what can't be said."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.dialects.gemini_models import Abilities
from gateway.dialects.gemini_signatures import STAND_IN, echoed_signature, plain_id, signature_of
from gateway.errors import BadRequest

Part = dict[str, Any]
Turn = dict[str, Any]

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
AUDIO_TYPES = {
    "wav": "audio/wav", "mp3": "audio/mp3", "aiff": "audio/aiff", "aac": "audio/aac", "ogg": "audio/ogg", "flac": "audio/flac",
}  # fmt: skip
FILE_KINDS = ("application/pdf", "application/json", "text/", "image/", "audio/", "video/")
# What an address ends with says what it holds; Google looks for itself where nothing does.
_TYPES_BY_SUFFIX = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "heic": "image/heic", "heif": "image/heif",
}  # fmt: skip
_OWN_HOST = "generativelanguage.googleapis.com"  # its files belong to our project, whoever uploaded them
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,(.+)", re.DOTALL)
_EXACT_MAX = 2**53  # numbers of a Struct are doubles
_HINTS = ("cache_control", "prompt_cache_breakpoint")


class Conversation:
    """What the messages come to. `hints` are names of what was left out and means nothing to the answer."""

    def __init__(self, messages: list[dict[str, Any]], abilities: Abilities) -> None:
        self.system: list[Part] = []
        self.turns: list[Turn] = []
        self.hints: set[str] = set()
        self.details: set[str] = set()  # of the pictures
        self._abilities = abilities
        self._read(messages)

    def _read(self, messages: list[dict[str, Any]]) -> None:
        index = 0
        while index < len(messages):
            message, path = messages[index], f"messages[{index}]"
            index += 1
            role = message["role"]
            if message.get("name") is not None:
                self.hints.add("messages[].name")
            if role in ("system", "developer"):
                self.system += self._text_parts(message.get("content"), f"{path}.content")
            elif role == "user":
                self._say("user", self._media_parts(message.get("content"), f"{path}.content"))
            elif role == "assistant":
                index = self._read_assistant(messages, index - 1)
            elif role == "tool":
                raise _invalid(
                    f"{path}.tool_call_id", "uma mensagem 'tool' responde a uma chamada da mensagem 'assistant' logo antes",
                    "a 'tool' message answers a call of the 'assistant' message right before",
                )  # fmt: skip
            else:
                raise unsupported(f"{path}.role", "'tool' no lugar de 'function'", "'tool' instead of 'function'")
        if not self.turns or self.turns[0]["role"] != "user":
            self.turns.insert(0, {"role": "user", "parts": [{"text": "."}]})
        if self.turns[-1]["role"] == "model" and not self._abilities.takes_prefill:
            raise unsupported(
                f"messages[{len(messages) - 1}]", "uma última mensagem 'user' ou 'tool'", "a last 'user' or 'tool' message"
            )

    def _say(self, role: str, parts: list[Part]) -> None:
        """Turns of one role are joined; what functions answer stays alone, so that it is counted against the calls."""
        if not parts:
            return
        last = self.turns[-1] if self.turns else None
        if last is not None and last["role"] == role and not any("functionResponse" in part for part in last["parts"]):
            last["parts"] += parts
        else:
            self.turns.append({"role": role, "parts": parts})

    # ── Assistant and tools ──────────────────────────────────────────────────────────────────────────────────────────
    def _read_assistant(self, messages: list[dict[str, Any]], index: int) -> int:
        """The message at `index` and the tool messages that answer it; gives the place of the next message."""
        message, path = messages[index], f"messages[{index}]"
        for name in ("audio", "function_call"):
            if message.get(name) is not None:
                raise unsupported(f"{path}.{name}", "texto ou 'tool_calls'", "text or 'tool_calls'")
        parts = self._text_parts(message.get("content") or message.get("refusal"), f"{path}.content")
        pictures = message.get("images")
        for place, picture in enumerate(pictures if isinstance(pictures, list) else ()):
            parts.append(self._picture_back(picture, f"{path}.images[{place}]"))
        signature = echoed_signature(message)
        if signature is not None and parts and "thoughtSignature" not in parts[-1]:
            parts[-1]["thoughtSignature"] = signature
        tool_calls = message.get("tool_calls") or []
        calls = [self._call_part(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(tool_calls)]
        if calls and self._abilities.needs_signatures and "thoughtSignature" not in calls[0]:
            calls[0]["thoughtSignature"] = STAND_IN
        self._say("model", parts + calls)
        index += 1
        if not calls:
            return index
        answers: dict[str, list[tuple[dict[str, Any], str]]] = {}
        while index < len(messages) and messages[index]["role"] == "tool":
            answer = messages[index]
            answers.setdefault(str(answer.get("tool_call_id")), []).append((answer, f"messages[{index}]"))
            index += 1
        self.turns.append({"role": "user", "parts": self._pair(tool_calls, calls, answers, path)})
        return index

    def _pair(
        self, tool_calls: list[Any], calls: list[Part], answers: dict[str, list[tuple[dict[str, Any], str]]], path: str
    ) -> list[Part]:
        """One answer for each call, in the order of the calls, whatever the order of the messages."""
        responses: list[Part] = []
        for place, (tool_call, call) in enumerate(zip(tool_calls, calls, strict=True)):
            waiting = answers.get(str(tool_call.get("id")))
            if not waiting:
                raise _invalid(
                    f"{path}.tool_calls[{place}]", "toda chamada é seguida da mensagem 'tool' que a responde",
                    "every call is followed by the 'tool' message that answers it",
                )  # fmt: skip
            message, where = waiting.pop(0)
            responses.append(self._response_part(message, call["functionCall"], where))
        left = [where for waiting in answers.values() for _, where in waiting]
        if left:
            raise _invalid(f"{left[0]}.tool_call_id", "o id de uma chamada da mensagem anterior", "the id of a call just before")
        return responses

    def _call_part(self, tool_call: Any, path: str) -> Part:
        function = tool_call.get("function") if isinstance(tool_call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise unsupported(f"{path}.function", "uma função com nome", "a function with a name")
        id_ = tool_call.get("id")
        if not isinstance(id_, str) or not id_:
            raise _invalid(f"{path}.id", "um texto", "a string")
        arguments = _arguments(function.get("arguments"), f"{path}.function.arguments")
        part: Part = {"functionCall": {"name": function["name"], "args": arguments, "id": plain_id(id_)}}
        if (signature := echoed_signature(tool_call) or signature_of(id_)) is not None:
            part["thoughtSignature"] = signature
        return part

    def _response_part(self, message: dict[str, Any], call: dict[str, Any], path: str) -> Part:
        content = message.get("content")
        media: list[Part] = []
        if isinstance(content, list):
            parts = self._media_parts(content, f"{path}.content")
            media = [part for part in parts if "text" not in part]
            if media and (not self._abilities.takes_media_results or any("inlineData" not in part for part in media)):
                raise unsupported(f"{path}.content", "só texto", "text only")
            content = "".join(part["text"] for part in parts if "text" in part)
        response: dict[str, Any] = {"name": call["name"], "response": _result(content or ""), "id": call["id"]}
        if media:
            response["parts"] = media
        return {"functionResponse": response}

    # ── Parts ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _text_parts(self, content: Any, path: str) -> list[Part]:
        if content is None:
            return []
        if isinstance(content, str):
            return [{"text": content}] if content else []
        parts = []
        for index, part in enumerate(content):
            if part.get("type") not in ("text", "refusal"):
                raise unsupported(f"{path}[{index}].type", "só texto", "text only")
            self._note_hints(part)
            if text := part.get("text") or part.get("refusal"):
                parts.append({"text": text})
        return parts

    def _media_parts(self, content: Any, path: str) -> list[Part]:
        if not isinstance(content, list):
            return self._text_parts(content, path)
        parts: list[Part] = []
        for index, part in enumerate(content):
            where = f"{path}[{index}]"
            self._note_hints(part)
            match part.get("type"):
                case "text" | "refusal":
                    parts += self._text_parts([part], path)
                case "image_url":
                    parts.append(self._picture(part.get("image_url"), f"{where}.image_url"))
                case "input_audio":
                    parts.append(_sound(part.get("input_audio"), f"{where}.input_audio"))
                case "file":
                    parts.append(_file(part.get("file"), f"{where}.file"))
                case _:
                    expected = "text, image_url, input_audio, file"
                    raise unsupported(f"{where}.type", expected, expected)
        return parts

    def _picture(self, image: Any, path: str) -> Part:
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str):
            raise unsupported(path, "um endereço de imagem", "an image URL")
        self.details.add(str(image.get("detail") or "auto") if isinstance(image, dict) else "auto")
        if found := _DATA_URL.fullmatch(url):
            kind = found[1].lower().replace("image/jpg", "image/jpeg")
            if kind not in IMAGE_TYPES:
                raise unsupported(path, "PNG, JPEG, WebP, HEIC ou HEIF", "PNG, JPEG, WebP, HEIC or HEIF")
            return {"inlineData": {"mimeType": kind, "data": found[2]}}
        if not self._abilities.takes_web_urls:
            raise unsupported(path, "a imagem em um endereço data:", "the image in a data: URL")
        return {"fileData": _web_file(url, path)}

    def _picture_back(self, picture: Any, path: str) -> Part:
        """A picture that the model made in an earlier turn."""
        image = picture.get("image_url") if isinstance(picture, dict) else None
        url = image.get("url") if isinstance(image, dict) else None
        found = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
        if found is None:
            raise unsupported(path, "um endereço data:", "a data: URL")
        part: Part = {"inlineData": {"mimeType": found[1], "data": found[2]}}
        if (signature := echoed_signature(picture)) is not None:
            part["thoughtSignature"] = signature
        return part

    def _note_hints(self, part: dict[str, Any]) -> None:
        for name in _HINTS:
            if part.get(name) is not None:
                self.hints.add(name)


def _web_file(url: str, path: str) -> dict[str, Any]:
    """A public address that Google fetches itself; we never do."""
    try:
        address = urlsplit(url)
        host = (address.hostname or "").rstrip(".")
    except ValueError:
        address, host = urlsplit(""), ""
    if address.scheme != "https" or not host or host == _OWN_HOST or address.username is not None:
        raise unsupported(path, "um endereço https:// público ou data:", "a public https:// or a data: URL")
    file: dict[str, Any] = {"fileUri": url}
    suffix = address.path.rpartition(".")[2].lower()
    if suffix in _TYPES_BY_SUFFIX:
        file["mimeType"] = _TYPES_BY_SUFFIX[suffix]
    return file


def _sound(audio: Any, path: str) -> Part:
    data = audio.get("data") if isinstance(audio, dict) else None
    kind = AUDIO_TYPES.get(str(audio.get("format"))) if isinstance(audio, dict) else None
    if not isinstance(data, str) or not data or kind is None:
        raise unsupported(
            path, f"dados em base64 e um formato: {', '.join(AUDIO_TYPES)}", f"base64 data, one of {', '.join(AUDIO_TYPES)}"
        )
    return {"inlineData": {"mimeType": kind, "data": data}}


def _file(file: Any, path: str) -> Part:
    data = file.get("file_data") if isinstance(file, dict) else None
    found = _DATA_URL.fullmatch(data) if isinstance(data, str) else None
    if found is None or not found[1].lower().startswith(FILE_KINDS):
        raise unsupported(f"{path}.file_data", "um PDF, texto ou mídia em um endereço data:", "a PDF, text or media in a data: URL")
    return {"inlineData": {"mimeType": found[1].lower(), "data": found[2]}}


def _arguments(text: Any, path: str) -> dict[str, Any]:
    if text is None or (isinstance(text, str) and not text.strip()):
        return {}
    try:
        arguments = msgspec.json.decode(text) if isinstance(text, str) else text
    except (msgspec.DecodeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise unsupported(path, "um objeto JSON", "a JSON object")
    return arguments


def _result(text: str) -> dict[str, Any]:
    """A function's response is an object: the result itself where it is one that survives the way, else under `output`."""
    if text.lstrip().startswith("{"):
        try:
            said = msgspec.json.decode(text)
            if isinstance(said, dict) and _is_exact(said):
                return said
        except (msgspec.DecodeError, RecursionError):
            pass
    return {"output": text}


def _is_exact(value: Any) -> bool:
    """Whether all its numbers are the same as doubles."""
    if isinstance(value, dict):
        return all(_is_exact(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_is_exact(inner) for inner in value)
    return not isinstance(value, int) or abs(value) <= _EXACT_MAX


def unsupported(path: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Este modelo não aceita o que veio em '{path}': esperado {expected}.",
        f"This model does not accept '{path}': expected {english}.",
        param=path,
        code="unsupported_value",
    )


def _invalid(path: str, expected: str, english: str) -> BadRequest:
    return BadRequest(f"Valor inválido em '{path}': {expected}.", f"Invalid value for '{path}': {english}.", param=path)
