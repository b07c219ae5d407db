"""What is measured of each deployment: first token, total, speed, failures; of this process, and of all together."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.calls import ServedDeployment

# Upper ends of the buckets, in ms: about 12 % apart, so that a percentile read from them is as near. The last has no end.
BOUNDS_MS: tuple[int, ...] = tuple(sorted({round(10 * 1.25**step) for step in range(46)}))


@dataclass(frozen=True, slots=True)
class Measured:
    """The last five minutes of one deployment, all processes together. 0: not measured."""

    answers: int = 0
    failures: int = 0
    first_token_p50_ms: int = 0
    first_token_p95_ms: int = 0
    total_p50_ms: int = 0
    total_p95_ms: int = 0
    tokens_per_second: float = 0.0


UNMEASURED = Measured()


class Vitals:
    """Counted in memory, written and read together in the background; nobody waits for it."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def of(self, deployment_id: int) -> Measured:
        return UNMEASURED

    def note_answer(
        self, deployment: ServedDeployment, route_name: str, *, first_token_ms: int, total_ms: int, output_tokens: int
    ) -> None:
        """A whole answer, when it has ended. `first_token_ms` 0: it did not stream."""

    def note_failure(self, deployment: ServedDeployment, route_name: str, *, kind: str) -> None: ...
