"""deploy/ is true: its files parse, name what exists, and their commands start with production's settings.

No image can be built where the tests run. What the image would run is run here from the checkout, beside the tests' stores.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.metering import DRAIN_SECONDS
from tests.house.sources import APPS, ROOT
from tests.stores import stores
from tokia import settings, stack
from tokia.management.commands import down
from tokia.processes import free_port

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
OURS = ("migrate", "web", "gateway", "worker", "beat")


def read_env(name: str) -> dict[str, str]:
    lines = (DEPLOY / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def production_env(**changes: str | None) -> dict[str, str]:
    """A whole production environment that may start, with changes; None takes a name away."""
    system = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    mine = {**system, **read_env("build.env"), "TOKIA_HOME": str(stores.home / "production"), "TRUSTED_PROXIES": "1"}
    mine |= {"DATABASE_URL": stores.postgres.app_url, "VALKEY_URL": stores.valkey.url}
    mine |= {name: text for name, text in changes.items() if text is not None}
    return {name: text for name, text in mine.items() if changes.get(name, "") is not None}


# ── The files ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [(word, rest.strip()) for line in joined.splitlines() if line.strip() for word, _, rest in [line.partition(" ")]]


def test_it_copies_everything_that_runs_into_the_image() -> None:
    sources: set[str] = set()
    for word, rest in instructions():
        assert word in {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "CMD"}
        if word == "COPY" and "--from=" not in rest:
            sources.update(rest.split()[:-1])
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert {"manage.py", "tokia", "templates", "requirements.lock", *APPS} <= sources


def test_it_builds_from_hashes_and_runs_as_nobody_special() -> None:
    words = instructions()
    assert any(word == "RUN" and "--require-hashes" in rest for word, rest in words)
    assert [rest for word, rest in words if word == "USER"] == ["tokia"]
    assert words.index(("USER", "tokia")) > max(index for index, (word, _) in enumerate(words) if word in ("RUN", "COPY"))


def test_it_runs_every_process_of_the_house() -> None:
    services = COMPOSE["services"]
    assert {"web", "gateway", "worker", "beat", "postgres", "valkey", *OURS} <= set(services)
    assert {services[name]["image"] for name in OURS} == {"tokia:${TOKIA_VERSION:-dev}"}
    assert [name for name in services if "ports" in services[name]] == ["nginx"], "Only the edge is reachable from outside."


def test_it_gives_the_owners_password_to_migrate_alone() -> None:
    knowing = [name for name in OURS if "DATABASE_OWNER_URL" in COMPOSE["services"][name]["environment"]]
    assert knowing == ["migrate"]
    assert not any(name in read_env("env.example") for name in ("DATABASE_OWNER_URL", "POSTGRES_PASSWORD"))


def test_it_mounts_only_what_exists_or_is_yours() -> None:
    yours = {"./certificates"}
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or source in yours or (DEPLOY / source).exists(), volume


def blocks(text: str) -> dict[str, str]:
    """nginx blocks by their opening words; inner ones included."""
    plain = re.sub(r"#.*", "", text)
    found: dict[str, str] = {}
    stack: list[tuple[str, int]] = []
    start = 0
    for index, char in enumerate(plain):
        if char == "{":
            stack.append((plain[start:index].strip(), index + 1))
            start = index + 1
        elif char == "}":
            words, begin = stack.pop()
            found[words] = plain[begin:index]
            start = index + 1
        elif char == ";":
            start = index + 1
    assert stack == []
    return found


def test_it_streams_v1_without_a_buffer() -> None:
    v1 = blocks(NGINX)["location /v1"]
    for line in ("proxy_pass http://gateway;", "proxy_buffering off;", "proxy_request_buffering off;", "proxy_next_upstream off;"):
        assert line in v1
    timeout = int(re.search(r"proxy_read_timeout (\d+)s", v1).group(1))  # type: ignore[union-attr]
    assert timeout > 600, "GATEWAY_TOTAL_TIMEOUT_MS ends a call, never the proxy."


def test_it_believes_the_banks_certificate_only_at_the_banks_door() -> None:
    found = blocks(NGINX)
    passing = [
        words for words, body in found.items() if "X-SSL-Client-Verify $ssl_client_verify" in body and words.startswith("loc")
    ]
    assert passing == ["location /webhooks/pix/"]
    assert 'proxy_set_header X-SSL-Client-Verify "";' in found["http"], "Anybody else's header is taken away."
    # nginx forgets the inherited headers where a block sets one of its own: each such block says them all.
    for words, body in found.items():
        if words.startswith("location") and "proxy_set_header" in body:
            assert {"Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-SSL-Client-Verify"} <= set(
                re.findall(r"proxy_set_header (\S+)", body)
            )


# ── The commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def command_of(service: str, tmp_path: Path, *, port: int = 0) -> list[str]:
    """The service's command, on loopback and a free port, in a folder of the test, by this Python."""
    words = [
        word.replace("0.0.0.0", "127.0.0.1").replace("/var/lib/tokia", str(tmp_path))
        for word in COMPOSE["services"][service]["command"]
    ]
    words = [re.sub(r":8000$", f":{port}", word) if word.startswith("127") else word for word in words]
    words = [str(port) if word == "8080" else word for word in words]
    return [sys.executable, *words[1:]] if words[0] == "python" else [sys.executable, "-m", *words]


