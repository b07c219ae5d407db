"""An invoice as the DPS that declares it, and what is asked for instead of guessed."""

from __future__ import annotations

import datetime as dt

import pytest

from accounts.models import Organization
from invoices import terms
from invoices.building import dps_of
from invoices.dps.document import Replaced
from invoices.errors import Incomplete
from invoices.models import FiscalProfile, InvoicePolicy, Issuer, TaxTerms
from invoices.takers import missing_fields, taker_of
from tests.invoices.cast import ADDRESS, make_invoice, make_issuer, make_taker
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def issuer() -> Issuer:
    return make_issuer()


def organization_of(**fields: object) -> Organization:
    return Organization(**{"name": "Acme Ltda", "tax_id": "12ABC34501DE35", "address": ADDRESS, **fields})


def test_it_says_who_what_and_when(issuer: Issuer) -> None:
    organization = make_taker(tax_id="12ABC34501DE35")
    FiscalProfile.everywhere.create(organization=organization, purchase_number="PO-7")
    invoice = make_invoice(organization=organization, issuer=issuer, iss_withheld=True, irrf_centavos=150)
    dps = dps_of(invoice)
    assert (dps.prestador.tax_id, dps.prestador.municipal_registration) == (issuer.tax_id, "12345670018")
    assert (dps.taker.tax_id, dps.taker.city_code, dps.taker.postal_code) == ("12ABC34501DE35", "3550308", "01310100")
    assert (dps.amount_centavos, dps.purchase_number, dps.iss_withheld, dps.irrf_centavos) == (12_345, "PO-7", True, 150)
    assert dps.competence_on == invoice.competence_on
    assert f"Recarga de {invoice.competence_on:%d/%m/%Y}" in dps.description


def test_a_months_note_tells_its_month(issuer: Issuer) -> None:
    invoice = make_invoice(issuer=issuer, policy=InvoicePolicy.Kind.MONTHLY, month=dt.date(2026, 3, 1))
    assert "Competência: março de 2026" in dps_of(invoice).description


def test_the_description_is_the_accountants_text_whatever_its_braces(issuer: Issuer) -> None:
    TaxTerms.objects.update(description="{organization} {period} {x} {0} {number}")
    invoice = make_invoice(issuer=issuer, number=5, series=1, organization=make_taker(name="Acme {period}"))
    assert "{x} {0} 5" in dps_of(invoice).description


def test_the_terms_are_those_of_the_day_of_issue(issuer: Issuer) -> None:
    today = clock.today_in_brazil()
    TaxTerms.objects.create(
        issuer=issuer, starts_on=today, regime="3", simples_assessment="1", simples_bps=600, ibscbs_from_on=today + dt.timedelta(1)
    )
    TaxTerms.objects.create(issuer=issuer, starts_on=today + dt.timedelta(days=1), regime="2")
    dps = dps_of(make_invoice(issuer=issuer))
    assert (dps.terms.regime, dps.terms.has_ibscbs) == ("3", False)
    TaxTerms.objects.filter(starts_on=today).update(ibscbs_from_on=today)
    assert dps_of(make_invoice(issuer=issuer, organization=make_taker())).terms.has_ibscbs


def test_a_replacement_names_the_note_that_it_replaces(issuer: Issuer) -> None:
    old = make_invoice(issuer=issuer, access_key="3" * 50)
    new = make_invoice(
        issuer=issuer, organization=make_taker(), replaces=old, cancel_code="05", cancel_reason="Tomador informado errado"
    )
    assert dps_of(new).replaces == Replaced(access_key="3" * 50, code="05", reason="Tomador informado errado")


def test_taxes_issuers_and_policies_are_never_guessed(issuer: Issuer) -> None:
    with pytest.raises(Incomplete) as lack:
        terms.terms_on(issuer, dt.date(2025, 12, 31))
    assert (lack.value.problem_code, lack.value.param) == ("TERMS", "terms")
    assert terms.policy_on(issuer, dt.date(2025, 12, 31)) is None
    found = terms.policy_on(issuer, dt.date(2026, 1, 1))
    assert found is not None
    assert found.kind == InvoicePolicy.Kind.MONTHLY
    assert terms.active_issuer() == issuer
    Issuer.objects.update(is_active=False)
    with pytest.raises(Incomplete):
        terms.active_issuer()


@pytest.mark.parametrize(
    ("fields", "missing", "param"),
    [
        ({"address": {}}, ["CEP", "logradouro", "número do endereço", "bairro", "cidade", "estado (UF)"], "taker.postal_code"),
        ({"tax_id": ""}, ["CNPJ ou CPF"], "taker.tax_id"),
        ({"name": " "}, ["razão social ou nome"], "taker.name"),
        ({"address": {**ADDRESS, "postal_code": "1310100"}}, ["CEP"], "taker.postal_code"),
        ({"address": {**ADDRESS, "city": "Sao Pualo"}}, ["cidade"], "taker.city"),
        ({"address": {**ADDRESS, "number": ""}}, ["número do endereço"], "taker.number"),
        ({"tax_id": "11144477735", "address": {**ADDRESS, "street": ""}}, ["logradouro"], "taker.street"),
    ],
)
def test_what_is_missing_of_a_taker_is_named(fields: dict[str, object], missing: list[str], param: str) -> None:
    organization = organization_of(**fields)
    assert missing_fields(organization) == missing
    with pytest.raises(Incomplete) as lack:
        taker_of(organization)
    assert (lack.value.problem_code, lack.value.param) == ("TAKER", param)
    assert missing[0] in lack.value.message


def test_a_cpf_may_have_no_address_and_an_address_is_written_as_people_write() -> None:
    person = taker_of(organization_of(tax_id="11144477735", address={}))
    assert (person.tax_id, person.postal_code, person.city_code) == ("11144477735", "", "")
    taker = taker_of(organization_of(address={**ADDRESS, "postal_code": "01310-100", "city": "SAO PAULO", "state": "sp"}))
    assert (taker.postal_code, taker.city_code) == ("01310100", "3550308")
