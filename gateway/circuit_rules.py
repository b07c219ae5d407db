"""When a circuit opens, how long it stays so, and what closes it again. Pure: every verb is told the time (monotonic seconds).

    closed ── failures in a row, or too large a part of the window's requests ──→ open, for a pause
    open ── the pause is over ──→ half-open: one call at a time tries it
    half-open ── enough successes ──→ closed
    half-open ── a failure ──→ open, for twice as long

A limit (429) opens for the Retry-After, a refused key for long; a request that nobody would take says nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
OUTAGE, RATE_LIMIT, CREDENTIAL = "outage", "rate_limit", "credential"  # why it is open
SLICES = 10  # of the window: what is older than a window is forgotten slice by slice
PROBE_SECONDS = 120.0  # a probe that nobody told the end of is lost
FORGET_SECONDS = 3_600.0  # half-open for so long and asked by nobody: closed again
LIMIT_SECONDS_MIN = 1.0
JITTER = 0.1  # of a pause, either way: processes and circuits that opened together do not probe together
LEVEL_MAX = 30


@dataclass(frozen=True, slots=True)
class Thresholds:
    failures: int = 5  # in a row
    window_seconds: float = 30.0
    error_percent: int = 50
    requests_min: int = 10
    pause_seconds: float = 5.0
    pause_seconds_max: float = 120.0
    limit_seconds_max: float = 600.0
    credential_seconds: float = 600.0
    probes: int = 2


DEFAULT = Thresholds()


class Breaker:
    """One circuit as one process sees it. `changes` counts its transitions, so that they can be told to the others."""

    __slots__ = (
        "_failed", "_rules", "_succeeded", "_tick", "_width", "changes", "closed_at", "failures", "level", "limits",
        "needs_permit", "others_failed", "others_succeeded", "pause", "permit_until", "probing_until", "reason", "seen_at", "told",
        "until", "wins",
    )  # fmt: skip

    def __init__(self, rules: Thresholds, now: float) -> None:
        self._rules = rules
        self._width = rules.window_seconds / SLICES
        self._tick = int(now / self._width)
        self._succeeded = [0] * SLICES
        self._failed = [0] * SLICES
        self.others_succeeded = self.others_failed = 0  # in the window, as the other processes count
        self.changes = 0
        self.told = 0  # of those, what the others have heard of
        self.reason = ""  # why it is open; empty: it is closed
        self.until = 0.0  # then it is half-open
        self.pause = 0.0  # the last one's length
        self.level = 0  # openings without a lasting recovery between them
        self.failures = 0  # in a row
        self.limits = 0  # the same of 429s that named no time
        self.wins = 0  # successes while half-open
        self.closed_at = 0.0
        self.probing_until = 0.0  # a call tries it
        self.permit_until = 0.0  # this process may let one try it; others may not
        self.needs_permit = False  # a call would have tried it
        self.seen_at = now

    # ── Asked ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def state(self, now: float) -> str:
        if not self.reason:
            return CLOSED
        return OPEN if now < self.until else HALF_OPEN

    def take_probe(self, now: float, *, needs_permit: bool = False) -> bool:
        """Whether the caller is now the one that tries it."""
        if not self.reason or now < self.until or now < self.probing_until:
            return False
        if needs_permit and now >= self.permit_until:
            self.needs_permit = True
            return False
        self.probing_until = now + PROBE_SECONDS
        return True

    def counts(self, now: float) -> tuple[int, int]:
        """Succeeded and failed within the window, in this process."""
        if now - self.seen_at > self._rules.window_seconds:
            return 0, 0
        self._turn(now)
        return sum(self._succeeded), sum(self._failed)

    # ── Told by calls ────────────────────────────────────────────────────────────────────────────────────────────────
    def succeed(self, now: float) -> None:
        tick = int(now / self._width)
        if tick != self._tick:
            self._turn(now)
        self._succeeded[tick % SLICES] += 1
        self.seen_at = now
        self.failures = 0
        if self.reason:
            self._win(now)

    def fail(self, now: float, rng: random.Random, *, retry_after: float = 0.0) -> None:
        """An outage: unreachable, 5xx, too slow, unreadable, cut."""
        self._turn(now)
        self.seen_at = now
        self._failed[self._tick % SLICES] += 1
        self.failures += 1
        if not self.reason:
            if self.failures >= self._rules.failures or self._is_failing():
                lasted = now - self.closed_at
                self.level = min(self.level + 1, LEVEL_MAX) if self.level and lasted < self.pause else 1
                self._pause_for_outage(now, rng, retry_after)
        elif now >= self.until:  # half-open: the probe's failure, or that of one who had nobody else to ask
            if self.probing_until > now:
                self.level = min(self.level + 1, LEVEL_MAX)
            self.level = max(1, self.level)
            self._pause_for_outage(now, rng, retry_after)

    def limit(self, now: float, rng: random.Random, *, retry_after: float) -> None:
        """A 429. `retry_after` up to a second is what stands where the provider named no time: then pauses double."""
        if self.reason and now < self.until:  # of many calls at once, only the longest wait says more
            pause = min(retry_after, self._rules.limit_seconds_max)
            if self.reason == RATE_LIMIT and now + pause > self.until and retry_after > LIMIT_SECONDS_MIN:
                self._open(now, pause, RATE_LIMIT)
            return
        self.limits = min(self.limits + 1, LEVEL_MAX)
        pause = retry_after
        if retry_after <= LIMIT_SECONDS_MIN:
            pause = LIMIT_SECONDS_MIN * 2 ** (self.limits - 1) * (1 + rng.uniform(0, JITTER))
        self._open(now, min(max(pause, LIMIT_SECONDS_MIN), self._rules.limit_seconds_max), RATE_LIMIT)

    def refuse(self, now: float, rng: random.Random) -> None:
        """Our key was refused."""
        if self.reason == CREDENTIAL and now < self.until:
            return
        self._open(now, self._rules.credential_seconds * (1 + rng.uniform(-JITTER, JITTER)), CREDENTIAL)

    def pass_probe(self, now: float) -> None:
        """It answered, though not with an answer: enough for a probe, nothing for the window (whoever sends requests that nobody
        takes could keep a sick circuit closed)."""
        if self.reason:
            self._win(now)

    def abandon(self) -> None:
        self.probing_until = 0.0

    # ── Told by others ───────────────────────────────────────────────────────────────────────────────────────────────
    def adopt(self, now: float, *, reason: str, remaining: float, pause: float, level: int) -> None:
        """Another process saw it open (`reason`), or close (empty). Not a transition of ours."""
        changes = self.changes
        if reason:
            self._open(now, pause, reason)
            self.until, self.level = now + remaining, level
        elif self.reason:
            self._close(now)
        self.changes = changes

    def is_forgettable(self, now: float) -> bool:
        """Nobody has asked for it: a deployment that is gone from the catalog ends so, too."""
        idle = now - self.seen_at
        return (
            idle > FORGET_SECONDS and now - self.until > FORGET_SECONDS if self.reason else idle > 20 * self._rules.window_seconds
        )

    # ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _turn(self, now: float) -> None:
        """Forget the slices that the window has left behind."""
        tick = int(now / self._width)
        for gone in range(max(self._tick + 1, tick - SLICES + 1), tick + 1):
            self._succeeded[gone % SLICES] = self._failed[gone % SLICES] = 0
        self._tick = max(tick, self._tick)

    def _is_failing(self) -> bool:
        failed = sum(self._failed) + self.others_failed
        asked = sum(self._succeeded) + self.others_succeeded + failed
        return asked >= self._rules.requests_min and failed * 100 >= asked * self._rules.error_percent

    def _win(self, now: float) -> None:
        """A success, of one that began before it opened perhaps: only those after the pause count."""
        if now < self.until:
            return
        self.wins += 1
        self.probing_until = 0.0
        if self.wins >= self._rules.probes or self.reason == RATE_LIMIT:
            self._close(now)
            self.changes += 1

    def _pause_for_outage(self, now: float, rng: random.Random, retry_after: float) -> None:
        rules = self._rules
        pause = min(rules.pause_seconds * 2 ** (self.level - 1), rules.pause_seconds_max)
        pause = min(pause * (1 + rng.uniform(-JITTER, JITTER)), rules.pause_seconds_max)
        self._open(now, max(pause, min(retry_after, rules.limit_seconds_max)), OUTAGE)

    def _open(self, now: float, pause: float, reason: str) -> None:
        self.reason, self.pause, self.until = reason, pause, now + pause
        self.wins, self.probing_until, self.permit_until, self.needs_permit = 0, 0.0, 0.0, False
        self.seen_at = now
        self.changes += 1

    def _close(self, now: float) -> None:
        self.reason, self.until = "", 0.0
        self.failures = self.limits = self.wins = 0
        self.others_succeeded = self.others_failed = 0
        self.probing_until = self.permit_until = 0.0
        self.needs_permit = False
        self.closed_at = now
        for place in range(SLICES):
            self._succeeded[place] = self._failed[place] = 0
