"""What is on sale, for people: active routes with a deployment that can answer, at the prices in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db.models import Q

from billing.models import Unit
from billing.pricebooks import price_lists
from billing.pricing import MEDIA, PriceList
from billing.units import tell_per
from gateway.models import Deployment, Route

DEMO_ROUTE = "tokia/demo"
MILLION = 1_000_000
CAPABILITIES = {
    "tools": "Ferramentas",
    "vision": "Visão",
    "audio": "Áudio",
    "audio_output": "Resposta em áudio",
    "files": "Arquivos e PDF",
    "json": "JSON",
    "reasoning": "Raciocínio",
    "prompt_cache": "Cache de prompt",
    "timestamps": "Marcação de tempo",
    "translation": "Tradução",
    "streaming": "Streaming",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """One route as the price table shows it. Prices are nano-reais per million tokens; None: the route has no such unit."""

    name: str
    display_name: str
    maker: str
    description: str
    surface: str
    context_tokens: int
    capabilities: tuple[str, ...]
    is_featured: bool
    is_simulated: bool  # every deployment is answered by the sandbox
    input_nanos: int | None
    cached_nanos: int | None
    output_nanos: int | None
    others: tuple[tuple[str, int, str], ...] = ()  # what is no text: (label, nano-reais, "/imagem")

    @property
    def is_demo(self) -> bool:
        return self.name == DEMO_ROUTE

    @property
    def surface_label(self) -> str:
        return str(Route.Surface(self.surface).label)

    @property
    def capability_labels(self) -> list[str]:
        return [CAPABILITIES.get(name, name) for name in self.capabilities]


def offers() -> list[Offer]:
    """By maker and name."""
    prices = price_lists()
    simulated: dict[int, list[bool]] = {}
    answering = Deployment.objects.filter(
        Q(provider__credentials__is_active=True), is_active=True, provider__is_active=True, route__is_active=True
    ).distinct()
    for route_id, is_simulated in answering.values_list("route_id", "provider__is_simulated"):
        simulated.setdefault(route_id, []).append(is_simulated)
    shown = Route.objects.filter(is_active=True, pk__in=simulated).order_by("maker", "name")
    return [_offer(route, prices[route.name], all(simulated[route.pk])) for route in shown if route.name in prices]


def _offer(route: Route, prices: PriceList, is_simulated: bool) -> Offer:
    return Offer(
        name=route.name,
        display_name=route.display_name,
        maker=route.maker,
        description=route.description,
        surface=route.surface,
        context_tokens=route.context_tokens,
        capabilities=tuple(route.capabilities),
        is_featured=route.is_featured,
        is_simulated=is_simulated,
        input_nanos=per_million(prices, Unit.INPUT),
        cached_nanos=per_million(prices, Unit.CACHED_INPUT),
        output_nanos=per_million(prices, Unit.OUTPUT) if route.surface != Route.Surface.EMBEDDINGS else None,
        others=tuple(_others(prices, is_chat=route.surface == Route.Surface.CHAT)),
    )


def _others(prices: PriceList, *, is_chat: bool) -> Iterator[tuple[str, int, str]]:
    """Sound, pictures and the rest. A chat model's web searches are not sold by themselves."""
    for unit in (*(units[0] for _, units in MEDIA), "request"):
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
