"""What a person may type on the pages of experiments. The rules are `gateway.experiments`'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from gateway.experiments import (
    ARMS_MAX,
    ARMS_MIN,
    LABEL_MAX,
    NAME_MAX,
    WEIGHT_MAX,
    ArmDraft,
    ExperimentRefused,
    models_to_name,
    routes_for_arms,
)
from gateway.models import Experiment

MODEL_MAX = 100
LETTERS = "ABCD"


class ExperimentForm(forms.Form):
    """A name, the model that calls name, and ARMS_MAX rows of which those with a model count: no script is needed to add one."""

    name = forms.CharField(label=_("Nome"), max_length=NAME_MAX, help_text=_("Para reconhecer depois: “Resumo mais barato?”."))
    model = forms.CharField(
        label=_("Quando pedem o modelo"),
        max_length=MODEL_MAX,
        help_text=_("O nome que o seu código já manda em “model”. Ele não muda; só quem responde muda."),
    )

    def __init__(self, data: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.names = models_to_name()
        self.fields["name"].widget.attrs["autocomplete"] = "off"
        self.fields["model"].widget.attrs.update({"autocomplete": "off", "list": "modelos", "spellcheck": "false"})
        choices = [("", "—"), *((route.name, route.name) for route in routes_for_arms())]
        for number in range(1, ARMS_MAX + 1):
            letter, is_needed = LETTERS[number - 1], number <= ARMS_MIN
            label = forms.CharField(label=_("Rótulo"), max_length=LABEL_MAX, required=False)
            told = _("Rótulo do lado {letter}").format(letter=letter)
            label.widget.attrs.update({"placeholder": letter, "autocomplete": "off", "aria-label": told})
            route = forms.ChoiceField(
                label=_("Modelo"), choices=choices, required=is_needed, error_messages={"required": _("Escolha um modelo.")}
            )
            route.widget.attrs["aria-label"] = _("Modelo do lado {letter}").format(letter=letter)
            weight = forms.IntegerField(label=_("Peso"), min_value=1, max_value=WEIGHT_MAX, required=False)
            told = _("Peso do lado {letter}").format(letter=letter)
            weight.widget.attrs.update({"inputmode": "numeric", "placeholder": "50", "aria-label": told})
            self.fields |= {f"label-{number}": label, f"route-{number}": route, f"weight-{number}": weight}

    @classmethod
    def of(cls, experiment: Experiment) -> ExperimentForm:
        initial: dict[str, Any] = {"name": experiment.name, "model": experiment.model}
        for number, arm in enumerate(experiment.arms.select_related("route"), 1):
            initial |= {f"label-{number}": arm.label, f"route-{number}": arm.route.name, f"weight-{number}": arm.weight}
        return cls(initial=initial)

    def rows(self) -> list[dict[str, Any]]:
        """The fields of each side, for the template."""
        return [
            {name: self[f"{name}-{number}"] for name in ("label", "route", "weight")} | {"letter": LETTERS[number - 1]}
            for number in range(1, ARMS_MAX + 1)
        ]

    def arms(self) -> list[ArmDraft]:
        return [
            ArmDraft(
                route_name=self.cleaned_data[f"route-{number}"],
                weight=self.cleaned_data[f"weight-{number}"] or 50,
                label=self.cleaned_data[f"label-{number}"] or LETTERS[number - 1],
            )
            for number in self._chosen()
        ]

    def refuse(self, refusal: ExperimentRefused) -> None:
        """A verb's refusal, beside what it speaks of."""
        param = refusal.param or ""
        if param.startswith("arm-"):
            self.add_error(f"route-{self._chosen()[int(param[4:]) - 1]}", refusal.message)
        else:
            self.add_error(param if param in ("name", "model") else None, refusal.message)

    def _chosen(self) -> list[int]:
        return [number for number in range(1, ARMS_MAX + 1) if self.cleaned_data.get(f"route-{number}")]
