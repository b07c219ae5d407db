"""Who serves a model, and how well of late: `GET /v1/models/{name}/endpoints`, in OpenRouter's words."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.calls import Caller, ServedDeployment, ServedRoute
from gateway.circuit import CLOSED, HALF_OPEN, OPEN
from gateway.errors import RouteNotFound
from gateway.histogram import add_counts, percentiles_of
from gateway.models_list import show_pricing
from gateway.parameters import supported_parameters
from gateway.reading import Row
from tokia import clock

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

PERCENTS = (50, 75, 90, 95, 99)
STATUSES = {CLOSED: 0, HALF_OPEN: -1, OPEN: -2}  # OpenRouter's: below zero is worse
RECENT, LONG = dt.timedelta(minutes=30), dt.timedelta(days=1)
_RECENT = """
SELECT deployment_id, succeeded, failed, output_tokens, output_ms, first_token, total FROM gateway_deploymentvitals
WHERE span_seconds = 60 AND begins_at >= %s AND deployment_id = ANY(%s)
"""
_LONG = """
SELECT deployment_id, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed FROM gateway_deploymentvitals
WHERE span_seconds = 3600 AND begins_at >= %s AND deployment_id = ANY(%s) GROUP BY deployment_id
"""


async def list_deployments(process: GatewayProcess, caller: Caller, name: str) -> bytes:
    """Each deployment once, however many keys we have there. Raises RouteNotFound, Unavailable."""
    routes = _routes_named(process, caller, name)
    served = {deployment.id: (route, deployment) for route in routes for deployment in route.deployments}
    now, ids = clock.now(), list(served)
    recent: dict[int, list[Row]] = defaultdict(list)
    for row in await process.reads.fetch_all(_RECENT, (now - RECENT, ids)):
        recent[row["deployment_id"]].append(row)
    days = {row["deployment_id"]: row for row in await process.reads.fetch_all(_LONG, (now - LONG, ids))}
    shown = [
        {**_show_terms(route, deployment), **_show_state(process, route, id_), **_show_recent(recent[id_]),
         "uptime_last_1d": _uptime([days[id_]] if id_ in days else recent[id_])}
        for id_, (route, deployment) in served.items()
    ]  # fmt: skip
    first = routes[0]
    told = {"id": name, "name": first.display_name, "created": first.created, "description": first.description, "endpoints": shown}
    return msgspec.json.encode({"data": told})


def _routes_named(process: GatewayProcess, caller: Caller, name: str) -> list[ServedRoute]:
    """The model, or those of a virtual one, as far as the caller may use them. Raises RouteNotFound."""
    catalog = process.snapshots.catalog.priced_for(caller)
    rule = catalog.rules.get(name)
    names = [step.route_name for step in rule.steps] if rule is not None else [name]
    found = [route for each in names if (route := catalog.by_alias.get(each)) is not None]
    routes = [route for route in found if route.prices is not None and caller.may_use(route.name)]
    if not routes:
        shown = name[:100]
        raise RouteNotFound(f"O modelo '{shown}' não existe.", f"The model '{shown}' does not exist.", param="model")
    return routes


def _show_terms(route: ServedRoute, deployment: ServedDeployment) -> dict[str, Any]:
    return {
        "name": f"{deployment.provider_name} | {route.name}",
        "model_id": route.name,
        "model_name": route.display_name,
        "provider_name": deployment.provider_name,
        "tag": deployment.provider_slug,
        "context_length": route.context_tokens,
        "max_completion_tokens": route.output_tokens_max,
        "max_prompt_tokens": None,
        "quantization": None,
        "pricing": show_pricing(route),
        "supported_parameters": supported_parameters(route) if route.surface == "chat" else [],
        "is_simulated": deployment.is_simulated,
        "data_policy": {"training": deployment.trains_on_data, "zdr": deployment.has_zero_retention},
    }


def _show_state(process: GatewayProcess, route: ServedRoute, id_: int) -> dict[str, Any]:
    """The best of its keys' circuits: as long as one is closed it is asked as usual."""
    states = [process.circuits.state(deployment) for deployment in route.deployments if deployment.id == id_]
    best = max(states, key=lambda state: STATUSES.get(state, 0))
    return {"status": STATUSES.get(best, 0), "circuit": best}


def _show_recent(rows: list[Row]) -> dict[str, Any]:
    """Latency in ms, throughput in tokens per second; null where nothing was measured."""
    first: list[int] = []
    for row in rows:
        first = add_counts(first, row["first_token"])
    tokens, ms = sum(row["output_tokens"] for row in rows), sum(row["output_ms"] for row in rows)
    latency = (
        dict(zip((f"p{percent}" for percent in PERCENTS), percentiles_of(first, PERCENTS), strict=True)) if any(first) else None
    )
    return {
        "uptime_last_30m": _uptime(rows),
        "latency_last_30m": latency,
        "throughput_last_30m": round(tokens * 1000 / ms, 1) if ms else None,
    }


def _uptime(rows: list[Row]) -> float | None:
    """Percent; null where nobody asked."""
    succeeded, failed = sum(row["succeeded"] for row in rows), sum(row["failed"] for row in rows)
    return round(100 * succeeded / (succeeded + failed), 2) if succeeded + failed else None
