"""The exchange rate against the prices in force: a version's rate is locked, the dollar is not. Looked at each night.

Where PTAX is further from the locked rate than the version's policy allows, a draft at today's rate is proposed and staff are
told; where a line is sold below its landed cost, staff are told which ones. Nothing is published, no price moves by itself.
"""

from __future__ import annotations

import logging
from decimal import ROUND_HALF_UP, Decimal

from django.db import transaction

from billing import exchange, pricebooks
from billing.errors import ExchangeRateStale
from billing.models import PriceVersion, RateAlarm
from billing.price_margins import LineMargin, judge_version
from tokia import clock

DRIFT_NOTE = "Proposta automática: o câmbio variou"
log = logging.getLogger("billing.rate_watch")


def watch_rate() -> RateAlarm | None:
    """The alarm of the newest quotation, or None where all is well. The same quotation again gives the same alarm."""
    version = pricebooks.version_in_force()
    if version is None:
        return None
    try:
        rate = exchange.current_rate()
    except ExchangeRateStale as stale:
        log.warning("no exchange rate to watch the prices by", extra={"detail": stale.message})
        return None
    drift = drift_bps(version, rate.rate)
    losing = sold_below_cost(version, rate=rate.rate)
    if not losing and not has_drifted(version, drift):
        return None
    with transaction.atomic():
        draft = pricebooks.renew_proposal(note=DRIFT_NOTE) if has_drifted(version, drift) else None
        RateAlarm.objects.filter(version=version, seen_at=None).exclude(exchange_rate=rate).delete()  # told again below, as of now
        alarm, is_new = RateAlarm.objects.get_or_create(
            version=version, exchange_rate=rate,
            defaults={"drift_bps": drift, "below_cost": [line.as_json() for line in losing], "draft": draft},
        )  # fmt: skip
    if is_new:
        _log(alarm, losing)
    return alarm


def drift_bps(version: PriceVersion, rate: Decimal) -> int:
    """How far a rate is from the version's, in hundredths of a percent of the version's; 0 where it has none."""
    if version.exchange_rate is None:
        return 0
    locked = version.exchange_rate.rate
    return int(((rate - locked) * 10_000 / locked).to_integral_value(rounding=ROUND_HALF_UP))


def has_drifted(version: PriceVersion, drift: int) -> bool:
    match version.rate_policy:
        case PriceVersion.RatePolicy.LOCKED:
            return abs(drift) >= max(1, version.drift_alarm_bps)
        case PriceVersion.RatePolicy.FOLLOWED:
            return drift != 0
        case _:
            return False


def sold_below_cost(version: PriceVersion, *, rate: Decimal) -> list[LineMargin]:
    """The lines whose landed cost at a rate, and at the newest costs, is more than they are sold for."""
    return [line for line in judge_version(version, rate=rate) if "below_cost" in line.flags]


def acknowledge(alarm: RateAlarm, *, by: str) -> None:
    """Somebody has seen it; the badge goes out."""
    RateAlarm.objects.filter(pk=alarm.pk, seen_at=None).update(seen_by=by[:150], seen_at=clock.now())


def unseen() -> int:
    return RateAlarm.objects.filter(seen_at=None).count()


def _log(alarm: RateAlarm, losing: list[LineMargin]) -> None:
    told = {
        "version": str(alarm.version), "drift_bps": alarm.drift_bps, "quotation": str(alarm.exchange_rate.rate),
        "draft": str(alarm.draft) if alarm.draft else None,
    }  # fmt: skip
    if losing:
        lines = [f"{line.route_name} {line.unit}" for line in losing]
        log.error("prices below their landed cost", extra={**told, "lines": lines})
    else:
        log.warning("the exchange rate has drifted from the prices", extra=told)
