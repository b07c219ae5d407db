"""What an organization should hear of without asking. Watched each half minute, from wallets and rollups, never from usage records.

| told | when | again |
|---|---|---|
| `wallet.low_balance` | posted < the wallet's threshold (LOW_BALANCE_BRL where it names none; 0: never) | after it was over it |
| `wallet.empty` | posted < R$ 0,01, what pages show as R$ 0,00 | after it was over it |
| `budget.threshold` | spent ≥ a percent of `alert_percents`; the highest that was reached, once | next window, or another limit |
| `budget.exceeded` | the same at 100 % of a hard budget, whatever its percents | the same |
| `usage.unusual` | today's spend > R$ 50 and > 3 × the usual day, see `usual_of` | next day |
| `organization.suspended` | suspended | after it was not |

A balance is judged by what is posted, not by what is available: holds come and go within seconds, and would cross a threshold
with every call. Only wallets that money came into are watched.
Two workers at once tell once: each telling is under a row lock (the organization's AlertState, the window's BudgetSpend), in the
transaction of the event; an unusual day has its own reference.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.db.models import BigIntegerField, Exists, F, OuterRef, Q, Sum, Value
from django.db.models.functions import Coalesce

from accounts.models import Organization
from billing.budgets import name_subjects
from billing.events import tell
from billing.models import AlertChoice, AlertState, Budget, BudgetSpend, Event, Lot, UsageDay, Wallet
from billing.money import BRL, CENTAVO
from billing.windows import window_start
from tokia import clock

EMPTY_NANOS = CENTAVO
UNUSUAL_TIMES = 3
UNUSUAL_MIN_NANOS = 50 * BRL
USUAL_DAYS = 28
USUAL_DAYS_MIN = 7  # of them with spend; with fewer nobody knows what is usual


def watch() -> int:
    """Tell all that is to be told now; how many events it came to."""
    return sum(look() for look in LOOKS)


def reais(nanos: int) -> str:
    """An amount as payloads carry it: "12.34", towards zero."""
    sign = "-" if nanos < 0 else ""
    whole, centavos = divmod(abs(nanos) // CENTAVO, 100)
    return f"{sign}{whole}.{centavos:02d}"


def threshold_of(wallet: Wallet) -> int:
    """Nanos under which the balance is low; 0: it never is."""
    return settings.LOW_BALANCE_BRL * BRL if wallet.low_balance_nanos is None else wallet.low_balance_nanos


# ── Balances ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def watch_balances() -> int:
    threshold = Coalesce(F("low_balance_nanos"), Value(settings.LOW_BALANCE_BRL * BRL), output_field=BigIntegerField())
    wallets = Wallet.everywhere.annotate(threshold=threshold)
    # Over again: what was told no longer holds. A guarded update; a wallet that fell since is told anew, which is right.
    AlertState.everywhere.filter(
        Exists(wallets.filter(organization=OuterRef("organization"), posted_nanos__gte=F("threshold"))), low_told_at__isnull=False
    ).update(low_told_at=None)
    AlertState.everywhere.filter(
        Exists(wallets.filter(organization=OuterRef("organization"), posted_nanos__gte=EMPTY_NANOS)), empty_told_at__isnull=False
    ).update(empty_told_at=None)

    states = AlertState.everywhere.filter(organization=OuterRef("organization"))
    is_low = Q(posted_nanos__lt=F("threshold")) & ~Exists(states.filter(low_told_at__isnull=False))
    is_empty = Q(posted_nanos__lt=EMPTY_NANOS) & ~Exists(states.filter(empty_told_at__isnull=False))
    fell = wallets.filter(is_low | is_empty).filter(Exists(Lot.everywhere.filter(wallet=OuterRef("pk"))))
    return sum(_tell_balance(wallet_id) for wallet_id in fell.values_list("pk", flat=True))


@transaction.atomic
def _tell_balance(wallet_id: int) -> int:
    """One event at most: an empty wallet is low, too, but nobody needs to hear both."""
    organization_id = Wallet.everywhere.values_list("organization_id", flat=True).get(pk=wallet_id)
    state = _locked_state(organization_id)
    wallet = Wallet.everywhere.select_related("organization").get(pk=wallet_id)  # as it is now, under the state's lock
    now, threshold = clock.now(), threshold_of(wallet)
    is_empty = wallet.posted_nanos < EMPTY_NANOS and state.empty_told_at is None
    is_low = wallet.posted_nanos < threshold and state.low_told_at is None
    if not is_empty and not is_low:
        return 0
    if wallet.posted_nanos < threshold:
        state.low_told_at = state.low_told_at or now
    if is_empty:
        state.empty_told_at = now
    state.save(update_fields=["low_told_at", "empty_told_at"])
    type = "wallet.empty" if is_empty else "wallet.low_balance"
    payload = {"available": reais(wallet.available_nanos)} | ({} if is_empty else {"threshold": reais(threshold)})
    return _told(tell(wallet.organization, type, reference=f"{type}:{wallet.pk}:{now.isoformat()}", payload=payload))


def _locked_state(organization_id: int) -> AlertState:
    AlertState.everywhere.get_or_create(organization_id=organization_id)
    return AlertState.everywhere.select_for_update().get(organization_id=organization_id)


def _told(event: Event | None) -> int:
    return 0 if event is None else 1


# ── Budgets ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def watch_budgets() -> int:
    now = clock.now()
    windows = Q()
    for at in (now, now - dt.timedelta(hours=1)):  # a call of 23:59 settles after midnight
        for window in Budget.Window.values:
            windows |= Q(budget__window=window, starts_on=window_start(window, at))
    open_spends = BudgetSpend.everywhere.filter(windows, budget__is_active=True, budget__limit_nanos__gt=0, spent_nanos__gt=0)
    read = ("pk", "alerted_percent", "spent_nanos", "budget__limit_nanos", "budget__alert_percents", "budget__is_hard")
    moved = [pk for pk, alerted, *window in open_spends.values_list(*read) if percent_due(*window) != alerted]
    return sum(_tell_budget(pk) for pk in moved)


def percent_due(spent_nanos: int, limit_nanos: int, percents: list[int], is_hard: bool) -> int:
    """The highest of the percents to tell that a window has reached; 0: none. 100 is told of every hard budget."""
    wanted = {*percents, 100} if is_hard else {*percents}
    return max((percent for percent in wanted if 0 < percent * limit_nanos <= spent_nanos * 100), default=0)


@transaction.atomic
def _tell_budget(spend_id: int) -> int:
    # Settlements of the organization wait for this row while it is locked: nothing slow happens here.
    spend = BudgetSpend.everywhere.select_for_update(of=("self",)).select_related("budget__organization").get(pk=spend_id)
    budget = spend.budget
    percent = percent_due(spend.spent_nanos, budget.limit_nanos, budget.alert_percents, budget.is_hard)
    if percent == spend.alerted_percent:
        return 0
    BudgetSpend.everywhere.filter(pk=spend.pk).update(alerted_percent=percent)
    if percent < spend.alerted_percent:  # the limit was raised: the way to it begins again
        return 0
    payload = {
        "budget_id": budget.pk, "scope": budget.scope, "subject": name_subjects([budget])[budget.pk], "window": budget.window,
        "starts_on": spend.starts_on.isoformat(), "percent": percent, "spent": reais(spend.spent_nanos),
        "limit": reais(budget.limit_nanos), "is_hard": budget.is_hard,
    }  # fmt: skip
    type = "budget.exceeded" if budget.is_hard and percent >= 100 else "budget.threshold"
    reference = f"budget:{budget.pk}:{spend.starts_on}:{budget.limit_nanos}:{percent}"
    return _told(tell(budget.organization, type, reference=reference, payload=payload))


# ── Unusual spend ────────────────────────────────────────────────────────────────────────────────────────────────────
def usual_of(days: Iterable[int]) -> int | None:
    """The usual day, in nanos: the median of the days with spend among the USUAL_DAYS before today; None with fewer than
    USUAL_DAYS_MIN of them. Weekends without spend don't pull it down, and one wild day doesn't pull it up."""
    spent = sorted(nanos for nanos in days if nanos > 0)
    if len(spent) < USUAL_DAYS_MIN:
        return None
    middle = len(spent) // 2
    return spent[middle] if len(spent) % 2 else (spent[middle - 1] + spent[middle]) // 2


def watch_spend() -> int:
    """Tell of organizations whose day, as far as it went, is already far beyond a whole usual day."""
    today = clock.today_in_brazil()
    spent_today = dict(
        UsageDay.everywhere.filter(day=today)
        .values("organization_id").annotate(net=Sum("net_nanos")).filter(net__gt=UNUSUAL_MIN_NANOS)
        .values_list("organization_id", "net")
    )  # fmt: skip
    told_of = Event.everywhere.filter(reference__in=[_unusual_reference(pk, today) for pk in spent_today])
    ids = set(spent_today) - set(told_of.values_list("organization_id", flat=True))
    ids -= set(AlertChoice.everywhere.filter(organization__in=ids, watches_unusual=False).values_list("organization_id", flat=True))
    if not ids:
        return 0
    before: dict[int, list[int]] = defaultdict(list)
    rows = UsageDay.everywhere.filter(organization__in=ids, day__gte=today - dt.timedelta(days=USUAL_DAYS), day__lt=today)
    by_day = rows.values("organization_id", "day").annotate(net=Sum("net_nanos"))
    for organization_id, net in by_day.values_list("organization_id", "net"):
        before[organization_id].append(int(net))
    told = 0
    for organization in Organization.objects.filter(pk__in=ids):
        spent, usual = int(spent_today[organization.pk]), usual_of(before[organization.pk])
        if usual is None or spent <= UNUSUAL_TIMES * usual:
            continue
        payload = {"day": today.isoformat(), "spent": reais(spent), "usual": reais(usual)}
        told += _told(tell(organization, "usage.unusual", reference=_unusual_reference(organization.pk, today), payload=payload))
    return told


def _unusual_reference(organization_id: int, day: dt.date) -> str:
    return f"unusual:{organization_id}:{day}"


# ── Suspension ───────────────────────────────────────────────────────────────────────────────────────────────────────
def watch_suspensions() -> int:
    AlertState.everywhere.filter(organization__is_suspended=False, suspended_told_at__isnull=False).update(suspended_told_at=None)
    states = AlertState.everywhere.filter(organization=OuterRef("pk"), suspended_told_at__isnull=False)
    suspended = Organization.objects.filter(~Exists(states), is_suspended=True)
    return sum(_tell_suspension(pk) for pk in suspended.values_list("pk", flat=True))


@transaction.atomic
def _tell_suspension(organization_id: int) -> int:
    state = _locked_state(organization_id)
    organization = Organization.objects.get(pk=organization_id)
    if state.suspended_told_at is not None or not organization.is_suspended:
        return 0
    payload = {"reason": organization.suspended_reason}
    reference = f"suspended:{organization.pk}:{clock.now().isoformat()}"
    return _told(tell(organization, "organization.suspended", reference=reference, payload=payload))


LOOKS = (watch_balances, watch_budgets, watch_spend, watch_suspensions)
