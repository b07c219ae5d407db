"""What a person may type on the pages of notas fiscais."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.formats import get_format
from django.utils.translation import gettext_lazy as _

from invoices.models import FiscalProfile

PERCENT_MAX = 100


class Percent(forms.DecimalField):
    """`1,5` typed, hundredths of a percent here."""

    def __init__(self, **given: Any) -> None:
        given |= {"required": False, "min_value": 0, "max_value": PERCENT_MAX, "max_digits": 5, "decimal_places": 2}
        super().__init__(widget=forms.TextInput, **given)
        self.widget.attrs.update({"inputmode": "decimal", "placeholder": "0"})

    def to_python(self, value: Any) -> Any:
        """A comma is a comma in every language: Django's own reading of an English page would make 15 of `1,5`."""
        return super().to_python(value.replace(",", ".") if isinstance(value, str) else value)

    def clean(self, value: Any) -> int:
        percent = super().clean(value)
        return int(percent * 100) if percent is not None else 0


class FiscalForm(forms.Form):
    """The tomador's wishes (`FiscalProfile`). A withholding is a field of the document: it moves no money of the wallet."""

    accountant_email = forms.EmailField(
        label=_("E-mail da contabilidade"), required=False, max_length=254, help_text=_("Recebe cada nota, com XML e PDF.")
    )
    purchase_number = forms.CharField(
        label=_("Número do pedido de compra"),
        required=False,
        max_length=60,
        help_text=_("Vai escrito na nota, se a sua empresa pede."),
    )
    withholds_iss = forms.BooleanField(label=_("Retemos o ISS"), required=False)
    pis_cofins_withheld = forms.BooleanField(label=_("Retemos PIS e COFINS"), required=False)
    irrf_bps = Percent(label=_("IRRF retido (%)"))
    csll_bps = Percent(label=_("CSLL retida (%)"))

    @classmethod
    def of(cls, profile: FiscalProfile | None) -> FiscalForm:
        if profile is None:
            return cls()
        initial = {name: getattr(profile, name) for name in cls.base_fields}
        point = get_format("DECIMAL_SEPARATOR")
        for name in ("irrf_bps", "csll_bps"):
            initial[name] = f"{initial[name] // 100}{point}{initial[name] % 100:02d}" if initial[name] else None
        return cls(initial=initial)
