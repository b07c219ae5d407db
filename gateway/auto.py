"""`tokia/auto`: which of the virtual models suits a request, and why. Pure; read from top to bottom, the first that holds decides.

It looks at what a person would glance at: how long it is, what comes along, what is asked for. It never sends the text anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.calls import ChatCall

PREMIUM, BALANCED, FAST = "tokia/premium", "tokia/balanced", "tokia/fast"
LONG_CHARACTERS = 120_000  # beyond most models' comfort: the fast class has the largest windows
CODE_CHARACTERS = 1_500  # of a request with code in it: more than a snippet
SHORT_CHARACTERS = 400
SHORT_PORTUGUESE_CHARACTERS = 250  # small models write Portuguese less well: they get only what is really short
TOOLS_MANY = 6
SAMPLE_CHARACTERS = 4_000  # of the last message, where words are looked for
EFFORTS_HIGH: Final = frozenset({"high", "xhigh", "max"})

_CODE = re.compile(
    r"```|^\s*(?:def|class|import|from|func|fn|public|private|const|let|var|#include|package|SELECT|CREATE TABLE)\b.*[({;:=]",
    re.MULTILINE,
)
_PORTUGUESE = re.compile(r"[ãõçáéíóúâêô]|\b(?:não|que|para|uma|com|você|por|dos|das|os|em|como|qual|é)\b", re.IGNORECASE)
_GRAVE = re.compile(
    r"\b(?:contrato|cláusula|jurídic\w*|processo judicial|petição|lei n|LGPD|parecer|tributári\w*|imposto\w*|balanço|"
    r"demonstraç\w* financeir\w*|auditoria|diagnóstico|contract|lawsuit|legal|liability|tax return|compliance|audit)\b",
    re.IGNORECASE,
)


class Facts(msgspec.Struct, frozen=True):
    """What a request is like."""

    characters: int  # of all its texts
    tools: int = 0
    has_media: bool = False
    has_code: bool = False
    is_portuguese: bool = False
    is_grave: bool = False  # law, taxes, books: a mistake is dear
    wants_schema: bool = False
    effort: str = ""  # reasoning_effort


def choose_rule(facts: Facts) -> tuple[str, tuple[str, ...]]:
    """The virtual model, and why, for people."""
    if facts.effort in EFFORTS_HIGH:
        return PREMIUM, (f"pede raciocínio {facts.effort}",)
    if facts.characters > LONG_CHARACTERS:
        return FAST, ("entrada muito longa",)
    if facts.has_code and facts.characters > CODE_CHARACTERS:
        return PREMIUM, ("código longo",)
    if facts.is_grave and not facts.has_media:
        return PREMIUM, ("assunto jurídico, fiscal ou de saúde",)
    if facts.tools > TOOLS_MANY:
        return PREMIUM, (f"{facts.tools} ferramentas",)
    if facts.has_media:
        return BALANCED, ("tem imagem, áudio ou arquivo",)
    if facts.tools:
        return BALANCED, ("usa ferramentas",)
    if facts.has_code:
        return BALANCED, ("código curto",)
    if facts.wants_schema:
        return BALANCED, ("resposta em JSON com esquema",)
    limit = SHORT_PORTUGUESE_CHARACTERS if facts.is_portuguese else SHORT_CHARACTERS
    if facts.characters <= limit:
        return FAST, ("pergunta curta em português" if facts.is_portuguese else "pergunta curta",)
    return BALANCED, ("texto em português" if facts.is_portuguese else "texto comum",)


def read_facts(call: ChatCall) -> Facts:
    """By whichever surface it came."""
    characters, last = 0, ""
    has_media = False
    for message in call.messages:
        content = message.content
        if isinstance(content, str):
            characters += len(content)
            last = content if message.role == "user" else last
        for part in content if isinstance(content, list) else ():
            has_media = has_media or part.image_url is not None or part.input_audio is not None or part.file is not None
            if part.text is not None:
                characters += len(part.text)
                last = part.text if message.role == "user" else last
    sample = last[:SAMPLE_CHARACTERS]
    native = call.native or {}
    format_ = call.decoded.get("response_format")
    effort = call.decoded.get("reasoning_effort")
    return Facts(
        characters=characters,
        tools=_count_tools(call),
        has_media=has_media,
        has_code=_CODE.search(sample) is not None,
        is_portuguese=len(_PORTUGUESE.findall(sample)) * 40 >= len(sample) > 0,
        is_grave=_GRAVE.search(sample) is not None,
        wants_schema=(isinstance(format_, dict) and format_.get("type") == "json_schema") or "output_format" in native,
        effort=effort if isinstance(effort, str) else "high" if _thinks(native) else "",
    )


def _thinks(native: Mapping[str, msgspec.Raw]) -> bool:
    """Messages' own word for it, where the body was not translated."""
    return "thinking" in native and b'"disabled"' not in bytes(native["thinking"])


def _count_tools(call: ChatCall) -> int:
    for name in ("tools", "functions"):
        tools = call.decoded.get(name)
        if isinstance(tools, list):
            return len(tools)
        if name in call.fields:
            raw = bytes(call.fields[name])
            return max(1, raw.count(b'"name"')) if raw != b"[]" else 0
    return 0
