"""The queue of invoices that need a person, and what staff do to one, through the admin's own pages."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from invoices import attention, issuing
from invoices.dps.ids import dps_id
from invoices.models import Invoice, InvoiceEvent, InvoiceLine, Issuer
from tests.invoices.desk import ADDRESS, issuer_at_work, note_of, taker_named
from tests.invoices.tax_office import TaxOffice
from tokia import attention as home_attention
from tokia import clock

pytestmark = pytest.mark.django_db
Status = Invoice.Status
XSS = "<script>alert('x')</script>"


@pytest.fixture
def issuer(db: None, tax_office: TaxOffice) -> Issuer:
    """With the sandbox's certificate, in a city that issues nationally."""
    return issuer_at_work(pfx=tax_office.pfx())


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ana@tokia.test", "a long enough password"))
    return client


@pytest.fixture
def viewer(db: None) -> Client:
    """May look at everything and act on nothing."""
    user = User.objects.create_user("leo@tokia.test", "a long enough password", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    return client


def act(name: str, invoice: Invoice) -> str:
    return reverse(f"admin:invoices_invoice_{name}", args=[invoice.pk])


def page(client: Client, address: str, **query: Any) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.content[:500]
    return answer.content.decode()


def queue(client: Client, **query: Any) -> list[Invoice]:
    answer = client.get(reverse("admin:invoices_invoice_changelist"), query)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


def rejected(**fields: Any) -> Invoice:
    given = {"status": Status.REJECTED, "problem_code": "E0310", "problem": "Código de serviço inválido.", "due_at": None,
             "problem_field": "terms.service_code", **fields}  # fmt: skip
    return note_of(**given)


# ── The walk of a repair ─────────────────────────────────────────────────────────────────────────────────────────────
def test_it_repairs_a_taker_and_the_same_number_is_issued(staff: Client, issuer: Issuer, tax_office: TaxOffice) -> None:
    invoice = note_of(taker_named(address={}))
    assert issuing.issue(invoice).status == Status.REJECTED
    assert queue(staff, fila="falta-dado") == [invoice]
    address = act("correct_taker", invoice)
    form = {"tax_id_kind": "cnpj", "cnpj": "11.222.333/0001-81", "name": "Acme Ltda", "invoice_email": "notas@acme.com.br",
            **ADDRESS, "reissues": "on", "reason": "A empresa mandou por e-mail"}  # fmt: skip
    assert "O CEP tem 8 números" in staff.post(address, form | {"postal_code": "123"}).content.decode()
    assert staff.post(address, form).status_code == 302
    assert [entry.user.email for entry in LogEntry.objects.all()] == ["ana@tokia.test"] * 2  # the organization's and the note's
    assert all("por e-mail" in entry.change_message for entry in LogEntry.objects.all())
    issued = issuing.issue(invoice)
    assert (issued.status, issued.number) == (Status.ISSUED, 1), issued.problem
    assert [note["dps_id"] for note in tax_office.notes()] == [issued.dps_id]


def test_it_reissues_what_the_tax_office_refused_with_its_number(staff: Client, issuer: Issuer, tax_office: TaxOffice) -> None:
    known = dps_id(city_code=issuer.city_code, tax_id=issuer.tax_id, series=1, number=7)
    invoice = rejected(number=7, series=1, city_code=issuer.city_code, environment=issuer.environment, dps_id=known)
    assert queue(staff, fila="rejeitadas") == [invoice]
    told = page(staff, reverse("admin:invoices_invoice_changelist"))
    assert "E0310: Código de serviço inválido. Corrigir: regra fiscal, código de tributação nacional" in told
    assert reverse("admin:invoices_taxterms_add") in page(staff, reverse("admin:invoices_invoice_change", args=[invoice.pk]))
    assert staff.post(act("reissue", invoice), {"reason": ""}).status_code == 200
    assert Invoice.everywhere.get().status == Status.REJECTED
    assert staff.post(act("reissue", invoice), {"reason": "Regra corrigida"}).status_code == 302
    assert "Regra corrigida" in LogEntry.objects.get().change_message
    waiting = Invoice.everywhere.get()
    assert (waiting.status, waiting.number, waiting.problem_code) == (Status.NUMBERED, 7, "")
    refused = staff.post(act("reissue", invoice), {"reason": "De novo, por engano"}).content.decode()
    assert "Só uma nota rejeitada é reemitida" in refused and LogEntry.objects.count() == 1
    issued = issuing.issue(waiting)
    assert (issued.status, issued.number) == (Status.ISSUED, 7), issued.problem
    assert [(note["dps_id"], note["status"]) for note in tax_office.notes()] == [(known, "issued")]


def test_it_cancels_with_a_code_and_a_reason_that_the_tax_office_takes(
    staff: Client, issuer: Issuer, tax_office: TaxOffice
) -> None:
    invoice = issuing.issue(note_of())
    assert invoice.status == Status.ISSUED, invoice.problem
    address = act("cancel", invoice)
    for reason in ("curto", "Com um emoji 🙂 que não passa", "x" * 256):
        assert staff.post(address, {"code": "1", "reason": reason}).status_code == 200
    assert staff.post(address, {"code": "7", "reason": "Motivo que é longo o bastante"}).status_code == 200
    assert Invoice.everywhere.get().status == Status.ISSUED
    assert staff.post(address, {"code": "2", "reason": "O serviço não foi prestado"}).status_code == 302
    assert issuing.issue(invoice).status == Status.CANCELLED
    assert (LogEntry.objects.get().user.email, tax_office.notes()[0]["status"] != "issued") == ("ana@tokia.test", True)
    assert Invoice.everywhere.get().cancel_by == "ana@tokia.test"


def test_it_replaces_a_note_once(staff: Client, issuer: Issuer, tax_office: TaxOffice) -> None:
    invoice = issuing.issue(note_of(centavos=10_000))
    form = {"code": "99", "reason": "Endereço do tomador errado na nota", "amount": ""}
    assert "até o da nota" in staff.post(act("replace", invoice), form | {"amount": "100,01"}).content.decode()
    assert staff.post(act("replace", invoice), form).status_code == 302
    new = Invoice.everywhere.get(replaces=invoice)
    assert issuing.issue(new).status == Status.ISSUED
    assert Invoice.everywhere.get(pk=invoice.pk).status == Status.REPLACED
    assert str(new.pk) in page(staff, reverse("admin:invoices_invoice_change", args=[invoice.pk]))


def test_it_takes_a_document_that_a_person_brings(staff: Client) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    issuer_at_work(channel=Issuer.Channel.MANUAL)
    invoice = issuing.issue(note_of())
    assert queue(staff, fila="a-mao") == [invoice]
    address, reason = act("upload", invoice), {"reason": "Emitida no site da prefeitura"}
    assert "Envie o XML ou o PDF" in staff.post(address, reason).content.decode()
    lie = SimpleUploadedFile("nota.pdf", XSS.encode())
    assert "não é um PDF" in staff.post(address, reason | {"number": "12", "pdf": lie}).content.decode()
    pdf = SimpleUploadedFile("nota.pdf", b"%PDF-1.7 nota", content_type="application/pdf")
    assert staff.post(address, reason | {"number": "12", "pdf": pdf}).status_code == 302
    done = Invoice.everywhere.get()
    assert (done.status, done.nfse_number) == (Status.ISSUED, "12")
    file = staff.get(act("take_pdf", invoice))
    assert file.content == b"%PDF-1.7 nota" and "attachment" in file["Content-Disposition"]


def test_it_discards_and_resends(staff: Client, issuer: Issuer) -> None:
    draft = note_of()
    assert staff.post(act("discard", draft), {"reason": "Cobrança por engano"}).status_code == 302
    assert Invoice.everywhere.get().status == Status.DISCARDED
    sent = note_of(status=Status.ISSUED, issued_at=clock.now(), delivery="failed", due_at=None, nfse_number="55")
    assert queue(staff, fila="nao-entregues") == [sent]
    assert staff.post(act("resend", sent), {"reason": "O e-mail mudou"}).status_code == 302
    assert Invoice.everywhere.get(pk=sent.pk).delivery == "due"
    assert queue(staff, fila="todas") == []


def test_it_bills_again_what_a_discarded_note_told(staff: Client, issuer: Issuer) -> None:
    draft = note_of()
    assert staff.post(act("discard", draft), {"reason": "Tomador errado"}).status_code == 302
    told = staff.post(act("draft_again", draft), {"reason": "Agora com o CNPJ certo"}, follow=True).content.decode()
    again = Invoice.everywhere.get(status=Status.DRAFT)
    assert again.reference in told and again.amount_centavos == draft.amount_centavos
    assert InvoiceLine.everywhere.get(is_live=True).invoice == again
    told = staff.post(act("draft_again", draft), {"reason": "Outra vez"}, follow=True).content.decode()
    assert "já está em outra" in told and Invoice.everywhere.filter(status=Status.DRAFT).count() == 1


def test_it_reissues_the_ticked_ones_and_names_those_that_can_not(staff: Client, issuer: Issuer) -> None:
    first, second, issued = rejected(), rejected(), note_of(status=Status.ISSUED, issued_at=clock.now(), due_at=None)
    form = {"action": "reissue_all", "_selected_action": [first.pk, second.pk, issued.pk]}
    address = reverse("admin:invoices_invoice_changelist")
    assert b"Reemitir as notas marcadas" in staff.post(address, form).content
    told = staff.post(address, form | {"apply": "1", "reason": "Regra corrigida"}, follow=True).content.decode()
    assert "2 notas de volta à fila" in told and "Só uma nota rejeitada é reemitida" in told
    assert Invoice.everywhere.filter(status=Status.REJECTED).count() == 0
    assert LogEntry.objects.filter(change_message__contains="Regra corrigida").count() == 2


def test_a_review_ends_by_a_person_and_does_not_come_back(staff: Client, issuer: Issuer) -> None:
    invoice = note_of(status=Status.ISSUED, issued_at=clock.now(), due_at=None, problem_code="REVIEW", problem="Devolvida tarde")
    assert queue(staff, fila="revisao") == [invoice]
    assert staff.post(act("close_review", invoice), {"reason": "O contador manteve"}).status_code == 302
    kept = Invoice.everywhere.get()
    assert (kept.status, kept.problem_code) == (Status.ISSUED, "REVIEWED") and queue(staff, fila="todas") == []
    assert "não está em revisão" in staff.post(act("close_review", invoice), {"reason": "De novo"}).content.decode()


# ── Finding ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("term", ["12ABC34501DE35", "12.abc.345/01de-35", "12.ABC.345", "MARIA", "777", "NFSe-9", "5" * 50])
def test_it_finds_by_tax_id_with_letters_name_number_and_key(term: str, staff: Client) -> None:
    issuer_at_work()
    wanted = note_of(
        taker_named("Padaria Maria", tax_id="12ABC34501DE35"), status=Status.ISSUED, issued_at=clock.now(),
        due_at=None, number=777, series=1, nfse_number="NFSe-9", access_key="5" * 50,
    )  # fmt: skip
    note_of(taker_named("Outra"))
    assert queue(staff, q=term) == [wanted]


def test_it_finds_a_note_by_the_taker_that_was_sent(staff: Client) -> None:
    issuer_at_work()
    wanted = rejected(taker={"tax_id": "45997418000153", "name": "Nome antigo"})
    assert queue(staff, q="45.997.418/0001-53") == [wanted]
    told = page(staff, reverse("admin:invoices_invoice_change", args=[wanted.pk]))
    assert "Nome antigo" in told and "mudou" in told and "45.997.418/0001-53" in told


def test_it_sorts_what_needs_a_person_by_why(staff: Client, tax_office: TaxOffice) -> None:
    issuer = issuer_at_work()  # without a certificate
    hour = clock.now() - dt.timedelta(hours=2)
    made = {
        "rejeitadas": rejected(),
        "falta-dado": rejected(problem_code="TAKER", problem_field="address.street"),
        "sem-resposta": note_of(status=Status.UNCERTAIN, attempts=9, due_at=None),
        "certificado": note_of(due_at=hour),
        "a-mao": note_of(problem_code="MANUAL", due_at=None),
        "cancelamento": note_of(status=Status.ISSUED, issued_at=hour, due_at=None, problem_code="CANCEL"),
        "revisao": note_of(status=Status.ISSUED, issued_at=hour, due_at=None, problem_code="REVIEW"),
        "nao-entregues": note_of(status=Status.ISSUED, issued_at=hour, due_at=None, delivery="failed"),
    }
    note_of(status=Status.ISSUED, issued_at=hour, due_at=None)
    for key, invoice in made.items():
        assert queue(staff, fila=key) == [invoice], key
    assert len(queue(staff, fila="todas")) == len(made) == attention.waiting_count()
    Issuer.objects.filter(pk=issuer.pk).update(channel="manual")
    assert queue(staff, fila="paradas") == [made["certificado"]]
    home_attention.forget()
    home = page(staff, reverse("admin:index"))
    assert '<span class="tk-count">8</span><span class="tk-grow">Notas precisam de alguém' in home
    assert "Certificado das notas" not in home
    Issuer.objects.filter(pk=issuer.pk).update(channel="sefin")
    home_attention.forget()
    assert "Certificado das notas falta" in page(staff, reverse("admin:index"))


# ── Who may, and what is never run ───────────────────────────────────────────────────────────────────────────────────
ACTS = ("close_review", "reissue", "correct_taker", "ask_now", "resend", "cancel", "replace", "upload", "discard")


def test_staff_who_may_only_look_act_on_nothing(viewer: Client) -> None:
    issuer_at_work()
    invoice = rejected(nfse_xml=b"<NFSe/>")
    told = page(viewer, reverse("admin:invoices_invoice_change", args=[invoice.pk]))
    assert "Reemitir" not in told and "Baixar" in told
    for name in ACTS:
        assert viewer.post(act(name, invoice), {"reason": "Sem permissão"}).status_code == 403, name
        assert viewer.get(act(name, invoice)).status_code == 403, name
    assert viewer.get(act("take_xml", invoice)).content == b"<NFSe/>"
    assert Invoice.everywhere.get().status == Status.REJECTED and not LogEntry.objects.exists()
    stranger = Client()
    assert all(stranger.get(act(name, invoice)).status_code == 302 for name in (*ACTS, "take_xml", "take_dps"))


def test_an_act_needs_its_own_page(staff: Client) -> None:
    issuer_at_work()
    invoice, strict = rejected(), Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(email="ana@tokia.test"))
    for name in ACTS:
        assert strict.post(act(name, invoice), {"reason": "Sem a página"}).status_code == 403, name
    assert Invoice.everywhere.get().status == Status.REJECTED
    for name in ("add", "delete"):
        arguments = [] if name == "add" else [invoice.pk]
        assert staff.post(reverse(f"admin:invoices_invoice_{name}", args=arguments), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (XSS.encode(), "&lt;script&gt;"),
        (f'{{"erros": [{{"Codigo": "E0310", "Descricao": "{XSS}"}}]}}'.encode(), "&lt;script&gt;"),
        (b"<a><b>&lt;script&gt;</b></a>", "&amp;lt;script&amp;gt;"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "&amp;x;"),
        (b'{"nfseXmlGZipB64": "!!"}', "não abre"),
        (b"\xff\xfe\x00", "\ufffd"),
    ],
)
def test_a_verbatim_answer_is_shown_and_never_run(body: bytes, shown: str, staff: Client) -> None:
    issuer_at_work()
    invoice = rejected(problem=XSS)
    event = InvoiceEvent.everywhere.create(
        organization=invoice.organization, invoice=invoice, kind="submit", text=XSS, status_code=400, body=body
    )
    told = page(staff, reverse("admin:invoices_invoiceevent_change", args=[event.pk]))
    assert shown in told and XSS not in told and "root:" not in told
    assert XSS not in page(staff, reverse("admin:invoices_invoice_change", args=[invoice.pk]))
    assert XSS not in page(staff, reverse("admin:invoices_invoice_changelist"))
    file = staff.get(reverse("admin:invoices_invoiceevent_take_answer", args=[event.pk]))
    assert file.content == body and file["Content-Disposition"].startswith("attachment") and file["X-Content-Type-Options"]


