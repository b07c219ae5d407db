"""Where an organization stands in its volume plan, what the discount has saved, the months that are over. Reads, and one telling.

Saved = gross − net of a month, exact to the nano: it is what the ledger charged, not what a plan would say today.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection

from accounts.tenancy import current_tenant
from billing import events
from billing.models import Contract, Event, MonthSpend, VolumePlan, VolumeTier, Wallet
from billing.money import to_brl
from billing.pricing import Tier, next_tier, tier_at
from billing.wallets import wallet_of
from tokia import clock
from tokia.clock import Month

HISTORY_MONTHS = 24
CLOSED_AFTER_HOURS = 6  # the longest call and its settlement are long over
TOLD_MONTHS = 2


@dataclass(frozen=True, slots=True)
class TierLine:
    """One stretch of the month, from `above_nanos` to `upto_nanos` (empty: no end), and how much of it is used."""

    above_nanos: int
    upto_nanos: int | None
    discount_bps: int  # 0: the stretch below the first tier
    used_nanos: int  # of the month's gross in this stretch
    is_current: bool  # the next nano falls here


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    month: dt.date
    calls: int
    gross_nanos: int
    net_nanos: int
    plan_name: str

    @property
    def saved_nanos(self) -> int:
        return self.gross_nanos - self.net_nanos

    @property
    def saved_bps(self) -> int:
        return self.saved_nanos * 10_000 // self.gross_nanos if self.gross_nanos else 0


@dataclass(frozen=True, slots=True)
class Standing:
    """This fiscal month so far."""

    month: Month
    calls: int
    gross_nanos: int
    net_nanos: int
    plan: VolumePlan | None
    contract: Contract | None  # the month's, where its plan was negotiated
    lines: list[TierLine]
    tier: Tier | None
    next_tier: Tier | None
    to_next_nanos: int

    @property
    def saved_nanos(self) -> int:
        return self.gross_nanos - self.net_nanos

    @property
    def progress_percent(self) -> int:
        """Of the way from this stretch's beginning to the next tier; 100 in the last one."""
        if self.next_tier is None:
            return 100
        start = self.tier.above_nanos if self.tier else 0
        return (self.gross_nanos - start) * 100 // (self.next_tier.above_nanos - start)


def standing() -> Standing:
    """The month of the tenant at work: its plan is the one of its first call, else the one that would be."""
    organization, month = current_tenant(), Month.current()
    wallet = wallet_of(organization)
    spend = MonthSpend.objects.filter(month=month.first_on).first()
    gross = spend.gross_nanos if spend else 0
    plan_id = spend.volume_plan_id if spend else plan_of_month(wallet, month)
    plan = VolumePlan.objects.get(pk=plan_id) if plan_id is not None else None
    tiers = tiers_of(plan_id)
    ahead = next_tier(gross, tiers)
    agreed = Contract.objects.filter(organization=organization, is_cancelled=False, first_month__lte=month.first_on, plan=plan)
    return Standing(
        month=month, calls=spend.calls if spend else 0, gross_nanos=gross, net_nanos=spend.net_nanos if spend else 0, plan=plan,
        contract=agreed.order_by("-first_month").first() if plan else None, lines=_lines(gross, tiers), tier=tier_at(gross, tiers),
        next_tier=ahead, to_next_nanos=ahead.above_nanos - gross if ahead else 0,
    )  # fmt: skip


def closed_months(*, limit: int = HISTORY_MONTHS) -> list[ClosedMonth]:
    """The tenant's months that are over, newest first."""
    spends = MonthSpend.objects.filter(month__lt=Month.current().first_on).select_related("volume_plan").order_by("-month")
    return [
        ClosedMonth(
            spend.month, spend.calls, spend.gross_nanos, spend.net_nanos, spend.volume_plan.name if spend.volume_plan else ""
        )
        for spend in spends[:limit]
    ]


def tell_closed_months() -> int:
    """Tell each organization once what a month that is over came to and saved (`volume.month_closed`). How many. For a task.

    A month counts as over some hours after its end; what a spool brings later is in the pages, not in what was told.
    """
    current = Month.of(clock.now() - dt.timedelta(hours=CLOSED_AFTER_HOURS)).first_on
    since = current
    for _ in range(TOLD_MONTHS):
        since = (since - dt.timedelta(days=1)).replace(day=1)
    spends = MonthSpend.everywhere.filter(month__gte=since, month__lt=current, gross_nanos__gt=0).select_related(
        "wallet__organization"
    )
    references = {spend.pk: f"volume:{spend.wallet_id}:{spend.month:%Y-%m}" for spend in spends}
    known = set(Event.everywhere.filter(reference__in=references.values()).values_list("reference", flat=True))
    told = 0
    for spend in spends:
        if references[spend.pk] not in known:
            payload = {
                "month": f"{spend.month:%Y-%m}", "gross": f"{to_brl(spend.gross_nanos):f}", "net": f"{to_brl(spend.net_nanos):f}",
                "saved": f"{to_brl(spend.gross_nanos - spend.net_nanos):f}", "calls": spend.calls,
            }  # fmt: skip
            events.tell(
                spend.wallet.organization,
                "volume.month_closed",
                reference=references[spend.pk],
                payload=payload,
                is_mailed=spend.net_nanos < spend.gross_nanos,  # nothing saved is no news
            )
            told += 1
    return told


def plan_of_month(wallet: Wallet, month: Month) -> int | None:
    """The plan that a month would be opened with: a contract's, the wallet's own, or the one in force for everybody."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_plan_of_month(%s, %s)", [wallet.pk, month.first_on])
        [(plan,)] = cursor.fetchall()
    return int(plan) if plan is not None else None


def tiers_of(plan_id: int | None) -> list[Tier]:
    rows = VolumeTier.objects.filter(plan_id=plan_id).order_by("above_nanos").values_list("above_nanos", "discount_bps")
    return [Tier(above, bps) for above, bps in rows]


def _lines(gross: int, tiers: list[Tier]) -> list[TierLine]:
    if not tiers:
        return []
    starts = tiers if tiers[0].above_nanos == 0 else [Tier(0, 0), *tiers]
    ends = [*(tier.above_nanos for tier in starts[1:]), None]
    return [
        TierLine(
            tier.above_nanos,
            end,
            tier.discount_bps,
            used_nanos=max(0, (gross if end is None else min(gross, end)) - tier.above_nanos),
            is_current=tier.above_nanos <= gross and (end is None or gross < end),
        )
        for tier, end in zip(starts, ends, strict=True)
    ]
