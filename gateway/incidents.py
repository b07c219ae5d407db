"""Incidents of `/status/`: opened, told of, resolved. The report behind that page reads them (`told`) every half minute."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import transaction

from gateway.models import Incident, IncidentUpdate
from tokia import clock
from tokia.errors import TokiaError

TOLD_DAYS = 14  # a resolved one stays on the page for so long
TOLD_MAX = 20


class IncidentRefused(TokiaError):
    """It can't be written so; nothing was changed."""

    code = "incident_refused"
    status = 400


@transaction.atomic
def open_incident(
    *,
    title: str,
    impact: str,
    text: str,
    by: str,
    affects: str = "",
    starts_at: dt.datetime | None = None,
    ends_at: dt.datetime | None = None,
) -> Incident:
    """From now on, or from `starts_at`; `ends_at` only of a maintenance. Raises IncidentRefused."""
    begins = starts_at or clock.now()
    is_planned = impact == Incident.Impact.MAINTENANCE
    if ends_at is not None and (not is_planned or ends_at <= begins):
        raise IncidentRefused("O fim previsto é só de manutenção, e vem depois do começo.")
    if not is_planned and begins > clock.now():
        raise IncidentRefused("Só uma manutenção pode começar no futuro.")
    incident = Incident.objects.create(
        title=title.strip(), impact=impact, affects=affects.strip(), starts_at=begins, ends_at=ends_at, opened_by=by
    )
    IncidentUpdate.objects.create(incident=incident, status=incident.status, text=text.strip(), written_by=by)
    return incident


@transaction.atomic
def update_incident(incident: Incident, *, status: str, text: str, by: str) -> Incident:
    """One more line; "resolved" ends it, for ever. Raises IncidentRefused."""
    locked = Incident.objects.select_for_update().get(pk=incident.pk)
    if locked.status == Incident.Status.RESOLVED:
        raise IncidentRefused("Este incidente já foi resolvido. Se voltou, abra outro.")
    IncidentUpdate.objects.create(incident=locked, status=status, text=text.strip(), written_by=by)
    locked.status = status
    locked.resolved_at = clock.now() if status == Incident.Status.RESOLVED else None
    locked.save(update_fields=["status", "resolved_at"])
    return locked


def told() -> list[dict[str, Any]]:
    """As customers read them, what is open first, then the newest: instants as ISO text, nobody's name."""
    since = clock.now() - dt.timedelta(days=TOLD_DAYS)
    still = Incident.objects.exclude(status=Incident.Status.RESOLVED) | Incident.objects.filter(resolved_at__gte=since)
    found = list(still.prefetch_related("updates").order_by("-starts_at", "-pk")[:TOLD_MAX])
    found.sort(key=lambda incident: incident.status == Incident.Status.RESOLVED)
    return [_tell(incident) for incident in found]


def _tell(incident: Incident) -> dict[str, Any]:
    updates = sorted(incident.updates.all(), key=lambda update: update.pk, reverse=True)
    return {
        "id": incident.pk,
        "title": incident.title,
        "impact": incident.impact,
        "affects": incident.affects,
        "status": incident.status,
        "starts_at": incident.starts_at.isoformat(),
        "ends_at": incident.ends_at.isoformat() if incident.ends_at else None,
        "resolved_at": incident.resolved_at.isoformat() if incident.resolved_at else None,
        "updates": [
            {"status": update.status, "text": update.text, "at": update.created_at.isoformat()} for update in updates
        ],
    }  # fmt: skip
