"""`manage.py seed_catalog`: what is sold at the first start, from `gateway/catalog.toml`. Safe to repeat."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction

from billing.costs import declare_costs, import_costs
from billing.models import PriceVersion
from billing.money import from_brl
from billing.pricebooks import PriceLine, draft_version, publish_version
from gateway.models import Credential, Deployment, Fallback, Provider, Route, RoutingRule, RuleStep
from gateway.secrets import encrypt

FIXTURE = Path(__file__).resolve().parents[2] / "catalog.toml"
FIXED_PRICE_REASON = "Modelo de demonstração, preço fixo."


@dataclass(frozen=True, slots=True)
class Seeded:
    providers: int
    routes: int
    prices: str  # the version that was published, or empty


class Command(BaseCommand):
    help = "Cria provedores, modelos, rotas e a primeira versão de preços que faltarem. Pode ser repetido."

    def handle(self, *args: Any, **options: Any) -> None:
        seeded = seed_catalog(read_fixture())
        prices = f", preços publicados: {seeded.prices}" if seeded.prices else ""
        self.stdout.write(f"Catálogo: {seeded.providers} provedores e {seeded.routes} modelos novos{prices}.")


def read_fixture() -> dict[str, Any]:
    return tomllib.loads(FIXTURE.read_text(encoding="utf-8"))


def seed_catalog(fixture: dict[str, Any]) -> Seeded:
    """Create what is missing; what is there stays as it is. The first price version is published only where there is none."""
    with transaction.atomic():
        before = Provider.objects.count(), Route.objects.count()
        providers = {line["slug"]: _seed_provider(line) for line in fixture["providers"]}
        factors = {line["slug"]: line["token_factor_percent"] for line in fixture["providers"]}
        is_first = not RoutingRule.objects.exists()
        new = {
            line["name"] for line in fixture["routes"] if _seed_route(line, providers[line["provider"]], factors[line["provider"]])
        }
        for line in fixture.get("rules", ()):
            _seed_rule(line)
        for line in fixture.get("fallbacks", ()):
            if is_first or line["route"] in new:  # else an administrator has taken them away
                _seed_fallbacks(line)
        after = Provider.objects.count(), Route.objects.count()
    import_costs(
        [
            (line["provider"], line["cost"][0], line["upstream_model"], line["cost"][1])
            for line in fixture["routes"]
            if "cost" in line
        ]
    )
    declare_costs((line["provider"], line["upstream_model"], _declared(line)) for line in fixture["routes"])
    published = ""
    if not PriceVersion.objects.filter(status=PriceVersion.Status.PUBLISHED).exists():
        version = draft_version(lines=[_price_line(line) for line in fixture["routes"]], note="Primeira lista de preços.")
        published = str(publish_version(version, by="seed_catalog"))
    return Seeded(providers=after[0] - before[0], routes=after[1] - before[1], prices=published)


def _seed_provider(line: dict[str, Any]) -> Provider:
    """With a key in the environment the real one; else the sandbox's, where there is one; else inactive.

    A key that comes later makes a simulated or inactive provider real; an administrator's own edits are never undone.
    """
    secret = os.environ.get(line["key_variable"], "")
    base_url, is_simulated = line["base_url"], False
    if not secret and settings.SANDBOX_URL:
        base_url = sandbox_url(line["slug"], base_url)
        secret, is_simulated = f"sandbox-{line['slug']}", True
    provider, is_new = Provider.objects.get_or_create(
        slug=line["slug"],
        defaults={
            "name": line["name"], "dialect": line["dialect"], "base_url": base_url, "country": line["country"],
            "is_strict": line.get("is_strict", False), "is_simulated": is_simulated, "is_active": bool(secret),
        },
    )  # fmt: skip
    if not is_new and (provider.is_simulated or not provider.credentials.exists()):
        _follow_environment(
            provider, dialect=line["dialect"], base_url=base_url, is_simulated=is_simulated, has_secret=bool(secret)
        )
    if secret and not provider.credentials.exists():
        label = "sandbox" if is_simulated else line["key_variable"]
        Credential.objects.create(provider=provider, label=label, secret=encrypt(secret), last4=secret[-4:])
    return provider


def _follow_environment(provider: Provider, *, dialect: str, base_url: str, is_simulated: bool, has_secret: bool) -> None:
    """The sandbox moved to another port, or a real key has come; a release may speak to the provider in another language."""
    if (provider.base_url, provider.is_simulated) == (base_url, is_simulated):
        return
    if not is_simulated:
        provider.credentials.all().delete()
        provider.is_active = has_secret
    provider.dialect, provider.base_url, provider.is_simulated = dialect, base_url, is_simulated
    provider.save()


def sandbox_url(slug: str, base_url: str) -> str:
    """Where the sandbox serves this provider: its own path under `/llm/<slug>`."""
    return f"{settings.SANDBOX_URL}/llm/{slug}{urlsplit(base_url).path}".rstrip("/")


def _seed_route(line: dict[str, Any], provider: Provider, token_factor_percent: int) -> bool:
    """Whether it was missing."""
    route, is_new = Route.objects.get_or_create(
        name=line["name"],
        defaults={
            "aliases": line.get("aliases", []), "display_name": line["display_name"], "maker": line["maker"],
            "surface": line.get("surface", Route.Surface.CHAT), "description": line.get("description", ""),
            "context_tokens": line["context_tokens"], "output_tokens_max": line.get("output_tokens_max", 0),
            "output_tokens_default": line.get("output_tokens_default", 0), "token_factor_percent": token_factor_percent,
            "capabilities": line.get("capabilities", []), "is_reasoning": line.get("is_reasoning", False),
            "is_featured": line.get("is_featured", False),
        },
    )  # fmt: skip
    if is_new:
        Deployment.objects.create(route=route, provider=provider, upstream_model=line["upstream_model"])
    return is_new


def _seed_rule(line: dict[str, Any]) -> None:
    rule, is_new = RoutingRule.objects.get_or_create(
        name=line["name"],
        defaults={
            "display_name": line["display_name"], "description": line["description"],
            "policy": line.get("policy", RoutingRule.Policy.LIST),
        },
    )  # fmt: skip
    if is_new:
        routes = Route.objects.in_bulk([step["route"] for step in line["steps"]], field_name="name")
        RuleStep.objects.bulk_create(
            RuleStep(rule=rule, position=place, route=routes[step["route"]], budget_below_ms=step.get("budget_below_ms"))
            for place, step in enumerate(line["steps"], 1)
        )


def _seed_fallbacks(line: dict[str, Any]) -> None:
    route = Route.objects.get(name=line["route"])
    for place, target in enumerate(line["targets"], 1):
        Fallback.objects.get_or_create(
            route=route, target=Route.objects.get(name=target["route"]), defaults={"position": place, "kinds": target["kinds"]}
        )


def _declared(line: dict[str, Any]) -> dict[str, Decimal]:
    return {unit: Decimal(usd) for unit, usd in line.get("costs_usd", {}).items()}


def _price_line(line: dict[str, Any]) -> PriceLine:
    fixed = {unit: from_brl(brl) for unit, brl in line.get("fixed_brl", {}).items()}
    return PriceLine(
        route_name=line["name"],
        provider_name=line["provider"],
        upstream_model=line["upstream_model"],
        markup=Decimal(line["markup"]),
        overrides=fixed,
        override_reason=line.get("fixed_reason", FIXED_PRICE_REASON) if fixed else "",
    )
