"""Real processes for the gateway's tests: the sandbox, and gateways that can be killed, on free ports."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from django.db import connection

from accounts.keys import mint_key
from accounts.models import ApiKey
from billing.models import UsageRecord, Wallet
from gateway.models import Provider, Route
from gateway.secrets import encrypt
from tests.make import make_organization, make_price, make_provider, make_route, make_wallet
from tokia.processes import free_port, spawn

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30


@dataclass
class ServerProcess:
    """A child that answers on a port, and ends with us, also where its test forgot it."""

    argv: list[str]
    probe: str
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = spawn(self.argv, env=self.env, cwd=ROOT, output=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.probe, timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(f"{self.argv[:4]} did not start:\n{self.log.read_text()[-3000:]}")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def cpu_ns(self) -> int:
        """The time on the processor of its first thread."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Ends it and gives its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class Sandbox(ServerProcess):
    """The outside world, and its control endpoints."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            argv=[
                sys.executable, "-m", "tokia.sandbox", "--home", str(folder), "--http-port", str(port), "--psp-port", "0",
                "--smtp-port", "0",
            ],
            probe=f"{self.url}/healthz",
            env={**os.environ, "SANDBOX_LLM_DELAY_MS": "2"},
            log=folder / "sandbox.log",
        )  # fmt: skip

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = httpx.post(self.url + path, json=body or {}, timeout=10)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def ledger(self) -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{self.url}/llm/__ledger", params={"limit": 5000}, timeout=10).json()
        return told

    def script(self, provider: str, *faults: str, times: int = 1) -> None:
        self.post("/llm/__script", {"provider": provider, "faults": list(faults), "times": times})

    def base_url(self, slug: str) -> str:
        paths = {
            "anthropic": "", "azure": "/openai/v1", "bedrock": "", "cohere": "", "deepseek": "", "google": "/v1beta",
            "groq": "/openai/v1", "fireworks": "/inference/v1", "perplexity": "",
        }  # fmt: skip
        return f"{self.url}/llm/{slug}{paths.get(slug, '/v1')}"


class Gateway(ServerProcess):
    """One uvicorn, as in production."""

    def __init__(self, folder: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            argv=[
                sys.executable, "-W", "error", "-m", "uvicorn", "gateway.asgi:app", "--loop", "uvloop",
                "--http", "gateway.server:HttpProtocol", "--no-access-log", "--lifespan", "on",
                "--host", "127.0.0.1", "--port", str(port),
            ],
            probe=f"{self.url}/readyz",
            # On a machine that runs four parts of the suites Valkey is late by more than the 20 ms that calls wait for it.
            env={**os.environ, "GATEWAY_SNAPSHOT_SECONDS": "0.3", "GATEWAY_VALKEY_TIMEOUT_MS": "3000", **settings},
            log=folder / f"gateway-{port}.log",
        )  # fmt: skip


@dataclass
class Tenant:
    """An organization with money and a key."""

    wallet: Wallet
    key: ApiKey
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secret}"}

    def fresh(self) -> Wallet:
        self.wallet.refresh_from_db()
        return self.wallet

    def records(self) -> list[UsageRecord]:
        return list(UsageRecord.everywhere.filter(wallet_id=self.wallet.pk).order_by("id"))


@dataclass
class World:
    """The processes, and the catalog that they serve."""

    folder: Path
    sandbox: Sandbox
    gateway: Gateway
    providers: dict[str, Provider] = field(default_factory=dict)
    closing: ExitStack = field(default_factory=ExitStack)  # clients of the tests

    def provider(self, slug: str) -> Provider:
        if slug not in self.providers:
            dialect = {
                "anthropic": "anthropic",
                "azure": "azure",
                "bedrock": "bedrock",
                "cohere": "cohere",
                "google": "gemini",
            }.get(slug, "openai")
            self.providers[slug] = make_provider(slug=slug, dialect=dialect, base_url=self.sandbox.base_url(slug))
            self.providers[slug].is_strict = slug in ("openai", "mistral")
            if slug == "bedrock":  # an access key, so that every request is signed
                self.providers[slug].credentials.update(secret=encrypt("AKIASANDBOXBEDROCK00:sandbox-bedrock"))
            self.providers[slug].save()
        return self.providers[slug]

    def route(self, slug: str, upstream_model: str, *, name: str = "", units: dict[str, str] | None = None, **fields: Any) -> Route:
        route = make_route(
            name=name or f"{slug}/{upstream_model}".lower(), provider=self.provider(slug), upstream_model=upstream_model, **fields
        )
        make_price(route=route, units=units)
        return route

    def fault_route(self, slug: str, fault: str, model: str) -> str:
        """A route whose upstream misbehaves by its model's name; gives the route's name."""
        return self.route(slug, f"fault-{fault}-{model}").name

    def tenant(self, *, brl: str = "100.00", **key_fields: Any) -> Tenant:
        organization = make_organization()
        wallet = make_wallet(organization=organization, brl=brl)
        key, secret = mint_key(organization, user=None, name="teste", **key_fields)  # no user: hashing a password takes its second
        return Tenant(wallet=wallet, key=key, secret=secret)

    def await_served(self, tenant: Tenant, *names: str, gateway: Gateway | None = None) -> None:
        """Until the gateway's snapshot has these routes."""
        deadline = time.monotonic() + 10
        wanted = set(names)
        while time.monotonic() < deadline:
            answer = httpx.get(f"{(gateway or self.gateway).url}/v1/models", headers=tenant.headers, timeout=5)
            if answer.status_code == 200 and wanted <= {item["id"] for item in answer.json()["data"]}:
                return
            time.sleep(0.05)
        raise AssertionError(f"{wanted} are not served: {answer.text[:500]}\n{(gateway or self.gateway).log.read_text()[-2000:]}")


def count_rows(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def await_true(check: Any, *, seconds: float = 10, why: str = "") -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, why or "it did not happen in time"
        time.sleep(0.05)


async def come_true(check: Callable[[], bool], seconds: float = 10) -> None:
    """The same on a loop that others run on."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def chat_body(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Diga olá em uma frase curta."}], **fields}


def sse_events(text: str) -> list[Any]:
    """The data of a stream: decoded JSON, and the string [DONE]."""
    events: list[Any] = []
    for line in text.split("\n"):
        if line.startswith("data: "):
            events.append("[DONE]" if line[6:] == "[DONE]" else json.loads(line[6:]))
    return events
