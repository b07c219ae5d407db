"""What the tests of files and batches share: input files, turns of a worker in processes that can be killed, outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types import Batch as OpenAIBatch

from tests.gateway.world import ROOT, Tenant, World

CHAT = "/v1/chat/completions"
# Without the pages' apps, like the gateway: a start takes a third of the time, and a test of kills is mostly starts.
TURN = (
    "import django; from django.conf import settings; settings.INSTALLED_APPS = settings.GATEWAY_APPS; django.setup();"
    "from gateway.batch_run import run_batches; print(run_batches(seconds={seconds}))"
)


def line_of(number: int, model: str, *, url: str = CHAT, **body: Any) -> dict[str, Any]:
    told = {"model": model, "messages": [{"role": "user", "content": f"Pergunta número {number}."}], "max_tokens": 32, **body}
    return {"custom_id": f"linha-{number}", "method": "POST", "url": url, "body": told}


def jsonl(*lines: Any) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def client_of(world: World, tenant: Tenant) -> OpenAI:
    """Open until the module's world ends."""
    client = OpenAI(api_key=tenant.secret, base_url=f"{world.gateway.url}/v1", max_retries=0)
    return world.closing.enter_context(client)


def order(client: OpenAI, content: bytes, *, endpoint: Any = CHAT, **fields: Any) -> OpenAIBatch:
    """Upload a file, and open a batch of it."""
    file = client.files.create(file=("entrada.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields)


def start_turn(folder: Path, settings: dict[str, str] | None = None, *, seconds: float = 20) -> subprocess.Popen[str]:
    """A worker's turn in a process of its own."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tokia.settings", "BATCH_RUNNERS": "4", **(settings or {})}
    argv = [sys.executable, "-W", "error", "-c", TURN.format(seconds=seconds)]
    with (folder / "turns.log").open("a") as log:
        return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True)


def run_turn(folder: Path, settings: dict[str, str] | None = None, *, seconds: float = 20) -> int:
    """Gives how many lines were answered."""
    process = start_turn(folder, settings, seconds=seconds)
    out, _ = process.communicate(timeout=90)
    log = (folder / "turns.log").read_text()
    assert process.returncode == 0, f"{process.returncode}\n{log[-4000:]}"
    assert "Traceback" not in log, log[-4000:]
    return int(out)


def row_id(shown: str) -> uuid.UUID:
    """file-<hex>, batch_<hex> → its UUID."""
    return uuid.UUID(shown[-32:])


def read_output(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
