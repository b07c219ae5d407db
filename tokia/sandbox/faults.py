"""What can go wrong upstream, on demand: by the model's name (`fault-503-gpt-4o`) or by a script.

A fault is a kind and an optional number: `reset:3`, in a model's name `fault-reset3-…`. KINDS says what each does; k
counts content chunks, ms is milliseconds. Several faults of one script act together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tokia.sandbox.asgi import Json

KINDS: dict[str, str] = {
    "status": "answer with this HTTP status (429 and 503 carry Retry-After: 1); also plain `503`, `429`, `529`…",
    "retryafter": "with a status fault: Retry-After of n seconds",
    "drop": "TCP reset before a single byte",
    "stall": "send nothing until POST /llm/__release (or for ms)",
    "slowfirst": "the head at once, the first chunk after ms (default 2000)",
    "stallmid": "stop after k content chunks until released",
    "reset": "TCP reset after k content chunks (default 2); of a JSON answer, in its middle",
    "cleaneof": "end the body cleanly after k content chunks (default 2), without finish",
    "errorfirst": "200, then an error event before any content",
    "errormid": "an error event after k content chunks (default 2)",
    "errorfinish": "an answer that says itself that it failed, where the format has that (Cohere: ERROR; with 504 TIMEOUT)",
    "malformed": "one chunk is broken JSON",
    "badcrc": "Bedrock: a frame whose checksum is wrong after 2 content chunks",
    "exception": "Bedrock: an exception event of this status (400, 424, 429, 500, 503) after 2 content chunks",
    "truncated": "a JSON answer that ends in its middle; a stream whose last chunk does",
    "onebyte": "every byte a chunk of its own",
    "crlf": "line ends change between LF, CRLF and CR",
    "bom": "a byte order mark first",
    "comments": "comment lines, id and retry fields between events",
    "nospace": "no space after `data:`",
    "multiline": "an event's JSON over several data lines",
    "hugeline": "one line of n bytes (default 2 MiB)",
    "separators": "raw U+2028, U+2029 and U+0085 in the text",
    "nodone": "no [DONE] or message_stop",
    "nousage": "no usage at all",
    "absurdusage": "usage a thousand million times too high",
    "negativeusage": "usage below zero",
    "stringusage": "usage as texts",
    "overshoot": "three times the tokens that were sent, beyond max_tokens",
    "html": "200 with an HTML page",
    "redirect": "302 to another host",
    "shortlength": "Content-Length below the body's",
    "longlength": "Content-Length above the body's, then the connection closes",
    "endless": "a body that never ends",
    "gzipbomb": "a compressed body of 256 MiB",
}
MODEL_NAME = re.compile(r"fault-([a-z]+|\d{3})(\d*)-(.+)")
STATUS_TEXTS = {401: "unauthorized", 429: "rate limit", 503: "unavailable", 529: "overloaded"}
ABSURD_FACTOR = 10**9
OVERSHOOT_FACTOR = 3


class UnknownFault(ValueError):
    """No such kind of fault."""


@dataclass(frozen=True)
class Fault:
    kind: str
    number: int | None = None

    def __str__(self) -> str:
        return self.kind if self.number is None else f"{self.kind}:{self.number}"


@dataclass
class FaultSet:
    """The faults of one call."""

    faults: list[Fault] = field(default_factory=list)

    def has(self, kind: str) -> bool:
        return any(fault.kind == kind for fault in self.faults)

    def number(self, kind: str, default: int) -> int:
        """The number of a fault, `default` when it has none. Ask only when `has(kind)`."""
        return next((fault.number for fault in self.faults if fault.kind == kind and fault.number is not None), default)

    def names(self) -> list[str]:
        return [str(fault) for fault in self.faults]

    def bend_usage(self, usage: dict[str, Any]) -> dict[str, Any] | None:
        """The usage that the client is told; None: none."""
        if self.has("nousage"):
            return None
        if self.has("absurdusage"):
            return _map_numbers(usage, lambda name, value: value * ABSURD_FACTOR)
        if self.has("negativeusage"):
            return _map_numbers(usage, lambda name, value: -value - 1)
        if self.has("stringusage"):
            return _map_numbers(usage, lambda name, value: str(value))
        if self.has("overshoot"):
            grown = ("completion_tokens", "output_tokens")
            bent = _map_numbers(usage, lambda name, value: value * OVERSHOOT_FACTOR if name in grown else value)
            if "total_tokens" in bent:
                bent["total_tokens"] = bent["prompt_tokens"] + bent["completion_tokens"]
            return bent
        return usage


@dataclass
class Script:
    """Faults for the next `times` calls of a provider (of one model, when named); negative `times` means for ever."""

    id: int
    provider: str
    model: str | None
    faults: list[Fault]
    times: int


@dataclass
class Scripts:
    pending: list[Script] = field(default_factory=list)
    scheduled: Callable[[str], list[Fault]] | None = None  # what a provider has just now, by its schedule
    _count: int = 0

    def add(self, body: dict[str, Json]) -> Script:
        """`{"provider", "model"?, "faults": [...], "times"?: 1}`. Raises UnknownFault, KeyError."""
        self._count += 1
        script = Script(
            id=self._count,
            provider=str(body["provider"]),
            model=body.get("model"),
            faults=[parse_fault(spec) for spec in body["faults"]],
            times=int(body.get("times", 1)),
        )
        self.pending.append(script)
        return script

    def take(self, *, provider: str, model: str) -> FaultSet:
        """The faults of this call: its model name's, its provider's just now, and those of the first script that fits."""
        found = faults_of_model(model)
        if self.scheduled is not None:
            found += self.scheduled(provider)
        for script in self.pending:
            if script.provider in (provider, "*") and script.model in (None, model):
                found += script.faults
                script.times -= 1
                if script.times == 0:
                    self.pending.remove(script)
                break
        return FaultSet(found)

    def describe(self) -> Json:
        return [
            {
                "id": script.id,
                "provider": script.provider,
                "model": script.model,
                "faults": [str(fault) for fault in script.faults],
                "times": script.times,
            }
            for script in self.pending
        ]


def parse_fault(spec: Json) -> Fault:
    """`"reset:3"`, `"503"`, 503, or `{"kind": "reset", "number": 3}`. Raises UnknownFault."""
    if isinstance(spec, dict):
        spec = f"{spec.get('kind')}:{spec['number']}" if "number" in spec else spec.get("kind")
    kind, _, number = str(spec).partition(":")
    if kind.isdigit():
        return Fault("status", int(kind))
    if kind not in KINDS or (number and not number.isdigit()):
        raise UnknownFault(f"{spec!r}; known: {', '.join(KINDS)}")
    return Fault(kind, int(number) if number else None)


def faults_of_model(model: str) -> list[Fault]:
    """The faults in a model's name; none when its fault is not known."""
    match = MODEL_NAME.fullmatch(model)
    if match is None or (not match[1].isdigit() and match[1] not in KINDS):
        return []
    return [parse_fault(f"{match[1]}:{match[2]}" if match[2] else match[1])]


def plain_model(model: str) -> str:
    """The model's name without its fault: `fault-503-gpt-4o` → `gpt-4o`."""
    match = MODEL_NAME.fullmatch(model)
    return match[3] if match else model


def _map_numbers(value: dict[str, Any], change: Any) -> dict[str, Any]:
    bent: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            bent[name] = _map_numbers(item, change)
        else:
            bent[name] = change(name, item) if isinstance(item, int) and not isinstance(item, bool) else item
    return bent
