"""What is on sale, for people: active routes with a deployment that can answer, at the prices in force.

Read once per number of the catalog and version of the prices (triggers move the number), and kept in the process's memory: the
pages are public, and a visitor costs two small queries.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from django.db.models import Exists, OuterRef
from django.utils.functional import Promise
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import SnapshotVersion
from billing.list_prices import ListPrice, list_prices
from billing.models import PriceVersion, Unit
from billing.price_changes import FeltChange, felt_changes
from billing.pricebooks import price_lists, version_in_force
from billing.pricelists import scheduled_versions
from billing.pricing import MEDIA, PriceList
from billing.units import tell_per
from gateway.models import Credential, Deployment, Route, RoutingRule

DEMO_ROUTE = "tokia/demo"
MILLION = 1_000_000
CATALOG = "catalog"
CAPABILITIES: dict[str, str | Promise] = {
    "tools": _("Ferramentas"),
    "vision": _("Visão"),
    "audio": _("Áudio"),
    "audio_output": _("Resposta em áudio"),
    "files": _("Arquivos e PDF"),
    "json": "JSON",
    "reasoning": _("Raciocínio"),
    "prompt_cache": _("Cache de prompt"),
    "timestamps": _("Marcação de tempo"),
    "translation": _("Tradução"),
    "streaming": "Streaming",
}


@dataclass(frozen=True, slots=True)
class Server:
    """One provider that may answer a model, as far as it is told."""

    slug: str
    name: str
    country: str  # ISO 3166, empty where unknown
    upstream_model: str
    dialect: str
    is_strict: bool
    is_simulated: bool
    trains_on_data: bool
    has_zero_retention: bool
    priority: int


@dataclass(frozen=True, slots=True)
class Offer:
    """One route as the price table shows it. Prices are nano-reais per million tokens; None: the route has no such unit."""

    name: str
    display_name: str
    maker: str
    description: str
    surface: str
    context_tokens: int
    output_tokens_max: int
    capabilities: tuple[str, ...]
    aliases: tuple[str, ...]
    is_featured: bool
    is_reasoning: bool
    is_simulated: bool  # every deployment is answered by the sandbox
    created_at: dt.datetime
    prices: PriceList
    servers: tuple[Server, ...]  # as they are asked, one row for each provider and model
    listed: Mapping[str, ListPrice]  # by unit: the provider's own price, where a public source tells it
    input_nanos: int | None
    cached_nanos: int | None
    output_nanos: int | None
    changes: tuple[tuple[PriceVersion, tuple[FeltChange, ...]], ...] = ()  # what is announced, the soonest first

    @property
    def is_demo(self) -> bool:
        return self.name == DEMO_ROUTE

    @property
    def url(self) -> str:
        return model_url(self.name)

    @property
    def surface_label(self) -> str:
        return gettext(Route.Surface(self.surface).label)

    @property
    def capability_labels(self) -> list[str]:
        return [str(CAPABILITIES.get(name, name)) for name in self.capabilities]

    @property
    def others(self) -> list[tuple[str, int, str]]:
        """What is no text: (label, nano-reais, "/imagem"). In the reader's language, so not kept with the rest."""
        return list(_others(self.prices, is_chat=self.surface == Route.Surface.CHAT))

    @property
    def leaves_at(self) -> dt.datetime | None:
        """From when on it is no longer sold, where that is announced."""
        return next((version.effective_at for version, felt in self.changes if _is_gone(felt)), None)

    @property
    def changes_at(self) -> dt.datetime | None:
        """From when on its next announced prices are in force."""
        return next((version.effective_at for version, felt in self.changes if not _is_gone(felt)), None)


@dataclass(frozen=True, slots=True)
class VirtualOffer:
    """A name that callers use, and the models that may answer to it: (model, only below so many ms of latency budget)."""

    name: str
    display_name: str
    description: str
    is_automatic: bool
    created_at: dt.datetime
    steps: tuple[tuple[Offer, int | None], ...]

    @property
    def url(self) -> str:
        return model_url(self.name)

    @property
    def context_tokens(self) -> int:
        return max(offer.context_tokens for offer, _ in self.steps)

    @property
    def capability_labels(self) -> list[str]:
        return list(dict.fromkeys(label for offer, _ in self.steps for label in offer.capability_labels))

    @property
    def input_range(self) -> tuple[int, int] | None:
        return _range(offer.input_nanos for offer, _ in self.steps)

    @property
    def output_range(self) -> tuple[int, int] | None:
        return _range(offer.output_nanos for offer, _ in self.steps)


@dataclass(frozen=True, slots=True)
class Shop:
    """All that is on sale, as of one number of the catalog and one version of the prices."""

    version: PriceVersion | None
    offers: tuple[Offer, ...]  # by maker and name
    virtual: tuple[VirtualOffer, ...]
    scheduled: tuple[PriceVersion, ...]  # published, in force some day to come
    by_name: Mapping[str, Offer]
    by_alias: Mapping[str, Offer]

    @property
    def names(self) -> set[str]:
        return set(self.by_name)


_kept: dict[str | None, tuple[tuple[int | None, int], Shop]] = {}  # by language: the names that we gave ourselves have two


def shop() -> Shop:
    """Two queries, and a handful more after a change."""
    version = version_in_force()
    number = SnapshotVersion.objects.filter(subject=CATALOG).values_list("number", flat=True).first()
    key = (number, version.pk if version else 0)
    language = get_language()
    if language not in _kept or _kept[language][0] != key:
        _kept[language] = (key, _open_shop(version))
    return _kept[language][1]


def offers() -> list[Offer]:
    """By maker and name."""
    return list(shop().offers)