def test_it_runs_the_gateway_as_make_up_does() -> None:
    command = COMPOSE["services"]["gateway"]["command"]
    assert command[2:8:2] == ["--host", "--port", "--workers"]
    assert tuple(command[8:]) == stack.GATEWAY_FLAGS
    assert COMPOSE["services"]["gateway"]["stop_grace_period"] == f"{stack.GATEWAY_STOP_SECONDS}s"


def test_it_gives_each_stage_of_a_stop_the_time_of_the_one_inside() -> None:
    """Streams end by our drain, connections by uvicorn, the process by its supervisor, the supervisor by `down`."""
    uvicorn = int(stack.GATEWAY_FLAGS[stack.GATEWAY_FLAGS.index("--timeout-graceful-shutdown") + 1])
    settling = DRAIN_SECONDS * 1.25  # holds, then settlements
    assert settings.GATEWAY_DRAIN_SECONDS + settling < uvicorn
    assert uvicorn + settling < stack.GATEWAY_STOP_SECONDS < down.INSIST_SECONDS < down.PATIENCE_SECONDS


@contextlib.contextmanager
def running(argv: list[str], *, log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def status_of(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path, headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
        return connection.getresponse().status
    return None


@pytest.mark.parametrize("service", ["web", "gateway"])
def test_it_starts_the_servers_in_production(service: str, tmp_path: Path, django_db_setup: None) -> None:
    port, log = free_port(), tmp_path / "log"
    with running(command_of(service, tmp_path, port=port), log=log, env=production_env(TOKIA_HOME=str(tmp_path))) as process:
        deadline = time.monotonic() + 40
        while (status := status_of(port, "/healthz")) != 200 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert status == 200, log.read_text()
    assert process.returncode in (0, -signal.SIGTERM), log.read_text()


@pytest.mark.parametrize("service", ["worker", "beat"])
def test_it_starts_worker_and_beat_in_production(service: str, tmp_path: Path, django_db_setup: None) -> None:
    log = tmp_path / "log"
    env = production_env(TOKIA_HOME=str(tmp_path), VALKEY_URL=stores.valkey.url.removesuffix("0") + "9")

    def works() -> bool:
        return "ready." in log.read_text() if service == "worker" else any(tmp_path.glob("beat.schedule*"))

    with running(command_of(service, tmp_path), log=log, env=env) as process:
        deadline = time.monotonic() + 40
        while not works() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert works(), log.read_text()
        assert process.poll() is None


def test_it_migrates_with_the_owners_address(tmp_path: Path, django_db_setup: None) -> None:
    env = production_env(DATABASE_OWNER_URL=stores.postgres.owner_url)
    done = subprocess.run(command_of("migrate", tmp_path), cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_collects_and_hashes_every_static_file(tmp_path: Path) -> None:
    line = next(rest for word, rest in instructions() if word == "RUN" and "collectstatic" in rest)
    words = shlex.split(line.split("&&")[-1])
    code = (
        "import django, django.conf, sys; django.setup(); django.conf.settings.STATIC_ROOT = sys.argv[1];"
        f"from django.core.management import call_command; call_command({', '.join(map(repr, words[2:]))})"
    )
    env = production_env(DJANGO_SETTINGS_MODULE="tokia.settings")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "staticfiles.json").exists()


# ── Production refuses to start unsafely ─────────────────────────────────────────────────────────────────────────────────────
def refusal(env: dict[str, str]) -> str:
    """The last line of what loading the settings says; empty when they load."""
    done = subprocess.run(
        [sys.executable, "-c", "import tokia.settings"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def test_it_starts_with_a_whole_production_environment() -> None:
    assert refusal(production_env()) == ""


def test_it_refuses_the_example_as_it_stands() -> None:
    system = {"PATH": os.environ["PATH"]}
    assert "Production needs" in refusal({**system, **read_env("env.example")})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SECRET_KEY": None}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"ENCRYPTION_KEYS": None}, "ENCRYPTION_KEYS"),
        ({"EMAIL_URL": None}, "EMAIL_URL"),
        ({"PSP_BASE_URL": None}, "PSP_BASE_URL"),
        ({"PSP_CLIENT_ID": None}, "PSP_CLIENT_ID"),
        ({"PSP_CERT_FILE": None}, "PSP_CERT_FILE"),
        ({"PSP_PIX_KEY": None}, "PSP_PIX_KEY"),
        ({"PSP_WEBHOOK_SECRET": None}, "PSP_WEBHOOK_SECRET"),
        ({"PSP_WEBHOOK_SECRET": "short"}, "PSP_WEBHOOK_SECRET"),
        ({"STRIPE_SECRET_KEY": "sk_test_0123456789"}, "STRIPE_SECRET_KEY"),
        ({"STRIPE_SECRET_KEY": "sk_live_0123456789", "STRIPE_API_URL": "http://127.0.0.1:8090/stripe"}, "STRIPE_API_URL"),
        ({"STRIPE_SECRET_KEY": "sk_live_0123456789"}, "STRIPE_WEBHOOK_SECRETS"),
        ({"STRIPE_SECRET_KEY": "sk_live_0123456789", "STRIPE_WEBHOOK_SECRETS": "short"}, "STRIPE_WEBHOOK_SECRETS"),
        ({"STAFF_NEEDS_MFA": "false"}, "STAFF_NEEDS_MFA"),
        ({"GOOGLE_CLIENT_ID": "half"}, "GOOGLE_CLIENT_ID"),
        ({"DEBUG": "true"}, "DEBUG"),
        ({"SANDBOX_URL": "http://127.0.0.1:8090"}, "SANDBOX_URL"),
        ({"CRASHPOINT": "before_settle"}, "CRASHPOINT"),
        ({"OUTBOUND_LOOPBACK": "127.0.0.1:8090"}, "OUTBOUND_LOOPBACK"),
        ({"WEB_URL": "http://tokia.example"}, "https"),
        ({"GATEWAY_URL": "http://tokia.example"}, "https"),
        ({"PSP_BASE_URL": "http://bank.example"}, "https"),
        ({"PSP_TOKEN_URL": "http://bank.example/token"}, "https"),
        ({"SEFIN_URL": "http://sefin.example/SefinNacional"}, "SEFIN_URL"),
        ({"TOKIA_ENV": "prod"}, "TOKIA_ENV"),
        ({"TOP_UP_MIN_BRL": "ten"}, "TOP_UP_MIN_BRL"),
    ],
)
def test_it_refuses_to_start_unsafely(changes: dict[str, str | None], reason: str) -> None:
    assert reason in refusal(production_env(**changes))


def test_it_reads_a_secret_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x" * 60)
    assert refusal(production_env(SECRET_KEY=None, SECRET_KEY_FILE=str(tmp_path / "key"))) == ""
