"""What customers type about promotional money, and what staff type before they give it or change its rules."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from billing.admin_forms import AmountForm, ReasonForm
from billing.models import PromotionRules
from billing.money import to_brl
from billing.reais import read_reais

DAY = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


class CodeForm(forms.Form):
    """A coupon, or the code of who referred us."""

    codigo = forms.CharField(label=_("Código"), max_length=40, strip=True, error_messages={"required": _("Digite o código.")})


class CouponForm(AmountForm):
    """A new coupon."""

    code = forms.CharField(
        label="Código (vazio: um que ninguém adivinha)", max_length=30, required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "characters"}),
    )  # fmt: skip
    spend_within_days = forms.IntegerField(
        label="Gastar em quantos dias (vazio: não expira)", required=False, min_value=1, max_value=3_650
    )
    valid_until = forms.DateField(label="Resgatar até o fim do dia (vazio: sem prazo)", required=False, widget=DAY)
    redemptions_max = forms.IntegerField(label="Resgates no máximo (vazio: sem limite)", required=False, min_value=1)
    is_for_new_only = forms.BooleanField(label="Só para novas empresas (que nunca recarregaram)", required=False)


class RulesForm(ReasonForm):
    """All rules at once, as they stand."""

    welcome_is_on = forms.BooleanField(
        label="Bônus de boas-vindas ligado (vale para empresas abertas a partir de agora)", required=False
    )
    welcome_nanos = forms.CharField(label="Boas-vindas: valor em reais", max_length=20)
    welcome_days = forms.IntegerField(label="Boas-vindas: gastar em quantos dias", min_value=1, max_value=3_650)
    referral_is_on = forms.BooleanField(label="Indicações ligadas", required=False)
    referral_nanos = forms.CharField(label="Indicação: valor em reais, para cada lado", max_length=20)
    referral_days = forms.IntegerField(label="Indicação: gastar em quantos dias", min_value=1, max_value=3_650)
    referral_top_up_min_nanos = forms.CharField(label="Indicação: recarga mínima da indicada, em reais", max_length=20)
    referral_wait_days = forms.IntegerField(
        label="Indicação: dias de espera depois da recarga (0: na hora)", min_value=0, max_value=90,
        help_text="Com 7, o bônus só sai depois do prazo em que a recarga pode ser devolvida com um clique.",
    )  # fmt: skip
    referral_monthly_max = forms.IntegerField(label="Indicação: pagas por mês, por empresa", min_value=0, max_value=10_000)

    @classmethod
    def initial_of(cls, rules: PromotionRules) -> dict[str, Any]:
        initial = {name: getattr(rules, name) for name in cls.base_fields if name != "reason"}
        return {name: _typed(value) if name.endswith("_nanos") else value for name, value in initial.items()}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in ("welcome_nanos", "referral_nanos", "referral_top_up_min_nanos"):
            if name not in cleaned:
                continue
            try:
                cleaned[name] = read_reais(cleaned[name])
            except ValueError:
                self.add_error(name, ValidationError("Digite um valor em reais, como 25,00."))
        return cleaned


def _typed(nanos: int) -> str:
    return f"{to_brl(nanos):.2f}".replace(".", ",")
