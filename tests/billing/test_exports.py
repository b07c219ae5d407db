"""Files: short ones at once, long ones in pieces that outlive a worker; nobody else's, no formula, no row twice."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import signal
import subprocess
import sys
import tracemalloc
import uuid
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from billing import export_tables, exports, holds
from billing.call_lists import CallFilter
from billing.errors import TooManyExports
from billing.export_tables import Wanted
from billing.models import Export, ExportPiece, UsageRecord, Wallet
from billing.money import BRL, from_brl
from billing.usage_sums import UsageFilter
from tests.cast import Cast, make_cast
from tests.conftest import ROOT
from tests.make import make_call, make_key, make_wallet
from tokia import clock

CALLS = 25


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return fill(cast)


def fill(cast: Cast) -> Wallet:
    """CALLS calls of Acme's, one in five failed, every name a formula."""
    wallet = make_wallet(organization=cast.acme, brl="100")
    key, _ = make_key(organization=cast.acme, user=cast.alice, name="=1+1")
    holds.settle(
        [
            make_call(wallet=wallet, gross_nanos=0 if number % 5 == 0 else BRL // 3 + number, api_key_id=key.pk,
                      outcome="failed" if number % 5 == 0 else "completed", tags=("@soma",), provider_name="openai")
            for number in range(CALLS)
        ]
    )  # fmt: skip
    return wallet


def wanted(kind: str = "requests", form: str = "sheet", **fields: Any) -> Wanted:
    today = clock.today_in_brazil()
    return Wanted(Export.Kind(kind), Export.Form(form), today - dt.timedelta(days=2), today, **fields)


