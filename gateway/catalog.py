"""What is served, in memory: routes with their prices, deployments and credentials. Never queried per call.

`load` reads Django's tables, in the snapshot thread; the rest of the process sees only the frozen `Catalog`.
"""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from billing import pricebooks
from gateway.calls import Caller, ServedDeployment, ServedRoute
from gateway.errors import Forbidden, RouteNotFound, Unavailable
from gateway.models import Credential, Deployment, Provider, Route
from gateway.parameters import supported_parameters
from gateway.secrets import SecretUnreadable, decrypt

log = logging.getLogger(__name__)

_turns = itertools.count()


@dataclass(frozen=True, slots=True)
class Catalog:
    """One reading of the catalog. `next_change_at`: when a published price version comes into force (Unix seconds)."""

    routes: Mapping[str, ServedRoute]  # by name
    by_alias: Mapping[str, ServedRoute]  # by name and by every alias
    next_change_at: float | None = None


EMPTY = Catalog(routes={}, by_alias={})


def route_for(catalog: Catalog, model: str, *, caller: Caller, surface: str) -> ServedRoute:
    """Raises RouteNotFound (404), Forbidden `model_not_allowed` (403), Unavailable `price_missing` (503)."""
    route = catalog.by_alias.get(model)
    if route is None:
        shown = model[:100]
        raise RouteNotFound(
            f"O modelo '{shown}' não existe ou não está disponível. Veja GET /v1/models.",
            f"The model '{shown}' does not exist or is not available. See GET /v1/models.",
            param="model",
        )
    if not caller.may_use(route.name):
        raise Forbidden(
            f"Esta chave não pode usar o modelo '{route.name}'.", f"This key may not use the model '{route.name}'.",
            param="model", code="model_not_allowed",
        )  # fmt: skip
    if route.surface != surface:
        raise RouteNotFound(
            f"O modelo '{route.name}' não atende neste endereço.", f"The model '{route.name}' is not served at this address.",
            param="model",
        )  # fmt: skip
    if route.prices is None:
        raise Unavailable(
            f"O modelo '{route.name}' está sem preço e não é servido agora.", f"The model '{route.name}' has no live price.",
            param="model", code="price_missing",
        )  # fmt: skip
    return route


def load() -> Catalog:
    """Read the tables (Django, synchronous)."""
    secrets = _usable_secrets()
    deployments: dict[int, list[ServedDeployment]] = defaultdict(list)
    rows = Deployment.objects.filter(is_active=True, provider__is_active=True, route__is_active=True)
    for row in rows.select_related("provider").order_by("priority", "id"):
        if (provider_secrets := secrets.get(row.provider_id)) is not None:
            deployments[row.route_id].append(_served(row, row.provider, provider_secrets))
    prices = pricebooks.price_lists()
    routes: dict[str, ServedRoute] = {}
    by_alias: dict[str, ServedRoute] = {}
    for route in Route.objects.filter(is_active=True).order_by("name"):
        if not deployments[route.pk]:
            continue
        served = ServedRoute(
            name=route.name, display_name=route.display_name, maker=route.maker, surface=route.surface,
            description=route.description, context_tokens=route.context_tokens,
            output_tokens_max=route.output_tokens_max or route.context_tokens,
            output_tokens_default=route.output_tokens_default or min(4_096, route.output_tokens_max or 4_096),
            token_factor_percent=max(100, route.token_factor_percent), capabilities=tuple(route.capabilities),
            is_reasoning=route.is_reasoning, created=int(route.created_at.timestamp()), prices=prices.get(route.name),
            deployments=tuple(deployments[route.pk]),
        )  # fmt: skip
        routes[served.name] = served
        if served.surface == Route.Surface.CHAT:
            supported_parameters(served)  # kept for /v1/models: here, in the snapshot's thread, nobody waits for it
        for alias in route.aliases:
            by_alias.setdefault(alias, served)
    by_alias.update(routes)
    change = pricebooks.next_change_at()
    return Catalog(routes=routes, by_alias=by_alias, next_change_at=change.timestamp() if change else None)


def _usable_secrets() -> dict[int, list[str]]:
    secrets: dict[int, list[str]] = defaultdict(list)
    for credential in Credential.objects.filter(is_active=True).order_by("id"):
        try:
            secrets[credential.provider_id].append(decrypt(bytes(credential.secret)))
        except SecretUnreadable:
            log.error("credential unreadable: ENCRYPTION_KEYS does not open it", extra={"credential": credential.pk})
    return secrets


def _served(row: Deployment, provider: Provider, secrets: list[str]) -> ServedDeployment:
    return ServedDeployment(
        id=row.pk, provider_slug=provider.slug, provider_name=provider.name, dialect=provider.dialect,
        base_url=provider.base_url.rstrip("/"), upstream_model=row.upstream_model, priority=row.priority, weight=row.weight,
        secret=secrets[next(_turns) % len(secrets)], is_strict=provider.is_strict, is_simulated=provider.is_simulated,
    )  # fmt: skip
