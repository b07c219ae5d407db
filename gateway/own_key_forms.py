"""What a person may type on the pages of own provider keys. The rules are `gateway.own_keys`'."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from gateway.models import OwnKey, Provider
from gateway.own_keys import SECRET_MAX, SECRET_MIN, OwnKeyRefused, providers_for_own_keys

USES = {
    OwnKey.Use.FIRST: _("A sua chave atende; se ela falhar, a nossa assume e você paga o preço de tabela."),
    OwnKey.Use.ONLY: _(
        "Este provedor nunca atende com a nossa chave: se a sua falhar, a chamada vai para outro provedor ou falha."
    ),
    OwnKey.Use.FAILOVER: _("A nossa chave atende; a sua só entra quando a nossa falhar."),
}


class ProviderField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Provider) -> str:
        return _("{name} (simulado)").format(name=obj.name) if obj.is_simulated else obj.name


class OwnKeyForm(forms.Form):
    """A new key. The secret is never shown again, not even where the form comes back with an error."""

    provider = ProviderField(label=_("Provedor"), queryset=Provider.objects.none(), empty_label=_("Escolha"))
    label = forms.CharField(label=_("Rótulo"), max_length=60, help_text=_("Para reconhecer depois: “conta da Acme na OpenAI”."))
    secret = forms.CharField(
        label=_("Chave do provedor"),
        min_length=SECRET_MIN,
        max_length=SECRET_MAX,
        widget=forms.PasswordInput(render_value=False),
        help_text=_(
            "Guardada cifrada e nunca mais mostrada. Na AWS: ACCESS_KEY_ID:SECRET[:SESSION_TOKEN], ou uma chave de API do Bedrock."
        ),
    )
    use = forms.ChoiceField(label=_("Uso"), choices=OwnKey.Use.choices, initial=OwnKey.Use.FIRST, widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["provider"].queryset = providers_for_own_keys()  # type: ignore[attr-defined]
        self.fields["label"].widget.attrs.update({"autocomplete": "off", "placeholder": _("conta principal")})
        self.fields["secret"].widget.attrs.update({"autocomplete": "off", "spellcheck": "false"})

    def clean_label(self) -> str:
        return str(self.cleaned_data["label"]).strip()

    def refuse(self, refusal: OwnKeyRefused) -> None:
        self.add_error(refusal.param if refusal.param in self.fields else None, refusal.message)

    @property
    def uses(self) -> list[dict[str, Any]]:
        """The choices of `use`, each with what it means. Labels are the model's: Portuguese, as the hot path imports it."""
        chosen = self["use"].value() or OwnKey.Use.FIRST
        return [
            {"value": str(value), "label": _(str(label)), "text": USES[OwnKey.Use(value)], "is_chosen": value == chosen}
            for value, label in OwnKey.Use.choices
        ]
