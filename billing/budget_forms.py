"""What a person types about budgets."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization, Project, User
from billing.budgets import ALERTS_MAX, LIMIT_NANOS_MAX, LIMIT_NANOS_MIN, TAG_CHARACTERS_MAX, live_keys
from billing.figures import tell_typed
from billing.models import Budget
from billing.reais import read_reais

NOT_REAIS = _("Digite um valor em reais, como 250,00.")
NOT_LIMIT = _("O limite vai de R$ 0,01 a R$ 10.000.000,00.")


def read_limit(typed: str) -> int:
    """Nanos of a limit as a person types it. Raises ValidationError."""
    try:
        nanos = read_reais(typed)
    except ValueError:
        raise ValidationError(NOT_REAIS) from None
    if not LIMIT_NANOS_MIN <= nanos <= LIMIT_NANOS_MAX:
        raise ValidationError(NOT_LIMIT)
    return nanos


def reais_input() -> forms.TextInput:
    return forms.TextInput(attrs={"inputmode": "decimal", "placeholder": _("250,00"), "autocomplete": "off", "class": "num"})


class LimitForm(forms.Form):
    """How much, what happens there, and when people are told: all that changes of a budget in force."""

    limit = forms.CharField(label=_("Limite (R$)"), max_length=20, widget=reais_input())
    is_hard = forms.TypedChoiceField(
        label=_("Ao chegar no limite"), coerce=lambda value: value == "hard", initial="hard",
        choices=(("hard", _("Recusar chamadas")), ("soft", _("Só avisar"))),
        help_text=_("Recusar: cada chamada reserva o seu custo máximo antes de sair, e a que não cabe recebe 403 budget_exceeded."),
    )  # fmt: skip
    alerts = forms.CharField(
        label=_("Avisar em (%)"), max_length=40, required=False, initial="80, 100",
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "50, 80, 100"}),
        help_text=format_lazy(_("Percentuais do limite, até {count}. Cada um avisa uma vez por período."), count=ALERTS_MAX),
    )  # fmt: skip

    @classmethod
    def of(cls, budget: Budget) -> LimitForm:
        alerts = ", ".join(map(str, budget.alert_percents))
        return cls(
            initial={"limit": tell_typed(budget.limit_nanos), "is_hard": "hard" if budget.is_hard else "soft", "alerts": alerts}
        )

    def clean_limit(self) -> int:
        return read_limit(self.cleaned_data["limit"])

    def clean_alerts(self) -> list[int]:
        typed = re.split(r"[\s,;%]+", self.cleaned_data["alerts"].strip(" ,;%"))
        typed = [part for part in typed if part]
        if any(not re.fullmatch(r"\d{1,3}", part, re.ASCII) or not 1 <= int(part) <= 100 for part in typed):
            raise ValidationError(_("Use percentuais de 1 a 100, separados por vírgula."))
        alerts = sorted({int(part) for part in typed})
        if len(alerts) > ALERTS_MAX:
            raise ValidationError(_("Escolha até {count} avisos.").format(count=ALERTS_MAX))
        return alerts

    def terms(self) -> dict[str, Any]:
        """As `set_budget` and `change_budget` take them."""
        typed = self.cleaned_data
        return {"limit_nanos": typed["limit"], "is_hard": typed["is_hard"], "alert_percents": typed["alerts"]}


class BudgetForm(LimitForm):
    """A new budget of one scope: the page asks only for the subject that the scope has."""

    window = forms.ChoiceField(
        label=_("Período"), choices=Budget.Window.choices, initial=Budget.Window.MONTH,
        help_text=_("Renova à 0h, horário de Brasília: todo dia, toda segunda-feira ou no dia 1º."),
    )  # fmt: skip

    def __init__(self, *args: Any, organization: Organization, scope: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.organization, self.scope = organization, scope
        if scope == Budget.Scope.TAG:
            self.fields["tag"] = forms.CharField(
                label=_("Etiqueta"), max_length=TAG_CHARACTERS_MAX,
                widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "relatorios"}),
                help_text=_(
                    "Conta as chamadas que a levam: cabeçalho X-Tokia-Tags, tags ou metadata.tags."
                    " Letras sem acento, números ou . _ : / -."
                ),
            )  # fmt: skip
        elif (subjects := self._subjects()) is not None:
            label = Budget.Scope(scope).label
            empty = {"project": _("Escolha o projeto"), "member": _("Escolha a pessoa"), "key": _("Escolha a chave")}[scope]
            self.fields["subject"] = forms.ModelChoiceField(subjects, label=label, empty_label=empty)
        self.order_fields(["subject", "tag", "limit", "window", "is_hard", "alerts"])

    def _subjects(self) -> QuerySet[Any] | None:
        ours = self.organization
        if self.scope == Budget.Scope.PROJECT:
            return Project.everywhere.filter(organization=ours, archived_at=None).order_by(Lower("name"))
        if self.scope == Budget.Scope.KEY:
            return live_keys(ours).order_by(Lower("name"))
        if self.scope == Budget.Scope.MEMBER:
            return User.objects.filter(memberships__organization=ours).order_by(Lower("email"))
        return None

    def clean(self) -> dict[str, Any]:
        """A budget that is there already is changed on its own page, knowingly."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        same = Budget.everywhere.filter(organization=self.organization, is_active=True, window=cleaned["window"], **self.whose())
        if same.exists():
            raise ValidationError(_("Já existe um orçamento destes para este período. Mude o limite dele na lista."))
        return cleaned

    def whose(self) -> dict[str, Any]:
        """Its subject, as `set_budget` takes it."""
        chosen = self.cleaned_data.get("subject")
        tag = str(self.cleaned_data.get("tag", "")).strip()
        return {"scope": self.scope, "subject_id": chosen.pk if chosen else 0, "tag": tag}
