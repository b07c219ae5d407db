"""The report behind `/status/`: taken once a minute, kept where it outlives PostgreSQL and Valkey.

Kept in Valkey for every web process, and by each of them in a file of its own; a page view reads one of the two, never a table.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError
from django.utils.translation import gettext as _

from tokia import clock
from tokia.status_measure import DOWN, OK, SLOW, components, measure

log = logging.getLogger(__name__)
Report = dict[str, Any]
KEY = "status:report"
FILE_NAME = "status.json"
MEMORY_SECONDS = 5.0
LATE = dt.timedelta(minutes=5)  # an older report says nothing of now

_remembered: tuple[float, Report] | None = None  # when it was read (monotonic seconds)


def take_report() -> Report:
    """Measure, and keep it. While the database is away, the series of before with the components as they are."""
    try:
        report = measure()
    except DatabaseError:
        log.warning("status measured without the database")
        report = (read_report() or {}) | {"measured_at": clock.now().isoformat(), "components": components(None)}
    text = json.dumps(report, ensure_ascii=False)
    cache.set(KEY, text, timeout=None)
    _write(text)
    forget()
    return report


def read_report() -> Report | None:
    """The newest one known; none before the first was taken."""
    global _remembered
    now = time.monotonic()
    if _remembered is not None and now - _remembered[0] < MEMORY_SECONDS:
        return _remembered[1]
    text, path = cache.get(KEY), settings.TOKIA_HOME / FILE_NAME
    kept = _read(text) if isinstance(text, str) else None
    filed = _read_file(path)
    if kept is not None and (filed is None or filed["measured_at"] < kept["measured_at"]):
        _write(str(text))  # for the time when Valkey is away
    found = max((report for report in (kept, filed) if report is not None), key=lambda report: report["measured_at"], default=None)
    if found is None and _remembered is not None:
        found = _remembered[1]
    if found is not None:
        _remembered = (now, found)
    return found


def forget() -> None:
    """What this process remembers; the next reader looks anew."""
    global _remembered
    _remembered = None


def headline(report: Report | None) -> tuple[str, str]:
    """The state of all together and the words for it, the worst first."""
    if report is None:
        return "unknown", _("Ainda sem medição")
    measured_at = dt.datetime.fromisoformat(report["measured_at"])
    if clock.now() - measured_at > LATE:
        return "unknown", _("Medição atrasada")
    told = [*report["components"], *report.get("providers", ())]
    down, slow = ([component_name(item) for item in told if item["state"] == state] for state in (DOWN, SLOW))
    if down and slow:
        return DOWN, _("{down} fora do ar; lentidão em {slow}").format(down=_joined(down), slow=_joined(slow))
    if down:
        return DOWN, _("{down} fora do ar").format(down=_joined(down))
    slow = slow or [item["name"] for item in report.get("models", ()) if item["state"] in (SLOW, DOWN)]
    if slow:
        return SLOW, _("Lentidão em {slow}").format(slow=_joined(slow))
    incident = open_incident(report)
    if incident is not None:  # what measurements do not see, a person may
        return DOWN if incident["impact"] == "down" else SLOW, incident["title"]
    return OK, _("Todos os sistemas operando")


def component_name(item: Mapping[str, Any]) -> str:
    """As the report has it; the one of ours that is no proper name, in the reader's language."""
    return _("Painel") if item["id"] == "painel" else str(item["name"])


def open_incident(report: Report | None) -> dict[str, Any] | None:
    """The newest one that customers notice now; none of a planned maintenance that has not begun, or is over."""
    now = clock.now()
    for incident in (report or {}).get("incidents", ()):
        ends_at = dt.datetime.fromisoformat(incident["ends_at"]) if incident.get("ends_at") else None
        begins = dt.datetime.fromisoformat(incident["starts_at"])
        if incident["status"] != "resolved" and begins <= now and (ends_at is None or now < ends_at):
            return dict(incident)
    return None


def _joined(names: list[str]) -> str:
    names = names if len(names) <= 3 else [*names[:3], _("mais {count}").format(count=len(names) - 3)]
    return names[0] if len(names) == 1 else _("{names} e {last}").format(names=", ".join(names[:-1]), last=names[-1])


def _read(text: str) -> Report | None:
    with contextlib.suppress(ValueError):
        report = json.loads(text)
        if isinstance(report, dict) and isinstance(report.get("measured_at"), str):
            return report
    return None


def _read_file(path: Path) -> Report | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return _read(path.read_text(encoding="utf-8"))
    return None


def _write(text: str) -> None:
    """All of it or nothing: another process may be reading."""
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=settings.TOKIA_HOME, prefix=".status-", delete=False) as file:
            file.write(text)
        os.replace(file.name, settings.TOKIA_HOME / FILE_NAME)
    except OSError as error:
        log.warning("status report not written: %s", type(error).__name__)
