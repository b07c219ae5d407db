"""The real `manage.py up`: everything answers, a second one is refused, dead processes come back, nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT, Stack, clean_environment
from tests.stores import stores
from tokia.processes import answers_http, free_port, spawn

DEMO_KEYS = {
    "base_url", "api_key", "web_url", "email", "password", "admin_url", "admin_email", "admin_password", "sandbox_url",
}  # fmt: skip


def manage(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**clean_environment(), "TOKIA_HOME": str(stack.home)}
    return subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def port_of(url: str) -> int:
    return int(url.split(":")[2].split("/")[0])


def test_it_prints_what_scripts_need(stack: Stack) -> None:
    assert set(stack.demo) == DEMO_KEYS
    assert all(stack.demo.values())
    assert stack.demo["base_url"].endswith("/v1")


def test_it_serves_every_address(stack: Stack) -> None:
    with urllib.request.urlopen(f"{stack.demo['web_url']}/readyz") as answer:
        assert json.load(answer) == {"database": "ok", "valkey": "ok", "exchange": "ok", "prices": "ok"}
    for name in ("base_url", "web_url", "sandbox_url"):
        assert answers_http(port_of(stack.demo[name]), "/healthz"), name


def test_it_works_as_the_role_without_structure(stack: Stack) -> None:
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("tokia_app",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE billing_posting SET amount_nanos = amount_nanos")


def test_it_refuses_a_second_start(stack: Stack) -> None:
    again = manage(stack, "up")
    assert again.returncode == 1
    assert f"already running on {stack.home}" in again.stderr


def test_it_seeds_again_without_a_trace(stack: Stack) -> None:
    tables = ("accounts_apikey", "accounts_membership", "billing_ledgerentry", "billing_priceversion", "gateway_route")

    def rows() -> list[tuple[int, ...] | None]:
        with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
            return [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]

    before = rows()
    seeded = manage(stack, "seed")
    assert seeded.returncode == 0, seeded.stderr
    assert rows() == before
    assert json.loads(manage(stack, "demo").stdout) == stack.demo


def test_it_brings_a_killed_process_back(stack: Stack) -> None:
    old = stack.pid_of("web")
    os.kill(old, signal.SIGKILL)
    port, deadline = port_of(stack.demo["web_url"]), time.monotonic() + 30
    while (stack.pid_of("web") == old or not answers_http(port, "/healthz")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answers_http(port, "/healthz")


def test_it_keeps_secrets_out_of_its_log(stack: Stack) -> None:
    log = stack.log()
    secrets = json.loads((stack.home / "secrets.json").read_text())
    assert [name for name, text in secrets.items() if text in log and name != "home_id"] == []
    assert stack.demo["api_key"] not in log


def test_it_starts_again_with_the_data_and_on_your_own_servers() -> None:
    """A start on servers of yours starts none of its own; the second one finds what the first one left."""
    stores.postgres.settle_roles("yours")
    urls = {name: stores.environment()[name].removesuffix("tokia") + "yours" for name in ("DATABASE_URL", "DATABASE_OWNER_URL")}
    with tempfile.TemporaryDirectory(prefix="tokia-yours-", ignore_cleanup_errors=True) as folder:
        ports = {f"TOKIA_{name}_PORT": str(free_port()) for name in ("WEB", "GATEWAY", "SANDBOX", "PSP", "SMTP", "MODEL", "SEFIN")}
        valkey = {"VALKEY_URL": stores.valkey.url.removesuffix("0") + "7"}
        env = {**clean_environment(), **ports, **urls, **valkey, "TOKIA_HOME": folder}
        demos = []
        for _ in range(2):
            argv = [sys.executable, "manage.py", "up", "--no-model", "--detach"]
            up = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
            assert up.returncode == 0, up.stdout + up.stderr
            pids = json.loads((Path(folder) / "logs" / "pids.json").read_text())
            assert set(pids) == {"sandbox", "gateway", "web", "worker", "beat"}
            assert answers_http(int(ports["TOKIA_WEB_PORT"]), "/readyz")
            lent = {name: text for name, text in env.items() if name not in {**urls, **valkey}}
            for words in (["demo"], ["down"]):
                done = subprocess.run(
                    [sys.executable, "manage.py", *words], cwd=ROOT, env=lent, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, done.stderr
                demos += [json.loads(done.stdout)] if words == ["demo"] else []
        assert demos[0] == demos[1]
        assert processes_of(folder) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_leaves_nothing_behind(number: signal.Signals) -> None:
    """Stopped, and killed, in the middle of a start or after it: no process of the stack lives on."""
    with tempfile.TemporaryDirectory(prefix="tokia-stop-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o711)
        ports = {f"TOKIA_{name}_PORT": str(free_port()) for name in ("WEB", "GATEWAY", "SANDBOX", "PSP", "SMTP", "MODEL", "SEFIN")}
        env = {**clean_environment(), **ports, "TOKIA_HOME": folder, "TOKIA_MARK": folder}
        argv = [sys.executable, "manage.py", "up", "--quiet", "--no-model"]
        process = spawn(argv, env=env, cwd=ROOT, output=subprocess.DEVNULL)
        pids, deadline = home / "logs" / "pids.json", time.monotonic() + 60
        while not (pids.exists() and "gateway" in json.loads(pids.read_text())) and time.monotonic() < deadline:
            time.sleep(0.05)
        running = list(json.loads(pids.read_text()).values())
        assert len(running) >= 4
        process.send_signal(number)
        process.wait(60)
        deadline = time.monotonic() + 15
        while (left := processes_of(folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []


def processes_of(folder: str) -> list[str]:
    """Command lines of live processes that carry the folder in their arguments or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if folder.encode() in text:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found