def as_(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def table(data: bytes, *, delimiter: str = ";") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig")), delimiter=delimiter))


@pytest.mark.parametrize("rows_at_once", [1, 7, 2_000])
@pytest.mark.parametrize(("form", "delimiter"), [("sheet", ";"), ("plain", ",")])
def test_every_call_is_in_the_file_once(
    wallet: Wallet, cast: Cast, monkeypatch: pytest.MonkeyPatch, rows_at_once: int, form: str, delimiter: str
) -> None:
    monkeypatch.setattr(export_tables, "ROWS_AT_ONCE", rows_at_once)
    data = b"".join(exports.write_file(cast.acme, wanted(form=form)))
    assert data.startswith(b"\xef\xbb\xbf") is (form == "sheet")
    rows = table(data, delimiter=delimiter)
    assert [row["Requisição"] for row in rows] == [
        str(pk) for pk in UsageRecord.everywhere.order_by("pk").values_list("pk", flat=True)
    ]
    total = sum(from_brl(row["Custo (R$)"].replace(",", ".")) for row in rows)
    assert total == sum(UsageRecord.everywhere.values_list("net_nanos", flat=True))
    assert ("," in rows[1]["Custo (R$)"]) is (form == "sheet")
    assert {row["Chave"] for row in rows} == {"'=1+1"} and {row["Etiquetas"] for row in rows} == {"'@soma"}


def test_a_file_has_the_filters_of_its_page(wallet: Wallet, cast: Cast) -> None:
    failed = table(b"".join(exports.write_file(cast.acme, wanted(calls=CallFilter(situation="falhou")))))
    assert len(failed) == CALLS // 5 == export_tables.count_rows(cast.acme, wanted(calls=CallFilter(situation="falhou")))[0]
    assert table(b"".join(exports.write_file(cast.acme, wanted(calls=CallFilter(tag="outra"))))) == []
    assert export_tables.count_rows(cast.acme, wanted(calls=CallFilter(tag="outra"))) == (CALLS, False)
    told = Wanted.of(Export(kind="requests", form="plain", filters=wanted(calls=CallFilter(call_id=uuid.UUID(int=7))).as_json()))
    assert told == wanted(form="plain", calls=CallFilter(call_id=uuid.UUID(int=7)))


def test_usage_by_line_and_in_detail_add_up(wallet: Wallet, cast: Cast) -> None:
    lines = table(b"".join(exports.write_file(cast.acme, wanted("usage", group="key"))))
    detail = table(b"".join(exports.write_file(cast.acme, wanted("usage"))))
    assert [(row["Chave"], row["Requisições"], row["Falhas"]) for row in lines] == [("'=1+1", str(CALLS), "5")]
    assert detail[0]["Gasto (R$)"] == lines[0]["Gasto (R$)"] and detail[0]["Provedor"] == "openai"
    none = wanted("usage", only=UsageFilter(provider_name="google"))
    assert table(b"".join(exports.write_file(cast.acme, none))) == []


def test_the_statement_for_programs_has_points(wallet: Wallet, cast: Cast) -> None:
    page = as_(cast.carol).get("/app/extrato/extrato.csv?formato=programas").content
    rows = table(page, delimiter=",")
    assert rows[0]["Descrição"] == "Saldo inicial" and rows[-1]["Descrição"] == "Saldo final"
    wallet.refresh_from_db()
    assert from_brl(rows[-1]["Saldo (R$)"]) == wallet.posted_nanos
    assert rows[1]["Lançamento"].startswith("pix:")


def test_a_short_file_leaves_at_once(wallet: Wallet, cast: Cast) -> None:
    for table_name in ("requests", "usage"):
        answer = as_(cast.bob).post("/app/exportacoes/", {"tabela": table_name, "formato": "sheet", "consulta": "dias=7"})
        assert answer.status_code == 200 and answer["Content-Disposition"].startswith("attachment")
        assert table(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    page = as_(cast.bob).get("/app/uso/uso.csv?por=tag")
    assert "'@soma" in b"".join(page.streaming_content).decode()  # type: ignore[attr-defined]
    assert as_(cast.bob).post("/app/exportacoes/", {"tabela": "statement"}).status_code == 404
    assert not Export.everywhere.exists()


def test_a_long_file_is_made_behind_a_page_that_tells_how_far_it_is(
    wallet: Wallet, cast: Cast, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EXPORT_ROWS_AT_ONCE = 10
    monkeypatch.setattr(export_tables, "ROWS_AT_ONCE", 10)
    client = as_(cast.bob)
    form = {"tabela": "requests", "formato": "plain", "consulta": "dias=7"}
    answer = client.post("/app/exportacoes/", form)
    export = Export.everywhere.get()
    assert answer["Location"] == f"/app/exportacoes/{export.pk}/" == client.post("/app/exportacoes/", form)["Location"]
    assert export.rows_total == CALLS
    page = client.get(answer["Location"]).content.decode()
    assert "Na fila" in page and 'hx-trigger="every 1s"' in page
    monkeypatch.setattr(exports, "RUN_SECONDS", 0.0)
    poll = f"/app/exportacoes/{export.pk}/situacao/"
    seen = []
    for _ in range(3):
        exports.run_exports(seconds=1e-3)  # a turn that ends after its first piece
        answer = client.get(poll)
        seen.append((answer.status_code, "Arquivo pronto" in answer.content.decode()))
        export.refresh_from_db()
        if export.status == Export.Status.RUNNING:
            Export.everywhere.update(status="waiting")
    while export.status != Export.Status.DONE:
        exports.run_exports(seconds=60)
        export.refresh_from_db()
    answer = client.get(poll)
    assert answer.status_code == 286 and "Arquivo pronto" in answer.content.decode()
    assert seen[0] == (200, False)
    file = client.get(f"/app/exportacoes/{export.pk}/arquivo/")
    data = b"".join(file.streaming_content)  # type: ignore[attr-defined]
    assert len(data) == int(file["Content-Length"]) == export.bytes and len(table(data, delimiter=",")) == CALLS == export.rows_done
    assert data == b"".join(exports.write_file(cast.acme, wanted(form="plain")))
    assert "Baixar" in client.get("/app/exportacoes/").content.decode()
    for tail in ("", "situacao/", "arquivo/"):
        assert as_(cast.charlie).get(f"/app/exportacoes/{export.pk}/{tail}").status_code == 404


def test_only_so_many_at_once_and_they_expire(wallet: Wallet, cast: Cast, settings: Settings) -> None:
    settings.EXPORTS_OPEN_MAX = 1
    export = exports.open_export(cast.acme, wanted(), by=cast.bob)
    with pytest.raises(TooManyExports):
        exports.open_export(cast.acme, wanted(form="plain"), by=cast.bob)
    assert exports.run_exports() == 1
    Export.everywhere.update(expires_at=clock.now() - dt.timedelta(seconds=1))
    assert exports.purge_exports() == 1 and not ExportPiece.objects.exists()
    export.refresh_from_db()
    assert export.status == Export.Status.EXPIRED
    assert as_(cast.bob).get(f"/app/exportacoes/{export.pk}/arquivo/").status_code == 404
    assert "já foi apagado" in as_(cast.bob).get(f"/app/exportacoes/{export.pk}/").content.decode()
    Export.everywhere.update(created_at=clock.now() - dt.timedelta(days=31))
    exports.purge_exports()
    assert not Export.everywhere.exists()


def test_an_error_is_tried_again_and_then_told(wallet: Wallet, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Iterator[None]:
        raise OSError("disk")

    export = exports.open_export(cast.acme, wanted(), by=cast.bob)
    monkeypatch.setattr(exports, "write_rows", fail)
    exports.run_exports(seconds=20)
    export.refresh_from_db()
    assert (export.status, export.tries, export.error) == (Export.Status.FAILED, exports.TRIES_MAX, "OSError")
    assert "Não conseguimos gerar" in as_(cast.bob).get(f"/app/exportacoes/{export.pk}/").content.decode()


def test_a_worker_that_lost_its_lease_writes_no_more(wallet: Wallet, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_tables, "ROWS_AT_ONCE", 10)
    exports.open_export(cast.acme, wanted(), by=None)
    slow = exports._claim()
    assert slow is not None and exports._claim() is None
    Export.everywhere.update(leased_until=clock.now() - dt.timedelta(seconds=1))
    assert exports.run_exports() == 1
    assert not exports._keep(slow, number=9, data=b"x", rows=1, cursor="") and ExportPiece.objects.count() == 3


def test_a_killed_worker_is_followed_by_one_that_goes_on(committed_db: None) -> None:
    cast = make_cast()
    fill(cast)
    export = exports.open_export(cast.acme, wanted(form="plain"), by=None)
    code = (
        "import django; django.setup(); from billing import export_tables, exports; export_tables.ROWS_AT_ONCE = 10;"
        "print(exports.run_exports(), flush=True)"
    )
    env = {**os.environ, "CRASHPOINT": "export-piece"}
    died = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=False, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stdout + died.stderr
    export.refresh_from_db()
    assert (export.rows_done, export.status) == (10, Export.Status.RUNNING)
    assert exports.run_exports() == 0, "the lease of the dead is not over"
    Export.everywhere.update(leased_until=clock.now() - dt.timedelta(seconds=1))
    assert exports.run_exports() == 1
    export.refresh_from_db()
    assert export.status == Export.Status.DONE and export.tries == 1 and export.rows_done == CALLS
    assert b"".join(exports.read_file(export)) == b"".join(exports.write_file(cast.acme, wanted(form="plain")))


def test_memory_does_not_grow_with_the_file(wallet: Wallet, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve times the rows in pieces of the same size take the same memory."""
    monkeypatch.setattr(export_tables, "ROWS_AT_ONCE", 5)

    def peak(limit: int) -> int:
        tracemalloc.start()
        for number, _ in enumerate(exports.write_file(cast.acme, wanted())):
            if number == limit:
                break
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # imports and caches
    assert peak(CALLS) < peak(1) + 200_000
    assert zlib.decompress(zlib.compress(b"x", 1)) == b"x"
