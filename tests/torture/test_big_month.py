"""A month with very many calls: every page answers quickly from the days, files leave with flat memory, money adds up.

Short form: 50 000 calls of the organization and 10 000 of others, part of `make test`. `TORTURE=long`: 1 000 000 and 200 000.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from billing import exports, seals
from billing.export_tables import Wanted
from billing.models import Export, UsageDay, UsageRecord
from tests.big_month import BigMonth, fill_month, sum_days
from tests.cast import make_cast
from tokia import clock

IS_LONG = os.environ.get("TORTURE") == "long"
ROWS = 1_000_000 if IS_LONG else 50_000
ANSWER_MS_MAX = 300  # of a machine that is ours; where others work on it too, as much longer as work waits for a core
TRIES = 5 if IS_LONG else 2

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3_600 if IS_LONG else 180)]


def test_a_month_of_many_calls(committed_db: None, capsys: pytest.CaptureFixture[str]) -> None:
    cast = make_cast()
    began = time.monotonic()
    month = fill_month(cast.acme, rows=ROWS)
    fill_month(cast.globex, rows=ROWS // 5, keys=20)
    sum_days()
    told = [f"{ROWS:,} calls, {UsageDay.everywhere.count():,} sums, built in {time.monotonic() - began:.0f} s"]
    client = Client()
    client.force_login(cast.alice)
    slow = []
    for name, address in pages(month).items():
        took = min(_milliseconds(lambda address=address: _read(client, address)) for _ in range(TRIES))  # type: ignore[misc]
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        told.append(f"{took:7.0f} ms  {name}" + (f"  (load {busy:.1f} per core)" if busy > 1 else ""))
        if took > ANSWER_MS_MAX * busy:
            slow.append(told[-1])
    told += [_export(month), *_seal()]
    with capsys.disabled():
        print("", *told, sep="\n")
    assert slow == []


def pages(month: BigMonth) -> dict[str, str]:
    """Each page with its worst addresses. What nobody has makes a list look through everything."""
    calls = UsageRecord.everywhere.filter(organization=month.organization)
    middle = calls.order_by("id").values_list("id", flat=True)[month.rows // 2]
    first = calls.order_by("id").values_list("id", flat=True)[60]
    key = month.first_key + 7
    listed = {
        "requests": "",
        "requests, deep page": f"&antes={middle}",
        "requests, last page": f"&antes={first}",
        "requests, back": f"&depois={middle}",
        "requests of a key": f"&chave={key}",
        "requests of a key, deep": f"&chave={key}&antes={middle}",
        "requests of a key without calls": "&chave=987654321",
        "requests of a rare model": "&modelo=maker/model-19",
        "requests of no model": "&modelo=maker/none",
        "requests of a key and a rare model": f"&chave={key}&modelo=maker/model-19",
        "failed requests": "&situacao=falhou",
        "cut requests: none": "&situacao=interrompida",
        "cancelled requests of a key": f"&situacao=cancelada&chave={key}",
        "requests from the cache: none": "&caminho=cache",
        "requests tried again: none": "&caminho=nova-tentativa",
        "requests by an own key: none": "&caminho=chave-propria",
        "requests with a tag": "&etiqueta=etiqueta-3",
        "requests with no such tag": "&etiqueta=nenhuma",
        "requests of no project": "&projeto=0",
    }
    found = {
        "overview": "/app/",
        "overview of 90 days": "/app/?dias=90",
        "statement": "/app/extrato/?dias=30",
        "statement of an old period": f"/app/extrato/?de={_day(25)}&ate={_day(20)}",
        "usage of a key": f"/app/uso/?dias=30&por=day&chave={key}",
        "usage of a model by key": "/app/uso/?dias=30&por=key&modelo=maker/model-03",
        "usage of a tag by model": "/app/uso/?dias=30&por=route&etiqueta=etiqueta-3",
        "usage of 90 days": "/app/uso/?dias=90&por=route",
    }
    groups = ("route", "key", "day", "project", "provider", "tag")
    found |= {f"usage by {group}": f"/app/uso/?dias=30&por={group}" for group in groups}
    return found | {name: f"/app/requisicoes/?dias=30{query}" for name, query in listed.items()}


def _day(days: int) -> dt.date:
    return clock.today_in_brazil() - dt.timedelta(days=days)


def _read(client: Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200, (address, answer.status_code)


def _milliseconds(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1_000


def _rss() -> float:
    """Resident MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _export(month: BigMonth) -> str:
    """The whole month as a background file: every call once, and memory that does not grow with it."""
    wanted = Wanted(Export.Kind.REQUESTS, Export.Form.SHEET, _day(31), _day(0))
    export = exports.open_export(month.organization, wanted, by=None)
    assert export.rows_total == month.rows
    _ = b"".join(exports.write_file(month.organization, Wanted(Export.Kind.REQUESTS, Export.Form.SHEET, _day(0), _day(0))))
    before, began = _rss(), time.monotonic()
    while export.status in exports.OPEN:
        exports.run_exports(seconds=600)
        export.refresh_from_db()
    took, grown = time.monotonic() - began, _rss() - before
    assert export.status == Export.Status.DONE and export.rows_done == month.rows
    lines = size = 0
    for piece in exports.read_file(export):
        lines, size = lines + piece.count(b"\n"), size + len(piece)
    read_grown = _rss() - before
    assert (lines, size) == (month.rows + 1, export.bytes)
    assert grown < 30 and read_grown < 40, f"memory grew by {grown:.0f} and {read_grown:.0f} MiB"
    memory = f"memory +{grown:.0f} MiB making, +{read_grown:.0f} MiB fetching"
    return f"export of {lines:,} rows, {size / 2**20:.0f} MiB: {took:.0f} s, {memory}"


def _seal() -> list[str]:
    began = time.monotonic()
    links = seals.seal_entries(everything=True, seconds=float("inf"))
    sealed = time.monotonic()
    at, broken = seals.verify()
    assert broken is None and at == links
    return [f"{links:,} links sealed in {sealed - began:.0f} s, checked in {time.monotonic() - sealed:.0f} s"]
