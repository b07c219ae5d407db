"""Chaos' own rows, in a process with the stack's environment: `python -m tests.torture.chaos_setup SANDBOX TENANTS`.

Two models, each at the same four providers of three dialects, alike in weight and price. Prints one JSON object: the tenants.
`python -m tests.torture.chaos_setup --move PROVIDER SANDBOX` gives a provider another address, as the admin does.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import django

from tests.torture.stack_setup import Tenant

MAIN, SECOND = "chaos/main", "chaos/second"
# The provider at the sandbox → dialect, the path of its base URL, its models of MAIN and of SECOND.
PROVIDERS = {
    "openai": ("openai", "/v1", ("gpt-4o-mini", "gpt-4o")),
    "anthropic": ("anthropic", "", ("claude-haiku-4-5", "claude-sonnet-4-6")),
    "google": ("gemini", "/v1beta", ("gemini-2.5-flash", "gemini-2.5-pro")),
    "groq": ("openai", "/openai/v1", ("llama-3.3-70b-versatile", "llama-3.1-8b-instant")),
}
UNITS = (("input", "4321.000000321"), ("output", "16543.210987"))  # odd, so that rounding shows


def sell(sandbox: str) -> None:
    """Both models, once."""
    from billing.models import Price
    from billing.money import from_brl
    from billing.pricebooks import draft_from_current, publish_version
    from gateway.models import Credential, Deployment, Provider, Route
    from gateway.secrets import encrypt

    if Route.objects.filter(name=MAIN).exists():
        return
    draft = draft_from_current()
    routes = [
        Route.objects.create(
            name=name, display_name=name, maker="Chaos", context_tokens=128_000, output_tokens_max=4_096, output_tokens_default=256,
            token_factor_percent=150,
        )
        for name in (MAIN, SECOND)
    ]  # fmt: skip
    for slug, (dialect, path, models) in PROVIDERS.items():
        provider = Provider.objects.create(
            slug=f"chaos-{slug}", name=f"Chaos {slug}", dialect=dialect, base_url=f"{sandbox}/llm/{slug}{path}", is_simulated=True
        )
        Credential.objects.create(provider=provider, label="chaos", secret=encrypt(f"sandbox-{slug}"), last4=slug[-4:])
        for route, model in zip(routes, models, strict=True):
            Deployment.objects.create(route=route, provider=provider, upstream_model=model)
    for route in routes:
        for unit, brl in UNITS:
            amount = from_brl(brl)
            Price.objects.create(version=draft, route_name=route.name, unit=unit, override_nanos=amount, amount_nanos=amount)
    publish_version(draft, by="chaos")


def make_tenants(count: int) -> list[Tenant]:
    from accounts.keys import mint_key
    from accounts.models import LimitProfile
    from billing.money import from_brl
    from tests.make import make_organization, make_wallet

    limits, _ = LimitProfile.objects.get_or_create(
        name="chaos", defaults={"requests_per_minute": 10_000_000, "tokens_per_minute": 2_000_000_000}
    )
    tenants = []
    for number in range(count):
        organization = make_organization()
        organization.limit_profile = limits
        organization.save()
        wallet = make_wallet(organization=organization, brl="90000", promo_brl="40.000000007")
        secrets = [mint_key(organization, user=None, name="chaos")[1] for _ in range(2)]
        tenants.append(Tenant(f"chaos {number}", wallet.pk, from_brl("90040.000000007"), secrets))
    return tenants


def move(slug: str, sandbox: str) -> None:
    from gateway.models import Provider

    provider = Provider.objects.get(slug=f"chaos-{slug}")
    provider.base_url = f"{sandbox}/llm/{slug}{PROVIDERS[slug][1]}"
    provider.save()


def main() -> None:
    from django.db import transaction

    if sys.argv[1] == "--move":
        move(sys.argv[2], sys.argv[3])
        return
    with transaction.atomic():
        sell(sys.argv[1])
        tenants = make_tenants(int(sys.argv[2]))
    print(json.dumps([asdict(tenant) for tenant in tenants]))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
    django.setup()
    main()
