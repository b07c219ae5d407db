"""How each model does, as the report behind `/status/` last told it: state, speed, uptime. No query."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from tokia import clock
from tokia.status_measure import DOWN, OK, SLOW, UNKNOWN
from tokia.status_report import LATE, read_report

LABELS: dict[str, str | Promise] = {OK: _("Normal"), SLOW: _("Lento"), DOWN: _("Fora"), UNKNOWN: _("Sem medição")}
DOTS = {OK: "status-success", SLOW: "status-warning", DOWN: "status-error", UNKNOWN: "status-neutral"}


@dataclass(frozen=True, slots=True)
class Pace:
    """Of the last 24 hours; None: nobody asked. `uptime_bps` in hundredths of a percent, times in ms."""

    state: str = UNKNOWN
    tokens_per_second: float | None = None
    first_token_p50_ms: int | None = None
    uptime_bps: int | None = None

    @property
    def label(self) -> str:
        return str(LABELS[self.state])

    @property
    def dot(self) -> str:
        return DOTS[self.state]

    @property
    def speed(self) -> int | None:
        """Whole tokens per second; one at least where there were any."""
        return None if self.tokens_per_second is None else max(1, round(self.tokens_per_second))


UNMEASURED = Pace()


@dataclass(frozen=True, slots=True)
class Paces:
    """Of every model that was asked within 30 days."""

    by_model: Mapping[str, Pace]
    items: Mapping[str, dict[str, Any]]  # the report's own, for bars
    measured_at: dt.datetime | None

    def of(self, model: str) -> Pace:
        return self.by_model.get(model, UNMEASURED)


NO_PACES = Paces({}, {}, None)


def read_paces() -> Paces:
    """An old report says nothing of now: its states are unknown."""
    report = read_report()
    if report is None:
        return NO_PACES
    measured_at = dt.datetime.fromisoformat(report["measured_at"])
    is_late = clock.now() - measured_at > LATE
    items = {item["id"]: item for item in report.get("models", ())}
    return Paces({name: _pace(item, is_late=is_late) for name, item in items.items()}, items, measured_at)


def _pace(item: Mapping[str, Any], *, is_late: bool) -> Pace:
    day = item["day"]
    return Pace(
        state=UNKNOWN if is_late else item["state"], tokens_per_second=day.get("tokens_per_second"),
        first_token_p50_ms=day["first_token_p50_ms"], uptime_bps=day["uptime_bps"],
    )  # fmt: skip
