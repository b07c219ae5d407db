"""What the tenant at work did not pay, as far as recorded figures prove it: the prompt's cache at the list prices of its days, and
what the providers' own list prices would have come to. The discount by volume is `billing.discounts`', exact to the nano."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

from accounts.models import Organization
from accounts.tenancy import current_tenant
from billing.models import Price, PriceVersion, Unit
from billing.pricing import adjust_amount
from billing.usage_sums import EVERYTHING, UsageFilter, conditions
from tokia import clock


@dataclass(frozen=True, slots=True)
class ListCost:
    """Usage whose cost at the provider is known: what that is in nano-dollars at the provider's list, and what we asked for it."""

    usd_nanos: int
    net_nanos: int


def cache_savings(*, first_on: dt.date, last_on: dt.date, only: UsageFilter = EVERYTHING) -> int:
    """Nanos: cached input, at what it would have cost as plain input less what it did, by the list in force at each day's end.

    Before the discount by volume and batches, so it is told as "about". 0 by tag: tags know no cache.
    """
    if only.is_by_tag:
        return 0
    organization = current_tenant()
    where, arguments = conditions(only, by_tag=False, group="day")
    query = (
        "SELECT day, route_name, sum(cached_input_tokens)::bigint FROM billing_usageday"  # noqa: S608 - column names of ours
        f" WHERE organization_id = %s AND day BETWEEN %s AND %s AND cached_input_tokens > 0 AND NOT is_own_key{where} GROUP BY 1, 2"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [organization.pk, first_on, last_on, *arguments])
        found = cursor.fetchall()
    versions = versions_by_day(day for day, _, _ in found)
    lines = {
        (price.version_id, price.route_name, price.unit): price
        for price in Price.objects.filter(version__in=set(versions.values()), unit__in=(Unit.INPUT, Unit.CACHED_INPUT))
    }
    saved = 0
    for day, route, tokens in found:
        version = versions.get(day)
        plain = lines.get((version.pk, route, Unit.INPUT)) if version else None
        cached = lines.get((version.pk, route, Unit.CACHED_INPUT)) if version else None
        if plain and cached:
            saved += max(0, tokens * plain.amount_nanos // plain.per_units - tokens * cached.amount_nanos // cached.per_units)
    return adjust_amount(saved, _margin_bps(organization))


def list_cost(*, first_on: dt.date, last_on: dt.date) -> ListCost:
    """Of days whose exchange rate is known, own keys left out: a customer pays those to the provider already."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT day, sum(cost_nanos)::bigint, sum(net_nanos)::bigint FROM billing_usageday"
            " WHERE organization_id = %s AND day BETWEEN %s AND %s AND cost_nanos > 0 AND NOT is_own_key GROUP BY day",
            [current_tenant().pk, first_on, last_on],
        )
        found = cursor.fetchall()
    versions = versions_by_day(day for day, _, _ in found)
    usd, net = Decimal(), 0
    for day, cost, asked in found:
        version = versions.get(day)
        if version and version.exchange_rate:
            usd += Decimal(cost) / version.exchange_rate.rate
            net += asked
    return ListCost(int(usd), net)


def versions_by_day(days: Iterable[dt.date]) -> dict[dt.date, PriceVersion]:
    """The default book's version in force at each day's end (today: now); days before the first have none."""
    wanted = sorted(set(days))
    if not wanted:
        return {}
    published = PriceVersion.objects.filter(book__is_default=True, status=PriceVersion.Status.PUBLISHED)
    versions = list(published.select_related("exchange_rate").order_by("effective_at", "number"))
    return {day: version for day in wanted if (version := _in_force(versions, at=_end_of(day))) is not None}


def _in_force(versions: Sequence[PriceVersion], *, at: dt.datetime) -> PriceVersion | None:
    standing = [version for version in versions if version.effective_at and version.effective_at <= at]
    return standing[-1] if standing else None


def _end_of(day: dt.date) -> dt.datetime:
    return min(dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), clock.SAO_PAULO), clock.now())


def _margin_bps(organization: Organization) -> int:
    return organization.limit_profile.margin_bps if organization.limit_profile else 0
