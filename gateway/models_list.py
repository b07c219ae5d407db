"""What is sold, as `/v1/models` tells it: OpenAI's item with OpenRouter's additions, prices in reais per token."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from billing.money import to_brl
from billing.pricing import PriceList, UnitPrice
from gateway.calls import Caller, ServedRoute, ServedRule
from gateway.catalog import Catalog
from gateway.errors import RouteNotFound
from gateway.parameters import supported_parameters

_PRICE_NAMES = {
    "prompt": "input", "completion": "output", "input_cache_read": "cached_input", "input_cache_write": "cache_write",
    "internal_reasoning": "reasoning", "audio": "audio_input", "audio_output": "audio_output", "image_token": "image_input",
    "image_output": "image_output", "image": "image", "request": "request", "web_search": "search",
    "audio_second": "audio_second", "character": "character",
}  # fmt: skip
# What goes in and comes out, by surface; a route's capabilities add to it.
MODALITIES = {
    "embeddings": (["text"], ["embeddings"]),
    "images": (["text"], ["image"]),
    "speech": (["text"], ["audio"]),
    "transcriptions": (["audio"], ["text"]),
    "rerank": (["text"], ["rerank"]),
    "moderations": (["text", "image"], ["moderation"]),
}
SURFACE_PARAMETERS = {
    "embeddings": ["dimensions", "encoding_format"],
    "images": ["n", "size", "quality", "background", "output_format", "output_compression", "stream", "partial_images"],
    "speech": ["voice", "response_format", "speed"],
    "transcriptions": ["language", "prompt", "response_format", "temperature"],
    "rerank": ["top_n"],
}
BATCHED = ("chat", "embeddings")
DECIMALS = 18  # a nano per million is 15; a price per hour of sound has no end
MODALITY_OF = {"vision": "image", "audio": "audio", "files": "file"}


def list_models(catalog: Catalog, caller: Caller) -> bytes:
    """Every virtual model and every route that the key may use and that has a live price."""
    items = [_rule_item(rule, steps) for rule in catalog.rules.values() if (steps := _steps_of(catalog, caller, rule))]
    items += [_item(route) for route in catalog.routes.values() if _is_served(route) and caller.may_use(route.name)]
    return msgspec.json.encode({"object": "list", "data": items})


def show_model(catalog: Catalog, caller: Caller, name: str) -> bytes:
    """One of them, by name or alias. Raises RouteNotFound."""
    route, rule = catalog.by_alias.get(name), catalog.rules.get(name)
    if route is None and rule is not None and (steps := _steps_of(catalog, caller, rule)):
        return msgspec.json.encode(_rule_item(rule, steps))
    if route is None or not _is_served(route) or not caller.may_use(route.name):
        shown = name[:100]
        raise RouteNotFound(f"O modelo '{shown}' não existe.", f"The model '{shown}' does not exist.", param="model")
    return msgspec.json.encode(_item(route))


def _is_served(route: ServedRoute) -> bool:
    return route.prices is not None and bool(route.deployments)


def _steps_of(catalog: Catalog, caller: Caller, rule: ServedRule) -> list[ServedRoute]:
    """Who may answer to a virtual model's name. What goes by the others' steps may be any of theirs."""
    rules = [rule, *(other for other in catalog.rules.values() if other.policy == "list")] if rule.policy == "auto" else [rule]
    names = dict.fromkeys(step.route_name for known in rules for step in known.steps)
    routes = [route for name in names if (route := catalog.routes.get(name)) is not None and _is_served(route)]
    may_use_all = caller.may_use(rule.name)
    return [route for route in routes if route.surface == "chat" and (may_use_all or caller.may_use(route.name))]


def _rule_item(rule: ServedRule, steps: list[ServedRoute]) -> dict[str, Any]:
    """A virtual model: it can do what any of its models can, and costs what the one that answers costs, from the cheapest's price
    (`pricing`) to the dearest's (`pricing_max`)."""
    into = list(dict.fromkeys(kind for route in steps for kind in _modalities(route)[0]))
    context, output = max(route.context_tokens for route in steps), max(route.output_tokens_max for route in steps)
    return {
        "id": rule.name,
        "object": "model",
        "created": rule.created,
        "owned_by": rule.name.partition("/")[0],
        "name": rule.display_name,
        "description": rule.description,
        "context_length": context,
        "architecture": {"input_modalities": into, "output_modalities": ["text"]},
        "top_provider": {"context_length": context, "max_completion_tokens": output},
        "pricing": _price_range(steps, min),
        "pricing_max": _price_range(steps, max),
        "supported_parameters": list(dict.fromkeys(name for route in steps for name in _supported(route))),
        "is_simulated": all(deployment.is_simulated for route in steps for deployment in route.deployments),
        "is_virtual": True,
        "models": [route.name for route in steps],
    }


