"""The torture's own rows, in a process with the stack's environment: `python -m tests.torture.stack_setup SANDBOX CASTS`.

Prints one JSON object: the routes by what they do, and CASTS times the same four tenants, each with its wallet, its keys and what
was credited. Prices are odd and high, so that rounding shows and wallets run dry within seconds.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field

import django

KEY_LIMIT = 10  # requests per minute of the tenant "limited"


@dataclass
class Tenant:
    """An organization with money and keys, as the load sees it."""

    name: str
    wallet: int
    credited_nanos: int
    keys: list[str] = field(default_factory=list)


# What a route does → its provider at the sandbox, the path of that provider's base URL, the model there.
ROUTES = {
    "openai": ("openai", "/v1", "gpt-4o-mini"),
    "anthropic": ("anthropic", "", "claude-haiku-4-5"),
    "fails": ("mistral", "/v1", "fault-503-mistral-small-latest"),
    "cuts": ("openai", "/v1", "fault-reset3-gpt-4o-mini"),
}
# name, reais paid in, reais granted, number of keys
TENANTS = (
    ("rich", "5000", "0", 2),
    ("promoted", "300", "40.000000007", 1),
    ("poor", "12.345678901", "0", 2),
    ("limited", "500", "0", 1),
)


def sell(sandbox: str) -> dict[str, str]:
    """Active routes at their own providers, priced; gives their names by what they do."""
    from billing.models import Price
    from billing.money import from_brl
    from billing.pricebooks import draft_from_current, publish_version
    from gateway.models import Credential, Deployment, Provider, Route
    from gateway.secrets import encrypt

    if Route.objects.filter(name="torture/openai").exists():
        return {what: f"torture/{what}" for what in ROUTES}
    draft = draft_from_current()
    names = {}
    for what, (slug, path, model) in ROUTES.items():
        dialect = "anthropic" if slug == "anthropic" else "openai"
        provider, is_new = Provider.objects.get_or_create(
            slug=f"torture-{slug}",
            defaults={
                "name": f"Torture {slug}",
                "dialect": dialect,
                "base_url": f"{sandbox}/llm/{slug}{path}",
                "is_simulated": True,
            },
        )
        if is_new:
            Credential.objects.create(provider=provider, label="torture", secret=encrypt(f"sandbox-{slug}"), last4=slug[-4:])
        names[what] = f"torture/{what}"
        route = Route.objects.create(
            name=names[what], display_name=what, maker="Torture", context_tokens=128_000, output_tokens_max=4_096,
            output_tokens_default=256, token_factor_percent=150,
        )  # fmt: skip
        Deployment.objects.create(route=route, provider=provider, upstream_model=model)
        for unit, brl in (("input", "4321.000000321"), ("output", "16543.210987")):
            amount = from_brl(brl)
            Price.objects.create(version=draft, route_name=route.name, unit=unit, override_nanos=amount, amount_nanos=amount)
    publish_version(draft, by="torture")
    return names


def make_cast() -> list[Tenant]:
    from accounts.keys import mint_key
    from accounts.models import LimitProfile
    from billing.money import from_brl
    from tests.make import make_organization, make_wallet

    limits, _ = LimitProfile.objects.get_or_create(
        name="torture", defaults={"requests_per_minute": 10_000_000, "tokens_per_minute": 2_000_000_000}
    )
    tenants = []
    for name, brl, promo_brl, keys in TENANTS:
        organization = make_organization()
        organization.limit_profile = limits
        organization.save()
        wallet = make_wallet(organization=organization, brl=brl, promo_brl=promo_brl)
        limit = KEY_LIMIT if name == "limited" else None
        secrets = [mint_key(organization, user=None, name="torture", requests_per_minute=limit)[1] for _ in range(keys)]
        tenants.append(Tenant(name, wallet.pk, from_brl(brl) + from_brl(promo_brl), secrets))
    return tenants


def make_world(sandbox: str, casts: int) -> dict[str, object]:
    from django.db import transaction

    with transaction.atomic():
        routes = sell(sandbox)
    return {"routes": routes, "casts": [[asdict(tenant) for tenant in make_cast()] for _ in range(casts)]}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
    django.setup()
    print(json.dumps(make_world(sys.argv[1], int(sys.argv[2]))))
