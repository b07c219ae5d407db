"""The pages of budgets: limits with what is spent and reserved of them, and when they renew."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import MemberRequest, may, requires
from billing.budget_forms import BudgetForm, LimitForm
from billing.budgets import BudgetState, change_budget, set_budget, states_of, stop_budget
from billing.errors import BillingError
from billing.limits import effective_limits, key_limits
from billing.models import Budget

SCOPE_TEXTS = {
    Budget.Scope.ORGANIZATION: _("Todas as chamadas da empresa, somadas."),
    Budget.Scope.PROJECT: _("As chamadas das chaves de um projeto."),
    Budget.Scope.MEMBER: _("As chamadas de todas as chaves que uma pessoa criou."),
    Budget.Scope.KEY: _("As chamadas de uma chave."),
    Budget.Scope.TAG: _("As chamadas que levam uma etiqueta, de qualquer chave."),
}


@requires("usage.read")
@require_safe
def budgets(request: MemberRequest) -> HttpResponse:
    ours = list(Budget.objects.filter(is_active=True).order_by("pk"))
    order = list(Budget.Scope.values)
    states = sorted(states_of(ours), key=lambda state: (order.index(state.budget.scope), state.subject.lower(), state.budget.pk))
    context = {
        "nav": "orcamentos",
        "title": _("Orçamentos"),
        "states": states,
        "can_manage": may(request.membership, "budgets.manage"),
    }
    return render(request, "billing/budgets.html", context)


@requires("usage.read")
@require_safe
def limits(request: MemberRequest) -> HttpResponse:
    """What bounds the organization, beside its budgets: how fast it may call, how much it may top up at a time."""
    ours = request.membership.organization
    context = {
        "nav": "configuracoes",
        "title": _("Limites da empresa"),
        "limits": [limit for limit in effective_limits(ours) if not limit.is_inner],
        "keys": key_limits(ours),
    }
    return render(request, "billing/limits.html", context)


@requires("budgets.manage")
@require_http_methods(["GET", "POST"])
def create_budget(request: MemberRequest) -> HttpResponse:
    """`?de=project&quem=7`: of what scope, and of which subject where another page knows it."""
    ours = request.membership.organization
    asked = request.GET.get("de", "")
    scope = asked if asked in Budget.Scope.values else Budget.Scope.ORGANIZATION.value
    initial = {"subject": request.GET.get("quem", "")}
    form = BudgetForm(request.POST or None, organization=ours, scope=scope, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            set_budget(ours, by=request.user, window=form.cleaned_data["window"], **form.whose(), **form.terms())
        except BillingError as error:
            form.add_error(None, error.message)
        else:
            messages.success(request, _("Orçamento criado. Vale nas chamadas em até 2 segundos."))
            return redirect("budgets")
    context = {
        "nav": "orcamentos", "title": _("Novo orçamento"), "form": form, "scope": scope, "scopes": Budget.Scope.choices,
        "scope_text": SCOPE_TEXTS[Budget.Scope(scope)],
    }  # fmt: skip
    return render(request, "billing/budget_form.html", context)


@requires("budgets.manage")
@require_http_methods(["GET", "POST"])
def edit_budget(request: MemberRequest, budget_id: int) -> HttpResponse:
    budget = get_object_or_404(Budget.objects.filter(is_active=True), pk=budget_id)
    form = LimitForm(request.POST) if request.method == "POST" else LimitForm.of(budget)
    if request.method == "POST" and form.is_valid():
        try:
            if change_budget(budget, **form.terms()):
                messages.success(request, _("Orçamento alterado. Vale nas chamadas em até 2 segundos."))
            else:
                messages.error(request, _("Este orçamento foi encerrado."))
            return redirect("budgets")
        except BillingError as error:
            form.add_error(None, error.message)
    state: BudgetState
    [state] = states_of([budget])
    context = {"nav": "orcamentos", "title": _("Mudar o orçamento"), "form": form, "state": state}
    return render(request, "billing/budget_form.html", context)


@requires("budgets.manage")
@require_POST
def end_budget(request: MemberRequest, budget_id: int) -> HttpResponse:
    budget = get_object_or_404(Budget.objects, pk=budget_id)
    if stop_budget(budget):
        messages.success(request, _("Orçamento encerrado. As chamadas deixam de olhar para ele em até 2 segundos."))
    return redirect("budgets")
