"""What an organization allows itself to spend in a day, a week or a month.

Only the SQL functions of `billing/sql/` write BudgetSpend.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization, User
from accounts.tenancy import TenantManager


def default_alerts() -> list[int]:
    return [80, 100]


class Budget(models.Model):
    """A limit in nano-reais on what the calls of a subject come to (net) within a window of America/Sao_Paulo.

    A hard one is held with every call, in the same transaction as the wallet: calls that run can't outrun it. A soft one tells.
    """

    class Scope(models.TextChoices):
        ORGANIZATION = "organization", _("Empresa inteira")
        PROJECT = "project", _("Projeto")
        MEMBER = "member", _("Pessoa")  # all keys that the person made
        KEY = "key", _("Chave")
        TAG = "tag", _("Etiqueta")  # calls that carry it

    class Window(models.TextChoices):
        DAY = "day", _("Por dia")
        WEEK = "week", _("Por semana")  # from Monday
        MONTH = "month", _("Por mês")

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="budgets", verbose_name="empresa")
    scope = models.CharField("limita", max_length=12, choices=Scope.choices)
    subject_id = models.BigIntegerField("de quem", default=0)  # of the Project, User or ApiKey; 0 for organization and tag
    tag = models.CharField("etiqueta", max_length=64, blank=True)
    window = models.CharField("período", max_length=5, choices=Window.choices)
    limit_nanos = models.BigIntegerField("limite")
    is_hard = models.BooleanField("recusa chamadas", default=True)  # else it only tells
    # Hundredths of the limit at which people are told, once per window.
    alert_percents = ArrayField(models.PositiveSmallIntegerField(), default=default_alerts, blank=True, verbose_name="avisos (%)")
    is_active = models.BooleanField("em vigor", default=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="criado por")
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    objects = TenantManager["Budget"]()
    everywhere: ClassVar[models.Manager[Budget]] = models.Manager()

    class Meta:
        verbose_name = "orçamento"
        verbose_name_plural = "orçamentos"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.CheckConstraint(condition=Q(limit_nanos__gte=0), name="budget_limit_not_negative"),
            models.CheckConstraint(condition=Q(scope="tag") ^ Q(tag=""), name="budget_tag_where_by_tag"),
            models.UniqueConstraint(
                fields=["organization", "scope", "subject_id", "tag", "window"], condition=Q(is_active=True), name="budget_once"
            ),
        ]


class BudgetSpend(models.Model):
    """A budget's window: what its calls came to, and what those under way may. Opened with what the day's rollups know of it."""

    budget = models.ForeignKey(Budget, models.CASCADE, related_name="spends", verbose_name="orçamento")
    starts_on = models.DateField("desde")  # the window's first day
    spent_nanos = models.BigIntegerField("gasto", default=0)
    held_nanos = models.BigIntegerField("reservado", default=0)
    alerted_percent = models.PositiveSmallIntegerField("avisado em (%)", default=0)  # the highest that people were told

    objects = TenantManager["BudgetSpend"]("budget__organization")
    everywhere: ClassVar[models.Manager[BudgetSpend]] = models.Manager()

    class Meta:
        verbose_name = "gasto de orçamento"
        verbose_name_plural = "gastos de orçamentos"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint(fields=["budget", "starts_on"], name="budget_spend_once"),
            models.CheckConstraint(condition=Q(held_nanos__gte=0) & Q(spent_nanos__gte=0), name="budget_spend_not_negative"),
        ]
