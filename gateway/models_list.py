"""What is sold, as `/v1/models` tells it: OpenAI's item with OpenRouter's additions, prices in reais per token."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from billing.money import to_brl
from billing.pricing import PriceList, UnitPrice
from gateway.calls import Caller, ServedRoute
from gateway.catalog import Catalog
from gateway.errors import RouteNotFound

_PRICE_NAMES = {
    "prompt": "input", "completion": "output", "input_cache_read": "cached_input", "input_cache_write": "cache_write",
    "internal_reasoning": "reasoning", "image": "image", "request": "request",
}  # fmt: skip
_PARAMETERS = ["max_tokens", "max_completion_tokens", "stop", "stream", "response_format", "user"]


def list_models(catalog: Catalog, caller: Caller) -> bytes:
    """Every route that the key may use and that has a live price."""
    items = [_item(route) for route in catalog.routes.values() if route.prices is not None and caller.may_use(route.name)]
    return msgspec.json.encode({"object": "list", "data": items})


def show_model(catalog: Catalog, caller: Caller, name: str) -> bytes:
    """One of them, by name or alias. Raises RouteNotFound."""
    route = catalog.by_alias.get(name)
    if route is None or route.prices is None or not caller.may_use(route.name):
        shown = name[:100]
        raise RouteNotFound(f"O modelo '{shown}' não existe.", f"The model '{shown}' does not exist.", param="model")
    return msgspec.json.encode(_item(route))


def _item(route: ServedRoute) -> dict[str, Any]:
    has_vision = "vision" in route.capabilities
    return {
        "id": route.name,
        "object": "model",
        "created": route.created,
        "owned_by": route.maker,
        "name": route.display_name,
        "description": route.description,
        "context_length": route.context_tokens,
        "architecture": {
            "input_modalities": ["text", "image"] if has_vision else ["text"],
            "output_modalities": ["text"] if route.surface == "chat" else ["embeddings"],
        },
        "top_provider": {"context_length": route.context_tokens, "max_completion_tokens": route.output_tokens_max},
        "pricing": _pricing(route.prices),
        "supported_parameters": _supported(route),
        "is_simulated": all(deployment.is_simulated for deployment in route.deployments),
    }


def _pricing(prices: PriceList | None) -> dict[str, str]:
    """Decimal strings in reais per token, as OpenRouter writes dollars."""
    shown = {"currency": "BRL"}
    for name, unit in _PRICE_NAMES.items():
        price = prices.units.get(unit) if prices else None
        if price is not None:
            shown[name] = _per_unit(price)
    return shown


def _per_unit(price: UnitPrice) -> str:
    amount: Decimal = to_brl(price.amount_nanos) / price.per_units
    return f"{amount.normalize():f}"


def _supported(route: ServedRoute) -> list[str]:
    if route.surface != "chat":
        return ["dimensions", "encoding_format"]
    supported = list(_PARAMETERS)
    if "tools" in route.capabilities:
        supported += ["tools", "tool_choice", "parallel_tool_calls"]
    if "reasoning" in route.capabilities:
        supported.append("reasoning_effort")
    if not route.is_reasoning:
        supported += ["temperature", "top_p"]
    return supported
