"""What staff type before an act on money or prices."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.models import Organization
from billing.models import VolumePlan
from billing.money import format_brl, from_brl, to_brl
from billing.reais import read_reais
from tokia.clock import Month


class ReaisField(forms.CharField):
    """Reais with up to nine decimals as a person types them ("18,14"), kept as nanos."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, int):
            return f"{to_brl(value):f}".rstrip("0").rstrip(".").replace(".", ",")
        return value

    def clean(self, value: Any) -> int | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            nanos = from_brl(text.replace("R$", "").strip().replace(".", "").replace(",", ".") if "," in text else text.strip())
        except ValueError:
            raise ValidationError("Digite reais, como 18,14.") from None
        if nanos < 0:
            raise ValidationError("Um preço não é negativo.")
        return nanos


class ReasonForm(forms.Form):
    """An act on money in the admin: its reason is kept for ever."""

    reason = forms.CharField(label="Motivo", max_length=300, min_length=5, widget=forms.Textarea(attrs={"rows": 3}))


class AmountForm(ReasonForm):
    """A credit or debit by a person."""

    amount = forms.CharField(label="Valor em reais", max_length=20)

    def clean_amount(self) -> int:
        try:
            nanos = read_reais(self.cleaned_data["amount"])
        except ValueError:
            raise ValidationError("Digite um valor em reais, como 250,00.") from None
        if nanos <= 0:
            raise ValidationError("O valor precisa ser positivo.")
        return nanos


class GrantForm(AmountForm):
    """A bonus: promotional money, which may end."""

    expires_on = forms.DateField(
        label="Expira em (opcional)", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )


class RefundForm(AmountForm):
    """The part of a top-up that goes back."""

    def __init__(self, *args: Any, refundable_nanos: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refundable_nanos = refundable_nanos
        self.fields["reason"].max_length = 140  # type: ignore[attr-defined]
        self.fields["amount"].help_text = f"Disponível para devolução: {format_brl(refundable_nanos)}."

    def clean_amount(self) -> int:
        nanos = super().clean_amount()
        if nanos > self.refundable_nanos:
            raise ValidationError(f"No máximo {format_brl(self.refundable_nanos)}.")
        return nanos

    def clean_reason(self) -> str:
        reason: str = self.cleaned_data["reason"]
        if len(reason) > 140:
            raise ValidationError("No máximo 140 caracteres: o pagador lê este motivo.")
        return reason


class CreditForm(ReasonForm):
    """To whom an unmatched Pix belongs."""

    organization = forms.IntegerField(label="Número da empresa", min_value=1)


class PublishForm(forms.Form):
    """When a price version comes into force, and what another administrator should know where one must approve it."""

    effective_at = forms.DateTimeField(
        label="Vigente a partir de (vazio: agora)", required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M"],
    )  # fmt: skip
    is_emergency = forms.BooleanField(label="Emergência: aumentar sem o prazo de aviso", required=False)
    reason = forms.CharField(
        label="Motivo, para quem aprova", max_length=300, required=False, widget=forms.Textarea(attrs={"rows": 3})
    )


class DaysForm(forms.Form):
    """How far back to fetch quotations."""

    days = forms.IntegerField(label="Dias", min_value=1, max_value=3_660, initial=90)


class MonthField(forms.CharField):
    """A month as `<input type="month">` sends it, kept as a Month."""

    widget = forms.DateInput(attrs={"type": "month"})

    def clean(self, value: Any) -> Month | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            return Month(dt.date.fromisoformat(f"{text}-01"))
        except ValueError:
            raise ValidationError("Digite o mês como 2026-11.") from None


class ContractForm(forms.Form):
    """A negotiated plan, and its months."""

    organization = forms.ModelChoiceField(label="Empresa", queryset=Organization.objects.order_by("name"))
    plan = forms.ModelChoiceField(
        label="Plano (congelado)", queryset=VolumePlan.objects.filter(published_at__isnull=False).order_by("-id")
    )
    first_month = MonthField(label="Do mês")
    last_month = MonthField(label="Até o mês (vazio: até ser encerrado)", required=False)
    note = forms.CharField(label="Nota", max_length=300, required=False, widget=forms.Textarea(attrs={"rows": 2}))


class EndContractForm(ReasonForm):
    """The last month of a contract."""

    last_month = MonthField(label="Último mês (vazio: o quanto antes)", required=False)
