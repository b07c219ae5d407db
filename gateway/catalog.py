"""What is served, in memory: routes with their prices, deployments and credentials. Never queried per call.

`load` reads Django's tables, in the snapshot thread; the rest of the process sees only the frozen `Catalog`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from billing import pricebooks
from gateway.calls import (
    Caller,
    ServedArm,
    ServedDeployment,
    ServedExperiment,
    ServedFallback,
    ServedRoute,
    ServedRule,
    ServedStep,
)
from gateway.errors import Forbidden, RouteNotFound, Unavailable
from gateway.models import Credential, Deployment, Experiment, Fallback, Provider, Route, RoutingRule
from gateway.parameters import supported_parameters
from gateway.secrets import SecretUnreadable, decrypt

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Catalog:
    """One reading of the catalog. `next_change_at`: when a published price version comes into force (Unix seconds)."""

    routes: Mapping[str, ServedRoute]  # by name
    by_alias: Mapping[str, ServedRoute]  # by name and by every alias
    next_change_at: float | None = None
    rules: Mapping[str, ServedRule] = field(default_factory=dict)  # virtual models, by name
    experiments: Mapping[tuple[int, str], ServedExperiment] = field(default_factory=dict)  # by organization (0: all) and model
    _adjusted: dict[int, Catalog] = field(default_factory=dict, init=False, repr=False, compare=False)  # by margin_bps

    def priced_for(self, caller: Caller) -> Catalog:
        """The same, at the prices of the caller's organization. What a call plans, holds, settles and is told is of one of them."""
        if not caller.margin_bps:  # as most
            return self
        found = self._adjusted.get(caller.margin_bps)
        if found is None:
            found = self._adjusted[caller.margin_bps] = self._adjust(caller.margin_bps)
        return found

    def _adjust(self, margin_bps: int) -> Catalog:
        routes = {name: _adjust_route(route, margin_bps) for name, route in self.routes.items()}
        by_alias = {alias: routes[route.name] for alias, route in self.by_alias.items()}
        return replace(self, routes=routes, by_alias=by_alias)


EMPTY = Catalog(routes={}, by_alias={})


def route_for(catalog: Catalog, model: str, *, caller: Caller, surface: str, param: str = "model") -> ServedRoute:
    """Raises RouteNotFound (404), Forbidden `model_not_allowed` (403), Unavailable `price_missing` (503)."""
    route = catalog.by_alias.get(model)
    if route is None:
        raise unknown_model(model, param=param)
    if not caller.may_use(route.name):
        raise Forbidden(
            f"Esta chave não pode usar o modelo '{route.name}'.", f"This key may not use the model '{route.name}'.",
            param=param, code="model_not_allowed",
        )  # fmt: skip
    if route.surface != surface:
        raise unusable_model(route.name, param=param)
    if route.prices is None:
        raise Unavailable(
            f"O modelo '{route.name}' está sem preço e não é servido agora.", f"The model '{route.name}' has no live price.",
            param=param, code="price_missing",
        )  # fmt: skip
    return route


def _adjust_route(route: ServedRoute, margin_bps: int) -> ServedRoute:
    if route.prices is None:
        return route
    prices = route.prices.adjusted(margin_bps)
    return replace(route, prices=prices, own_key_prices=prices.for_own_key() if route.own_key_prices is not None else None)


def unknown_model(model: str, *, param: str = "model") -> RouteNotFound:
    shown = model[:100]
    return RouteNotFound(
        f"O modelo '{shown}' não existe ou não está disponível. Veja GET /v1/models.",
        f"The model '{shown}' does not exist or is not available. See GET /v1/models.",
        param=param,
    )


def unusable_model(name: str, *, param: str = "model") -> RouteNotFound:
    return RouteNotFound(
        f"O modelo '{name}' não atende neste endereço.", f"The model '{name}' is not served at this address.", param=param
    )


