"""The figures of one organization for staff: its money, what it spends and leaves us, its limits, what speaks of risk."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count, Q

from accounts.models import ApiKey, Organization
from accounts.tenancy import tenant
from billing import discounts
from billing.discounts import Standing
from billing.limits import EffectiveLimit, effective_limits
from billing.models import CardPayment, Dispute, Refund, UsageRecord, Wallet
from tokia import clock

DAYS = 30
_SPENT = """
    SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(failed), 0)::bigint, coalesce(sum(net_nanos), 0)::bigint,
           coalesce(sum(promo_nanos), 0)::bigint, coalesce(sum(cost_nanos), 0)::bigint
    FROM billing_usageday WHERE organization_id = %s AND day BETWEEN %s AND %s
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """The last 30 days, in nanos; the margin is what is left of the net after bonuses and the providers' cost."""

    calls: int
    failed: int
    net_nanos: int
    promo_nanos: int
    cost_nanos: int

    @property
    def margin_nanos(self) -> int:
        return self.net_nanos - self.promo_nanos - self.cost_nanos

    @property
    def margin_bps(self) -> int | None:
        earned = self.net_nanos - self.promo_nanos
        return self.margin_nanos * 10_000 // earned if earned > 0 else None


@dataclass(frozen=True, slots=True)
class Risk:
    """What a person weighs before trusting; no score that nobody could explain."""

    open_disputes: int
    lost_disputes: int
    refunds: int
    failed_cards_30_days: int
    owes_nanos: int

    @property
    def signs(self) -> list[str]:
        """In words, the gravest first; empty where nothing speaks against it."""
        found = []
        if self.open_disputes:
            found.append(f"{self.open_disputes} contestação em aberto" + ("" if self.open_disputes == 1 else " (mais de uma)"))
        if self.lost_disputes:
            found.append(f"contestações perdidas: {self.lost_disputes}")
        if self.owes_nanos:
            found.append("deve por uso além do saldo")
        if self.failed_cards_30_days >= 3:
            found.append(f"cartões recusados em 30 dias: {self.failed_cards_30_days}")
        if self.refunds >= 3:
            found.append(f"devoluções pedidas: {self.refunds}")
        return found


@dataclass(frozen=True, slots=True)
class Overview:
    wallet: Wallet | None
    spent: Spent
    standing: Standing | None
    last_call_at: dt.datetime | None
    active_keys: int
    limits: list[EffectiveLimit]
    risk: Risk


def overview_of(organization: Organization) -> Overview:
    """In a fixed number of queries, whatever the organization's size."""
    wallet = Wallet.everywhere.filter(organization=organization).select_related("volume_plan").first()
    standing = None
    if wallet is not None:
        with tenant(organization):
            standing = discounts.standing()
    newest = UsageRecord.everywhere.filter(organization=organization).order_by("-id").values_list("created_at", flat=True).first()
    return Overview(
        wallet=wallet, spent=_spent(organization), standing=standing, last_call_at=newest,
        active_keys=ApiKey.everywhere.filter(
            organization=organization, status=ApiKey.Status.ACTIVE, kind=ApiKey.Kind.MADE
        ).count(),
        limits=effective_limits(organization), risk=_risk(organization, wallet),
    )  # fmt: skip


def _spent(organization: Organization) -> Spent:
    today = clock.today_in_brazil()
    with connection.cursor() as cursor:
        cursor.execute(_SPENT, [organization.pk, today - dt.timedelta(days=DAYS - 1), today])
        [figures] = cursor.fetchall()
    return Spent(*figures)


def _risk(organization: Organization, wallet: Wallet | None) -> Risk:
    disputes = Dispute.everywhere.filter(payment__wallet__organization=organization).aggregate(
        open=Count("pk", filter=Q(status=Dispute.Status.OPEN)), lost=Count("pk", filter=Q(status=Dispute.Status.LOST))
    )
    failed = CardPayment.everywhere.filter(
        wallet__organization=organization, status=CardPayment.Status.FAILED, created_at__gte=clock.now() - dt.timedelta(days=DAYS)
    ).count()
    refunds = Refund.objects.filter(lot__wallet__organization=organization).count()
    return Risk(
        open_disputes=disputes["open"], lost_disputes=disputes["lost"], refunds=refunds, failed_cards_30_days=failed,
        owes_nanos=wallet.overdraft_nanos if wallet else 0,
    )  # fmt: skip