def _price_range(steps: list[ServedRoute], choose: Callable[[Iterable[Decimal]], Decimal]) -> dict[str, str]:
    shown = {"currency": "BRL"}
    for name, unit in _PRICE_NAMES.items():
        found = [route.prices.units[unit] for route in steps if route.prices is not None and unit in route.prices.units]
        if len(found) == len(steps):  # what not all of them ask for has no range
            shown[name] = _show(choose(to_brl(price.amount_nanos) / price.per_units for price in found))
    return shown


def _item(route: ServedRoute) -> dict[str, Any]:
    into, out = _modalities(route)
    return {
        "id": route.name,
        "object": "model",
        "created": route.created,
        "owned_by": route.maker,
        "name": route.display_name,
        "description": route.description,
        "context_length": route.context_tokens,
        "architecture": {
            "input_modalities": into,
            "output_modalities": out,
        },
        "top_provider": {"context_length": route.context_tokens, "max_completion_tokens": route.output_tokens_max},
        "pricing": _pricing(route.prices) | _batch_pricing(route) | _own_key_pricing(route),
        "supported_parameters": _supported(route),
        "is_simulated": all(deployment.is_simulated for deployment in route.deployments),
    }


def show_pricing(route: ServedRoute) -> dict[str, str]:
    return _pricing(route.prices) | _batch_pricing(route)


def _pricing(prices: PriceList | None) -> dict[str, str]:
    """Decimal strings in reais per token, image, request, search, second of sound or character, under OpenRouter's names."""
    shown = {"currency": "BRL"}
    for name, unit in _PRICE_NAMES.items():
        price = prices.units.get(unit) if prices else None
        if price is not None:
            shown[name] = _per_unit(price)
    return shown


def _batch_pricing(route: ServedRoute) -> dict[str, str]:
    """Of those prices, in `/v1/batches`; where units differ, the most of them."""
    if route.prices is None or route.surface not in BATCHED:
        return {}
    return {"batch_percent": str(max(price.batch_percent for price in route.prices.units.values()))}


def _own_key_pricing(route: ServedRoute) -> dict[str, str]:
    """Of those prices, where the customer's own key at the provider serves; where units differ, the most of them."""
    if route.prices is None:
        return {}
    return {"own_key_percent": str(max(price.own_key_percent for price in route.prices.units.values()))}


def _per_unit(price: UnitPrice) -> str:
    return _show(to_brl(price.amount_nanos) / price.per_units)


def _show(amount: Decimal) -> str:
    return f"{round(amount, DECIMALS).normalize():f}"


def _supported(route: ServedRoute) -> list[str]:
    if route.surface != "chat":
        return SURFACE_PARAMETERS.get(route.surface, [])
    return supported_parameters(route)


def _modalities(route: ServedRoute) -> tuple[list[str], list[str]]:
    """What goes in and comes out."""
    into, out = MODALITIES.get(route.surface, (["text"], ["text"]))
    into = [*into, *(kind for can, kind in MODALITY_OF.items() if can in route.capabilities and kind not in into)]
    return into, [*out, "audio"] if "audio_output" in route.capabilities else out
