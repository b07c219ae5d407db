"""What the playground's page knows: the models that can be tried, and the most that a call of each can cost.

The page calls `/v1/chat/completions` itself, under a session key (`accounts.session_keys`); what people write there never passes
through these pages.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from accounts.models import Organization
from billing.errors import PriceMissing
from billing.models import UsageRecord
from billing.pricebooks import price_lists
from billing.pricing import PriceList, price_ceiling
from gateway.models import Credential, Deployment, Route, RoutingRule
from gateway.tokens import TOKENS_PER_CALL, TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE

MILLION = 1_000_000
COLUMNS_MAX = 3
# A token of Portuguese or of code is three to four bytes; of what nobody writes by hand it may be less.
BYTES_PER_TOKEN = 2
VIRTUAL = "tokia"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Undiscounted nano-reais per million tokens, at their dearest; `media`: where a picture comes along."""

    input_nanos: int
    media_nanos: int
    output_nanos: int
    request_nanos: int


@dataclass(frozen=True, slots=True)
class Playable:
    """A model of the page. Of a virtual one, what any of those behind it can do, and the dearest of them."""

    name: str
    display_name: str
    maker: str
    is_virtual: bool
    is_simulated: bool
    has_vision: bool
    has_json: bool
    has_reasoning: bool
    context_tokens: int
    output_tokens_max: int
    output_tokens_default: int
    factor_percent: int
    ceiling: Ceiling

    def for_page(self) -> dict[str, Any]:
        return asdict(self)


def playables(organization: Organization) -> list[Playable]:
    """Chat models that are served now, at the organization's prices: virtual ones first, then by maker and name."""
    margin_bps = organization.limit_profile.margin_bps if organization.limit_profile else 0
    prices = {name: found.adjusted(margin_bps) if margin_bps else found for name, found in price_lists().items()}
    routes: dict[str, Playable] = {}
    for route, is_simulated in _served_routes():
        ceiling = _ceiling_of(prices[route.name]) if route.name in prices else None
        if ceiling is not None:
            routes[route.name] = _playable(route, ceiling, is_simulated=is_simulated)
    return [*_virtual(routes), *routes.values()]


def facts_for_page(models: Iterable[Playable]) -> dict[str, Any]:
    """With the bounds of what is counted of a message, which are the gateway's own."""
    return {
        "models": {model.name: model.for_page() for model in models},
        "bytes_per_token": BYTES_PER_TOKEN,
        "tokens_per_call": TOKENS_PER_CALL,
        "tokens_per_message": TOKENS_PER_MESSAGE,
        "tokens_per_image": TOKENS_PER_IMAGE,
    }


def by_maker(models: Iterable[Playable]) -> list[tuple[str, list[Playable]]]:
    groups: dict[str, list[Playable]] = {}
    for model in models:
        groups.setdefault(_("Escolha automática") if model.is_virtual else model.maker, []).append(model)
    return list(groups.items())


def first_choice(models: list[Playable], asked: str) -> str:
    """What the page opens with: what was asked for, else the one that answers for real on this machine, else any."""
    names = [model.name for model in models]
    if asked in names:
        return asked
    ranked = sorted(models, key=lambda model: (model.name != "tokia/demo", model.is_simulated, not model.is_virtual))
    return ranked[0].name if ranked else ""


def model_of(call_id: uuid.UUID) -> str:
    """The name that one of the organization's calls asked for; empty for another's, and for what is no chat."""
    record = UsageRecord.objects.filter(pk=call_id, surface__in=["chat", "batch:chat", "messages", "responses"]).first()
    return str((record.routing or {}).get("asked") or record.route_name) if record else ""


def _served_routes() -> Iterable[tuple[Route, bool]]:
    """With whether nobody but the sandbox answers."""
    keyed = Credential.objects.filter(provider=OuterRef("provider"), is_active=True)
    simulated: dict[int, bool] = {}
    live = Deployment.objects.filter(Exists(keyed), is_active=True, provider__is_active=True)
    for route_id, is_simulated in live.values_list("route_id", "provider__is_simulated"):
        simulated[route_id] = simulated.get(route_id, True) and is_simulated
    shown = Route.objects.filter(is_active=True, surface=Route.Surface.CHAT, pk__in=simulated).order_by("maker", "display_name")
    return [(route, simulated[route.pk]) for route in shown]


def _playable(route: Route, ceiling: Ceiling, *, is_simulated: bool) -> Playable:
    most = route.output_tokens_max or route.context_tokens
    return Playable(
        # A name is its maker's, in any language, but for that of our demonstration's model (`gateway/catalog.toml`).
        display_name=_(route.display_name) if route.display_name else route.name,
        name=route.name, maker=route.maker, is_virtual=False, is_simulated=is_simulated,
        has_vision="vision" in route.capabilities, has_json="json" in route.capabilities,
        has_reasoning="reasoning" in route.capabilities, context_tokens=route.context_tokens, output_tokens_max=most,
        output_tokens_default=route.output_tokens_default or min(4_096, most),
        factor_percent=max(100, route.token_factor_percent), ceiling=ceiling,
    )  # fmt: skip


def _virtual(routes: Mapping[str, Playable]) -> list[Playable]:
    found = []
    rules = list(RoutingRule.objects.filter(is_active=True).prefetch_related("steps__route"))
    lists = {rule.pk: [step.route.name for step in rule.steps.all()] for rule in rules}
    everybody = [name for names in lists.values() for name in names]
    for rule in rules:
        names = everybody if rule.policy == RoutingRule.Policy.AUTO else lists[rule.pk]
        steps = [routes[name] for name in dict.fromkeys(names) if name in routes]
        if steps:
            found.append(_joined(rule, steps))
    return found


def _joined(rule: RoutingRule, steps: list[Playable]) -> Playable:
    ceilings = [step.ceiling for step in steps]
    return Playable(
        name=rule.name, display_name=rule.display_name, maker=VIRTUAL, is_virtual=True,
        is_simulated=all(step.is_simulated for step in steps), has_vision=any(step.has_vision for step in steps),
        has_json=any(step.has_json for step in steps), has_reasoning=any(step.has_reasoning for step in steps),
        context_tokens=max(step.context_tokens for step in steps), output_tokens_max=max(step.output_tokens_max for step in steps),
        output_tokens_default=max(step.output_tokens_default for step in steps),
        factor_percent=max(step.factor_percent for step in steps),
        ceiling=Ceiling(
            input_nanos=max(ceiling.input_nanos for ceiling in ceilings),
            media_nanos=max(ceiling.media_nanos for ceiling in ceilings),
            output_nanos=max(ceiling.output_nanos for ceiling in ceilings),
            request_nanos=max(ceiling.request_nanos for ceiling in ceilings),
        ),
    )  # fmt: skip


def _ceiling_of(prices: PriceList) -> Ceiling | None:
    """None for a route that has no price of input or of output, which the gateway would not serve."""
    try:
        return Ceiling(
            input_nanos=price_ceiling(prices, input_tokens=MILLION, output_tokens=0, requests=0),
            media_nanos=price_ceiling(prices, input_tokens=MILLION, output_tokens=0, requests=0, has_media_input=True),
            output_nanos=price_ceiling(prices, input_tokens=0, output_tokens=MILLION, requests=0, has_media_output=True),
            request_nanos=price_ceiling(prices, input_tokens=0, output_tokens=0),
        )
    except PriceMissing:
        return None
