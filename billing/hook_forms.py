"""What a person may type about webhooks. The rules are `billing.hooks`'."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.event_texts import LABELS
from billing.hooks import NAME_MAX, TYPES
from billing.models import Hook
from tokia.errors import TokiaError
from tokia.outbound import URL_MAX


class HookForm(forms.Form):
    url = forms.CharField(
        label=_("Endereço"), max_length=URL_MAX,
        widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off", "placeholder": "https://api.suaempresa.com.br/tokia"}),
        help_text=_("Público, com https, na porta 443. Só uma resposta 2xx em até 15 segundos conta como recebida."),
    )  # fmt: skip
    name = forms.CharField(
        label=_("Nome"), required=False, max_length=NAME_MAX,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": _("ERP, Slack, planilha")}),
    )  # fmt: skip
    types = forms.MultipleChoiceField(
        label=_("Avisos"), required=False, choices=[(type, _(LABELS[type])) for type in TYPES], widget=forms.CheckboxSelectMultiple,
        help_text=_("Sem nenhum marcado, enviamos todos, inclusive os que criarmos depois."),
    )  # fmt: skip

    @classmethod
    def of(cls, hook: Hook) -> HookForm:
        return cls(initial={"url": hook.url, "name": hook.name, "types": hook.types})

    def refuse(self, refusal: TokiaError) -> None:
        self.add_error(refusal.param if refusal.param in self.fields else None, refusal.message)
