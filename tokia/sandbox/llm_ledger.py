"""What the providers served, call by call: the far side of Tokia's usage records."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tokia.sandbox.llm_keys import KEY_USED
from tokia.sandbox.llm_tokens import Usage

CALLS_KEPT = 20_000
IN_FLIGHT = "in_flight"
FINISHED = "finished"  # the whole answer left
CUT = "cut"  # the client hung up
BROKEN = "broken"  # a fault of ours ended the answer
ERROR = "error"  # an error answer; nothing was generated


@dataclass
class Call:
    """One call. `usage` is what the provider would bill: on a cut stream, the tokens that had left."""

    id: str
    provider: str
    model: str
    kind: str  # chat or embeddings
    is_stream: bool
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    status: str = IN_FLIGHT
    http_status: int = 200
    client_disconnected: bool = False
    faults: list[str] = field(default_factory=list)
    key: str = field(default_factory=KEY_USED.get)  # label of the key that it was called with; empty: `sandbox-<slug>`
    usage: Usage = field(default_factory=Usage)
    counted_locally: bool = False  # the real local model sent no usage and the sandbox counted

    def end(self, status: str) -> None:
        if self.status == IN_FLIGHT:
            self.status = status
            self.ended_at = time.time()


@dataclass
class Ledger:
    """The newest CALLS_KEPT calls, and totals over all since the last reset."""

    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))
    _totals: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    def open(self, call: Call) -> Call:
        self.calls.append(call)
        return call

    def close(self, call: Call, status: str) -> None:
        """End a call once and add it to the totals."""
        if call.status != IN_FLIGHT:
            return
        call.end(status)
        total = self._totals.setdefault((call.provider, call.model), {})
        for name, value in _countable(call):
            total[name] = total.get(name, 0) + value

    def report(self, *, limit: int, provider: str | None = None) -> dict[str, Any]:
        chosen = [call for call in reversed(self.calls) if provider in (None, call.provider)][:limit]
        return {
            "totals": [
                {"provider": slug, "model": model, **total}
                for (slug, model), total in sorted(self._totals.items())
                if provider in (None, slug)
            ],
            "in_flight": sum(call.status == IN_FLIGHT for call in self.calls),
            "calls": [asdict(call) for call in chosen],
        }

    def clear(self) -> None:
        self.calls.clear()
        self._totals.clear()


def _countable(call: Call) -> Iterator[tuple[str, int]]:
    yield "calls", 1
    for status in (FINISHED, CUT, BROKEN, ERROR):
        yield status, int(call.status == status)
    yield from asdict(call.usage).items()
