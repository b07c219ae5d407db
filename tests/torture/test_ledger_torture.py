"""The ledger under kills and crashes: workers die by SIGKILL, backends are terminated, PostgreSQL stops at once, answers get lost.

Afterwards, and after the reaper: what was acknowledged is there exactly once with its amount, nothing is there that nobody sent,
nobody read an available balance below zero, a fenced process holds nothing, and every invariant is empty.
`TORTURE_SECONDS` and `TORTURE_SEEDS` (comma-separated) or `TORTURE=long` make it longer.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from billing.sql import read_sql
from tokia.processes import free_port
from tokia.stores import Passwords, Postgres
from tokia.supervisor import Supervisor

pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parent.parent.parent
IS_LONG = os.environ.get("TORTURE") == "long"
SECONDS = float(os.environ.get("TORTURE_SECONDS", "60" if IS_LONG else "8"))
SEEDS = [int(seed) for seed in os.environ.get("TORTURE_SEEDS", "1,2,3,4,5" if IS_LONG else "1").split(",")]
WORKERS = 4
SET_UP = """
from billing.money import BRL
from tests.make import make_volume_plan, make_wallet
make_volume_plan(tiers=((3 * BRL, 500), (10 * BRL, 1_137), (25 * BRL, 2_000)))
print(*(make_wallet(brl="2", promo_brl="1").pk for _ in range(6)))
"""


@dataclass
class Database:
    """A private cluster that keeps its promises: a commit that was answered is on the disk."""

    supervisor: Supervisor
    postgres: Postgres
    wallets: list[str] = field(default_factory=list)

    def crash(self) -> None:
        self.supervisor.restart("postgres", number=signal.SIGQUIT)  # what pg_ctl calls an immediate stop

    def superuser(self) -> psycopg.Connection:
        return psycopg.connect(self.postgres.superuser_url, autocommit=True, connect_timeout=3)


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    home = tmp_path_factory.mktemp("ledger")
    for folder in (home, home.parent, home.parent.parent):  # as root, PostgreSQL's own account passes through
        folder.chmod(folder.stat().st_mode | 0o011)
    passwords = Passwords(superuser=secrets.token_urlsafe(), owner=secrets.token_urlsafe(), app=secrets.token_urlsafe())
    postgres = Postgres(home, port=free_port(), passwords=passwords, home_id=secrets.token_hex(8))
    supervisor = Supervisor(home / "logs", is_loud=False)
    postgres.prepare()
    supervisor.start(postgres.child())
    try:
        supervisor.await_ready("postgres")
        postgres.settle_roles()
        env = {**os.environ, "DATABASE_URL": postgres.app_url, "DATABASE_OWNER_URL": postgres.owner_url}
        manage(env, "migrate", "--verbosity=0")
        yield Database(supervisor, postgres, manage(env, "shell", "--verbosity=0", "-c", SET_UP).split())
    finally:
        supervisor.stop()
        postgres.remove()


def manage(env: dict[str, str], *args: str) -> str:
    done = subprocess.run([sys.executable, "manage.py", *args], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Workers:
    """Processes that are replaced as they are killed; each has a journal of its own."""

    def __init__(self, database: Database, folder: Path, seed: int) -> None:
        self.database, self.folder, self.seed = database, folder, seed
        self.processes: list[subprocess.Popen[bytes]] = []
        self.started = self.killed = 0
        for _ in range(WORKERS):
            self.processes.append(self.start())

    def start(self) -> subprocess.Popen[bytes]:
        self.started += 1
        argv = [sys.executable, "-m", "tests.torture.ledger_worker", self.database.postgres.app_url,
                str(self.folder / f"{self.started}.journal"), f"{self.seed}-{self.started}", *self.database.wallets]  # fmt: skip
        return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def await_work(self) -> None:
        """Until many calls were answered: on a busy machine a process takes seconds to start."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len({line[1] for line in self.journal() if line[0] == "A"}) < 50 * WORKERS:
            time.sleep(0.1)

    def kill(self, index: int) -> None:
        self.processes[index].kill()
        self.processes[index].wait()
        self.killed += 1
        self.processes[index] = self.start()

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def journal(self) -> list[list[str]]:
        """Every line of all journals; a last line that was torn by a kill was not acknowledged."""
        texts = [path.read_text() for path in self.folder.glob("*.journal")]
        return [line.split(" ") for text in texts for line in text[: text.rfind("\n") + 1].splitlines()]


class Reader(threading.Thread):
    """Looks at all wallets all the time."""

    def __init__(self, database: Database) -> None:
        super().__init__(name="reader")
        self.database = database
        self.reads = self.below_zero = 0
        self.is_over = threading.Event()

    def run(self) -> None:
        query = "SELECT count(*) FILTER (WHERE posted_nanos < held_nanos OR held_nanos < 0) FROM billing_wallet"
        while not self.is_over.is_set():
            try:
                with psycopg.connect(self.database.postgres.app_url, autocommit=True, connect_timeout=3) as connection:
                    while not self.is_over.wait(0.02):
                        [(below,)] = connection.execute(query).fetchall()
                        self.below_zero += below
                        self.reads += 1
            except psycopg.OperationalError:
                time.sleep(0.05)