def test_it_opens_the_document_inside_of_an_answer(staff: Client, issuer: Issuer) -> None:
    invoice = issuing.issue(note_of())
    event = InvoiceEvent.everywhere.get(invoice=invoice, kind="submit")
    told = page(staff, reverse("admin:invoices_invoiceevent_change", args=[event.pk]))
    assert "nfseXmlGZipB64, aberto" in told and "&lt;infNFSe" in told
    assert staff.get(act("take_dps", invoice)).content == bytes(invoice.dps_xml or b"")
    assert staff.get(act("take_pdf", invoice)).content.startswith(b"%PDF")
    assert staff.get(act("take_cancel", invoice)).status_code == 404


def test_the_accountant_gets_a_month_of_an_issuer(staff: Client) -> None:
    import io
    import zipfile

    issuer = issuer_at_work()
    note_of(status=Status.ISSUED, issued_at=clock.now(), due_at=None, nfse_number="31", nfse_xml=b"<NFSe/>")
    rejected()
    address, month = reverse("admin:invoices_invoice_take_month"), f"{clock.today_in_brazil():%Y-%m}"
    assert "Não há notas" in staff.post(address, {"month": "2025-01", "issuer": issuer.pk}).content.decode()
    answer = staff.post(address, {"month": month, "issuer": issuer.pk})
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))  # type: ignore[attr-defined]
    assert archive.namelist() == ["nota-31.xml"] and month in answer["Content-Disposition"]
