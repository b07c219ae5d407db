"""Providers that fall ill and recover by the clock: `POST /llm/__schedule`, with phases of one's own or drawn from a seed.

A drawn schedule always leaves somebody well: the healthy pass it on from one to the next, and both are well for a while.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.faults import Fault, parse_fault

# What a sick provider does, as sets of faults that act together.
SICKNESSES: tuple[tuple[str, ...], ...] = (
    ("500",), ("503",), ("429", "retryafter:1"), ("stall",), ("drop",), ("reset:0",), ("truncated",), ("html",), ("errorfirst",),
    ("slowfirst:4000",), ("reset:3",), ("malformed",), ("errormid:3",),
)  # fmt: skip
SICK_SECONDS = (1.0, 4.0)  # shortest and longest phase
WELL_SECONDS = (2.0, 5.0)
WELL_SHARE = 0.3  # of the phases in which a provider need not be well
OVERLAP_SECONDS = 3.0


@dataclass(frozen=True)
class Phase:
    """So long a provider has these faults; none: it is well. Seconds since the schedule began."""

    provider: str
    begins: float
    ends: float
    faults: tuple[Fault, ...] = ()

    def describe(self) -> Json:
        faults = [str(fault) for fault in self.faults]
        return {"provider": self.provider, "begins": self.begins, "ends": self.ends, "faults": faults}


@dataclass
class Schedule:
    """Phases under way. After the last one everybody is well."""

    phases: dict[str, list[Phase]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    began_at: float = field(default_factory=time.time)

    def faults_of(self, provider: str, *, at: float | None = None) -> list[Fault]:
        """`at`: seconds since the beginning; now by default."""
        elapsed = time.monotonic() - self.began if at is None else at
        for phase in self.phases.get(provider, ()):
            if phase.begins <= elapsed < phase.ends:
                return list(phase.faults)
        return []

    def describe(self) -> Json:
        return {"began_at": self.began_at, "phases": [phase.describe() for phases in self.phases.values() for phase in phases]}


def read_schedule(body: dict[str, Json]) -> Schedule:
    """`{"phases": [{"provider", "begins", "ends", "faults"}]}`, or `{"seed", "providers", "seconds", "outages"?: [phase]}`.

    An outage is a phase that the draw has to go around. Raises UnknownFault, KeyError, TypeError, ValueError."""
    if "phases" in body:
        return Schedule(_by_provider(map(_read_phase, body["phases"])))
    return Schedule(
        draw_phases(
            seed=int(body["seed"]),
            providers=[str(slug) for slug in body["providers"]],
            seconds=float(body["seconds"]),
            outages=[_read_phase(phase) for phase in body.get("outages", ())],
        )
    )


def draw_phases(*, seed: int, providers: Sequence[str], seconds: float, outages: Sequence[Phase] = ()) -> dict[str, list[Phase]]:
    """The same for the same seed, whatever the machine. Raises ValueError where an outage leaves nobody to be well."""
    rng = random.Random(seed)  # noqa: S311
    well = _draw_well(rng, providers, seconds, outages)
    sick = list(SICKNESSES)
    phases: list[Phase] = []
    for slug in providers:
        down = [outage for outage in outages if outage.provider == slug]
        at = 0.0
        for begins, ends in sorted([*well[slug], *((outage.begins, outage.ends) for outage in down)]):
            phases += _draw_sick(rng, slug, at, begins, sick)
            at = max(at, ends)
        phases += [*_draw_sick(rng, slug, at, seconds, sick), *down]
    return _by_provider(sorted(phases, key=lambda phase: phase.begins))


def _draw_well(
    rng: random.Random, providers: Sequence[str], seconds: float, outages: Sequence[Phase]
) -> dict[str, list[tuple[float, float]]]:
    """Who must be well when, so that always somebody is."""
    well: dict[str, list[tuple[float, float]]] = {slug: [] for slug in providers}
    at, last = 0.0, ""
    while at < seconds:
        ends = at + OVERLAP_SECONDS + rng.uniform(*WELL_SECONDS)
        begins = max(0.0, at - OVERLAP_SECONDS)
        free = [slug for slug in providers if slug != last and not any(_meets(outage, slug, begins, ends) for outage in outages)]
        if not free:
            raise ValueError(f"nobody could be well from {begins:.1f} s to {ends:.1f} s")
        last = rng.choice(free)
        well[last].append((begins, ends))
        at = ends
    return well


def _draw_sick(rng: random.Random, slug: str, begins: float, ends: float, sick: list[tuple[str, ...]]) -> Iterator[Phase]:
    """Fill a gap with phases of every kind, each kind once before any comes twice."""
    at = begins
    while at < ends:
        until = min(ends, at + rng.uniform(*SICK_SECONDS))
        if rng.random() >= WELL_SHARE:
            if not sick:
                sick += SICKNESSES
            chosen = sick.pop(rng.randrange(len(sick)))
            yield Phase(slug, round(at, 3), round(until, 3), tuple(map(parse_fault, chosen)))
        at = until


def _meets(outage: Phase, slug: str, begins: float, ends: float) -> bool:
    return outage.provider == slug and outage.begins < ends and begins < outage.ends


def _read_phase(told: Json) -> Phase:
    faults = tuple(parse_fault(spec) for spec in told["faults"])
    return Phase(str(told["provider"]), float(told["begins"]), float(told["ends"]), faults)


def _by_provider(phases: Any) -> dict[str, list[Phase]]:
    found: dict[str, list[Phase]] = {}
    for phase in phases:
        found.setdefault(phase.provider, []).append(phase)
    return found
