"""The whole walk of a month's note, through the processes of `make up`: consumption, a closed month, the note at the tax office,
the mail with its papers, the page. Nobody pushes a button."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from invoices.dps.nfse import read_nfse
from tests.conftest import ROOT, Stack
from tests.walks.test_top_up import sign_in
from tokia.stackhome import StackHome
from tokia.stores import SUPERUSER

SECONDS = 60


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


def test_it_walks_from_a_months_consumption_to_the_mailed_note(stack: Stack) -> None:
    customer = json.loads(run(stack, given=superuser_url(stack)).splitlines()[-1])
    run(stack, "work")
    sandbox = stack.demo["sandbox_url"]

    def note() -> Any:
        notes = httpx.get(f"{sandbox}/fiscal/__ledger", trust_env=False).json()["notes"]
        return [one for one in notes if one["taker_name"] == customer["name"]]

    [issued] = until("the note", note)
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
    assert len(note()) == 1  # and the timetable goes on: it stays one
