"""What a person may type for a new key."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.forms import KeyForm
from billing.budget_forms import read_limit, reais_input
from billing.models import Budget
from tokia import clock

ON_A_DAY = "data"


class NewKeyForm(KeyForm):
    """A new key with, if wanted, what it may spend in a day, a week or a month, and a last day of its own."""

    spend_limit = forms.CharField(
        label=_("Limite de gasto (R$)"),
        max_length=20,
        required=False,
        widget=reais_input(),
        help_text=_("Vazio: sem limite próprio."),
    )
    limit_window = forms.ChoiceField(
        label=_("O limite vale"), choices=Budget.Window.choices, initial=Budget.Window.MONTH, required=False,
        help_text=_("Renova à 0h, horário de Brasília."),
    )  # fmt: skip
    expires_on = forms.DateField(
        label=_("Último dia"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text=_("A chave vale até o fim deste dia, horário de Brasília."),
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["expires_in"].choices = [*self.EXPIRIES, (ON_A_DAY, _("Em uma data"))]  # type: ignore[attr-defined]

    def clean_spend_limit(self) -> int | None:
        typed = self.cleaned_data["spend_limit"]
        return read_limit(typed) if typed else None

    def clean_limit_window(self) -> str:
        return self.cleaned_data["limit_window"] or Budget.Window.MONTH

    def clean(self) -> dict[str, Any]:
        typed: dict[str, Any] = super().clean() or {}
        last_on = typed.get("expires_on")
        if typed.get("expires_in") == ON_A_DAY and "expires_on" not in self.errors:
            if last_on is None:
                self.add_error("expires_on", ValidationError(_("Escolha o último dia da chave.")))
            elif last_on < clock.today_in_brazil():
                self.add_error("expires_on", ValidationError(_("Escolha hoje ou um dia depois de hoje.")))
        return typed

    def expires_at(self) -> dt.datetime | None:
        if self.cleaned_data["expires_in"] != ON_A_DAY:
            return super().expires_at()
        return dt.datetime.combine(self.cleaned_data["expires_on"] + dt.timedelta(days=1), dt.time(), clock.SAO_PAULO)
