"""The gateways and the callers of chaos: so many calls, so many at once, none begun before its time."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ROOT, Stack
from tests.gateway.world import ServerProcess
from tests.torture.chaos_setup import MAIN, SECOND
from tests.torture.stack_books import await_true
from tests.torture.stack_load import WORDS, Line, Seen
from tests.torture.stack_setup import Tenant
from tokia.processes import free_port
from tokia.stack import GATEWAY_FLAGS

KEPT_SECONDS = 3.0  # a connection that was silent for longer may just be closed by the gateway
SESSIONS = 40  # conversations that stay with their provider
STREAM_SHARE, SESSION_SHARE, MODELS_SHARE, LEAVER_SHARE = 0.5, 0.3, 0.2, 0.02
LEAVES_AFTER = 3  # frames
# Sick providers are given up soon, so that a minute holds many of them.
IMPATIENCE = {
    "GATEWAY_FIRST_TOKEN_MS": "1500",
    "GATEWAY_IDLE_TIMEOUT_MS": "2500",
    "GATEWAY_CIRCUIT_WINDOW_SECONDS": "5",
    "GATEWAY_CIRCUIT_PAUSE_SECONDS": "1",
    "GATEWAY_CIRCUIT_PAUSE_SECONDS_MAX": "4",
    "GATEWAY_PROCESSES": "3",
}


class StackGateway(ServerProcess):
    """One more gateway of a running stack, by the command of `make up`."""

    def __init__(self, stack: Stack, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(
            argv=[
                sys.executable, "-m", "uvicorn", "gateway.asgi:app", "--host", "127.0.0.1", "--port", str(self.port),
                *GATEWAY_FLAGS,
            ],
            probe=f"{self.url}/readyz",
            env={**stack.env, **IMPATIENCE, **settings},
            log=folder / f"gateway-{self.port}.log",
        )  # fmt: skip


def make_tenants(stack: Stack, count: int) -> list[Tenant]:
    told = run_setup(stack, stack.demo["sandbox_url"], str(count))
    return [Tenant(**tenant) for tenant in json.loads(told.splitlines()[-1])]


def await_served(gateways: list[StackGateway], tenants: list[Tenant]) -> None:
    """Until every gateway knows the models and the keys."""
    for gateway in gateways:
        for key in [key for tenant in tenants for key in tenant.keys]:
            with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, timeout=10) as client:
                await_true(lambda: f'"{SECOND}"' in client.get("/v1/models").text, seconds=15, why="the gateway knows the rows")


def run_setup(stack: Stack, *arguments: str) -> str:
    argv = [sys.executable, "-m", "tests.torture.chaos_setup", *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=stack.env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class ChaosCall(Seen):
    """One call, and what it asked for."""

    session: str = ""
    has_models: bool = False

    @property
    def is_served(self) -> bool:
        return self.status == 200 and self.is_whole

    @property
    def is_cut_late(self) -> bool:
        """Told of its end by a typed error, after something was said: nobody else could be asked any more."""
        return self.status == 200 and self.is_cut and self.contents > 0 and bool(self.error_code)


def write_body(call: ChaosCall, rng: random.Random, number: int) -> bytes:
    text = " ".join(rng.choices(WORDS, k=rng.randint(3, 25))) + f" {number} [tokens={rng.randint(3, 12)}]"
    body: dict[str, Any] = {"model": MAIN, "messages": [{"role": "user", "content": text}], "stream": call.is_stream}
    body["max_tokens"] = rng.randint(16, 40)
    if call.is_stream:
        body["stream_options"] = {"include_usage": True}
    if call.session:
        body["session_id"] = call.session
    if call.has_models:
        body["models"] = [MAIN, SECOND]
    return json.dumps(body).encode()


@dataclass
class ChaosLoad:
    """`calls_max` calls over all ports, `callers` at once, `per_second` at most. The same calls for the same seed."""

    ports: list[int]
    tenants: list[Tenant]
    seed: int
    calls_max: int
    callers: int = 48
    per_second: float = 120.0
    leaver_share: float = LEAVER_SHARE
    calls: list[ChaosCall] = field(default_factory=list)
    seconds: float = 0.0

    def run(self) -> list[ChaosCall]:
        asyncio.run(self._run())
        return self.calls

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        numbers = iter(range(self.calls_max))
        await asyncio.gather(*(self._call_on(numbers, began) for _ in range(self.callers)))
        self.seconds = loop.time() - began

    async def _call_on(self, numbers: Any, began: float) -> None:
        loop = asyncio.get_running_loop()
        lines = [Line(port) for port in self.ports]
        used = dict.fromkeys(lines, 0.0)
        for number in numbers:
            await asyncio.sleep(max(0.0, began + number / self.per_second - loop.time()))
            rng = random.Random(f"{self.seed}:{number}")
            tenant = rng.choice(self.tenants)
            call = ChaosCall(tenant.name, "chaos", rng.random() < STREAM_SHARE)
            if rng.random() < SESSION_SHARE:
                call.session = f"conversa-{rng.randrange(SESSIONS)}"
            call.has_models = rng.random() < MODELS_SHARE
            leaves_after = LEAVES_AFTER if call.is_stream and rng.random() < self.leaver_share else 0
            body = write_body(call, rng, number)
            line = rng.choice(lines)
            if loop.time() - used[line] > KEPT_SECONDS:
                await line.close()
            await line.call(call, rng.choice(tenant.keys), body, leaves_after=leaves_after)
            used[line] = loop.time()
            self.calls.append(call)
        for line in lines:
            await line.close()

    def failures(self) -> Counter[str]:
        """Calls that were not served although nothing had been said yet."""
        return Counter(
            f"{call.status} {call.error_code or ('hung' if call.is_hung else 'broken')}"
            for call in self.calls
            if not call.is_served and not call.is_cut_late and not call.has_left
        )


def percentile(calls: list[ChaosCall], percent: float) -> float:
    """Milliseconds."""
    times = sorted(call.seconds for call in calls)
    return 1000 * times[min(len(times) - 1, int(len(times) * percent / 100))] if times else 0.0
