"""Budgets: what an organization, project, person, key or tag may spend in a day, a week or a month.

Calls are held from them by `billing/sql/budgets.sql`, in the wallet's transaction. Here they are made, changed, stopped and read.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext, gettext_noop, override

from accounts import audit
from accounts.models import ApiKey, Membership, Organization, Project, User
from billing.errors import BudgetRefused
from billing.ledger import call_function, call_table
from billing.models import Budget, BudgetSpend
from billing.money import BRL, CENTAVO, format_brl
from billing.windows import IN_PORTUGUESE, Cover, renews_on, window_start
from tokia import clock

LIMIT_NANOS_MIN = CENTAVO
LIMIT_NANOS_MAX = 10_000_000 * BRL
BUDGETS_MAX = 500  # in force, per organization
ALERTS_MAX = 5
ARCHIVED, REVOKED = gettext_noop("{name} (arquivado)"), gettext_noop("{name} (revogada)")
TAG_CHARACTERS_MAX = 64
TAG = re.compile(rf"[A-Za-z0-9._:/-]{{1,{TAG_CHARACTERS_MAX}}}")  # what a call may carry: a budget of another tag would never count


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget and its window as they stand."""

    budget: Budget
    subject: str  # whose it is, as people call it; empty for the whole organization
    starts_on: dt.date
    renews_on: dt.date
    spent_nanos: int
    held_nanos: int  # what calls under way may still come to

    @property
    def left_nanos(self) -> int:
        return max(0, self.budget.limit_nanos - self.spent_nanos - self.held_nanos)

    @property
    def spent_percent(self) -> int:
        """Of the limit, rounded down, so that 100 says that all is spent. May be more: soft ones, and calls that overshot."""
        return self.spent_nanos * 100 // self.budget.limit_nanos if self.budget.limit_nanos else 100

    @property
    def is_spent(self) -> bool:
        return self.spent_nanos >= self.budget.limit_nanos


@transaction.atomic
def set_budget(
    organization: Organization,
    *,
    by: User | None,
    scope: str,
    window: str,
    limit_nanos: int,
    subject_id: int = 0,
    tag: str = "",
    is_hard: bool = True,
    alert_percents: Sequence[int] = (80, 100),
) -> Budget:
    """The budget of a subject for a window: made, or changed where one is in force. It starts with what the window's days came to.

    Raises BudgetRefused: a limit, an alert, a window or a subject that can't be.
    """
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)  # one budget at a time
    tag = tag.strip()
    if window not in Budget.Window.values:
        raise BudgetRefused(gettext("Escolha dia, semana ou mês."))
    _check_subject(organization, scope=scope, subject_id=subject_id, tag=tag)
    alerts = _checked(limit_nanos, alert_percents)
    budget = Budget.everywhere.filter(
        organization=organization, scope=scope, subject_id=subject_id, tag=tag, window=window, is_active=True
    ).first()
    if budget is None:
        if Budget.everywhere.filter(organization=organization, is_active=True).count() >= BUDGETS_MAX:
            refusal = gettext("A empresa já tem {count} orçamentos em vigor. Encerre algum antes de criar outro.")
            raise BudgetRefused(refusal.format(count=BUDGETS_MAX))
        budget = Budget(organization=organization, scope=scope, subject_id=subject_id, tag=tag, window=window, created_by=by)
    budget.limit_nanos, budget.is_hard, budget.alert_percents = limit_nanos, is_hard, alerts
    budget.save()
    count_spends(organization)
    _forget_alerts(budget)
    _note("budget_set", budget)
    return budget


def _note(kind: str, budget: Budget) -> None:
    with override(settings.LANGUAGE_CODE):  # what is kept is Portuguese, whoever's page it was
        told = {"scope": budget.get_scope_display(), "window": budget.get_window_display(), "limit": format_brl(budget.limit_nanos)}
    audit.act(kind, organization=budget.organization, detail=told | {"budget": budget.pk})


