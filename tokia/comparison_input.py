"""What a visitor asks the calculator: read from an address, within bounds, numbers as Brazilians write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.models import Unit
from billing.pricing import PriceList, UnitPrice
from gateway.models import Provider, Route
from tokia.comparison import Choice, Mix, Model, Use, requests_for
from tokia.showcase import Offer, Shop
from tokia.templatetags.tokia import num

BY_USE, BY_SPEND = "uso", "gasto"
PREMIUM, BALANCED = "tokia/premium", "tokia/balanced"
USD_NANOS = 10**9
# name → (label, least, most, what a first visit shows): a month of a busy chat of short questions
NUMBERS: dict[str, tuple[str | Promise, int, int, int]] = {
    "requisicoes": (gettext_lazy("Requisições por mês"), 1, 1_000_000_000, 100_000),
    "entrada": (gettext_lazy("Tokens de entrada por requisição"), 1, 2_000_000, 500),
    "saida": (gettext_lazy("Tokens de saída por requisição"), 1, 1_000_000, 200),
    "cache": (gettext_lazy("Entrada lida do cache (%)"), 0, 100, 0),
    "gasto_usd": (gettext_lazy("Gasto por mês (US$)"), 1, 1_000_000, 500),
    "parte": (gettext_lazy("Parte das chamadas no modelo mais barato (%)"), 0, 100, 50),
}
_TOO_LONG = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """The form as it stands, valid or not."""

    by: str
    numbers: Mapping[str, int]
    models: Mapping[str, str]  # field → route name, empty for none
    with_import_taxes: bool
    errors: Mapping[str, str] = field(default_factory=dict)


def models_of(shop: Shop, *, provider_names: Mapping[str, str]) -> dict[str, Model]:
    """The chat models whose provider's list price of input and output is public, by name."""
    found = {}
    for offer in shop.offers:
        units = {unit: UnitPrice(listed.usd_nanos, per_units=listed.per_units) for unit, listed in offer.listed.items()}
        known = {Unit.INPUT, Unit.OUTPUT} <= units.keys() and {Unit.INPUT, Unit.OUTPUT} <= offer.prices.units.keys()
        if offer.surface != Route.Surface.CHAT or offer.is_demo or not known:
            continue
        slug = offer.listed[Unit.INPUT].provider_name
        found[offer.name] = Model(
            name=offer.name, label=offer.display_name, provider=provider_names.get(slug, offer.maker),
            dollars=PriceList(version_id=0, version_label="", units=units), reais=offer.prices,
        )  # fmt: skip
    return found


def provider_names() -> dict[str, str]:
    return dict(Provider.objects.values_list("slug", "name"))


def first_models(shop: Shop, models: Mapping[str, Model]) -> dict[str, str]:
    """The models that a first visit compares, by the shipped routing rules: an everyday one, the larger one that it is the small
    one of (else the dearest), a premium one to share the calls with, and the everyday rule's next."""
    balanced, premium = _steps(shop, BALANCED, models), _steps(shop, PREMIUM, models)
    by_price = sorted(models.values(), key=lambda model: (model.reais.units[Unit.OUTPUT].amount_nanos, model.name))
    if not by_price:
        return {}
    cheaper = balanced[0] if balanced else by_price[0].name
    larger = cheaper.rpartition("-")[0]
    model = larger if larger in models else next((name for name in premium if name != cheaper), by_price[-1].name)
    return {
        "modelo": model,
        "barato": cheaper,
        "misto": premium[0] if premium else by_price[-1].name,
        "outro": next((name for name in balanced[1:] if name != cheaper), ""),
    }


def read_asked(parameters: Mapping[str, str], *, shop: Shop, models: Mapping[str, Model]) -> Asked:
    """Numbers out of bounds and models that are not on sale are told field by field; what is left out is as on a first visit."""
    errors: dict[str, str] = {}
    numbers = {}
    for name, (label, least, most, first) in NUMBERS.items():
        value = _number(parameters.get(name, ""), first)
        if value is None or not least <= value <= most:
            text = _("{label}: informe um número inteiro de {least} a {most}.")
            errors[name] = text.format(label=label, least=num(least), most=num(most))
        numbers[name] = first if value is None else value
    chosen = first_models(shop, models)
    for name in chosen:
        asked = parameters.get(name)
        if asked is None:
            continue
        known = shop.by_alias[asked].name if asked in shop.by_alias else asked
        if known in models or (not known and name == "outro"):
            chosen[name] = known
        else:
            errors[name] = _("Este modelo não está à venda. Escolha outro da lista.")
    by = BY_SPEND if parameters.get("por") == BY_SPEND else BY_USE
    unused = ("requisicoes",) if by == BY_SPEND else ("gasto_usd",)  # the other tab's field may be as it likes
    return Asked(
        by=by, numbers=numbers, models=chosen, with_import_taxes=parameters.get("tributos") == "1",
        errors={name: text for name, text in errors.items() if name not in unused},
    )  # fmt: skip


def what_to_compare(asked: Asked, models: Mapping[str, Model]) -> tuple[Choice, Use]:
    """Of a form without errors."""
    chosen = {name: models[route] for name, route in asked.models.items() if route}
    numbers = asked.numbers
    use = Use(
        requests=numbers["requisicoes"], input_tokens=numbers["entrada"], output_tokens=numbers["saida"],
        cached_percent=numbers["cache"],
    )  # fmt: skip
    if asked.by == BY_SPEND:
        bought = requests_for(chosen["modelo"], use, usd_nanos=numbers["gasto_usd"] * USD_NANOS)
        use = Use(bought, use.input_tokens, use.output_tokens, use.cached_percent)
    mix = Mix(chosen["barato"], chosen["misto"], first_percent=numbers["parte"])
    return Choice(chosen["modelo"], cheaper=chosen["barato"], mix=mix, other=chosen.get("outro")), use


def by_maker(offers: Iterable[Offer], models: Mapping[str, Model]) -> dict[str, list[Offer]]:
    """For the lists of models in the form."""
    grouped: dict[str, list[Offer]] = {}
    for offer in offers:
        if offer.name in models:
            grouped.setdefault(offer.maker, []).append(offer)
    return grouped


def _steps(shop: Shop, name: str, models: Mapping[str, Model]) -> list[str]:
    rule = next((rule for rule in shop.virtual if rule.name == name), None)
    return [offer.name for offer, _ in rule.steps if offer.name in models] if rule else []


def _number(text: str, first: int) -> int | None:
    """`1.000.000`, `1000000`, `1 000 000` or, as English writes it, `1,000,000`; `first` where nothing is written, None where it
    is no whole number."""
    text = text.strip()
    if not text:
        return first
    bare = re.sub(r"[.,\s](?=[0-9]{3}(?![0-9]))", "", text)
    return int(bare) if len(bare) <= _TOO_LONG and re.fullmatch(r"[0-9]+", bare) else None
