"""The pages of notas fiscais, as the people of the cast see them."""

from __future__ import annotations

import datetime as dt

import pytest
from django.test import Client

from accounts.models import User
from billing.billable import RouteSum
from invoices import drafting, issuing, views
from invoices.drafting import NextInvoice
from invoices.models import FiscalProfile, Invoice, InvoiceEvent, InvoiceLine, InvoicePolicy
from tests.cast import Cast, make_cast
from tests.invoices.papers import NOVEMBER, make_invoice, make_issuer, make_line, make_note, nfse
from tests.make import make_top_up, make_wallet

pytestmark = pytest.mark.django_db
Status = Invoice.Status


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def get(person: User, path: str) -> str:
    client = Client()
    client.force_login(person)
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def post(person: User, path: str, **form: str) -> str:
    """The page after it."""
    client = Client()
    client.force_login(person)
    return client.post(path, form, follow=True).content.decode()


def test_it_lists_notes_by_month_with_totals_of_what_is_valid(cast: Cast) -> None:
    first, second = make_note(cast.acme, amount_centavos=10_001), make_note(cast.acme, amount_centavos=20_002)
    cancelled = make_note(cast.acme, amount_centavos=99_999, status=Status.CANCELLED)
    october = make_note(cast.acme, month=dt.date(2026, 10, 1), competence_on=dt.date(2026, 10, 31), amount_centavos=700)
    make_note(cast.globex, amount_centavos=55_555)
    make_invoice(cast.acme, status=Status.DISCARDED, amount_centavos=44_444)
    page = get(cast.carol, "/app/notas/")
    assert page.index("Novembro de 2026") < page.index("Outubro de 2026")
    assert "2 notas autorizadas" in page and "R$\u00a0300,03" in page and "R$\u00a07,00" in page
    for note in (first, second, cancelled, october):
        assert f">{note.nfse_number}</a>" in page
    assert "Baixar tudo de novembro (.zip)" in page and "555,55" not in page and "444,44" not in page
    assert "Cancelada" in page and "Uso de novembro" in page and "30/11/2026" in page


def test_it_shows_the_empty_list_and_lets_developers_stay_out(cast: Cast) -> None:
    assert "As notas aparecem aqui depois do primeiro mês com consumo." in get(cast.alice, "/app/notas/")
    client = Client()
    client.force_login(cast.bob)
    assert client.get("/app/notas/").status_code == 403


def test_it_filters_by_status_and_period_and_ignores_what_it_can_not_read(cast: Cast) -> None:
    november = make_note(cast.acme)
    october = make_note(cast.acme, month=dt.date(2026, 10, 1), status=Status.REPLACED)
    waiting = make_invoice(cast.acme, amount_centavos=4_321)

    def shown(query: str) -> set[int]:
        page = get(cast.alice, f"/app/notas/?{query}")
        return {note.pk for note in (november, october, waiting) if f'href="/app/notas/{note.pk}/"' in page}

    assert shown("periodo=2026-10") == {october.pk}
    assert shown("periodo=2026") == shown("periodo=x&situacao=y&pagina=z") == {november.pk, october.pk, waiting.pk}
    assert shown("situacao=na-fila") == {waiting.pk} and shown("situacao=autorizada") == {november.pk}
    assert shown("situacao=substituida&periodo=2026-11") == set()
    assert "Nenhuma nota com esses filtros." in get(cast.alice, "/app/notas/?periodo=2025")


def test_it_pages_a_month_of_many_notes_and_tells_the_whole_months_total(cast: Cast) -> None:
    for _ in range(51):
        make_note(cast.acme, amount_centavos=100)
    first, second = get(cast.alice, "/app/notas/"), get(cast.alice, "/app/notas/?pagina=2")
    assert first.count(">PDF</a>") == 50 and second.count(">PDF</a>") == 1
    assert "pagina=2" in first and "pagina=1" in second and "R$\u00a051,00" in first and "R$\u00a051,00" in second


