"""The simulator of the route editor: who would answer a call, why, at which price and margin; and what if something were changed.

A GET form: an answer has an address that can be sent to a colleague, and nothing is ever saved or sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from unfold.admin import ModelAdmin

from accounts.models import Organization
from billing import pricebooks
from billing.admin_parts import dress
from billing.models import PriceVersion
from billing.money import BRL
from gateway.errors import GatewayError
from gateway.models import Deployment, Route, RoutingRule
from gateway.simulation import Expected, Explanation, Question, explain_route
from gateway.what_if import WhatIf

SORTS = [("", "pela regra"), ("price", "menor preço"), ("latency", "menor latência"), ("throughput", "maior velocidade")]
DRAFTS_MAX = 20
NUMBER_MAX = 1_000_000
_DEPLOYMENT = re.compile(r"(peso|prioridade|doente|fora)-(\d{1,9})", re.ASCII)
_PRICE = re.compile(r"(entrada|saida)-(.{1,100})", re.DOTALL)
_REAIS = re.compile(r"(\d{1,7})(?:,(\d{1,6}))?", re.ASCII)
UNITS = {"entrada": "input", "saida": "output"}


class QuestionForm(forms.Form):
    model = forms.CharField(
        label="Modelo pedido",
        max_length=200,
        widget=forms.TextInput({"list": "nomes"}),
        help_text="Um modelo, um apelido, ou um virtual (tokia/balanced). Aceita :floor e :nitro.",
    )
    organization = forms.IntegerField(
        label="Empresa (número)", required=False, help_text="Com os preços, as chaves próprias e os experimentos dela."
    )
    characters = forms.IntegerField(label="Tamanho do texto (caracteres)", initial=400, min_value=0, max_value=20_000_000)
    output_tokens = forms.IntegerField(label="Tokens de saída", initial=500, min_value=1, max_value=1_000_000)
    tools = forms.IntegerField(label="Ferramentas", initial=0, min_value=0, max_value=128)
    budget_ms = forms.IntegerField(label="Orçamento de latência (ms)", required=False, min_value=1, max_value=600_000)
    session = forms.CharField(label="Sessão", required=False, max_length=200)
    sort = forms.ChoiceField(label="Ordenar por", choices=SORTS, required=False)
    version = forms.ChoiceField(label="Preços", required=False)
    options = forms.CharField(
        label="Opções da chamada (JSON)",
        required=False,
        max_length=20_000,
        widget=forms.Textarea({"rows": 2}),
        help_text='Como na API: {"models": ["…"], "provider": {"order": ["…"]}, "quality": "fast"}.',
    )
    is_strict = forms.BooleanField(label="Orçamento estrito", required=False)
    has_media = forms.BooleanField(label="Com imagem ou arquivo", required=False)
    has_code = forms.BooleanField(label="Com código", required=False)
    is_portuguese = forms.BooleanField(label="Em português", required=False, initial=True)
    denies_training = forms.BooleanField(label="Sem uso para treino", required=False)
    needs_zero_retention = forms.BooleanField(label="Com retenção zero", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        drafts = PriceVersion.objects.filter(book__is_default=True, status=PriceVersion.Status.DRAFT).order_by("-number")
        choices = [(str(draft.pk), f"rascunho v{draft.number}") for draft in drafts[:DRAFTS_MAX]]
        field = self.fields["version"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "em vigor"), *choices]

    def clean_organization(self) -> Organization | None:
        number = self.cleaned_data["organization"]
        if number is None:
            return None
        found = Organization.objects.filter(pk=number).select_related("limit_profile").first()
        if found is None:
            raise forms.ValidationError("Não há empresa com este número.")
        return found

    def clean_options(self) -> str:
        text = str(self.cleaned_data["options"]).strip()
        try:
            is_object = not text or isinstance(json.loads(text), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            raise forms.ValidationError("Escreva um objeto JSON, entre chaves.")
        return text

    def question(self) -> Question:
        given = {name: value for name, value in self.cleaned_data.items() if value is not None and name != "version"}
        return Question(**given)


@dataclass(frozen=True, slots=True)
class Row:
    """A deployment of the models involved, as it stands and as it was imagined."""

    id: int
    route_name: str
    provider: str
    upstream_model: str
    weight: int
    priority: int
    asked_weight: str
    asked_priority: str
    is_sick: bool
    is_off: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form's second part says."""

    what_if: WhatIf
    problems: tuple[str, ...]


