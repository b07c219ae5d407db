"""What staff type before an act on money or prices."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from billing.money import format_brl
from billing.reais import read_reais


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
    """When a price version comes into force."""

    effective_at = forms.DateTimeField(
        label="Vigente a partir de (vazio: agora)", required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M"],
    )  # fmt: skip
