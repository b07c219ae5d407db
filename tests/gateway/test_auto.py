"""`tokia/auto`, fact by fact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.auto import BALANCED, FAST, PREMIUM, Facts, choose_rule, read_facts
from gateway.parsing import parse_chat

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PICTURE = [{"type": "text", "text": "O que é?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
CODE = "Por que falha?\n```python\ndef soma(a, b):\n    return a - b\n```"


def facts_of(content: Any, **fields: Any) -> Facts:
    body = {"model": "tokia/auto", "messages": [{"role": "user", "content": content}], **fields}
    return read_facts(parse_chat(json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("content", "fields", "rule", "word"),
    [
        ("What is the capital of France?", {}, FAST, "curta"),
        ("Qual é a capital do Brasil?", {}, FAST, "português"),
        ("Escreva uma carta de apresentação para a vaga. " * 10, {}, BALANCED, "português"),
        ("Write me a long story about a ship at sea. " * 12, {}, BALANCED, "comum"),
        (CODE, {}, BALANCED, "código"),
        (CODE + "\n# mais\nx = 1;" * 150, {}, PREMIUM, "código"),
        ("Revise a cláusula de rescisão deste contrato.", {}, PREMIUM, "jurídico"),
        ("Olá", {"tools": [TOOL]}, BALANCED, "ferramentas"),
        ("Olá", {"tools": [TOOL] * 7}, PREMIUM, "7 ferramentas"),
        (PICTURE, {}, BALANCED, "imagem"),
        ("Oi", {"reasoning_effort": "high"}, PREMIUM, "raciocínio"),
        ("Oi", {"reasoning_effort": "low"}, FAST, "curta"),
        ("a palavra " * 20_000, {}, FAST, "longa"),
        ("Oi", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}, BALANCED, "JSON"),
    ],
)
def test_it_chooses_by_what_a_person_would_see(content: Any, fields: dict[str, Any], rule: str, word: str) -> None:
    chosen, why = choose_rule(facts_of(content, **fields))
    assert chosen == rule, why
    assert word in " ".join(why)


def test_it_says_why_whatever_comes() -> None:
    for characters in (0, 1, 10**7):
        for flag in (False, True):
            rule, why = choose_rule(Facts(characters, has_code=flag, is_portuguese=flag, has_media=flag, wants_schema=flag))
            assert rule in (PREMIUM, BALANCED, FAST)
            assert all(why)
