"""The corpus: chat completions as clients send them, byte for byte, with the reason why each is here.

`kind` says which model of a target it is put to: one that thinks, sees or hears, where the plain one does not.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Literal

import msgspec

FOLDER = Path(__file__).parent / "cases"
MODEL = "tokia/corpus"
MANY_TOOLS = 100

Kind = Literal["plain", "thinks", "sees", "hears"]


class Case(msgspec.Struct, frozen=True):
    name: str
    family: str
    why: str
    kind: Kind
    raw: bytes  # the body but for the model
    is_bad: bool = False  # by OpenAI's own rules: refused by us, or by whoever is asked

    @property
    def body(self) -> bytes:
        return b'{"model":"%b",%b' % (MODEL.encode(), self.raw.lstrip()[1:])

    @property
    def is_stream(self) -> bool:
        return b'"stream": true' in self.raw

    @property
    def streamed(self) -> bytes:
        """The same, asked for as a stream."""
        if self.is_stream:
            return self.body
        if b'"stream": null' in self.raw:
            return self.body.replace(b'"stream": null', b'"stream": true')
        return b'{"model":"%b","stream":true,%b' % (MODEL.encode(), self.raw.lstrip()[1:])


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    why: str
    body: msgspec.Raw
    kind: Kind = "plain"
    bad: bool = False


_decode = msgspec.json.Decoder(dict[str, _Written]).decode


@functools.lru_cache(maxsize=1)
def read_cases() -> tuple[Case, ...]:
    """By family and in their order; the names are unique."""
    cases = [
        Case(name, path.stem, written.why, written.kind, bytes(written.body), written.bad)
        for path in sorted(FOLDER.glob("*.json"))
        for name, written in _decode(path.read_bytes()).items()
    ]
    cases += [
        Case("tools-hundred", "raw", "As many tools as some agents bring.", "plain", _many_tools()),
        Case("lone-surrogate", "raw", "Half a character: it can't be UTF-8.", "plain", _ask(rb"metade \ud83d aqui")),
        Case("infinite-number", "raw", "1e999 is no number.", "plain", _ask(b"Oi", b',"top_k":1e999')),
        Case(
            "digits-five-thousand", "raw", "An integer that Python does not read.", "plain", _ask(b"Oi", b',"seed":' + b"9" * 5_000)
        ),
    ]
    assert len({case.name for case in cases}) == len(cases)
    return tuple(cases)


def _ask(text: bytes, more: bytes = b"") -> bytes:
    """What no reader of JSON gives back as it was."""
    return b'{"messages":[{"role":"user","content":"%b"}]%b}' % (text, more)


def _many_tools() -> bytes:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    tools = [
        {"type": "function", "function": {"name": f"acao_{number:03}", "description": f"A ação {number}", "parameters": schema}}
        for number in range(MANY_TOOLS)
    ]
    return json.dumps({"messages": [{"role": "user", "content": "acao_042 agora"}], "tools": tools}, ensure_ascii=False).encode()
