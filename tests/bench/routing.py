"""What it costs to decide who is asked: `plan_call` and `prepare` alone, in a process with the stack's environment.

`python -m tests.bench.routing` → one JSON object, µs of CPU per call by case. No socket, no query: the catalog is read once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import django

from tests.bench import ROUTES

CALLS, ROUNDS = 500, 7
RULE = "tokia/balanced"
EIGHT = "bench/eight"


def measure() -> dict[str, float]:
    from gateway import auto, catalog
    from gateway.attempts import prepare
    from gateway.calls import NO_PREFERENCES, CallContext, Caller, Preferences
    from gateway.parsing import parse_chat
    from gateway.planning import plan_call
    from gateway.process import GatewayProcess

    process = GatewayProcess()  # never started: what is measured waits for nothing
    loaded = catalog.load()
    plain = loaded.routes[ROUTES["openai"]]
    copies = tuple(
        replace(plain.deployments[0], id=1_000_000 + place, provider_slug=f"bench-{place}", weight=1 + place, priority=place // 4)
        for place in range(8)
    )
    eight = replace(plain, name=EIGHT, deployments=copies)
    process.snapshots.catalog = replace(loaded, routes={**loaded.routes, EIGHT: eight}, by_alias={**loaded.by_alias, EIGHT: eight})
    caller = Caller(
        api_key_id=1, organization_id=1, wallet_id=1, label="bench", allowed_routes=frozenset(), requests_per_minute=1,
        expires_at=None, is_revoked=False, is_suspended=False,
    )  # fmt: skip
    wishes = Preferences(
        preferred=("bench-5", "bench-2"), ignore=frozenset({"bench-0"}), sort="price", max_price={"input": 10**12}, session="s-1"
    )

    def plan(model: str, preferences: Preferences) -> Callable[[], None]:
        context = CallContext(id="bench", started_ns=0, preferences=preferences)
        call = parse_chat(json.dumps({"model": model, "messages": [{"role": "user", "content": "Bom dia. " * 100}]}).encode())
        ask = partial(plan_call, process, context, caller, model=model, surface="chat", describe=partial(auto.read_facts, call))

        def once() -> None:
            candidates, routing = ask()
            prepare(candidates, routing, lambda candidate: candidate)

        return once

    cases = {
        "plain": plan(plain.name, NO_PREFERENCES),
        "rule": plan(RULE, NO_PREFERENCES),
        "8 deployments with preferences": plan(EIGHT, wishes),
    }
    return {name: median(_round_us(once) for _ in range(ROUNDS)) for name, once in cases.items()}


def _round_us(once: Callable[[], None]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        once()
    return (time.process_time() - began) / CALLS * 1e6


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
    django.setup()
    print(json.dumps(measure()))
