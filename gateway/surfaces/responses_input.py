"""Items of a Responses conversation → a chat's messages. Pure.

Consecutive items of the assistant's (thoughts, text, calls) are one message; the outputs of its calls follow it directly, wherever
they stood. Thoughts that came back sealed (`encrypted_content`) join the message that they led to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.parsing import IMAGES_MAX, MESSAGES_MAX

Item = dict[str, Any]
ROLES = ("user", "system", "developer", "assistant")


class Thoughts(msgspec.Struct):
    """What `encrypted_content` seals: thoughts as the provider wants them back."""

    text: str = ""
    blocks: list[dict[str, Any]] = []  # with their signatures
    extra: dict[str, Any] = {}  # what a provider wants back beside the message
    extras: dict[str, dict[str, Any]] = {}  # and beside its calls, by call_id


class _Turn:
    """One message of the assistant's, and the tools' answers that must follow it."""

    __slots__ = ("blocks", "calls", "extra", "parts", "results", "thoughts", "waiting")

    def __init__(self) -> None:
        self.parts: list[Item] = []
        self.calls: list[Item] = []
        self.results: list[Item] = []
        self.thoughts: list[str] = []
        self.blocks: list[Item] = []
        self.extra: dict[str, Any] = {}
        self.waiting = 0  # calls without an output


class Conversation:
    """Takes items in order; gives the messages."""

    def __init__(self, open_thoughts: Callable[[str], Thoughts | None]) -> None:
        self._open_thoughts = open_thoughts
        self._turns: list[_Turn | Item] = []
        self._answering: _Turn | None = None  # the assistant's message that still grows
        self._led: list[Thoughts] = []  # thoughts before what they led to
        self._waiting: dict[str, _Turn] = {}  # calls without an output, by call_id
        self._extras: dict[str, dict[str, Any]] = {}
        self._images = 0
        self._items = 0

    def add_system(self, text: str) -> None:
        self._turns.append({"role": "system", "content": text})

    def add(self, item: Any, path: str) -> None:
        """Raises BadRequest, with the path of what can't be said."""
        if not isinstance(item, dict):
            raise expected(path, "um objeto", "an object")
        kind = item.get("type") or ("message" if "role" in item else None)
        match kind:
            case "message":
                self._add_message(item, path)
            case "function_call" | "custom_tool_call":
                self._add_call(item, kind, path)
            case "function_call_output" | "custom_tool_call_output":
                self._add_output(item, path)
            case "reasoning":
                self._add_reasoning(item, path)
            case _:
                raise BadRequest(
                    f"Itens do tipo '{str(kind)[:40]}' não são aceitos em '{path}'.",
                    f"Items of type '{str(kind)[:40]}' are not supported in '{path}'.",
                    param=f"{path}.type", code="unsupported_value",
                )  # fmt: skip
        self._items += 1
        if self._items > MESSAGES_MAX:
            raise expected("input", f"no máximo {MESSAGES_MAX} itens", f"at most {MESSAGES_MAX} items")

    def messages(self) -> list[Item]:
        """Raises BadRequest where a call has no output."""
        if self._waiting:
            call_id = next(iter(self._waiting))[:64]
            raise BadRequest(
                f"Falta em 'input' a saída da chamada '{call_id}'.", f"No tool output found for function call {call_id}.",
                param="input",
            )  # fmt: skip
        if self._images > IMAGES_MAX:
            raise expected("input", f"no máximo {IMAGES_MAX} imagens", f"at most {IMAGES_MAX} images")
        written: list[Item] = []
        for turn in self._turns:
            if isinstance(turn, _Turn):
                written.append(self._write(turn))
                written += turn.results
            else:
                written.append(turn)
        if not written:
            raise expected("input", "ao menos um item", "at least one item")
        return written

    # ── Items ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _add_message(self, item: Item, path: str) -> None:
        role = item.get("role")
        if role not in ROLES:
            raise expected(f"{path}.role", f"um destes papéis: {', '.join(ROLES)}", f"one of: {', '.join(ROLES)}")
        parts = self._read_parts(item.get("content"), f"{path}.content", is_answer=role == "assistant")
        if role != "assistant":
            self._answering = None
            self._led.clear()  # thoughts that led to nothing
            self._turns.append({"role": role, "content": collapse(parts)})
            return
        turn = self._answering
        if turn is None or (turn.parts and not turn.calls):
            turn = self._begin_answer()
        self._settle_thoughts(turn)
        turn.parts += parts

    def _add_call(self, item: Item, kind: str, path: str) -> None:
        call_id, name = text_at(item, "call_id", path), text_at(item, "name", path)
        if call_id in self._waiting:
            raise expected(f"{path}.call_id", "um id que só uma chamada tem", "an id that no other call has")
        turn = self._answering or self._begin_answer()
        self._settle_thoughts(turn)
        if kind == "function_call":
            function = {"name": name, "arguments": text_at(item, "arguments", path, may_be_empty=True)}
            call: Item = {"id": call_id, "type": "function", "function": function}
        else:
            call = {
                "id": call_id,
                "type": "custom",
                "custom": {"name": name, "input": text_at(item, "input", path, may_be_empty=True)},
            }
        if isinstance(item.get("extra_content"), dict):
            call["extra_content"] = item["extra_content"]
        turn.calls.append(call)
        turn.waiting += 1
        self._waiting[call_id] = turn

    def _add_output(self, item: Item, path: str) -> None:
        call_id = text_at(item, "call_id", path)
        turn = self._waiting.pop(call_id, None)
        if turn is None:
            raise BadRequest(
                f"Nenhuma chamada com o id '{call_id[:64]}' antes de '{path}'.",
                f"No tool call found for function call output with call_id {call_id[:64]}.",
                param=f"{path}.call_id",
            )  # fmt: skip
        output = item.get("output")
        if not isinstance(output, str | list):
            raise expected(f"{path}.output", "um texto ou uma lista de partes", "a string or an array of parts")
        parts = self._read_parts(output, f"{path}.output", is_answer=False)
        turn.results.append({"role": "tool", "tool_call_id": call_id, "content": collapse(parts)})
        turn.waiting -= 1
        if turn is self._answering and not turn.waiting:
            self._answering = None

    def _add_reasoning(self, item: Item, path: str) -> None:
        sealed = item.get("encrypted_content")
        if sealed is None:
            parts = [*_listed(item.get("summary"), f"{path}.summary"), *_listed(item.get("content"), f"{path}.content")]
            texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
            thoughts: Thoughts | None = Thoughts(text="\n\n".join(texts))
        else:
            thoughts = self._open_thoughts(sealed) if isinstance(sealed, str) else None
        if thoughts is None:
            raise BadRequest(
                f"'{path}.encrypted_content' não foi gerado aqui para a sua empresa, ou foi alterado.",
                f"The encrypted content of '{path}' could not be verified: it was not made here for your organization.",
                param=f"{path}.encrypted_content", code="invalid_encrypted_content",
            )  # fmt: skip
        self._extras.update(thoughts.extras)
        if self._answering is not None and self._answering.results:
            self._answering = None
        if thoughts.extra and self._answering is not None:  # they follow what they belong to
            self._answering.extra.update(thoughts.extra)
        else:
            self._led.append(thoughts)

    # ── Turns ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _begin_answer(self) -> _Turn:
        turn = self._answering = _Turn()
        self._turns.append(turn)
        return turn

    def _settle_thoughts(self, turn: _Turn) -> None:
        for thoughts in self._led:
            turn.thoughts.append(thoughts.text)
            turn.blocks += thoughts.blocks
            turn.extra.update(thoughts.extra)
        self._led.clear()

    def _write(self, turn: _Turn) -> Item:
        message: Item = {"role": "assistant", "content": collapse(turn.parts)}
        if thoughts := "\n\n".join(text for text in turn.thoughts if text):
            message["reasoning_content"] = thoughts
        if turn.blocks:
            message["thinking_blocks"] = turn.blocks
        if turn.extra:
            message["extra_content"] = turn.extra
        if turn.calls:
            for call in turn.calls:
                if call["id"] in self._extras:
                    call.setdefault("extra_content", self._extras[call["id"]])
            message["tool_calls"] = turn.calls
            if not turn.parts:
                message["content"] = None
        return message

    # ── Parts ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _read_parts(self, content: Any, path: str, *, is_answer: bool) -> list[Item]:
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        if not isinstance(content, list):
            raise expected(path, "um texto ou uma lista de partes", "a string or an array of parts")
        return [self._read_part(part, f"{path}[{index}]", is_answer=is_answer) for index, part in enumerate(content)]

    def _read_part(self, part: Any, path: str, *, is_answer: bool) -> Item:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("input_text", "output_text", "text"):
            read: Item = {"type": "text", "text": text_at(part, "text", path, may_be_empty=True)}
        elif is_answer and kind == "refusal":
            read = {"type": "refusal", "refusal": text_at(part, "refusal", path, may_be_empty=True)}
        elif is_answer or kind not in ("input_image", "input_file", "input_audio"):
            raise BadRequest(
                f"Partes do tipo '{str(kind)[:40]}' não são aceitas em '{path}'.",
                f"Parts of type '{str(kind)[:40]}' are not supported in '{path}'.",
                param=f"{path}.type", code="unsupported_value",
            )  # fmt: skip
        elif kind == "input_image":
            self._images += 1
            read = _image(part, path)
        elif kind == "input_file":
            read = _file(part, path)
        else:
            if not isinstance(part.get("input_audio"), dict):
                raise expected(f"{path}.input_audio", "um objeto", "an object")
            read = {"type": "input_audio", "input_audio": part["input_audio"]}
        for mark in ("prompt_cache_breakpoint", "cache_control"):
            if part.get(mark) is not None:
                read[mark] = part[mark]
        return read


