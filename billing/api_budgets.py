"""`/api/v1/budgets`: what may be spent in a day, a week or a month, and what is."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts.operations import ATOMIC, ApiCall, Resource, operation
from billing.api_money import Brl, Nanos, both
from billing.budgets import ALERTS_MAX, TAG_CHARACTERS_MAX, BudgetState, change_budget, set_budget, states_of, stop_budget
from billing.models import Budget
from billing.money import BRL
from tokia.manners import ID_MAX, ApiError, Flag, Integer, PageQuery, Shape, Text, page_of, page_shape

TAG = "Orçamentos"


class BudgetPatch(Shape):
    limit_brl = Brl(source="limit_nanos", help_text="Em reais, com ponto: `500.00`.")
    is_hard = Flag(required=False, help_text="true: recusa chamadas; false: só avisa.")
    alert_percents = serializers.ListField(
        child=Integer(min_value=1, max_value=100), required=False, max_length=ALERTS_MAX,
        help_text="Em que % do limite avisar, uma vez por período.",
    )  # fmt: skip
    example = {"limit_brl": "800.00"}


class BudgetBody(BudgetPatch):
    scope = serializers.ChoiceField(choices=Budget.Scope.choices, help_text="De quem é o limite.")
    subject_id = Integer(
        required=False, min_value=1, max_value=ID_MAX,
        help_text="O id do projeto, da chave ou da pessoa (`user_id`); sem ele para empresa e etiqueta.",
    )  # fmt: skip
    tag = Text(required=False, max_length=TAG_CHARACTERS_MAX, help_text="A etiqueta, com `scope` tag.")
    window = serializers.ChoiceField(choices=Budget.Window.choices, help_text="A semana começa na segunda.")
    example = {
        "scope": "project",
        "subject_id": 3,
        "window": "month",
        "limit_brl": "500.00",
        "is_hard": True,
        "alert_percents": [80],
    }


class BudgetAnswer(Shape):
    id = serializers.IntegerField(source="budget.pk")
    scope = serializers.ChoiceField(choices=Budget.Scope.choices, source="budget.scope")
    subject_id = serializers.SerializerMethodField(help_text="null para empresa e etiqueta.")
    subject = serializers.CharField(help_text="De quem é, em palavras; vazio: a empresa inteira.")
    window = serializers.ChoiceField(choices=Budget.Window.choices, source="budget.window")
    limit_brl, limit_nanos = Brl(source="budget.limit_nanos"), Nanos(source="budget.limit_nanos")
    is_hard = serializers.BooleanField(source="budget.is_hard")
    alert_percents = serializers.ListField(child=serializers.IntegerField(), source="budget.alert_percents")
    is_active = serializers.BooleanField(source="budget.is_active")
    starts_on = serializers.DateField(help_text="O primeiro dia do período atual.")
    renews_on = serializers.DateField(help_text="O dia em que o gasto volta a zero.")
    spent_brl, spent_nanos = Brl(source="spent_nanos", help_text="Gasto no período atual."), Nanos()
    held_brl, held_nanos = Brl(source="held_nanos", help_text="O que chamadas em andamento podem vir a custar."), Nanos()
    left_brl, left_nanos = Brl(source="left_nanos", help_text="O que ainda cabe."), Nanos()
    spent_percent = serializers.IntegerField()
    created_at = serializers.DateTimeField(source="budget.created_at")
    example = {
        "id": 4, "scope": "project", "subject_id": 3, "subject": "Atendimento", "window": "month", **both("limit", 500 * BRL),
        "is_hard": True, "alert_percents": [80], "is_active": True, "starts_on": "2026-11-01", "renews_on": "2026-12-01",
        **both("spent", 123_456_789_012), **both("held", BRL), **both("left", 375_543_210_988), "spent_percent": 24,
        "created_at": "2026-11-01T12:00:00Z",
    }  # fmt: skip

    def get_subject_id(self, state: BudgetState) -> int | None:
        return state.budget.subject_id or None


class BudgetQuery(PageQuery):
    scope = serializers.ChoiceField(required=False, choices=Budget.Scope.choices)
    is_active = serializers.BooleanField(required=False, default=True, help_text="false: só os encerrados.")


class BudgetsResource(Resource):
    @operation(
        "list_budgets", scope="budgets.read", tag=TAG, summary="Listar orçamentos",
        text="Com o gasto do período atual; do mais novo ao mais antigo.", query=BudgetQuery, answer=page_shape(BudgetAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        found = Budget.objects.filter(is_active=call.query["is_active"])
        if "scope" in call.query:
            found = found.filter(scope=call.query["scope"])
        page = page_of(found, call.query)
        return page | {"data": states_of(page["data"])}

    @operation(
        "create_budget", scope="budgets.write", tag=TAG, summary="Criar orçamento", status=201,
        text="Um por alvo e período: criar outro igual muda o que está em vigor. Começa contando o que o período já gastou.",
        body=BudgetBody, answer=BudgetAnswer, creates=ATOMIC,
    )  # fmt: skip
    def post(self, call: ApiCall) -> Any:
        return _state(set_budget(call.organization, by=call.caller.user, **call.body))


class BudgetResource(Resource):
    @operation(
        "get_budget", scope="budgets.read", tag=TAG, summary="Ver um orçamento", text="Com o gasto do período atual.",
        answer=BudgetAnswer, problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, budget_id: int) -> Any:
        return _state(_find(budget_id))

    @operation(
        "change_budget", scope="budgets.write", tag=TAG, summary="Mudar um orçamento",
        text="Outro limite, a partir da próxima chamada; o que foi gasto continua contando.",
        body=BudgetPatch, answer=BudgetAnswer, problems=(404, 409),
    )  # fmt: skip
    def patch(self, call: ApiCall, budget_id: int) -> Any:
        budget = _find(budget_id)
        kept = {name: call.body.get(name, getattr(budget, name)) for name in ("limit_nanos", "is_hard", "alert_percents")}
        if not change_budget(budget, **kept):
            raise ApiError(409, "Este orçamento foi encerrado. Crie outro.", code="budget_stopped")
        return _state(budget)


class BudgetStopResource(Resource):
    @operation(
        "stop_budget", scope="budgets.write", tag=TAG, summary="Encerrar um orçamento",
        text="Para sempre; as próximas chamadas não contam nele. Encerrar de novo não muda nada.",
        answer=BudgetAnswer, problems=(404,),
    )  # fmt: skip
    def post(self, call: ApiCall, budget_id: int) -> Any:
        budget = _find(budget_id)
        stop_budget(budget)
        return _state(budget)


def _find(budget_id: int) -> Budget:
    return get_object_or_404(Budget.objects, pk=budget_id)


def _state(budget: Budget) -> BudgetState:
    return states_of([budget])[0]
