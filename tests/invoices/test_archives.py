from __future__ import annotations

import datetime as dt
import io
import zipfile

import pypdf
import pytest
from django.test import Client

from invoices.archives import month_zip
from invoices.danfse import draw
from invoices.models import Invoice
from tests.cast import make_cast
from tests.invoices.papers import NOVEMBER, make_invoice, make_note, nfse

Status = Invoice.Status


def words(pdf: bytes) -> str:
    return " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)


@pytest.mark.django_db
def test_it_packs_every_document_of_a_month_and_nothing_else() -> None:
    cast = make_cast()
    note = make_note(cast.acme)
    cancelled = make_note(cast.acme, status=Status.CANCELLED, cancel_xml=b"<evento/>")
    by_hand = make_note(cast.acme, nfse_xml=None, uploaded_pdf=b"%PDF-by-hand", nfse_number="2026/7-a", access_key="")
    again = make_note(cast.acme, nfse_number=note.nfse_number)  # the number of another issuer's series
    make_note(cast.acme, month=dt.date(2026, 10, 1))
    make_note(cast.globex)
    make_invoice(cast.acme)
    client = Client()
    client.force_login(cast.carol)
    answer = client.get("/app/notas/meses/2026-11.zip")
    assert answer.streaming and 'filename="notas-2026-11.zip"' in answer["Content-Disposition"]
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer)))
    assert archive.testzip() is None
    one, other = note.nfse_number, cancelled.nfse_number
    assert set(archive.namelist()) == {
        f"nota-{one}.xml", f"nota-{one}.pdf", f"nota-{other}.xml", f"nota-{other}.pdf", f"nota-{other}.cancelamento.xml",
        "nota-20267a.pdf", f"{again.pk}-nota-{one}.xml", f"{again.pk}-nota-{one}.pdf",
    }  # fmt: skip
    assert archive.read(f"nota-{one}.xml") == bytes(note.nfse_xml or b"") and archive.read("nota-20267a.pdf") == b"%PDF-by-hand"
    assert "CANCELADA" in words(archive.read(f"nota-{other}.pdf")) and "CANCELADA" not in words(archive.read(f"nota-{one}.pdf"))
    assert archive.getinfo(f"nota-{one}.xml").date_time == (2026, 12, 1, 9, 35, 0)
    for month in ("2026-09", "2026-13", "2026", "x", "2026-11-01"):
        assert client.get(f"/app/notas/meses/{month}.zip").status_code == 404
    assert by_hand.pk


@pytest.mark.django_db
def test_it_holds_one_note_at_a_time() -> None:
    cast = make_cast()
    for _ in range(4):
        make_note(cast.acme, nfse_xml=None, uploaded_pdf=bytes(range(256)) * 800)
    sizes = [len(piece) for piece in month_zip(cast.acme, month=NOVEMBER)]
    assert len(sizes) == 5 and max(sizes) < 250_000
    assert zipfile.ZipFile(io.BytesIO(b"".join(month_zip(cast.globex, month=NOVEMBER)))).namelist() == []


def test_it_writes_across_a_page_what_is_no_valid_note_any_more() -> None:
    assert "CANCELADA" in words(draw(nfse(7), is_cancelled=True))
    assert "SUBSTITUÍDA" in words(draw(nfse(7), is_replaced=True))
    plain = words(draw(nfse(7)))
    assert "CANCELADA" not in plain and "12.ABC.345/01DE-35" in plain and "1.234,56" in plain
