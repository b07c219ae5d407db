"""What the simulated models say: the same question always gets the same answer, in Portuguese, and says what it is.

`[tokens=200]` in the user's text asks for exactly so many tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.llm_tokens import split_tokens

LENGTH_WISH = re.compile(r"\[tokens=(\d{1,6})\]")
WEATHER = re.compile(r"\b(tempo|clima|previs[aã]o|weather)\b", re.IGNORECASE)
QUOTED_CHARS_MAX = 160
NATURAL_TOKENS_MAX = 4096
DEPTH_MAX = 6
CLOSINGS = (
    "Posso detalhar qualquer ponto, é só pedir.",
    "Se quiser, refaço em outro formato.",
    "Quer que eu resuma em uma frase?",
    "Diga se prefere um exemplo prático.",
)
FILLER = split_tokens(" O sandbox da Tokia responde sempre do mesmo jeito, para que cada teste saiba o que esperar.")
SEPARATORS = "linha\u2028parágrafo\u2029próxima\u0085fim "
KNOWN_VALUES = {"city": "São Paulo", "cidade": "São Paulo", "location": "São Paulo", "local": "São Paulo", "uf": "SP",
                "country": "Brasil", "pais": "Brasil", "unit": "celsius", "date": "2026-11-22", "data": "2026-11-22",
                "email": "ana@example.com", "name": "Ana", "nome": "Ana", "query": "Tokia"}  # fmt: skip


@dataclass
class Tool:
    name: str
    schema: dict[str, Any]


@dataclass
class Question:
    """What a model is asked, whatever the wire format."""

    model: str
    user_text: str
    tool_result: str | None = None  # the last message is a tool's answer
    tools: list[Tool] = field(default_factory=list)
    tool_choice: str = "auto"  # auto, none, required, or a tool's name
    is_parallel: bool = True
    json_schema: dict[str, Any] | None = None  # {} asks for any JSON object
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    reasoning_tokens: int = 0
    has_separators: bool = False
    note: str = ""


@dataclass
class ToolCall:
    name: str
    pieces: list[str]  # of the JSON arguments


@dataclass
class Answer:
    """One choice, cut to what `max_tokens` and `stop` allow. `finish` is stop, length or tool_calls."""

    pieces: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish: str = "stop"
    stop_sequence: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        calls = sum(len(call.pieces) + NAME_TOKENS for call in self.tool_calls)
        return len(self.pieces) + len(self.reasoning) + calls


NAME_TOKENS = 4  # what a tool call costs beside its arguments


def compose(question: Question, *, choice: int = 0) -> Answer:
    """The answer of choice `choice`."""
    budget = question.max_tokens if question.max_tokens is not None else NATURAL_TOKENS_MAX * 16
    answer = Answer(reasoning=list(islice(cycle(FILLER), min(question.reasoning_tokens, budget))))
    budget -= len(answer.reasoning)
    if budget <= 0:
        answer.finish = "length"
        return answer
    called = _tools_to_call(question)
    if called:
        _call_tools(answer, called, budget)
        return answer
    text, stop_sequence = _apply_stop(_write_text(question, choice), question.stop)
    pieces = split_tokens(text)
    answer.pieces = pieces[:budget]
    if len(pieces) > budget:
        answer.finish = "length"
    else:
        answer.stop_sequence = stop_sequence
    return answer


def reasoning_tokens_for(*, prompt_tokens: int, effort: str | None) -> int:
    """How long a reasoning model thinks: always the same for the same prompt and effort."""
    factor = {"none": 0, "minimal": 0, "low": 1, "medium": 2, "high": 4, "xhigh": 8, "max": 8}.get(effort or "medium", 2)
    return factor * (16 + prompt_tokens % 32)


def _tools_to_call(question: Question) -> list[Tool]:
    if not question.tools or question.tool_choice == "none":
        return []
    if question.tool_choice not in ("auto", "required"):
        return [tool for tool in question.tools if tool.name == question.tool_choice]
    text = question.user_text.lower()
    if question.tool_result is None:
        wanted = [tool for tool in question.tools if tool.name.lower() in text]
        if not wanted and WEATHER.search(question.user_text):
            wanted = question.tools[:1]
        if wanted:
            return wanted if question.is_parallel else wanted[:1]
    return question.tools[:1] if question.tool_choice == "required" else []


def _call_tools(answer: Answer, called: list[Tool], budget: int) -> None:
    answer.finish = "tool_calls"
    for tool in called:
        pieces = split_tokens(json.dumps(example_of(tool.schema), ensure_ascii=False))
        budget -= NAME_TOKENS
        if budget <= 0:
            answer.finish = "length"
            return
        answer.tool_calls.append(ToolCall(name=tool.name, pieces=pieces[:budget]))
        if len(pieces) > budget:
            answer.finish = "length"
            return
        budget -= len(pieces)


def _write_text(question: Question, choice: int) -> str:
    wish = LENGTH_WISH.search(question.user_text)
    if question.json_schema is not None:
        value = example_of(question.json_schema) if question.json_schema else {
            "resposta": _quote(question.user_text), "modelo": question.model}  # fmt: skip
        return json.dumps(value, ensure_ascii=False)
    if wish:
        return "".join(islice(cycle(FILLER), int(wish[1])))
    opening = SEPARATORS if question.has_separators else ""
    if question.tool_result is not None:
        opening += f"A ferramenta respondeu: {_quote(question.tool_result)}."
    else:
        opening += f"Você disse: “{_quote(question.user_text)}”."
    closing = CLOSINGS[hashlib.sha256(f"{question.user_text}{choice}".encode()).digest()[0] % len(CLOSINGS)]
    option = f" Opção {choice + 1}." if choice else ""
    note = question.note or f"Esta é uma resposta simulada de {question.model} no sandbox da Tokia."
    return f"{opening} {note}{option} {closing}"


def _apply_stop(text: str, stop: Sequence[str]) -> tuple[str, str | None]:
    found = [(text.index(sequence), sequence) for sequence in stop if sequence and sequence in text]
    if not found:
        return text, None
    end, sequence = min(found)
    return text[:end], sequence


def _quote(text: str) -> str:
    clean = " ".join(text.split())
    return clean if len(clean) <= QUOTED_CHARS_MAX else clean[: QUOTED_CHARS_MAX - 1] + "…"


def example_of(schema: Json, name: str = "", root: Json = None, depth: int = 0) -> Json:
    """A value that fits a JSON Schema (the usual subset: types, enum, const, anyOf, $ref within the document)."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return None
    if isinstance(schema.get("$ref"), str):
        return example_of(_follow(root, schema["$ref"]), name, root, depth + 1)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return example_of(schema[word][0], name, root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "string"
    if kind == "object":
        return {key: example_of(inner, key, root, depth + 1) for key, inner in schema.get("properties", {}).items()}
    if kind == "array":
        count = max(1, int(schema.get("minItems", 1)))
        return [example_of(schema.get("items", {"type": "string"}), name, root, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    if kind == "boolean":
        return True
    return None if kind == "null" else KNOWN_VALUES.get(name.lower(), "exemplo")


def _follow(root: Json, reference: str) -> Json:
    found = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part, {}) if part and isinstance(found, dict) else found
    return found
