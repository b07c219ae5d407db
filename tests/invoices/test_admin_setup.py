"""Who issues, by which rules, with which certificate and numbers: set up and checked through the admin's own pages."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.models import User
from invoices import certificates
from invoices.models import Certificate, CityTerms, DpsSeries, FiscalProfile, InvoicePolicy, Issuer, TaxTerms
from invoices.setup_check import check_setup
from tests.invoices.desk import PFX_PASSWORD, issuer_at_work, note_of, taker_named
from tests.invoices.tax_office import TaxOffice
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ana@tokia.test", "a long enough password"))
    return client


def name_of(model: str, what: str, *arguments: object) -> str:
    return reverse(f"admin:invoices_{model}_{what}", args=arguments)


def typed(instance: Any, form: Any, **changes: Any) -> dict[str, Any]:
    """What the page of a row would send, with changes."""
    sent = {name: getattr(instance, field.attname) for name in form if (field := instance._meta.get_field(name))}
    sent = {name: value for name, value in sent.items() if value is not None and value is not False}
    dated = {name: f"{value:%d/%m/%Y}" if isinstance(value, dt.date) else value for name, value in sent.items()}
    inlines = {f"{prefix}-{part}_FORMS": "0" for prefix in ("terms", "policies", "certificates") for part in ("TOTAL", "INITIAL")}
    return dated | inlines | {"reason": "Pedido do contador"} | changes


ISSUER = (
    "name", "tax_id", "municipal_registration", "sends_municipal_registration", "city_code", "channel", "environment", "series",
    "signature",
)  # fmt: skip
TERMS = (
    "issuer", "starts_on", "regime", "simples_assessment", "special_regime", "service_code", "city_service_code", "nbs_code",
    "operation_code", "tax_situation", "tax_class", "ibscbs_from_on", "iss_bps", "pis_cofins_situation", "pis_bps", "cofins_bps",
    "federal_bps", "state_bps", "city_bps", "simples_bps", "description",
)  # fmt: skip


# ── The issuer ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_issuers_tax_id_stays_once_it_has_notes(staff: Client) -> None:
    issuer = issuer_at_work()
    address = name_of("issuer", "change", issuer.pk)
    assert staff.post(address, typed(issuer, ISSUER, reason="")).status_code == 200  # asked again
    assert staff.post(address, typed(issuer, ISSUER, tax_id="11.222.333/0001-81", name="Outra Ltda")).status_code == 302
    issuer.refresh_from_db()
    assert (issuer.tax_id, issuer.name) == ("11222333000181", "Outra Ltda")
    told = LogEntry.objects.get().change_message
    assert "12ABC34501DE35 → 11222333000181" in told and "Pedido do contador" in told
    note_of()
    refused = staff.post(address, typed(issuer, ISSUER, tax_id="12ABC34501DE35")).content.decode()
    assert "o CNPJ faz parte delas" in refused
    assert "CNPJ inválido" in staff.post(address, typed(issuer, ISSUER, tax_id="11222333000180")).content.decode()
    assert "código do IBGE" in staff.post(address, typed(issuer, ISSUER, city_code="9999999")).content.decode()


def test_an_issuer_does_not_move_while_notes_are_on_their_way(staff: Client) -> None:
    issuer = issuer_at_work()
    note_of(status="sending")
    told = staff.post(name_of("issuer", "change", issuer.pk), typed(issuer, ISSUER, environment="1")).content.decode()
    assert "1 nota(s) a caminho" in told and Issuer.objects.get().environment == "2"


def test_another_environment_counts_its_documents_anew(staff: Client) -> None:
    issuer = issuer_at_work()
    Issuer.objects.update(last_nsu=500)
    staff.post(name_of("issuer", "change", issuer.pk), typed(issuer, ISSUER, name="Tokia Serviços Ltda"))
    assert Issuer.objects.get().last_nsu == 500
    staff.post(name_of("issuer", "change", issuer.pk), typed(issuer, ISSUER, environment="1"))
    assert (Issuer.objects.get().environment, Issuer.objects.get().last_nsu) == ("1", 0)


def test_one_issuer_is_active(staff: Client) -> None:
    first = issuer_at_work()
    new = typed(first, ISSUER, tax_id="45997418000153", name="Nova Ltda")
    assert staff.post(name_of("issuer", "add"), new).status_code == 302
    second = Issuer.objects.get(tax_id="45997418000153")
    assert not second.is_active
    assert staff.post(name_of("issuer", "activate", second.pk), {"reason": "Reorganização"}).status_code == 302
    assert list(Issuer.objects.filter(is_active=True)) == [second]
    assert "já é o ativo" in staff.post(name_of("issuer", "activate", second.pk), {"reason": "De novo"}).content.decode()


def test_the_token_goes_in_and_never_comes_out(staff: Client) -> None:
    issuer = issuer_at_work(channel="focus")
    address = name_of("issuer", "set_token", issuer.pk)
    assert "não parece um token" in staff.post(address, {"token": "a:b", "reason": "Conta nova"}).content.decode()
    assert staff.post(address, {"token": "segredo-da-focus-123", "reason": "Conta nova"}).status_code == 302
    issuer.refresh_from_db()
    assert issuer.focus_token and b"segredo" not in bytes(issuer.focus_token)
    pages = [address, name_of("issuer", "change", issuer.pk), name_of("issuer", "history", issuer.pk)]
    assert all(b"segredo" not in staff.get(shown).content for shown in pages)


# ── Rules, policies, numbers ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tax_class": "200001"}, "começa pelo CST"),
        ({"iss_bps": "501"}, "O ISS vai até 5%"),
        ({"service_code": "1030"}, "tem 6 números"),
        ({"nbs_code": "ABCDEFGHI"}, "O NBS tem 9 números"),
        ({"regime": "3"}, "E0166"),
        ({"simples_assessment": "1"}, "E0162"),
        ({"regime": "3", "simples_assessment": "1"}, "E0712"),
        ({"regime": "2", "special_regime": "1"}, "MEI não tem regime especial"),
        ({"pis_cofins_situation": ""}, "diga o CST"),
        ({"federal_bps": "20000"}, "até 100%"),
    ],
)
def test_rules_that_the_tax_office_would_refuse_are_not_saved(changes: dict[str, str], told: str, staff: Client) -> None:
    issuer_at_work()
    terms = TaxTerms.objects.get()
    answer = staff.post(name_of("taxterms", "add"), typed(terms, TERMS, starts_on=f"{clock.today_in_brazil():%d/%m/%Y}", **changes))
    assert answer.status_code == 200 and told in answer.content.decode(), answer.context["adminform"].form.errors
    assert TaxTerms.objects.count() == 1


def test_a_rule_with_notes_is_history_and_a_dated_one_follows(staff: Client) -> None:
    issuer_at_work()
    terms = TaxTerms.objects.get()
    address = name_of("taxterms", "change", terms.pk)
    assert staff.post(address, typed(terms, TERMS, iss_bps="250")).status_code == 302
    note_of(status="issued", issued_at=clock.now(), terms=terms)
    assert staff.post(address, typed(terms, TERMS, iss_bps="300")).status_code == 403
    assert "ela não muda mais" in staff.get(address).content.decode()
    past = staff.post(name_of("taxterms", "add"), typed(terms, TERMS, starts_on="02/01/2026", iss_bps="300"))
    assert "Já há notas emitidas" in past.content.decode()
    tomorrow = clock.today_in_brazil() + dt.timedelta(days=1)
    assert 'value="010301"' in staff.get(name_of("taxterms", "add")).content.decode()  # a copy of the one in force
    assert staff.post(name_of("taxterms", "add"), typed(terms, TERMS, starts_on=f"{tomorrow:%d/%m/%Y}")).status_code == 302
    assert TaxTerms.objects.count() == 2


def test_a_policy_starts_with_a_month_that_has_not_begun(staff: Client) -> None:
    issuer, address = issuer_at_work(), name_of("invoicepolicy", "add")
    form = {"issuer": issuer.pk, "kind": "monthly_consumption", "reason": "Decisão do contador"}
    this, later = clock.today_in_brazil().replace(day=1), (clock.today_in_brazil() + dt.timedelta(days=62)).replace(day=1)
    for day, told in ((this + dt.timedelta(days=1), "dia 1º"), (dt.date(2026, 2, 1), "já passou"), (this, "em vigor vale até")):
        assert told in staff.post(address, form | {"starts_on": f"{day:%d/%m/%Y}"}).content.decode()
    same = staff.post(address, form | {"starts_on": f"{later:%d/%m/%Y}", "kind": "per_topup"}).content.decode()
    assert "É o que já se fatura" in same
    assert staff.post(address, form | {"starts_on": f"{later:%d/%m/%Y}"}).status_code == 302
    begun, coming = InvoicePolicy.objects.order_by("starts_on")
    assert staff.post(name_of("invoicepolicy", "change", begun.pk), form).status_code == 403
    assert staff.post(name_of("invoicepolicy", "delete", begun.pk), {"post": "yes"}).status_code == 403
    assert staff.post(name_of("invoicepolicy", "delete", coming.pk), {"post": "yes"}).status_code == 302


def test_numbers_only_go_up(staff: Client) -> None:
    series = DpsSeries.objects.create(city_code="3106200", tax_id="12ABC34501DE35", series=1, environment="1", next_number=10)
    address = name_of("dpsseries", "raise_number", series.pk)
    for number in ("9", "10", "0", str(10**15)):
        assert staff.post(address, {"next_number": number, "reason": "Outro sistema"}).status_code == 200
    assert staff.post(address, {"next_number": "501", "reason": "Outro sistema emitiu até 500"}).status_code == 302
    assert DpsSeries.objects.get().next_number == 501 and "de 10 para 501" in LogEntry.objects.get().change_message


# ── Certificates ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_certificate_goes_in_and_neither_file_nor_password_comes_out(staff: Client, tax_office: TaxOffice) -> None:
    issuer, address = issuer_at_work(), name_of("certificate", "send")
    form = {"issuer": issuer.pk, "password": PFX_PASSWORD, "reason": "Renovação"}

    def send(name: str, **changes: Any) -> Any:
        return staff.post(address, form | {"pfx": SimpleUploadedFile("a1.pfx", tax_office.pfx(name))} | changes)

    wrong = send("a1", password="senha-errada-123").content.decode()
    assert "A senha não abre este arquivo" in wrong and "senha-errada-123" not in wrong
    assert "venceu em" in send("a1-expired").content.decode()
    assert "e o emitente é" in send("a1-other").content.decode()
    assert not Certificate.objects.exists()
    assert send("a1").status_code == 302
    kept = Certificate.objects.get()
    assert kept.uploaded_by == "ana@tokia.test" and "Renovação" in LogEntry.objects.get().change_message
    shown = staff.get(name_of("certificate", "change", kept.pk)).content.decode()
    assert "12.ABC.345/01DE-35" in shown and " dias" in shown and PFX_PASSWORD not in shown
    assert certificates.load(issuer).ends_at == kept.ends_at
    assert staff.post(name_of("certificate", "deactivate", kept.pk), {"reason": "Chave exposta"}).status_code == 302
    assert not Certificate.objects.get().is_active
    assert "Certificado das notas falta" in staff.get(reverse("admin:index")).content.decode()
    for name in ("add", "delete"):
        arguments = [] if name == "add" else [kept.pk]
        assert staff.post(name_of("certificate", name, *arguments), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("days", "told", "ink"),
    [(200, "200 dias", "green"), (20, "20 dias", "orange"), (3, "3 dias", "red"), (-1, "vencido em", "red")],
)
def test_the_days_left_have_a_colour_and_words(days: int, told: str, ink: str, staff: Client) -> None:
    issuer, now = issuer_at_work(), clock.now()
    Certificate.objects.create(
        issuer=issuer, pfx=b"x", password=b"x", subject="Tokia", tax_id=issuer.tax_id, serial_number="1", starts_at=now,
        ends_at=now + dt.timedelta(days=days, hours=1),
    )  # fmt: skip
    shown = staff.get(name_of("certificate", "changelist")).content.decode()
    assert told in shown and f"text-{ink}-" in shown.rpartition(told)[0][-120:]


# ── The city, the check, the takers' wishes ──────────────────────────────────────────────────────────────────────────
def test_the_city_is_asked_now(staff: Client, tax_office: TaxOffice) -> None:
    issuer = issuer_at_work(pfx=tax_office.pfx())
    told = staff.get(name_of("issuer", "consult", issuer.pk), follow=True).content.decode()
    assert "usa o emissor nacional" in told
    terms = CityTerms.objects.get()
    assert "convenio" in staff.get(name_of("cityterms", "change", terms.pk)).content.decode()
    assert staff.get(name_of("cityterms", "consult", terms.pk), follow=True).status_code == 200


def test_the_check_is_green_where_an_invoice_could_be_issued(staff: Client, tax_office: TaxOffice) -> None:
    issuer = issuer_at_work(pfx=tax_office.pfx())
    told = staff.get(name_of("issuer", "check_it", issuer.pk)).content.decode()
    assert "Tudo certo para emitir" in told and "assinada" in told and "Falta" not in told
    assert not DpsSeries.objects.exists() and tax_office.notes() == []  # nothing was numbered or sent


def test_the_check_says_what_is_missing_and_the_cure(staff: Client, tax_office: TaxOffice) -> None:
    issuer = issuer_at_work(is_active=False, municipal_registration="")
    TaxTerms.objects.all().delete()
    InvoicePolicy.objects.all().delete()
    wrong = {finding.label: finding for finding in check_setup(issuer) if not finding.is_ok}
    assert set(wrong) >= {"Emitente ativo", "Certificado A1", "Regra fiscal de hoje", "O que se fatura", "DPS de teste"}
    assert all(finding.cure for finding in wrong.values())
    told = staff.get(name_of("issuer", "check_it", issuer.pk)).content.decode()
    assert "Falta" in told and name_of("taxterms", "changelist") in told and name_of("certificate", "changelist") in told


def test_wishes_of_a_taker_are_set_with_a_reason(staff: Client) -> None:
    form = {"organization": taker_named().pk, "accountant_email": "c@example.com.br", "irrf_bps": "150", "csll_bps": "0"}
    assert staff.post(name_of("fiscalprofile", "add"), form).status_code == 200
    assert staff.post(name_of("fiscalprofile", "add"), form | {"reason": "A empresa pediu", "irrf_bps": "10001"}).status_code == 200
    assert staff.post(name_of("fiscalprofile", "add"), form | {"reason": "A empresa pediu"}).status_code == 302
    wishes = FiscalProfile.everywhere.get()
    address = name_of("fiscalprofile", "change", wishes.pk)
    assert staff.post(address, form | {"irrf_bps": "0", "reason": "Deixou de reter"}).status_code == 302
    assert "150 → 0" in LogEntry.objects.latest("pk").change_message


def test_staff_who_may_only_look_set_nothing_up(tax_office: TaxOffice) -> None:
    issuer = issuer_at_work()
    user = User.objects.create_user("leo@tokia.test", "a long enough password", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    assert client.get(name_of("issuer", "change", issuer.pk)).status_code == 200
    assert client.get(name_of("taxterms", "change", TaxTerms.objects.get().pk)).status_code == 200
    for address in (
        name_of("issuer", "add"), name_of("issuer", "activate", issuer.pk), name_of("issuer", "set_token", issuer.pk),
        name_of("issuer", "consult", issuer.pk), name_of("certificate", "send"), name_of("taxterms", "add"),
        name_of("invoicepolicy", "add"), name_of("fiscalprofile", "add"), name_of("issuer", "change", issuer.pk),
    ):  # fmt: skip
        assert client.post(address, {"reason": "Sem permissão"}).status_code == 403, address
    assert json.dumps(sorted(Issuer.objects.values_list("name", flat=True))) == '["Tokia Tecnologia Ltda"]'
