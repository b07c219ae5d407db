"""What a person may type on the pages of notas fiscais."""

from __future__ import annotations

from typing import Any

from django import forms

from invoices.models import FiscalProfile

PERCENT_MAX = 100


class Percent(forms.DecimalField):
    """`1,5` typed, hundredths of a percent here."""

    def __init__(self, **given: Any) -> None:
        super().__init__(required=False, min_value=0, max_value=PERCENT_MAX, max_digits=5, decimal_places=2, localize=True, **given)
        self.widget.attrs.update({"inputmode": "decimal", "placeholder": "0"})

    def clean(self, value: Any) -> int:
        percent = super().clean(value)
        return int(percent * 100) if percent is not None else 0


class FiscalForm(forms.Form):
    """The tomador's wishes (`FiscalProfile`). A withholding is a field of the document: it moves no money of the wallet."""

    accountant_email = forms.EmailField(
        label="E-mail da contabilidade", required=False, max_length=254, help_text="Recebe cada nota, com XML e PDF."
    )
    purchase_number = forms.CharField(
        label="Número do pedido de compra", required=False, max_length=60, help_text="Vai escrito na nota, se a sua empresa pede."
    )
    withholds_iss = forms.BooleanField(label="Retemos o ISS", required=False)
    pis_cofins_withheld = forms.BooleanField(label="Retemos PIS e COFINS", required=False)
    irrf_bps = Percent(label="IRRF retido (%)")
    csll_bps = Percent(label="CSLL retida (%)")

    @classmethod
    def of(cls, profile: FiscalProfile | None) -> FiscalForm:
        if profile is None:
            return cls()
        initial = {name: getattr(profile, name) for name in cls.base_fields}
        for name in ("irrf_bps", "csll_bps"):
            initial[name] = f"{initial[name] // 100},{initial[name] % 100:02d}" if initial[name] else None
        return cls(initial=initial)
