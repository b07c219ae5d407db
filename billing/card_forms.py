"""What a customer types about cards: a top-up by card, an automatic top-up."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from billing.figures import tell_typed
from billing.forms import TopUpForm
from billing.models import AutoTopUp, Card
from billing.money import BRL
from billing.reais import read_reais

NEW_CARD, PIX = "novo", "pix"


class CardTopUpForm(TopUpForm):
    """An amount, and a saved card, another one, or a Pix by Stripe. `pedido` makes two clicks one payment."""

    como = forms.ChoiceField(label=_("Como pagar"))
    guardar = forms.BooleanField(label=_("Salvar este cartão para as próximas recargas"), required=False)
    pedido = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, cards: Sequence[Card], has_pix: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ways = [(str(card.pk), str(card)) for card in cards] + [(NEW_CARD, _("Outro cartão") if cards else _("Cartão"))]
        field = self.fields["como"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [*ways, *([(PIX, _("PIX pela Stripe"))] if has_pix else [])]
        self.first = ways[0][0]

    @property
    def first_way(self) -> str:
        """The chosen one, else the default card, else another."""
        return str(self.data.get("como") or self.first)


def new_request_id() -> str:
    return str(uuid.uuid4())


class ReaisField(forms.CharField):
    """ "1.234,56" → nanos, above zero."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off", "class": "num"})
        super().__init__(max_length=20, widget=widget, **kwargs)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            nanos = read_reais(text)
        except ValueError:
            raise ValidationError(_("Digite um valor em reais, como 250,00.")) from None
        if nanos <= 0:
            raise ValidationError(_("O valor precisa ser maior que zero."))
        return nanos


class AutoTopUpForm(forms.Form):
    """Money fields hold nanos."""

    threshold = ReaisField(label=_("Quando o saldo ficar abaixo de"))
    amount = ReaisField(label=_("Recarregar"))
    day_max = ReaisField(label=_("No máximo por dia"))
    month_max = ReaisField(label=_("No máximo por mês"))
    card = forms.ModelChoiceField(label=_("Cartão"), queryset=Card.everywhere.none(), empty_label=None)
    agreed = forms.BooleanField(
        label=_("Autorizo a Tokia a cobrar este cartão sempre que o saldo ficar abaixo do valor acima, dentro dos máximos."),
        error_messages={"required": _("Marque a autorização para ligar a recarga automática.")},
    )

    def __init__(self, data: Mapping[str, Any] | None = None, *, auto: AutoTopUp | None, defaults: dict[str, int]) -> None:
        initial: dict[str, Any] = {name: tell_typed(reais * BRL) for name, reais in defaults.items()}
        if auto is not None:
            for name in ("threshold", "amount", "day_max", "month_max"):
                initial[name] = tell_typed(getattr(auto, f"{name}_nanos"))
            initial["card"] = auto.card_id
        super().__init__(data, initial=initial)
        field = self.fields["card"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Card.objects.filter(status=Card.Status.ACTIVE).order_by("-is_default", "-id")
