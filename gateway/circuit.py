"""The circuit breakers of this process: one per deployment and credential, their state shared by all processes.

closed: asked as usual. open: asked only where nobody else is left. half-open: its pause is over, and one call at a time tries it.
"""

from __future__ import annotations

from gateway.calls import ServedDeployment
from gateway.errors import UpstreamError

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
Circuit = tuple[int, int]  # deployment, credential


class Circuits:
    """Told of each attempt; asked before each. Neither waits for anything."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def state(self, deployment: ServedDeployment) -> str:
        """Who is not closed comes after those who are. A half-open one may be tried first by the call that `take_probe`s it."""
        return CLOSED

    def take_probe(self, deployment: ServedDeployment) -> bool:
        """Whether this call is the one that tries a half-open circuit. Its result must then be noted."""
        return False

    def note_success(self, deployment: ServedDeployment, *, first_token_ms: int) -> None:
        """`first_token_ms`: of a stream; 0 where the answer came whole."""

    def note_failure(self, deployment: ServedDeployment, error: UpstreamError) -> None:
        """By `error.kind` and `error.retry_after_seconds`. Refusals of the request itself (kind "refused", "context_window",
        "content_policy") say nothing of the deployment's health: they end a probe well."""

    def note_abandoned(self, deployment: ServedDeployment) -> None:
        """The caller went before there was a result: a probe is free again."""
