"""What a person may type about alerts. The rules are `billing.alert_choices`'."""

from __future__ import annotations

import re

from django import forms
from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from accounts.models import Role
from billing.alert_choices import EXTRA_EMAILS_MAX, READER_ROLES
from billing.events import KINDS
from billing.figures import tell_brl
from billing.models import AlertChoice, Wallet
from billing.money import BRL
from billing.reais import read_reais

_PLURALS = {Role.OWNER: _("Donos"), Role.ADMIN: _("Administradores"), Role.FINANCE: _("Financeiro")}


class AlertForm(forms.Form):
    low_balance = forms.CharField(
        label=_("Avisar quando o saldo ficar abaixo de"), required=False, max_length=20,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )  # fmt: skip
    watches_unusual = forms.BooleanField(label=_("Avisar quando o gasto do dia fugir do comum"), required=False)
    roles = forms.MultipleChoiceField(
        label=_("Quem recebe os e-mails"), required=False, choices=[(role.value, _PLURALS[role]) for role in READER_ROLES],
        widget=forms.CheckboxSelectMultiple,
    )  # fmt: skip
    extra_emails = forms.CharField(
        label=_("Outros e-mails"), required=False, max_length=1_500, widget=forms.Textarea(attrs={"rows": 2}),
        help_text=format_lazy(_("Até {count}, separados por vírgula ou um por linha."), count=EXTRA_EMAILS_MAX),
    )  # fmt: skip
    mailed_kinds = forms.MultipleChoiceField(
        label=_("E-mails que enviamos"), required=False,
        choices=[(kind, _(name)) for kind, (name, may_mute) in KINDS.items() if may_mute],
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Mudanças de preço e a suspensão da conta são sempre avisadas. O painel mostra todos os avisos."),
    )  # fmt: skip

    @classmethod
    def of(cls, wallet: Wallet, choice: AlertChoice) -> AlertForm:
        low = settings.LOW_BALANCE_BRL * BRL if wallet.low_balance_nanos is None else wallet.low_balance_nanos
        return cls(
            initial={
                "low_balance": tell_brl(low).removeprefix("R$\u00a0"),
                "watches_unusual": choice.watches_unusual,
                "roles": choice.roles,
                "extra_emails": "\n".join(choice.extra_emails),
                "mailed_kinds": [kind for kind in KINDS if kind not in choice.muted_kinds],
            }
        )

    def clean_low_balance(self) -> int | None:
        """Nanos; nothing typed: the usual amount."""
        typed = str(self.cleaned_data["low_balance"])
        if not typed.strip():
            return None
        try:
            return read_reais(typed)
        except ValueError:
            raise forms.ValidationError(_("Digite um valor em reais, como 50,00. Com 0 não avisamos.")) from None

    def clean_extra_emails(self) -> list[str]:
        return [email for email in re.split(r"[\s,;]+", str(self.cleaned_data["extra_emails"])) if email]

    def muted_kinds(self) -> list[str]:
        return [kind for kind in KINDS if kind not in self.cleaned_data["mailed_kinds"]]
