"""JavaScript SDKs against a real gateway. Skipped where node or its packages are not there (`npm install` in `node/`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.gateway.world import Tenant, World

SCRIPTS = Path(__file__).resolve().parent / "node"
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6"}

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (SCRIPTS / "node_modules").is_dir(),
    reason="needs node, and `npm install` in tests/gateway/node",
)


@pytest.mark.parametrize("script", ["responses"])
def test_it_serves_javascript(world: World, tenant: Tenant, script: str) -> None:
    units = {"input": "10", "cached_input": "1", "output": "30"}
    names = [world.route(slug, model, units=units, name=f"{slug}/{script}").name for slug, model in MODELS.items()]
    world.await_served(tenant, *names)
    env = {
        **os.environ,
        "TOKIA_BASE_URL": f"{world.gateway.url}/v1",
        "TOKIA_API_KEY": tenant.secret,
        "TOKIA_MODELS": ",".join(names),
    }
    argv = ["node", f"{script}.mjs"]
    ran = subprocess.run(argv, cwd=SCRIPTS, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]).keys() == set(names)
    assert tenant.fresh().held_nanos == 0
    assert {record.surface for record in tenant.records()} == {script}
