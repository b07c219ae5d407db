"""The whole walk of a month's note, through the processes of `make up`: consumption, a closed month, the note at the tax office,
the mail with its papers, the page. Nobody pushes a button. Two workers and two beats run all the while (in production, by
a mistake): the tax office's own ledger has one note."""

from __future__ import annotations

import io
import json
import shelve
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from invoices.dps.nfse import read_nfse
from tests.conftest import ROOT, Stack
from tests.walks.test_top_up import sign_in
from tokia.processes import spawn
from tokia.stackhome import StackHome
from tokia.stores import SUPERUSER

SECONDS = 60
SECOND = "second@walk"


def run(stack: Stack, *argv: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.walks.month_ago", *argv], cwd=ROOT, env=stack.env, input=given, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def superuser_url(stack: Stack) -> str:
    home = StackHome(stack.home)
    return f"postgresql://{SUPERUSER}:{home.secrets().postgres_superuser}@127.0.0.1:{home.ports()['postgres']}/tokia"


def until(what: str, look: Callable[[], Any]) -> Any:
    ends_at = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < ends_at, f"{what}: nothing after {SECONDS} s"
        time.sleep(0.3)
    return found


@contextmanager
def second_pair(stack: Stack, folder: Path) -> Iterator[None]:
    """One more worker and one more beat beside the stack's, started as `tokia.stack` starts them."""
    options = {
        "worker": ["--hostname", SECOND, "--pool", "threads", "--concurrency", "4", "--without-gossip", "--without-mingle"],
        "beat": ["--schedule", str(folder / "schedule")],
    }
    children = []
    try:
        for name, its in options.items():
            argv = [sys.executable, "-m", "celery", "--quiet", "-A", "tokia.celery", name, *its]
            argv += ["--pidfile", str(folder / f"{name}.pid")]
            with (folder / f"{name}.log").open("wb") as log:
                children.append(spawn(argv, env=stack.env, cwd=ROOT, output=log))
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(30)


def turns_of_second_worker(stack: Stack) -> dict[str, int]:
    """How often it ran each task, by its own count; empty until it answers."""
    argv = ["celery", "-A", "tokia.celery", "inspect", "stats", "--json", "--timeout", "3", "--destination", SECOND]
    asked = subprocess.run([sys.executable, "-m", *argv], cwd=ROOT, env=stack.env, capture_output=True, text=True, check=False)
    return dict(json.loads(asked.stdout)[SECOND]["total"]) if asked.returncode == 0 else {}


def test_it_walks_from_a_months_consumption_to_the_mailed_note(stack: Stack, tmp_path: Path) -> None:
    with second_pair(stack, tmp_path):
        customer = json.loads(run(stack, given=superuser_url(stack)).splitlines()[-1])
        for name in ("worker", "beat"):
            until(f"the second {name}", (tmp_path / f"{name}.pid").exists)  # Celery writes it once all is loaded
        run(stack, "work")
        walk(stack, customer)
        until("the second worker's turn", lambda: "invoices.tasks.issue_due" in turns_of_second_worker(stack))
        assert len(notes_of(stack, customer)) == 1
    with shelve.open(str(tmp_path / "schedule"), flag="r") as kept:
        assert kept["entries"]["issue invoices"].total_run_count >= 2  # the second beat asked, too


def notes_of(stack: Stack, customer: dict[str, Any]) -> list[dict[str, Any]]:
    """By the tax office's own ledger."""
    notes = httpx.get(f"{stack.demo['sandbox_url']}/fiscal/__ledger", trust_env=False).json()["notes"]
    return [one for one in notes if one["taker_name"] == customer["name"]]


def walk(stack: Stack, customer: dict[str, Any]) -> None:
    """From the note to the mail and the page."""
    sandbox = stack.demo["sandbox_url"]
    [issued] = until("the note", lambda: notes_of(stack, customer))
    assert (issued["amount"], issued["taker_tax_id"], issued["status"]) == ("20.00", "45997418000153", "issued")
    assert issued["competence_on"].startswith(customer["month"])

    def mails() -> Any:
        found = httpx.get(f"{sandbox}/inbox/api/messages", params={"to": customer["invoice_email"]}, trust_env=False)
        return found.json()["messages"]

    [mail] = until("the mail", mails)
    assert str(issued["number"]) in mail["subject"] + str(mail)
    assert {paper["name"].rpartition(".")[2] for paper in mail["attachments"]} == {"xml", "pdf"}

    mine = replace(stack, demo={**stack.demo, "email": customer["email"], "password": customer["password"]})
    with httpx.Client(base_url=stack.demo["web_url"], trust_env=False, timeout=20) as browser:
        sign_in(mine, browser)
        page = browser.get("/app/notas/").text
        assert "20,00" in page
        assert "Autorizada" in page
        [path] = {part.split('"')[0] for part in page.split('href="') if part.startswith("/app/notas/") and "nota.xml" in part[:60]}
        xml = browser.get(path).content
        pdf = browser.get(path.replace("nota.xml", "nota.pdf")).content
        papers = browser.get(f"/app/notas/meses/{customer['month']}.zip").content
    nfse = read_nfse(xml)
    assert (nfse.access_key, nfse.amount_centavos) == (issued["access_key"], 2_000)
    assert pdf.startswith(b"%PDF-")
    assert len(zipfile.ZipFile(io.BytesIO(papers)).namelist()) >= 2
