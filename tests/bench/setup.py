"""The bench's own rows, in a process with the stack's environment: `sell URL` → a key; `sums` → what we recorded."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django
from django.db.models import Sum

from tests.bench import ROUTES


def sell(upstream: str) -> dict[str, Any]:
    from accounts.keys import mint_key
    from accounts.models import LimitProfile, Organization
    from billing.ledger import grant
    from billing.models import Price
    from billing.money import from_brl
    from billing.pricebooks import draft_from_current, publish_version
    from billing.wallets import wallet_of
    from gateway.models import Credential, Deployment, Provider, Route
    from gateway.secrets import encrypt

    draft = draft_from_current()
    for dialect, name in ROUTES.items():
        address = f"{upstream}/v1" if dialect == "openai" else upstream
        provider = Provider.objects.create(
            slug=f"bench-{dialect}", name="Bench", dialect=dialect, base_url=address, is_simulated=True
        )
        Credential.objects.create(provider=provider, label="bench", secret=encrypt("sold"), last4="sold")
        tokens = {"context_tokens": 128_000, "output_tokens_max": 4_096, "output_tokens_default": 512}
        route = Route.objects.create(name=name, display_name="Bench", maker="Bench", **tokens)
        Deployment.objects.create(route=route, provider=provider, upstream_model="bench-model")
        for unit, amount in (("input", from_brl("0.80")), ("output", from_brl("3.20"))):
            Price.objects.create(version=draft, route_name=name, unit=unit, override_nanos=amount, amount_nanos=amount)
    publish_version(draft, by="bench")
    limits = LimitProfile.objects.create(name="bench", requests_per_minute=100_000_000, tokens_per_minute=2_000_000_000)
    organization = Organization.objects.create(name="Bench Ltda", limit_profile=limits)
    grant(wallet_of(organization), amount_nanos=from_brl("1000000"), reference="bench:grant", reason="bench", actor="bench")
    _, secret = mint_key(organization, user=None, name="bench")
    return {"key": secret}


def sums() -> dict[str, Any]:
    from billing.models import UsageRecord, Wallet
    from billing.money import from_brl
    from billing.reconcile import find_violations

    dialects, net_nanos = {}, 0
    for dialect, name in ROUTES.items():
        billed = UsageRecord.everywhere.filter(route_name=name).exclude(outcome="failed")
        totals = billed.aggregate(i=Sum("input_tokens"), c=Sum("cached_input_tokens"), o=Sum("output_tokens"), net=Sum("net_nanos"))
        net_nanos += int(totals["net"] or 0)
        dialects[dialect] = {
            "requests": billed.count(),
            "prompt_tokens": (totals["i"] or 0) + (totals["c"] or 0),
            "completion_tokens": totals["o"] or 0,
        }
    wallet = Wallet.everywhere.get(organization__name="Bench Ltda")
    return {
        "dialects": dialects,
        "net_nanos": net_nanos,
        "granted_nanos": from_brl("1000000"),
        "posted_nanos": wallet.posted_nanos,
        "held_nanos": wallet.held_nanos,
        "violations": [str(violation) for violation in find_violations()],
    }


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
    django.setup()
    print(json.dumps(sell(sys.argv[2]) if sys.argv[1] == "sell" else sums()))