def model_url(name: str) -> str:
    return f"/modelos/{name}/"


def _open_shop(version: PriceVersion | None) -> Shop:
    prices, listed = price_lists(), list_prices(version)
    announced = list(_announced(version))
    servers: dict[int, list[Server]] = {}
    usable = Credential.objects.filter(provider=OuterRef("provider"), is_active=True)
    answering = Deployment.objects.filter(Exists(usable), is_active=True, provider__is_active=True, route__is_active=True)
    for row in answering.select_related("provider").order_by("priority", "-weight", "pk"):
        servers.setdefault(row.route_id, []).append(_server(row))
    shown = Route.objects.filter(is_active=True, pk__in=servers).order_by("maker", "name")
    found = tuple(
        _offer(route, prices[route.name], servers[route.pk], listed, announced) for route in shown if route.name in prices
    )
    by_name = {offer.name: offer for offer in found}
    by_alias = {alias: offer for offer in reversed(found) for alias in offer.aliases if alias not in by_name}
    return Shop(version, found, tuple(_virtual(by_name)), tuple(scheduled for scheduled, _ in announced), by_name, by_alias)


def _announced(version: PriceVersion | None) -> Iterator[tuple[PriceVersion, dict[str, tuple[FeltChange, ...]]]]:
    before = version
    for scheduled in scheduled_versions():
        felt: dict[str, list[FeltChange]] = {}
        for change in felt_changes(before, scheduled):
            felt.setdefault(change.route_name, []).append(change)
        yield scheduled, {name: tuple(changes) for name, changes in felt.items()}
        before = scheduled


def _server(row: Deployment) -> Server:
    provider = row.provider
    return Server(
        slug=provider.slug, name=provider.name, country=provider.country, upstream_model=row.upstream_model,
        dialect=provider.dialect, is_strict=provider.is_strict, is_simulated=provider.is_simulated,
        trains_on_data=provider.trains_on_data, has_zero_retention=provider.has_zero_retention, priority=row.priority,
    )  # fmt: skip


def _offer(
    route: Route,
    prices: PriceList,
    servers: list[Server],
    listed: Mapping[tuple[str, str], ListPrice],
    announced: list[tuple[PriceVersion, dict[str, tuple[FeltChange, ...]]]],
) -> Offer:
    return Offer(
        name=route.name,
        display_name=gettext(route.display_name),
        maker=route.maker,
        description=route.description,
        surface=route.surface,
        context_tokens=route.context_tokens,
        output_tokens_max=route.output_tokens_max,
        capabilities=tuple(route.capabilities),
        aliases=tuple(route.aliases),
        is_featured=route.is_featured,
        is_reasoning=route.is_reasoning,
        is_simulated=all(server.is_simulated for server in servers),
        created_at=route.created_at,
        prices=prices,
        servers=tuple(servers),
        listed={unit: listed[route.name, unit] for unit in prices.units if (route.name, unit) in listed},
        input_nanos=per_million(prices, Unit.INPUT),
        cached_nanos=per_million(prices, Unit.CACHED_INPUT),
        output_nanos=per_million(prices, Unit.OUTPUT) if route.surface != Route.Surface.EMBEDDINGS else None,
        changes=tuple((version, felt[route.name]) for version, felt in announced if route.name in felt),
    )


def _virtual(by_name: Mapping[str, Offer]) -> Iterator[VirtualOffer]:
    rules = list(RoutingRule.objects.filter(is_active=True).prefetch_related("steps__route"))
    for rule in rules:
        is_automatic = rule.policy == RoutingRule.Policy.AUTO
        goes_by = [rule, *(other for other in rules if other.policy == RoutingRule.Policy.LIST)] if is_automatic else [rule]
        steps: dict[str, int | None] = {}
        for known in goes_by:
            for step in known.steps.all():
                steps.setdefault(step.route.name, None if is_automatic else step.budget_below_ms)
        served = tuple(
            (by_name[name], below)
            for name, below in steps.items()
            if name in by_name and by_name[name].surface == Route.Surface.CHAT
        )
        if served:
            yield VirtualOffer(rule.name, rule.display_name, rule.description, is_automatic, rule.created_at, served)


def _others(prices: PriceList, *, is_chat: bool) -> Iterator[tuple[str, int, str]]:
    """Sound, pictures and the rest. A chat model's web searches are not sold by themselves."""
    for unit in (*(units[0] for each, units in MEDIA), "request"):
        price = prices.units.get(unit)
        if price is not None and price.amount_nanos and not (is_chat and unit == Unit.SEARCH):
            yield str(Unit(unit).label), price.amount_nanos, tell_per(unit, price.per_units)


def per_million(prices: PriceList, unit: str) -> int | None:
    """Rounded up to the nano where the price is not per a divisor of a million."""
    price = prices.units.get(unit)
    return -(-price.amount_nanos * MILLION // price.per_units) if price else None


def first_route(shown: Iterable[Offer]) -> str:
    """The model of the examples: the one that answers for real on this machine, else the first featured chat model."""
    chat = [offer for offer in shown if offer.surface == Route.Surface.CHAT]
    ranked = sorted(chat, key=lambda offer: (not offer.is_demo, not offer.is_featured, offer.is_simulated))
    return ranked[0].name if ranked else DEMO_ROUTE


def _range(amounts: Iterable[int | None]) -> tuple[int, int] | None:
    known = [amount for amount in amounts if amount is not None]
    return (min(known), max(known)) if known else None


def _is_gone(felt: tuple[FeltChange, ...]) -> bool:
    return all(change.kind == "gone" for change in felt)
