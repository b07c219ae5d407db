"""The pages of projects: what each spent, its keys, its budgets, its usage. Readable by everybody in the organization."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.db.models import Count, Q
from django.db.models.functions import Lower
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.errors import AccountsError
from accounts.models import ApiKey, Project
from accounts.projects import archive_project, create_project, move_key, rename_project, restore_project
from accounts.roles import MemberRequest, may, requires
from billing import usage_sums
from billing.budgets import BudgetState, live_keys, states_of
from billing.key_views import rows_of
from billing.models import Budget
from billing.periods import CHOICES, read_period
from billing.spending import Spent, spent_by_project
from billing.usage_sums import UsageFilter, UsageLine


@dataclass(frozen=True, slots=True)
class ProjectRow:
    project: Project
    live_keys: int
    spent: Spent
    budgets: list[BudgetState]


@dataclass(frozen=True, slots=True)
class ShareLine:
    """A line of usage with its share of all, in hundredths of a percent."""

    line: UsageLine
    share_bps: int


@requires("usage.read")
@require_safe
def projects(request: MemberRequest) -> HttpResponse:
    live = Count("api_keys", filter=Q(api_keys__status=ApiKey.Status.ACTIVE))
    ours = list(Project.objects.annotate(live_keys=live).order_by(Lower("name")))
    spent, budgets = spent_by_project(), _budgets_of(ours)
    rows = [ProjectRow(project, project.live_keys, spent.get(project.pk, Spent()), budgets[project.pk]) for project in ours]
    context = {
        "nav": "projetos",
        "title": _("Projetos"),
        "rows": [row for row in rows if row.project.archived_at is None],
        "archived": [row for row in rows if row.project.archived_at is not None],
        "without": spent.get(0, Spent()),
        "keys_without": live_keys(request.membership.organization).filter(project=None).count(),
        "can_manage": may(request.membership, "projects.manage"),
    }
    return render(request, "billing/projects.html", context)


def _budgets_of(projects_: Iterable[Project]) -> dict[int, list[BudgetState]]:
    found: dict[int, list[BudgetState]] = defaultdict(list)
    ours = Budget.objects.filter(scope=Budget.Scope.PROJECT, is_active=True, subject_id__in=[project.pk for project in projects_])
    for state in states_of(ours.order_by("pk")):
        found[state.budget.subject_id].append(state)
    return found


@requires("usage.read")
@require_safe
def project(request: MemberRequest, project_id: int) -> HttpResponse:
    found = get_object_or_404(Project.objects.select_related("created_by"), pk=project_id)
    period = read_period(request.GET)
    by_route, by_day = (
        usage_sums.usage_by(group, first_on=period.first_on, last_on=period.last_on, only=UsageFilter(project_id=found.pk))
        for group in ("route", "day")
    )
    net = sum(line.net_nanos for line in by_route)
    can_manage = may(request.membership, "projects.manage")
    inside = ApiKey.objects.filter(project=found).select_related("created_by", "project").order_by("status", "-id")
    outside = live_keys(found.organization).exclude(project=found).select_related("project")
    context = {
        "nav": "projetos",
        "title": found.name,
        "project": found,
        "spent": spent_by_project().get(found.pk, Spent()),
        "key_rows": rows_of(list(inside)),
        "outside": outside.order_by(Lower("name")) if can_manage and found.archived_at is None else [],
        "states": _budgets_of([found])[found.pk],
        "period": period,
        "period_choices": CHOICES,
        "by_route": [ShareLine(line, line.net_nanos * 10_000 // net if net else 0) for line in by_route],
        "by_day": by_day[::-1],  # newest first
        "net_nanos": net,
        "calls": sum(line.calls for line in by_route),
        "can_manage": can_manage,
        "can_see_keys": may(request.membership, "keys.manage"),
        "can_budget": may(request.membership, "budgets.manage"),
    }
    return render(request, "billing/project.html", context)


@requires("projects.manage")
@require_POST
def add_project(request: MemberRequest) -> HttpResponse:
    try:
        made = create_project(request.membership.organization, by=request.user, name=request.POST.get("name", ""))
    except AccountsError as error:
        messages.error(request, error.message)
        return redirect("projects")
    messages.success(request, _("Projeto “{name}” criado.").format(name=made.name))
    return redirect("project", made.pk)


@requires("projects.manage")
@require_POST
def rename(request: MemberRequest, project_id: int) -> HttpResponse:
    found = get_object_or_404(Project.objects.select_related("organization"), pk=project_id)
    try:
        rename_project(found, name=request.POST.get("name", ""))
    except AccountsError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, _("Nome alterado."))
    return redirect("project", found.pk)


@requires("projects.manage")
@require_POST
def archive(request: MemberRequest, project_id: int) -> HttpResponse:
    found = get_object_or_404(Project.objects, pk=project_id)
    if request.POST.get("typed", "").strip() != found.name:
        messages.error(request, _("O nome digitado é outro. O projeto continua ativo."))
    elif archive_project(found):
        messages.success(
            request,
            _("Projeto “{name}” arquivado. As chamadas com as chaves dele param em até 2 segundos.").format(name=found.name),
        )
    return redirect("project", found.pk)


@requires("projects.manage")
@require_POST
def restore(request: MemberRequest, project_id: int) -> HttpResponse:
    found = get_object_or_404(Project.objects.select_related("organization"), pk=project_id)
    try:
        if restore_project(found):
            messages.success(
                request, _("Projeto “{name}” de volta. As chaves dele voltam a servir em até 2 segundos.").format(name=found.name)
            )
    except AccountsError as error:
        messages.error(request, error.message)
    return redirect("project", found.pk)


@requires("projects.manage")
@require_POST
def take_key(request: MemberRequest, project_id: int) -> HttpResponse:
    """Moves one of the organization's keys into the project."""
    found = get_object_or_404(Project.objects, pk=project_id)
    asked = request.POST.get("key", "")
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 19 else 0
    key = get_object_or_404(ApiKey.objects.filter(kind=ApiKey.Kind.MADE).select_related("organization"), pk=number)
    try:
        if move_key(key, project=found):
            messages.success(
                request, _("Chave “{name}” movida. As próximas chamadas dela contam neste projeto.").format(name=key.name)
            )
        else:
            messages.error(request, _("A chave “{name}” foi revogada.").format(name=key.name))
    except AccountsError as error:
        messages.error(request, error.message)
    return redirect("project", found.pk)
