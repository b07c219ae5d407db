"""The circuit breakers of this process: one per deployment and credential, their state shared by all processes.

closed: asked as usual. open: asked only where nobody else is left. half-open: its pause is over, and one call at a time tries it.
When each happens: `circuit_rules`; how the others hear of it: `circuit_sharing`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from django.conf import settings

from gateway.calls import ServedDeployment
from gateway.circuit_board import Circuit, Force, Transition
from gateway.circuit_rules import CLOSED as CLOSED
from gateway.circuit_rules import HALF_OPEN as HALF_OPEN
from gateway.circuit_rules import OPEN as OPEN
from gateway.circuit_rules import Breaker, Thresholds
from gateway.circuit_sharing import Sharing
from gateway.errors import UpstreamError

CIRCUITS_MAX = 20_000
FORBIDDEN = 403


def thresholds_of_settings() -> Thresholds:
    return Thresholds(
        failures=settings.GATEWAY_CIRCUIT_FAILURES,
        window_seconds=settings.GATEWAY_CIRCUIT_WINDOW_SECONDS,
        error_percent=settings.GATEWAY_CIRCUIT_ERROR_PERCENT,
        requests_min=settings.GATEWAY_CIRCUIT_REQUESTS_MIN,
        pause_seconds=settings.GATEWAY_CIRCUIT_PAUSE_SECONDS,
        pause_seconds_max=settings.GATEWAY_CIRCUIT_PAUSE_SECONDS_MAX,
        limit_seconds_max=settings.GATEWAY_CIRCUIT_LIMIT_SECONDS_MAX,
        credential_seconds=settings.GATEWAY_CIRCUIT_CREDENTIAL_SECONDS,
        probes=settings.GATEWAY_CIRCUIT_PROBES,
    )


class Circuits:
    """Told of each attempt; asked before each. Neither waits for anything: all of it is in memory.

    A credential has a circuit of its own, (0, credential), which stands before those of all its deployments. Not started (a batch
    worker's), they are this process's alone.
    """

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.breakers: dict[Circuit, Breaker] = {}
        self.forced: dict[Circuit, tuple[str, float]] = {}  # by an administrator: state, and until when
        self.is_alone = True  # nobody else is heard: probes need no permit
        self._thresholds = thresholds or thresholds_of_settings()
        self._first_token_ms: int = settings.GATEWAY_FIRST_TOKEN_MS
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads pauses, guards nothing
        self._sharing: Sharing | None = None

    async def start(self) -> None:
        self._sharing = Sharing(self, clock=self._clock)
        await self._sharing.start()

    async def stop(self) -> None:
        if self._sharing is not None:
            await self._sharing.stop()

    # ── Asked ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def state(self, deployment: ServedDeployment) -> str:
        """Who is not closed comes after those who are. A half-open one may be tried first by the call that `take_probe`s it."""
        if self.forced and (state := self._forced_state(deployment)):
            return state
        credential_id = deployment.credential_id
        own, of_credential = self.breakers.get((deployment.id, credential_id)), self.breakers.get((0, credential_id))
        if (own is None or not own.reason) and (of_credential is None or not of_credential.reason):
            return CLOSED
        now = self._clock()
        states = [breaker.state(now) for breaker in (own, of_credential) if breaker is not None]
        return OPEN if OPEN in states else HALF_OPEN

    def take_probe(self, deployment: ServedDeployment) -> bool:
        """Whether this call is the one that tries a half-open circuit. Its result must then be noted."""
        if self.forced and self._forced_state(deployment):
            return False
        now, needs_permit = self._clock(), not self.is_alone
        taken: list[Breaker] = []
        for breaker in self._ill(deployment):
            has_asked = breaker.needs_permit
            if not breaker.take_probe(now, needs_permit=needs_permit):
                for other in taken:
                    other.abandon()
                if breaker.needs_permit and not has_asked and self._sharing is not None:
                    self._sharing.hurry()
                return False
            taken.append(breaker)
        return bool(taken)

    def _ill(self, deployment: ServedDeployment) -> list[Breaker]:
        """Its own breaker and its credential's, where they are not closed."""
        found = (self.breakers.get((0, deployment.credential_id)), self.breakers.get((deployment.id, deployment.credential_id)))
        return [breaker for breaker in found if breaker is not None and breaker.reason]

    def _forced_state(self, deployment: ServedDeployment) -> str:
        now = self._clock()
        for circuit in ((deployment.id, deployment.credential_id), (0, deployment.credential_id)):
            state, until = self.forced.get(circuit, ("", 0.0))
            if state and now < until:
                return state
        return ""

    # ── Told ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def note_success(self, deployment: ServedDeployment, *, first_token_ms: int) -> None:
        """`first_token_ms`: of a stream; 0 where the answer came whole."""
        now = self._clock()
        breaker = self.breakers.get((deployment.id, deployment.credential_id)) or self._add(deployment, now)
        if first_token_ms > (deployment.first_token_ms_max or self._first_token_ms):
            breaker.fail(now, self._rng)
            self._hurry_after(breaker)
        else:
            was_ill = breaker.reason
            breaker.succeed(now)
            if was_ill:
                self._hurry_after(breaker)
        of_credential = self.breakers.get((0, deployment.credential_id))
        if of_credential is not None and of_credential.reason:
            of_credential.succeed(now)
            self._hurry_after(of_credential)

    def note_failure(self, deployment: ServedDeployment, error: UpstreamError) -> None:
        """By `error.kind` and `error.retry_after_seconds`. Refusals of the request itself (kind "refused", "context_window",
        "content_policy") say nothing of the deployment's health: they end a probe well."""
        now, kind = self._clock(), error.kind
        breaker = self.breakers.get((deployment.id, deployment.credential_id)) or self._add(deployment, now)
        of_credential = self.breakers.get((0, deployment.credential_id))
        if kind == "credential" and error.upstream_status == FORBIDDEN:
            breaker.refuse(now, self._rng)  # perhaps of this one model: a worker tries the key itself (`gateway.credentials`)
            if of_credential is not None:
                of_credential.abandon()
        elif kind == "credential":
            breaker.abandon()
            of_credential = of_credential or self._add_at((0, deployment.credential_id), now)
            of_credential.refuse(now, self._rng)
        else:
            if of_credential is not None:
                if kind == "outage":
                    of_credential.abandon()
                else:  # whatever it says, it took the key
                    of_credential.pass_probe(now)
            if kind == "outage":
                breaker.fail(now, self._rng, retry_after=error.retry_after_seconds or 0.0)
            elif kind == "rate_limit":
                breaker.limit(now, self._rng, retry_after=error.retry_after_seconds or 0.0)
            else:
                breaker.pass_probe(now)
        self._hurry_after(breaker, of_credential)

    def note_abandoned(self, deployment: ServedDeployment) -> None:
        """The caller went before there was a result: a probe is free again."""
        for breaker in self._ill(deployment):
            breaker.abandon()

    # ── In memory ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _add(self, deployment: ServedDeployment, now: float) -> Breaker:
        return self._add_at((deployment.id, deployment.credential_id), now)

    def _add_at(self, circuit: Circuit, now: float) -> Breaker:
        if len(self.breakers) >= CIRCUITS_MAX:
            self.breakers = {known: breaker for known, breaker in self.breakers.items() if breaker.reason}
            if len(self.breakers) >= CIRCUITS_MAX:
                self.breakers = {}
        breaker = self.breakers[circuit] = Breaker(self._thresholds, now)
        return breaker

    def _hurry_after(self, *breakers: Breaker | None) -> None:
        """A transition is told at once."""
        if self._sharing is not None and any(breaker is not None and breaker.changes != breaker.told for breaker in breakers):
            self._sharing.hurry()

    def adopt(self, circuit: Circuit, seen: Transition) -> None:
        """What another process saw, unless this one has seen something since that it has not told yet."""
        now, breaker = self._clock(), self.breakers.get(circuit)
        if breaker is None:
            if not seen.reason:
                return
            breaker = self._add_at(circuit, now)
        if breaker.changes == breaker.told:
            breaker.adopt(now, reason=seen.reason, remaining=seen.remaining, pause=seen.pause, level=seen.level)

    def force(self, forces: dict[Circuit, Force]) -> None:
        """What administrators want now, of all circuits."""
        now = self._clock()
        self.forced = {circuit: (force.state, now + force.remaining) for circuit, force in forces.items() if force.state}

    def forget(self) -> None:
        """Those whom nobody has asked for a while: gone from the catalog, or idle."""
        now = self._clock()
        for circuit in [known for known, breaker in self.breakers.items() if breaker.is_forgettable(now)]:
            del self.breakers[circuit]