def test_it_says_why_a_note_was_refused_and_who_mends_it(cast: Cast) -> None:
    theirs = make_invoice(
        cast.acme, status=Status.REJECTED, problem_code="E0240", problem="CEP…", problem_field="taker.postal_code"
    )
    ours = make_invoice(cast.acme, status=Status.REJECTED, problem_code="E0310", problem="cTribNac inexistente")
    missing = make_invoice(cast.acme, status=Status.REJECTED, problem_code="TAKER", problem="Para emitir a nota falta: CEP.")
    page = get(cast.alice, "/app/notas/")
    assert "A prefeitura recusou: o CEP não existe ou é de outro município." in page and "Corrigir dados" in page
    assert "Para emitir a nota falta: CEP." in page and "cTribNac" not in page
    assert "Já corrigi: reemitir" in get(cast.alice, f"/app/notas/{theirs.pk}/")
    assert "Já corrigi: reemitir" in get(cast.carol, f"/app/notas/{missing.pk}/")
    told = get(cast.alice, f"/app/notas/{ours.pk}/")
    assert "Estamos corrigindo" in told and "reemitir" not in told and "cTribNac" not in told


def test_it_reissues_what_the_customer_mended_and_nothing_else(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []
    monkeypatch.setattr(issuing, "reissue", lambda invoice, *, by: asked.append((invoice.pk, by)))
    theirs = make_invoice(cast.acme, status=Status.REJECTED, problem_code="TAKER", problem="…")
    ours = make_invoice(cast.acme, status=Status.REJECTED, problem_code="E0310")
    assert "Ainda falta: CEP" in post(cast.alice, f"/app/notas/{theirs.pk}/reemitir/") and not asked
    monkeypatch.setattr(views, "missing_fields", lambda organization: [])
    assert "voltou para a fila" in post(cast.alice, f"/app/notas/{theirs.pk}/reemitir/")
    post(cast.alice, f"/app/notas/{ours.pk}/reemitir/")
    post(cast.charlie, f"/app/notas/{theirs.pk}/reemitir/")
    assert asked == [(theirs.pk, cast.alice.email)]


def test_it_tells_a_note_whole_its_lines_history_and_public_look_up(cast: Cast) -> None:
    note = make_note(cast.acme, policy="per_topup", iss_withheld=True, irrf_centavos=150)
    make_line(note)
    InvoiceEvent.everywhere.create(
        organization=cast.acme, invoice=note, kind="delivery", text="Nota por e-mail para ana@acme.com.br."
    )
    InvoiceEvent.everywhere.create(organization=cast.acme, invoice=note, kind="submit", text="HTTP 201", body=b"{}")
    InvoiceEvent.everywhere.create(organization=cast.acme, invoice=note, kind="person", text="Anotação interna", actor="staff")
    page = get(cast.alice, f"/app/notas/{note.pk}/")
    assert f"tpc=1&amp;chave={note.access_key}" in page and "Recarga de" in page and "12.ABC.345/01DE-35" in page
    assert f"Autorizada com o número {note.nfse_number}." in page and "Nota por e-mail para ana@acme.com.br." in page
    assert "HTTP 201" not in page and "Anotação interna" not in page and "Retido por você" in page and "R$\u00a01,50" in page
    trial = make_note(cast.acme, environment="2")
    page = get(cast.alice, f"/app/notas/{trial.pk}/")
    assert "ConsultaPublica" not in page and "sem valor fiscal" in page


def test_it_shows_a_cancelled_and_a_replaced_note(cast: Cast) -> None:
    at = dt.datetime(2026, 12, 2, 15, tzinfo=dt.UTC)
    cancelled = make_note(cast.acme, status=Status.CANCELLED, cancelled_at=at, cancel_reason="Valor informado incorretamente")
    assert "Cancelada. Motivo: Valor informado incorretamente." in get(cast.alice, f"/app/notas/{cancelled.pk}/")
    old = make_note(cast.acme, status=Status.REPLACED, cancelled_at=at)
    new = make_note(cast.acme, replaces=old)
    assert f'href="/app/notas/{new.pk}/">nota {new.nfse_number}' in get(cast.alice, f"/app/notas/{old.pk}/")
    assert "Substitui a <a" in get(cast.alice, f"/app/notas/{new.pk}/")


def test_it_hands_out_the_documents_byte_for_byte(cast: Cast) -> None:
    note = make_note(cast.acme)
    client = Client()
    client.force_login(cast.carol)
    xml = client.get(f"/app/notas/{note.pk}/nota.xml")
    assert xml.content == bytes(note.nfse_xml or b"") and f'filename="nota-{note.nfse_number}.xml"' in xml["Content-Disposition"]
    pdf = client.get(f"/app/notas/{note.pk}/nota.pdf")
    assert pdf.content.startswith(b"%PDF") and pdf["Content-Type"] == "application/pdf" and pdf["Cache-Control"] == "no-store"
    by_hand = make_note(cast.acme, nfse_xml=None, uploaded_pdf=b"%PDF-by-hand")
    assert client.get(f"/app/notas/{by_hand.pk}/nota.pdf").content == b"%PDF-by-hand"
    assert client.get(f"/app/notas/{by_hand.pk}/nota.xml").status_code == 404
    of_a_city = make_note(cast.acme, nfse_xml=b"<CompNfse/>", focus_resource="nfse", access_key="")
    InvoiceEvent.everywhere.create(
        organization=cast.acme,
        invoice=of_a_city,
        kind="query",
        text="Autorizada.",
        body=b'{"url": "https://nfe.prefeitura.sp.gov.br/x"}',
    )
    assert client.get(f"/app/notas/{of_a_city.pk}/nota.pdf").status_code == 404
    assert "https://nfe.prefeitura.sp.gov.br/x" in get(cast.alice, f"/app/notas/{of_a_city.pk}/")
    assert client.get(f"/app/notas/{make_invoice(cast.acme).pk}/nota.pdf").status_code == 404


def test_it_shows_another_organization_nothing(cast: Cast) -> None:
    note = make_note(cast.acme)
    client = Client()
    client.force_login(cast.charlie)
    for path in ("", "nota.xml", "nota.pdf"):
        assert client.get(f"/app/notas/{note.pk}/{path}").status_code == 404
    assert client.post(f"/app/notas/{note.pk}/enviar/").status_code == 404
    assert client.get("/app/notas/meses/2026-11.zip").status_code == 404


def test_it_keeps_the_data_for_notes(cast: Cast) -> None:
    page = get(cast.carol, "/app/notas/dados/")
    assert "Para emitir a nota falta" in page and "<li>CEP</li>" in page
    form = {"accountant_email": "contador@exemplo.com.br", "purchase_number": "PO-77", "withholds_iss": "on", "irrf_bps": "1,5"}
    assert "Dados para notas salvos." in post(cast.carol, "/app/notas/dados/", **form)
    profile = FiscalProfile.everywhere.get(organization=cast.acme)
    assert (profile.accountant_email, profile.purchase_number, profile.irrf_bps) == ("contador@exemplo.com.br", "PO-77", 150)
    assert profile.withholds_iss and not profile.pis_cofins_withheld and profile.csll_bps == 0
    assert 'value="1,50"' in get(cast.carol, "/app/notas/dados/")
    for wrong in ({"irrf_bps": "101"}, {"irrf_bps": "-1"}, {"irrf_bps": "1,555"}, {"accountant_email": "ninguém"}):
        assert 'role="alert"' in post(cast.carol, "/app/notas/dados/", **wrong), wrong
    assert FiscalProfile.everywhere.get().irrf_bps == 150


def test_it_tells_what_the_next_note_will_hold(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = tuple(RouteSum(f"maker/model-{number}", 10, 2_000_000_000) for number in range(22))
    due_on = dt.date(2026, 12, 1)
    coming = NextInvoice("monthly_consumption", NOVEMBER, lines, 40_000_000, 4_404, due_on, ("CEP", "bairro"))
    monkeypatch.setattr(views, "preview", lambda organization: coming)
    page = get(cast.alice, "/app/notas/")
    assert "Uso de novembro de 2026 até agora" in page and "R$\u00a044,04" in page and "01/12/2026" in page
    assert (
        "maker/model-0" in page and "E mais 2 modelos." in page and "Para emitir a nota falta: <strong>CEP, bairro</strong>" in page
    )
    assert "de meses anteriores" in page and cast.alice.email in page
    monkeypatch.setattr(views, "preview", lambda organization: NextInvoice("per_topup", NOVEMBER, (), 0, 0, None, ()))
    assert "Cada recarga gera a sua nota" in get(cast.alice, "/app/notas/")
    assert drafting.preview(cast.acme).kind == ""  # nobody issues yet


def test_it_draws_no_page_of_what_is_no_national_note() -> None:
    from invoices.danfse import draw, is_national

    assert is_national(nfse(1)) and draw(nfse(1)).startswith(b"%PDF")
    assert draw(nfse(1).replace(b"Avenida", "Av. ✓ – “x”".encode())).startswith(b"%PDF")
    for xml in (b"", b"<a/>", b"{}", b"\xff\xfe", b'<!DOCTYPE a [<!ENTITY b "c">]>' + nfse(1), nfse(1)[:-20]):
        assert not is_national(xml)
        with pytest.raises(ValueError, match="national"):
            draw(xml)


def test_it_tells_of_a_top_ups_note_on_the_page_of_its_payment(cast: Cast) -> None:
    wallet = make_wallet(organization=cast.acme, brl="0")
    entry = make_top_up(wallet=wallet, end_to_end_id="E2E")
    client = Client()
    client.force_login(cast.carol)

    def told() -> tuple[int, str]:
        answer = client.get("/app/notas/recarga/pix:E2E/")
        return answer.status_code, answer.content.decode()

    assert told()[0] == 286 and "no início do mês" in told()[1]  # nobody issues yet
    issuer = make_issuer()
    InvoicePolicy.objects.create(issuer=issuer, starts_on=dt.date(2026, 1, 1), kind=InvoicePolicy.Kind.MONTHLY)
    assert told()[0] == 286 and "no início do mês" in told()[1]
    InvoicePolicy.objects.update(kind=InvoicePolicy.Kind.TOP_UP)
    assert told()[0] == 200 and "Emitindo nota fiscal…" in told()[1] and "every 5s" in told()[1]
    note = make_note(cast.acme, policy="per_topup", status=Status.SENDING)
    InvoiceLine.everywhere.create(organization=cast.acme, invoice=note, entry=entry, amount_nanos=50_000_000_000)
    assert told()[0] == 200 and "Emitindo nota fiscal…" in told()[1]
    Invoice.everywhere.filter(pk=note.pk).update(status=Status.ISSUED)
    assert told()[0] == 286 and f"Nota {note.nfse_number}</a> pronta." in told()[1]
    Invoice.everywhere.filter(pk=note.pk).update(status=Status.REJECTED, problem_code="TAKER", problem="Falta o CEP")
    assert told()[0] == 286 and "espera por um dado seu" in told()[1]
    assert client.get("/app/notas/recarga/pix:outro/").status_code == 404
    client.force_login(cast.charlie)
    assert client.get("/app/notas/recarga/pix:E2E/").status_code == 404


def test_it_asks_for_data_on_every_page_while_a_note_waits_for_them(cast: Cast) -> None:
    text = "uma nota fiscal espera por eles"
    make_invoice(cast.acme, status=Status.REJECTED, problem_code="E0310")
    assert text not in get(cast.carol, "/app/extrato/")
    make_invoice(cast.acme, status=Status.REJECTED, problem_code="TAKER")
    assert text in get(cast.carol, "/app/extrato/") and "Completar" in get(cast.carol, "/app/extrato/")
    page = get(cast.bob, "/app/uso/")
    assert text in page and "Completar" not in page
    assert text not in get(cast.charlie, "/app/extrato/")