def read_what_if(given: QueryDict, *, version: str) -> Asked:
    """What is blank, or as it stands, changes nothing."""
    numbers: dict[str, dict[int, int]] = {"peso": {}, "prioridade": {}}
    marked: dict[str, set[int]] = {"doente": set(), "fora": set()}
    prices: dict[tuple[str, str], int] = {}
    problems = []
    for name, text in given.items():
        text = str(text).strip()
        if not text:
            continue
        if (found := _DEPLOYMENT.fullmatch(name)) is not None:
            what, number = found[1], int(found[2])
            if what in marked:
                marked[what].add(number)
            elif text.isascii() and text.isdigit() and int(text) <= NUMBER_MAX:
                numbers[what][number] = int(text)
            else:
                problems.append(f"{what}: use um número inteiro, de 0 a {NUMBER_MAX}.")
        elif (found := _PRICE.fullmatch(name)) is not None:
            reais = _REAIS.fullmatch(text.replace(".", ""))
            if reais is None:
                problems.append("Preço: escreva em reais por milhão de tokens, como 12,50.")
            else:
                prices[found[2], UNITS[found[1]]] = int(reais[1]) * BRL + int((reais[2] or "").ljust(9, "0"))
    weights, priorities = _changed(numbers)
    draft = PriceVersion.objects.filter(pk=int(version)).first() if version else None
    what_if = WhatIf(
        sick=frozenset(marked["doente"]), off=frozenset(marked["fora"]), weights=weights, priorities=priorities, prices=prices,
        edition=pricebooks.lists_of(draft) if draft is not None else None,
    )  # fmt: skip
    return Asked(what_if, tuple(dict.fromkeys(problems)))


def _changed(numbers: dict[str, dict[int, int]]) -> tuple[dict[int, int], dict[int, int]]:
    """Without those that say what already is: the form sends them all."""
    rows = Deployment.objects.filter(pk__in=numbers["peso"].keys() | numbers["prioridade"].keys())
    stands = {row.pk: (row.weight, row.priority) for row in rows}
    weights = {pk: asked for pk, asked in numbers["peso"].items() if pk in stands and stands[pk][0] != asked}
    priorities = {pk: asked for pk, asked in numbers["prioridade"].items() if pk in stands and stands[pk][1] != asked}
    return weights, priorities


def rows_of(names: Iterable[str], what_if: WhatIf) -> list[Row]:
    found = Deployment.objects.filter(route__name__in=names, is_active=True, provider__is_active=True)
    return [_row(row, what_if) for row in found.select_related("route", "provider").order_by("route__name", "priority", "pk")]


def _row(row: Deployment, what_if: WhatIf) -> Row:
    return Row(
        id=row.pk, route_name=row.route.name, provider=row.provider.name, upstream_model=row.upstream_model, weight=row.weight,
        priority=row.priority, asked_weight=str(what_if.weights.get(row.pk, row.weight)),
        asked_priority=str(what_if.priorities.get(row.pk, row.priority)), is_sick=row.pk in what_if.sick,
        is_off=row.pk in what_if.off,
    )  # fmt: skip


def explain_page(admin_: ModelAdmin, request: HttpRequest) -> HttpResponse:
    form = QuestionForm(request.GET if "model" in request.GET else None)
    dress(form)
    context: dict[str, Any] = {
        **admin_.admin_site.each_context(request),
        "title": "Simulador de rotas", "opts": admin_.opts, "form": form,
        "names": [*RoutingRule.objects.values_list("name", flat=True), *Route.objects.values_list("name", flat=True)],
    }  # fmt: skip
    if form.is_bound and form.is_valid():
        asked = read_what_if(request.GET, version=form.cleaned_data["version"])
        context |= _answers(form.question(), asked, request.GET)
    return render(request, "admin/gateway/explain.html", context)


def _answers(question: Question, asked: Asked, given: QueryDict) -> dict[str, Any]:
    today, refusal_today = _try(question, WhatIf())
    imagined, refusal = (today, refusal_today) if asked.what_if.is_nothing else _try(question, asked.what_if)
    involved = {name for found in (today, imagined) if found is not None for name in found.involved}
    involved |= set(Route.objects.filter(name=question.model.partition(":")[0]).values_list("name", flat=True))
    places = {one.who: place for place, one in enumerate(today.candidates if today else (), 1)}
    standing = {one.who: one for one in (today.candidates if today else ())}
    lines = [(one, places.get(one.who), standing.get(one.who)) for one in (imagined.candidates if imagined else ())]
    names = sorted(involved)
    return {
        "explanation": imagined, "refusal": refusal, "refusal_today": refusal_today, "is_imagined": not asked.what_if.is_nothing,
        "problems": asked.problems, "lines": lines, "gone": _gone(today, imagined), "rows": rows_of(names, asked.what_if),
        "asked_prices": [(name, given.get(f"entrada-{name}", ""), given.get(f"saida-{name}", "")) for name in names],
    }  # fmt: skip


def _try(question: Question, what_if: WhatIf) -> tuple[Explanation | None, str]:
    try:
        return explain_route(question, what_if), ""
    except GatewayError as error:
        return None, f"{error.status} {error.code}: {error.message}"


def _gone(today: Explanation | None, imagined: Explanation | None) -> list[Expected]:
    """Who is asked today and would no longer be."""
    kept = {one.who for one in imagined.candidates} if imagined else set()
    return [one for one in (today.candidates if today else []) if one.who not in kept]
