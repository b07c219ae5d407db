"""Customers' budgets, to look at: they make, change and stop them on their own pages."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from billing.admin_parts import LookOnly, LookOnlyInline, money_column
from billing.budgets import name_subjects
from billing.models import Budget, BudgetSpend


class SpendInline(LookOnlyInline):
    model = BudgetSpend
    verbose_name_plural = "períodos"
    fields = readonly_fields = ("starts_on", "spent", "held", "alerted_percent")
    ordering = ("-starts_on",)
    show_change_link = False

    spent = money_column("spent_nanos", "gasto")
    held = money_column("held_nanos", "reservado")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BudgetSpend]:
        rows: QuerySet[BudgetSpend] = super().get_queryset(request)
        return rows.order_by("-starts_on")


@admin.register(Budget)
class BudgetAdmin(LookOnly):
    list_display = ("organization", "scope", "subject", "window", "limit", "is_hard", "is_active", "created_at")
    list_filter = ("scope", "window", "is_hard", "is_active")
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__tax_id", "tag")
    ordering = ("-id",)
    fields = (
        "organization", "scope", "subject", "window", "limit", "is_hard", "alert_percents", "is_active", "created_by", "created_at",
    )  # fmt: skip
    readonly_fields = fields
    inlines = (SpendInline,)

    limit = money_column("limit_nanos", "limite")

    @display(description="de quem")  # type: ignore[untyped-decorator]
    def subject(self, budget: Budget) -> str:
        return name_subjects([budget])[budget.pk] or "—"