@transaction.atomic
def change_budget(budget: Budget, *, limit_nanos: int, is_hard: bool, alert_percents: Sequence[int]) -> bool:
    """Another limit, from the next call on; what is spent stays. False where it was stopped meanwhile. Raises BudgetRefused."""
    alerts = _checked(limit_nanos, alert_percents)
    changed = Budget.everywhere.filter(pk=budget.pk, is_active=True).update(
        limit_nanos=limit_nanos, is_hard=is_hard, alert_percents=alerts
    )
    budget.refresh_from_db()
    _forget_alerts(budget)
    if changed:
        _note("budget_set", budget)
    return changed == 1


def _forget_alerts(budget: Budget) -> None:
    """What people were told of today's window counts for a higher limit only as far as it is reached again."""
    window = BudgetSpend.everywhere.filter(budget=budget, starts_on=window_start(budget.window, clock.now())).first()
    if window is not None:
        reached = window.spent_nanos * 100 // budget.limit_nanos
        BudgetSpend.everywhere.filter(pk=window.pk, alerted_percent__gt=reached).update(alerted_percent=reached)


def stop_budget(budget: Budget) -> bool:
    """Out of force for ever; calls under way still count in it. False where it was stopped before."""
    stopped = Budget.everywhere.filter(pk=budget.pk, is_active=True).update(is_active=False)
    budget.refresh_from_db()
    if stopped:
        _note("budget_ended", budget)
    return stopped == 1


def count_spends(organization: Organization) -> int:
    """Open today's windows of an organization's budgets and count what was spent in them again. How many windows that changed."""
    return int(call_function("billing_count_spends", organization.pk))


def count_all_spends() -> int:
    """The same wherever a window is not what its days came to. How many windows that changed. For a task."""
    rows = call_table(
        "SELECT DISTINCT x.organization_id FROM billing_budget x JOIN billing_budgetspend s ON s.budget_id = x.id"
        ' AND s.starts_on = billing_window_start(x."window", clock_timestamp())'
        " WHERE x.is_active AND s.spent_nanos <> billing_spent_of(x.id, s.starts_on)"
    )
    return sum(int(call_function("billing_count_spends", organization_id)) for (organization_id,) in rows)


def states_of(budgets: Iterable[Budget], *, at: dt.datetime | None = None) -> list[BudgetState]:
    """Budgets with their windows of now, in the order given. Few queries, whatever their number."""
    known, at = list(budgets), at or clock.now()
    starts = {budget.pk: window_start(budget.window, at) for budget in known}
    windows: dict[tuple[int, dt.date], tuple[int, int]] = {
        (budget_id, starts_on): (spent, held)
        for budget_id, starts_on, spent, held in BudgetSpend.everywhere.filter(
            budget__in=known, starts_on__in=set(starts.values())
        ).values_list("budget_id", "starts_on", "spent_nanos", "held_nanos")
    }
    unopened = [budget.pk for budget in known if (budget.pk, starts[budget.pk]) not in windows]
    if unopened:
        rows = call_table(
            "SELECT i.id, billing_spent_of(i.id, i.starts_on) FROM unnest(%s::bigint[], %s::date[]) AS i (id, starts_on)",
            unopened, [starts[pk] for pk in unopened],
        )  # fmt: skip
        windows |= {(pk, starts[pk]): (spent, 0) for pk, spent in rows}
    subjects = name_subjects(known, tell=gettext)
    return [
        BudgetState(
            budget=budget,
            subject=subjects[budget.pk],
            starts_on=starts[budget.pk],
            renews_on=renews_on(budget.window, starts[budget.pk]),
            spent_nanos=windows[budget.pk, starts[budget.pk]][0],
            held_nanos=windows[budget.pk, starts[budget.pk]][1],
        )
        for budget in known
    ]