def load() -> Catalog:
    """Read the tables (Django, synchronous)."""
    secrets = _usable_secrets()
    deployments: dict[int, list[ServedDeployment]] = defaultdict(list)
    rows = Deployment.objects.filter(is_active=True, provider__is_active=True, route__is_active=True)
    for row in rows.select_related("provider").order_by("priority", "id"):
        for credential, secret in secrets.get(row.provider_id, ()):
            deployments[row.route_id].append(_served(row, row.provider, credential, secret))
    prices, fallbacks = pricebooks.price_lists(), _fallbacks()
    routes: dict[str, ServedRoute] = {}
    by_alias: dict[str, ServedRoute] = {}
    known = list(Route.objects.filter(is_active=True).order_by("name"))
    housed = {route.name for route in known if deployments[route.pk]}
    for route in known:
        others = {fallback.route_name for fallback in fallbacks.get(route.pk, ())}
        if route.name not in housed and not others & housed:  # else whoever names it is served by these
            continue
        served = ServedRoute(
            name=route.name, display_name=route.display_name, maker=route.maker, surface=route.surface,
            description=route.description, context_tokens=route.context_tokens,
            output_tokens_max=route.output_tokens_max or route.context_tokens,
            output_tokens_default=route.output_tokens_default or min(4_096, route.output_tokens_max or 4_096),
            token_factor_percent=max(100, route.token_factor_percent), capabilities=tuple(route.capabilities),
            is_reasoning=route.is_reasoning, created=int(route.created_at.timestamp()), prices=prices.get(route.name),
            deployments=tuple(deployments[route.pk]), fallbacks=fallbacks.get(route.pk, ()),
            own_key_prices=prices[route.name].for_own_key() if route.name in prices else None,
        )  # fmt: skip
        routes[served.name] = served
        if served.surface == Route.Surface.CHAT and served.deployments:
            supported_parameters(served)  # kept for /v1/models: here, in the snapshot's thread, nobody waits for it
        for alias in route.aliases:
            by_alias.setdefault(alias, served)
    by_alias.update(routes)
    change = pricebooks.next_change_at()
    return Catalog(routes=routes, by_alias=by_alias, next_change_at=change.timestamp() if change else None, rules=_rules(),
                   experiments=_experiments())  # fmt: skip


def _usable_secrets() -> dict[int, list[tuple[Credential, str]]]:
    secrets: dict[int, list[tuple[Credential, str]]] = defaultdict(list)
    for credential in Credential.objects.filter(is_active=True).order_by("id"):
        try:
            secrets[credential.provider_id].append((credential, decrypt(bytes(credential.secret))))
        except SecretUnreadable:
            log.error("credential unreadable: ENCRYPTION_KEYS does not open it", extra={"credential": credential.pk})
    return secrets


def _served(row: Deployment, provider: Provider, credential: Credential, secret: str) -> ServedDeployment:
    return ServedDeployment(
        id=row.pk, provider_slug=provider.slug, provider_name=provider.name, dialect=provider.dialect,
        base_url=provider.base_url.rstrip("/"), upstream_model=row.upstream_model, priority=row.priority, weight=row.weight,
        secret=secret, is_strict=provider.is_strict, is_simulated=provider.is_simulated, credential_id=credential.pk,
        trains_on_data=provider.trains_on_data, has_zero_retention=provider.has_zero_retention,
        first_token_ms_max=row.first_token_ms_max or 0, requests_per_minute=credential.requests_per_minute or 0,
        tokens_per_minute=credential.tokens_per_minute or 0,
    )  # fmt: skip


def _fallbacks() -> dict[int, tuple[ServedFallback, ...]]:
    found: dict[int, list[ServedFallback]] = defaultdict(list)
    for row in Fallback.objects.filter(target__is_active=True).select_related("target").order_by("position", "pk"):
        found[row.route_id].append(ServedFallback(row.target.name, frozenset(row.kinds)))
    return {route_id: tuple(rows) for route_id, rows in found.items()}


def _rules() -> dict[str, ServedRule]:
    rules = {}
    for rule in RoutingRule.objects.filter(is_active=True).prefetch_related("steps__route"):
        steps = tuple(ServedStep(step.route.name, step.budget_below_ms) for step in rule.steps.all() if step.route.is_active)
        rules[rule.name] = ServedRule(
            name=rule.name, display_name=rule.display_name, description=rule.description, policy=rule.policy, steps=steps,
            created=int(rule.created_at.timestamp()),
        )  # fmt: skip
    return rules


def _experiments() -> dict[tuple[int, str], ServedExperiment]:
    """By every name of the model that an experiment splits, whichever of them it was told."""
    names = {
        name: (route, *aliases) for route, aliases in Route.objects.values_list("name", "aliases") for name in (route, *aliases)
    }
    found: dict[tuple[int, str], ServedExperiment] = {}
    for experiment in Experiment.everywhere.filter(status=Experiment.Status.RUNNING).prefetch_related("arms__route").order_by("pk"):
        arms = tuple(ServedArm(arm.pk, arm.label, arm.route.name, arm.weight) for arm in experiment.arms.all())
        served = ServedExperiment(experiment.pk, experiment.name, arms)
        for name in names.get(experiment.model, (experiment.model,)):
            found.setdefault((experiment.organization_id or 0, name), served)
    return found
