"""Whom a publication concerns: one notice per organization that used a route whose prices change. `price_mails` sends them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from accounts.models import Organization
from billing import events
from billing.models import PriceNotice, PriceVersion, UsageDay
from billing.price_changes import FeltChange
from tokia import clock

USED_WITHIN_DAYS = 60


def write_notices(version: PriceVersion, *, changes: Sequence[FeltChange]) -> list[PriceNotice]:
    """Inside the publication's transaction: the notices, due now, and the event `prices.changed` of each organization.

    Repeating it writes nothing new. What is new in the list concerns nobody yet.
    """
    by_route: dict[str, list[FeltChange]] = defaultdict(list)
    for change in changes:
        if change.kind != "new":
            by_route[change.route_name].append(change)
    since = clock.today_in_brazil() - dt.timedelta(days=USED_WITHIN_DAYS)
    used = UsageDay.everywhere.filter(day__gte=since, route_name__in=by_route)
    routes: dict[int, list[str]] = defaultdict(list)
    for organization_id, route in (
        used.values_list("organization_id", "route_name").distinct().order_by("organization_id", "route_name")
    ):
        routes[organization_id].append(route)
    now = clock.now()
    notices = []
    for organization in Organization.objects.in_bulk(routes).values():
        felt = [change.as_json() for route in routes[organization.pk] for change in by_route[route]]
        notice, is_new = PriceNotice.everywhere.get_or_create(
            version=version, organization=organization, defaults={"changes": felt, "due_at": now}
        )
        if is_new:
            notices.append(notice)
            _tell(notice, organization)
    return notices


def _tell(notice: PriceNotice, organization: Organization) -> None:
    version = notice.version
    payload = {
        "version": f"v{version.number}",
        "effective_at": version.effective_at.isoformat() if version.effective_at else None,
        "routes": notice.changes,
    }
    reference = f"prices:{version.pk}:{organization.pk}"
    events.tell(organization, "prices.changed", reference=reference, payload=payload, is_mailed=False)