def _image(part: Item, path: str) -> Item:
    _refuse_file_id(part, path)
    image: Item = {"url": text_at(part, "image_url", path)}
    if part.get("detail") is not None:
        image["detail"] = text_at(part, "detail", path)
    return {"type": "image_url", "image_url": image}


def _file(part: Item, path: str) -> Item:
    _refuse_file_id(part, path)
    if part.get("file_url") is not None:
        raise BadRequest(
            f"'{path}.file_url' não é aceito: envie o arquivo em 'file_data'.",
            f"'{path}.file_url' is not supported: send the file in 'file_data'.",
            param=f"{path}.file_url", code="unsupported_parameter",
        )  # fmt: skip
    file = {"file_data": text_at(part, "file_data", path)}
    if part.get("filename") is not None:
        file["filename"] = text_at(part, "filename", path)
    return {"type": "file", "file": file}


def _refuse_file_id(part: Item, path: str) -> None:
    if part.get("file_id") is not None:
        raise BadRequest(
            f"'{path}.file_id' não é aceito: envie o conteúdo junto com a chamada.",
            f"'{path}.file_id' is not supported: send the content with the call.",
            param=f"{path}.file_id", code="unsupported_parameter",
        )  # fmt: skip


def collapse(parts: list[Item]) -> Any:
    """One text is a string, which every host reads."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _listed(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise expected(path, "uma lista", "an array")
    return value


def text_at(item: Item, name: str, path: str, *, may_be_empty: bool = False) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not (value or may_be_empty):
        raise expected(f"{path}.{name}", "um texto", "a string")
    return value


def expected(param: str, portuguese: str, english: str) -> BadRequest:
    return BadRequest(
        f"Valor inválido em '{param}': esperado {portuguese}.", f"Invalid value for '{param}': expected {english}.", param=param
    )
