"""JavaScript SDKs against a real gateway. `make test` installs them where node and npm are there, else it leaves this file out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gateway.models import StoredResponse
from tests.gateway.world import Tenant, World, await_true

SCRIPTS = Path(__file__).resolve().parent / "node"
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6"}
UNITS = {"input": "10", "cached_input": "1", "output": "30"}
SURFACES = {
    "openai": {"chat", "responses", "embeddings"},
    "responses": {"responses"},
    "ai_sdk": {"chat", "messages", "embeddings"},
}

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def routes(world: World) -> list[str]:
    """Two for chat; the last one embeds."""
    embedder = world.route("openai", "text-embedding-3-small", name="node/embedder", surface="embeddings", units={"input": "2"})
    chats = [
        world.route(slug, model, units=UNITS, name=f"node/{slug}", capabilities=["tools", "json"]) for slug, model in MODELS.items()
    ]
    return [*(route.name for route in chats), embedder.name]


@pytest.mark.parametrize("script", SURFACES)
def test_it_serves_javascript(world: World, routes: list[str], tenant: Tenant, script: str) -> None:
    assert (SCRIPTS / "node_modules").is_dir(), "`npm ci` in tests/gateway/node, or `make test`, which does it"
    world.await_served(tenant, *routes)
    storing = world.tenant(stores_responses=True)
    told = {
        "baseURL": f"{world.gateway.url}/v1", "key": tenant.secret, "storingKey": storing.secret,
        "poorKey": world.tenant(brl="0.01").secret, "hastyKey": world.tenant(requests_per_minute=1).secret,
        "models": routes[:-1], "embedder": routes[-1],
    }  # fmt: skip
    stored = StoredResponse.everywhere.filter(organization=tenant.wallet.organization_id)
    ran = subprocess.run(
        ["node", f"{script}.mjs"], cwd=SCRIPTS, env={**os.environ, "TOKIA_SMOKE": json.dumps(told)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    await_true(lambda: tenant.fresh().held_nanos == storing.fresh().held_nanos == 0)  # one script hangs up in a stream
    assert {record.surface for record in tenant.records()} == SURFACES[script]
    assert {record.outcome for record in tenant.records()} <= {"completed", "cancelled"}
    assert stored.exists() is (script == "responses")  # each of the others deletes what it had stored