def name_subjects(budgets: Collection[Budget], *, tell: Callable[[str], str] = str) -> dict[int, str]:
    """By the budget's id, the name of whose it is; empty for the whole organization. `tell` is a page's language; gateways and
    events have none."""
    ids: dict[str, set[int]] = defaultdict(set)
    for budget in budgets:
        ids[budget.scope].add(budget.subject_id)
    names: dict[tuple[str, int], str] = {}
    for project in Project.everywhere.filter(pk__in=ids[Budget.Scope.PROJECT]):
        names[Budget.Scope.PROJECT, project.pk] = (
            project.name if project.archived_at is None else tell(ARCHIVED).format(name=project.name)
        )
    for key in ApiKey.everywhere.filter(pk__in=ids[Budget.Scope.KEY]):
        names[Budget.Scope.KEY, key.pk] = key.name if key.status == ApiKey.Status.ACTIVE else tell(REVOKED).format(name=key.name)
    for user in User.objects.filter(pk__in=ids[Budget.Scope.MEMBER]):
        names[Budget.Scope.MEMBER, user.pk] = user.get_full_name()
    return {budget.pk: budget.tag or names.get((budget.scope, budget.subject_id), "") for budget in budgets}


def covers_of(organization_ids: Collection[int]) -> dict[int, tuple[Cover, ...]]:
    """The budgets in force by organization, for gateways' memory (`windows.covering` picks those of a call)."""
    budgets = list(Budget.everywhere.filter(organization__in=organization_ids, is_active=True).order_by("pk"))
    subjects = name_subjects(budgets)
    found: dict[int, list[Cover]] = defaultdict(list)
    for budget in budgets:
        found[budget.organization_id].append(
            Cover(
                id=budget.pk, scope=budget.scope, subject_id=budget.subject_id, tag=budget.tag, window=budget.window,
                limit_nanos=budget.limit_nanos, is_hard=budget.is_hard, label=tell_subject(budget.scope, subjects[budget.pk]),
            )
        )  # fmt: skip
    return {organization_id: tuple(covers) for organization_id, covers in found.items()}


def tell_subject(scope: str, subject: str) -> str:
    """Whose a budget is, within a sentence of Portuguese: 'projeto “Site”'."""
    return f"{IN_PORTUGUESE[scope]} “{subject}”" if subject else IN_PORTUGUESE[scope]


def live_keys(organization: Organization) -> QuerySet[ApiKey]:
    """Those that may have a budget of their own. The playground's have their person's."""
    return ApiKey.everywhere.filter(organization=organization, kind=ApiKey.Kind.MADE, status=ApiKey.Status.ACTIVE)


def _check_subject(organization: Organization, *, scope: str, subject_id: int, tag: str) -> None:
    if scope == Budget.Scope.TAG:
        if subject_id or not TAG.fullmatch(tag):
            refusal = gettext("Uma etiqueta tem até {count} letras sem acento, números ou . _ : / -.")
            raise BudgetRefused(refusal.format(count=TAG_CHARACTERS_MAX))
        return
    is_there = {
        Budget.Scope.ORGANIZATION: lambda: subject_id == 0,
        Budget.Scope.PROJECT: Project.everywhere.filter(organization=organization, pk=subject_id, archived_at=None).exists,
        Budget.Scope.KEY: live_keys(organization).filter(pk=subject_id).exists,
        Budget.Scope.MEMBER: Membership.everywhere.filter(organization=organization, user=subject_id).exists,
    }.get(Budget.Scope(scope) if scope in Budget.Scope.values else Budget.Scope.TAG)
    if is_there is None or tag or not is_there():
        raise BudgetRefused(gettext("Escolha na lista de quem é o orçamento."))


def _checked(limit_nanos: int, alert_percents: Sequence[int]) -> list[int]:
    if not LIMIT_NANOS_MIN <= limit_nanos <= LIMIT_NANOS_MAX:
        raise BudgetRefused(gettext("O limite vai de R$ 0,01 a R$ 10.000.000,00."))
    alerts = sorted(set(alert_percents))
    if len(alerts) > ALERTS_MAX or any(not 1 <= percent <= 100 for percent in alerts):
        raise BudgetRefused(gettext("Escolha até {count} avisos, de 1 a 100%.").format(count=ALERTS_MAX))
    return alerts
