"""What a customer types about a top-up."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.money import BRL
from billing.reais import read_reais
from billing.top_ups import Bounds

CHIPS = (50, 100, 500, 1_000, 5_000)  # reais
OTHER = "outro"


class TopUpForm(forms.Form):
    """A chip, or another amount. `cleaned_data["amount_nanos"]` holds the sum."""

    valor = forms.ChoiceField(label=_("Valor"), required=False)
    outro = forms.CharField(
        label=_("Outro valor"), required=False, max_length=20,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "placeholder": _("250,00"), "autocomplete": "off"}),
    )  # fmt: skip

    def __init__(self, *args: Any, bounds: Bounds, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["valor"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(str(chip), chip) for chip in allowed_chips(bounds)] + [(OTHER, OTHER)]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        chosen, typed = cleaned.get("valor") or OTHER, cleaned.get("outro") or ""
        try:
            cleaned["amount_nanos"] = read_reais(typed) if chosen == OTHER else int(chosen) * BRL
        except ValueError:
            self.add_error("outro", _("Digite um valor em reais, como 250,00."))
        return cleaned


def allowed_chips(bounds: Bounds) -> list[int]:
    return [chip for chip in CHIPS if bounds.min_nanos <= chip * BRL <= bounds.max_nanos]


class PaidForm(forms.Form):
    """ "Já paguei e não caiu": the end-to-end id of the payer's receipt, where they have it."""

    end_to_end_id = forms.RegexField(
        regex=r"^[a-zA-Z0-9]{32}$", label=_("ID da transação (E2E)"), required=False, strip=True,
        error_messages={"invalid": _("O ID tem 32 letras e números e começa com E.")},
        help_text=_("Está no comprovante do seu banco e começa com E."),
    )  # fmt: skip


class RefundForm(forms.Form):
    """How much of a top-up goes back. `pedido` is minted with the page: the same page sent twice is one refund."""

    valor = forms.CharField(
        label=_("Quanto devolver"), max_length=20,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off", "class": "num"}),
    )  # fmt: skip
    pedido = forms.UUIDField(widget=forms.HiddenInput)

    def clean_valor(self) -> int:
        try:
            nanos = read_reais(self.cleaned_data["valor"])
        except ValueError:
            raise forms.ValidationError(_("Digite um valor em reais, como 250,00.")) from None
        if nanos <= 0:
            raise forms.ValidationError(_("O valor precisa ser positivo."))
        return nanos
