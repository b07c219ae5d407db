"""What a stack remembers, who may read it, and who runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores import stores
from tokia import processes, stack
from tokia import stores as stores_module
from tokia.stackhome import StackHome
from tokia.supervisor import StartFailed


@pytest.fixture
def home(tmp_path: Path) -> StackHome:
    (tmp_path / "home").mkdir()
    return StackHome(tmp_path / "home")


def test_it_makes_secrets_once_and_for_itself_alone(home: StackHome) -> None:
    first = home.secrets()
    assert home.secrets() == first
    assert oct((home.folder / "secrets.json").stat().st_mode & 0o777) == "0o600"
    assert len(first.secret_key) >= 50


def test_it_completes_the_secrets_of_an_older_version(home: StackHome) -> None:
    home.write_private(home.folder / "secrets.json", '{"secret_key": "kept", "gone": "x"}')
    assert home.secrets().secret_key == "kept"
    assert home.secrets().demo_password.startswith("demo-")


def test_it_lets_one_stack_run(home: StackHome) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from pathlib import Path; from tokia.stackhome import StackHome\n"
         "with StackHome(Path(sys.argv[1])).lock():\n    print('held', flush=True); time.sleep(60)", str(home.folder)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert home.running_pid() == holder.pid
        with pytest.raises(StartFailed, match=f"already running on .* \\(process {holder.pid}\\)"), home.lock():
            pass
        holder.send_signal(signal.SIGKILL)
    assert home.running_pid() is None, "A crash leaves the file, not the lock."
    with home.lock():
        pass


def test_it_lends_its_environment_only_while_it_runs(home: StackHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    home.write_environment({"DATABASE_URL": "postgresql://stack", "WEB_URL": "http://127.0.0.1:1"})
    home.lend_environment()
    assert "DATABASE_URL" not in os.environ
    monkeypatch.setattr(home, "running_pid", lambda: 1)
    monkeypatch.setenv("WEB_URL", "http://mine")
    home.lend_environment()
    assert os.environ["DATABASE_URL"] == "postgresql://stack"
    assert os.environ["WEB_URL"] == "http://mine"
    monkeypatch.delenv("DATABASE_URL")


def test_it_never_shares_a_cluster_between_two_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, where PostgreSQL's account can't enter the home."""
    monkeypatch.setattr(stores_module, "SHARED_ROOT", tmp_path / "shared")
    stranger = processes.SystemUser(name="stranger", uid=1, gid=1)
    monkeypatch.setattr(processes.SystemUser, "can_enter", lambda self, folder: False)
    homes = [tmp_path / "one", tmp_path / "two"]
    for folder in homes:
        folder.mkdir()
    found = {stores_module.postgres_folder(folder, home_id, stranger) for folder in homes for home_id in ("a", "b")}
    assert len(found) == 4
    assert {folder.parent for folder in found} == {tmp_path / "shared"}
    assert stores_module.postgres_folder(homes[0], "a", None) == homes[0] / "postgres"


def test_it_names_the_setting_of_a_busy_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKIA_GATEWAY_PORT", str(stores.valkey.port))
    with pytest.raises(StartFailed, match=rf"port {stores.valkey.port} \(TOKIA_GATEWAY_PORT, gateway\)"):
        stack.choose_ports(21_320)


def test_it_takes_a_setting_before_the_port_base(monkeypatch: pytest.MonkeyPatch) -> None:
    own = processes.free_port()
    monkeypatch.setenv("TOKIA_WEB_PORT", str(own))
    assert stack.choose_ports(21_310) == {  # below the kernel's own range: no connection of ours takes one meanwhile
        "web": own,
        "gateway": 21_311,
        "sandbox": 21_312,
        "psp": 21_313,
        "smtp": 21_314,
        "model": 21_315,
        "sefin": 21_316,
    }
