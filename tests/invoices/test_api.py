"""`/api/v1/invoices`, as a program asks for it."""

from __future__ import annotations

import datetime as dt

import pytest

from accounts.models import Role
from invoices.models import Invoice, InvoiceEvent
from tests.api.world import World, ask, told
from tests.invoices.papers import make_invoice, make_line, make_note

pytestmark = pytest.mark.django_db
Status = Invoice.Status
PATH = "/api/v1/invoices"


@pytest.fixture
def world() -> World:
    return World()


def test_it_lists_notes_newest_first_and_filters_them(world: World) -> None:
    acme = world.acme
    october = make_note(acme.organization, month=dt.date(2026, 10, 1), amount_centavos=7)
    refused = make_invoice(
        acme.organization, status=Status.REJECTED, problem_code="E0235", problem="falta", problem_field="taker.x"
    )
    make_invoice(acme.organization, status=Status.DISCARDED)
    rows = told(ask("get", PATH, secret=acme.secret))["data"]
    assert [row["id"] for row in rows] == [refused.pk, october.pk, acme.invoice.pk]
    assert rows[0]["needs_data"] and rows[0]["problem"].startswith("A prefeitura recusou") and not rows[0]["has_pdf"]
    assert (rows[1]["amount_brl"], rows[1]["amount_nanos"], rows[1]["month"]) == ("0.07", 70_000_000, "2026-10")
    assert rows[2]["look_up_url"].endswith(acme.invoice.access_key) and rows[2]["has_xml"] and rows[2]["has_pdf"]
    only = told(ask("get", f"{PATH}?month=2026-10&status=issued", secret=acme.secret))["data"]
    assert [row["id"] for row in only] == [october.pk]
    first = told(ask("get", f"{PATH}?limit=2", secret=acme.secret))
    rest = told(ask("get", f"{PATH}?limit=2&cursor={first['next_cursor']}", secret=acme.secret))
    assert [row["id"] for row in first["data"] + rest["data"]] == [row["id"] for row in rows] and rest["next_cursor"] is None
    for wrong in ("month=2026-13", "month=2026", "status=discarded", "status=x", "nada=1"):
        assert ask("get", f"{PATH}?{wrong}", secret=acme.secret).status_code == 400, wrong


def test_it_gives_a_note_with_its_lines_and_documents(world: World) -> None:
    acme = world.acme
    line = make_line(acme.invoice)
    one = told(ask("get", f"{PATH}/{acme.invoice.pk}", secret=acme.secret))
    assert one["number"] == acme.invoice.nfse_number and one["lines"][0]["entry_id"] == line.entry_id
    assert one["lines"][0]["amount_brl"] == "1234.56"
    xml = ask("get", f"{PATH}/{acme.invoice.pk}/xml", secret=acme.secret)
    assert xml.content == bytes(acme.invoice.nfse_xml or b"") and xml["Content-Type"] == "application/xml"
    pdf = ask("get", f"{PATH}/{acme.invoice.pk}/pdf", secret=acme.secret)
    assert pdf.content.startswith(b"%PDF") and pdf["Content-Type"] == "application/pdf"
    draft = make_invoice(acme.organization)
    for ending in ("xml", "pdf"):
        answer = ask("get", f"{PATH}/{draft.pk}/{ending}", secret=acme.secret)
        assert answer.status_code == 409 and told(answer)["code"] == "document_not_ready"


def test_it_opens_to_who_may_read_money_and_to_nobody_else(world: World) -> None:
    acme = world.acme
    paths = [PATH, *(f"{PATH}/{acme.invoice.pk}{ending}" for ending in ("", "/xml", "/pdf"))]
    reader, other = acme.key_with("billing.read"), acme.key_with("usage.read", "organization.read")
    for path in paths:
        assert ask("get", path, secret=reader).status_code == 200
        assert ask("get", path, secret=other).status_code == 403
        assert ask("get", path).status_code == 401
        assert ask("post", path, secret=acme.secret, body={}).status_code == 405
    for path in paths[1:]:
        assert ask("get", path, secret=world.globex.secret).status_code == 404
    assert world.bob().role == Role.DEVELOPER
    assert not InvoiceEvent.everywhere.exists()  # reading leaves no trace in a note's history