def torment(database: Database, workers: Workers, rng: random.Random) -> dict[str, int]:
    """Kill something every now and then until the time is over; PostgreSQL itself twice."""
    began = time.monotonic()
    crashes = [SECONDS / 3, SECONDS * 2 / 3]
    counts = {"crashes": 0, "kills": 0, "terminated": 0, "reaped": 0}
    while (passed := time.monotonic() - began) < SECONDS or crashes:
        time.sleep(0.1)
        if crashes and passed > crashes[0]:
            crashes.pop(0)
            database.crash()
            counts["crashes"] += 1
        elif (chance := rng.random()) < 0.06:
            workers.kill(rng.randrange(WORKERS))
            counts["kills"] += 1
        elif chance < 0.4:
            try:
                with database.superuser() as connection:
                    counts["terminated"] += terminate_one(connection)
            except psycopg.OperationalError:  # shot itself, or still starting
                continue
        elif chance < 0.6:
            counts["reaped"] += reap_one(database)
    return counts


def terminate_one(connection: psycopg.Connection) -> int:
    return len(connection.execute(
        "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE usename = 'tokia_app'"
        " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) z"
    ).fetchall())  # fmt: skip


def reap_one(database: Database) -> int:
    """Let one living process look silent, and fence it."""
    try:
        with database.superuser() as connection:
            connection.execute(
                "UPDATE billing_gatewaysession SET expires_at = now() - interval '1 hour' WHERE id = "
                "(SELECT id FROM billing_gatewaysession WHERE state = 'live' ORDER BY random() LIMIT 1)"
            )
            [(expired,)] = connection.execute("SELECT billing_reap_sessions(60)").fetchall()
            return int(expired)
    except psycopg.OperationalError:
        return 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ledger_survives_kills_crashes_and_replays(database: Database, tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}, {SECONDS:g} s")
    workers, reader = Workers(database, tmp_path, seed), Reader(database)
    reader.start()
    try:
        workers.await_work()
        counts = torment(database, workers, random.Random(seed))
    finally:
        workers.stop()
        reader.is_over.set()
        reader.join()
    print(counts, f"{reader.reads} reads")
    with database.superuser() as connection:
        connection.execute("UPDATE billing_gatewaysession SET expires_at = now() - interval '1 hour'")
        connection.execute("SELECT billing_reap_sessions(60)")
        check(connection, workers.journal())
    assert counts["crashes"] == 2
    assert reader.below_zero == 0
    assert reader.reads > 20


def check(connection: psycopg.Connection, journal: list[list[str]]) -> None:
    assert [line for line in journal if line[0] == "X"] == []
    sent = {line[1]: (int(line[2]), int(line[3])) for line in journal if line[0] == "S"}
    answered = {line[1]: int(line[2]) for line in journal if line[0] == "A"}
    stored = {
        str(id_): (wallet, gross, net)
        for id_, wallet, gross, net in connection.execute("SELECT id, wallet_id, gross_nanos, net_nanos FROM billing_usagerecord")
    }
    late = connection.execute("SELECT count(*) FROM billing_usagerecord WHERE is_late").fetchall()[0][0]
    print(f"{len(sent)} sent, {len(answered)} answered, {len(stored)} stored, {late} late")
    assert len(answered) > 100
    assert [
        id_ for id_, net in answered.items() if id_ not in stored or stored[id_][2] != net
    ] == []  # nothing acknowledged is lost
    assert [id_ for id_, (wallet, gross, _) in stored.items() if sent.get(id_) != (wallet, gross)] == []  # nothing is made up
    paid = {line[1]: (int(line[2]), int(line[3])) for line in journal if line[0] == "T"}
    booked = {
        reference: (wallet, amount)
        for reference, wallet, amount in connection.execute(
            "SELECT e.reference, p.wallet_id, p.amount_nanos FROM billing_posting p JOIN billing_ledgerentry e ON e.id = p.entry_id"
            " WHERE p.source = 'world:pix' AND e.actor = 'torture'"
        )
    }
    assert {line[1] for line in journal if line[0] == "t"} <= booked.keys()
    assert {reference: paid.get(reference) for reference in booked} == booked
    assert connection.execute("SELECT count(*), (SELECT sum(held_nanos) FROM billing_wallet) FROM billing_hold").fetchall() == [
        (0, 0)
    ]
    assert connection.execute(read_sql("invariants")).fetchall() == []
    with pytest.raises(psycopg.DatabaseError) as refusal:
        connection.execute("SELECT * FROM billing_hold_batch(1, ARRAY[gen_random_uuid()], ARRAY[1::bigint], ARRAY[1::bigint])")
    assert refusal.value.sqlstate == "TK001"
