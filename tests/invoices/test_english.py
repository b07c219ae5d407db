"""Pages of notes for whoever reads English: nothing is left in Portuguese, while rows and the API keep what they kept."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import User
from invoices.kept_texts import ASKED, FIELDS, MAILED, NAME_UNUSABLE, keep_lack, tell_event, tell_problem
from invoices.models import FiscalProfile, Invoice, InvoiceEvent
from tests.cast import Cast, make_cast
from tests.home.test_english_public_pages import PORTUGUESE
from tests.home.test_pages import words
from tests.invoices.papers import make_line, make_note

pytestmark = pytest.mark.django_db
NAMES = re.compile(r"Português|Brasília|\S+@\S+|Tokia Serviços")


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def reader(person: User) -> Client:
    client = Client()
    client.force_login(person)
    client.cookies["idioma"] = "en"
    return client


def told(client: Client, address: str) -> str:
    """The page's words; none of them Portuguese."""
    answer = client.get(address)
    assert answer.status_code == 200, address
    page = " ".join(words(answer.content.decode()).split())
    left = PORTUGUESE.findall(NAMES.sub(" ", page))
    assert not left, (address, left, page)
    return page


def test_the_list_and_a_note_speak_english(cast: Cast) -> None:
    note = make_note(cast.acme, amount_centavos=123_456)
    make_line(note)
    for text in (ASKED, MAILED.format(email="conta@exemplo.com.br")):
        InvoiceEvent.everywhere.create(organization=cast.acme, invoice=note, kind=InvoiceEvent.Kind.DELIVERY, text=text)
    make_note(cast.acme, status=Invoice.Status.CANCELLED)
    client = reader(cast.carol)
    page = told(client, "/app/notas/")
    assert "1 authorized invoice: R$ 1,234.56" in page and "November 2026" in page and "Download all of November (.zip)" in page
    page = told(client, f"/app/notas/{note.pk}/")
    for text in ("Invoice emailed to conta@exemplo.com.br.", "Asked to send it by email again.", "Authorized with number"):
        assert text in page
    assert "1 Dec 2026, 09:35" in page
    assert told(client, "/app/notas/dados/").count("We withhold") == 2


def test_what_stops_a_note_is_told_to_its_reader_and_kept_in_portuguese(cast: Cast) -> None:
    lack = keep_lack(["postal_code", "street", "city"])
    note = make_note(cast.acme, status=Invoice.Status.REJECTED, problem_code="TAKER", problem_field="taker.street", problem=lack)
    refused = make_note(cast.acme, status=Invoice.Status.REJECTED, problem_code="E0240", problem="CEP inválido.")
    client = reader(cast.alice)
    assert "To issue the invoice, we still need: Postal code (CEP), street and city." in told(client, f"/app/notas/{note.pk}/")
    assert "The tax office refused it: the postal code (CEP) does not exist" in told(client, f"/app/notas/{refused.pk}/")
    note.refresh_from_db()
    assert note.problem == lack == "Para emitir a nota falta: CEP, logradouro e cidade."
    client.cookies["idioma"] = "pt-br"
    assert lack in client.get(f"/app/notas/{note.pk}/").content.decode()


def test_a_percentage_that_was_kept_is_read_back_as_it_was(cast: Cast) -> None:
    client = reader(cast.carol)
    assert b"Invoicing details saved." in client.post("/app/notas/dados/", {"irrf_bps": "1.5"}, follow=True).content
    shown = re.search(
        r'name="irrf_bps"[^>]*value="([^"]*)"|value="([^"]*)"[^>]*name="irrf_bps"', client.get("/app/notas/dados/").content.decode()
    )
    assert shown and (shown[1] or shown[2]) == "1.50"
    client.post("/app/notas/dados/", {"irrf_bps": "1.50"})
    assert FiscalProfile.everywhere.get().irrf_bps == 150


@pytest.mark.parametrize("names", [["street"], ["street", "number"], [*FIELDS]])
def test_in_portuguese_it_is_told_as_it_is_kept(names: list[str]) -> None:
    assert tell_problem(keep_lack(names)) == keep_lack(names)
    for text in (NAME_UNUSABLE, "", "Para emitir a nota falta: paciência.", "A competência não pode ser depois da emissão."):
        assert tell_problem(text) == text == tell_event(text)
