"""The numbers of an organization's overview, from the days that usage is added up by; only latencies come from the last calls.

Money is nano-reais, days are Brasília's. Everything is of the tenant at work."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import ApiKey, Organization
from accounts.tenancy import current_tenant, tenant
from billing import comparison_rates, savings, statements
from billing.abroad import ComparisonRates
from billing.budgets import BudgetState, states_of
from billing.discounts import Standing
from billing.models import Budget, PriceNotice, UsageRecord
from billing.price_mails import tell_change
from billing.spending import spent_by_key
from billing.usage_sums import totals
from tokia import clock

LATENCIES_OF = 1_000  # the newest calls
TOP_KEYS = 5
LAST_CALLS = 10
NOTICE_LINES = 4


@dataclass(frozen=True, slots=True)
class Recent:
    """The last 30 days of Brasília's calendar, today included; latencies of the newest LATENCIES_OF calls among them."""

    calls: int
    success_bps: int | None
    input_tokens: int
    output_tokens: int
    first_token_ms: int | None
    first_token_p95_ms: int | None
    overhead_ms: int | None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


# A percentile has no sum, so it can't be added up by day: it is of the newest calls, which the index has at hand.
_LATENCIES = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY c.first_token_ms),
           percentile_cont(0.95) WITHIN GROUP (ORDER BY c.first_token_ms),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY c.overhead_us) / 1000
    FROM (SELECT first_token_ms, overhead_us FROM billing_usagerecord
          WHERE organization_id = %s AND id >= billing_first_id_of_month(%s) AND created_at >= %s
          ORDER BY id DESC LIMIT %s) c
"""


def recent(organization: Organization) -> Recent:
    today = clock.today_in_brazil()
    first_on = today - dt.timedelta(days=29)
    with tenant(organization):
        month = totals(first_on=first_on, last_on=today)
    since = dt.datetime.combine(first_on, dt.time(), clock.SAO_PAULO)
    with connection.cursor() as cursor:
        cursor.execute(_LATENCIES, [organization.pk, first_on.replace(day=1), since, LATENCIES_OF])
        [(p50, p95, overhead)] = cursor.fetchall()
    return Recent(
        calls=month.calls,
        success_bps=(month.calls - month.failed) * 10_000 // month.calls if month.calls else None,
        input_tokens=month.input_tokens,
        output_tokens=month.output_tokens,
        first_token_ms=_rounded(p50),
        first_token_p95_ms=_rounded(p95),
        overhead_ms=_rounded(overhead),
    )


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


# ── Money ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Before:
    """Last month up to the same day, both ends included."""

    net_nanos: int
    last_on: dt.date
    change_bps: int  # of this month against it, hundredths of a percent

    @property
    def fall_bps(self) -> int:
        return max(0, -self.change_bps)


def month_before(*, net_nanos: int) -> Before | None:
    """What this month's spend so far compares with; None where last month had nothing by then."""
    today = clock.today_in_brazil()
    end = today.replace(day=1) - dt.timedelta(days=1)
    last_on = end.replace(day=min(today.day, end.day))
    spent = totals(first_on=last_on.replace(day=1), last_on=last_on).net_nanos
    return Before(spent, last_on, (net_nanos - spent) * 10_000 // spent) if spent else None


@dataclass(frozen=True, slots=True)
class Savings:
    """This month's, each part only where recorded figures prove one. `abroad` is the same usage at the providers' own list prices
    by an international card (PTAX, spread, IOF), next to what was paid for it here."""

    volume_nanos: int
    cache_nanos: int
    abroad_nanos: int | None
    abroad_net_nanos: int
    rates: ComparisonRates

    @property
    def by_abroad_nanos(self) -> int:
        """Negative: the card would have been cheaper."""
        return (self.abroad_nanos or 0) - self.abroad_net_nanos

    @property
    def dearer_nanos(self) -> int:
        return max(0, -self.by_abroad_nanos)

    @property
    def is_empty(self) -> bool:
        return not (self.volume_nanos or self.cache_nanos or self.abroad_nanos)


def savings_of(standing: Standing) -> Savings:
    today = clock.today_in_brazil()
    first_on = today.replace(day=1)
    cost = savings.list_cost(first_on=first_on, last_on=today)
    rates = comparison_rates.current_rates()
    return Savings(
        volume_nanos=standing.saved_nanos,
        cache_nanos=savings.cache_savings(first_on=first_on, last_on=today),
        abroad_nanos=rates.abroad_nanos(cost.usd_nanos) if cost.usd_nanos else None,
        abroad_net_nanos=cost.net_nanos,
        rates=rates,
    )


@dataclass(frozen=True, slots=True)
class KeyLine:
    key: ApiKey
    net_nanos: int
    share_bps: int  # of the dearest one: the bar where the key has no budget
    budget: BudgetState | None  # the one with the least left


def top_keys() -> list[KeyLine]:
    """The keys that spent most this month, and how far each is from its limit."""
    spent = {pk: one.month_nanos for pk, one in spent_by_key().items() if one.month_nanos}
    dearest = sorted(spent, key=lambda pk: (-spent[pk], pk))[:TOP_KEYS]
    keys = ApiKey.objects.in_bulk(dearest)
    states: dict[int, BudgetState] = {}
    for state in states_of(Budget.objects.filter(scope=Budget.Scope.KEY, is_active=True, subject_id__in=dearest).order_by("pk")):
        known = states.get(state.budget.subject_id)
        if known is None or state.spent_percent > known.spent_percent:
            states[state.budget.subject_id] = state
    most = max(spent.values(), default=1)
    return [KeyLine(keys[pk], spent[pk], spent[pk] * 10_000 // most, states.get(pk)) for pk in dearest if pk in keys]


# ── What is new ──────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class PriceNews:
    effective_at: dt.datetime
    rows: list[dict[str, str]]
    more: int


def price_news() -> list[PriceNews]:
    """New prices that are to come for models that the tenant uses."""
    notices = (
        PriceNotice.objects.filter(version__effective_at__gt=clock.now())
        .select_related("version")
        .order_by("version__effective_at")
    )
    return [
        PriceNews(
            notice.version.effective_at,
            [tell_change(change) for change in notice.changes[:NOTICE_LINES]],
            max(0, len(notice.changes) - NOTICE_LINES),
        )
        for notice in notices[:3]
        if notice.version.effective_at and notice.changes
    ]


def last_calls() -> list[UsageRecord]:
    calls = list(UsageRecord.everywhere.filter(organization=current_tenant()).order_by("-id")[:LAST_CALLS])
    names = dict(ApiKey.everywhere.filter(pk__in={call.api_key_id for call in calls}).values_list("pk", "name"))
    for call in calls:
        call.key_name = names.get(call.api_key_id, "")  # type: ignore[attr-defined]
    return calls


def lasts(*, available_nanos: int) -> str:
    """How long the tenant's balance lasts at the pace of the last seven days; empty under three days of use."""
    if available_nanos <= 0:
        return ""
    used = [net for _, net in statements.spend_by_day(days=7)]
    if sum(1 for net in used if net) < 3:
        return ""
    hours = available_nanos * 24 * 7 // sum(used)
    if hours < 1:
        return _("menos de 1 hora")
    if hours < 48:
        return ngettext("{count} hora", "{count} horas", hours).format(count=hours)
    return _("{count} dias").format(count=hours // 24) if hours // 24 <= 365 else _("mais de um ano")
