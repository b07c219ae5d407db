"""What a person types about money."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from billing.money import BRL, format_brl, from_brl

CHIPS = (50, 100, 500, 1_000, 5_000)  # reais
OTHER = "outro"


def read_reais(text: str) -> int:
    """ "1.234,56", "R$ 500" or "500.00" as a person types it → nanos. Raises ValueError."""
    bare = re.sub(r"^R\$|\s", "", text.strip(), flags=re.IGNORECASE)
    if re.fullmatch(r"\d{1,3}(\.\d{3})*(,\d{1,2})?|\d{1,9}(,\d{1,2})?", bare, re.ASCII):
        return from_brl(bare.replace(".", "").replace(",", "."))
    if re.fullmatch(r"\d{1,9}\.\d{1,2}", bare, re.ASCII):
        return from_brl(bare)
    raise ValueError(text)


class TopUpForm(forms.Form):
    """A chip, or another amount. `cleaned_data["amount_nanos"]` holds the sum."""

    valor = forms.ChoiceField(label="Valor", required=False)
    outro = forms.CharField(
        label="Outro valor", required=False, max_length=20,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "placeholder": "250,00", "autocomplete": "off"}),
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["valor"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(str(chip), chip) for chip in allowed_chips()] + [(OTHER, OTHER)]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        chosen, typed = cleaned.get("valor") or OTHER, cleaned.get("outro") or ""
        try:
            cleaned["amount_nanos"] = read_reais(typed) if chosen == OTHER else int(chosen) * BRL
        except ValueError:
            self.add_error("outro", "Digite um valor em reais, como 250,00.")
        return cleaned


def allowed_chips() -> list[int]:
    return [chip for chip in CHIPS if settings.TOP_UP_MIN_BRL <= chip <= settings.TOP_UP_MAX_BRL]


class PaidForm(forms.Form):
    """ "Já paguei e não caiu": the end-to-end id of the payer's receipt, where they have it."""

    end_to_end_id = forms.RegexField(
        regex=r"^[a-zA-Z0-9]{32}$", label="ID da transação (E2E)", required=False, strip=True,
        error_messages={"invalid": "O ID tem 32 letras e números e começa com E."},
        help_text="Está no comprovante do seu banco e começa com E.",
    )  # fmt: skip


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
