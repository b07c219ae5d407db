"""The connection to the national system: whose certificate, which host, and nobody told a secret."""

from __future__ import annotations

import datetime as dt

import pytest
from pytest_django import Settings

from invoices import certificates, exchanges, sefin
from invoices.channels import Issued, Later, Message, Missing, Rejected, Uncertain
from invoices.errors import NoCertificate
from invoices.exchanges import Answer
from invoices.models import Certificate, Invoice, Issuer
from invoices.national import HOSTS, address_of
from invoices.sefin import Sefin
from tests.invoices.cast import make_issuer, make_taker
from tests.invoices.notes import make_document
from tests.invoices.tax_office import TaxOffice
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def issuer(tax_office: TaxOffice) -> Issuer:
    return make_issuer(pfx=tax_office.pfx())


@pytest.fixture
def invoice(issuer: Issuer) -> Invoice:
    return make_document(issuer)


def test_it_does_not_begin_without_a_certificate(tax_office: TaxOffice, issuer: Issuer) -> None:
    Certificate.objects.update(ends_at=clock.now() - dt.timedelta(seconds=1))
    with pytest.raises(NoCertificate):
        Sefin(issuer)


def with_certificate(name: str, *, office: TaxOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that `store_certificate` would never let in: as if it had changed since, or the tax office thought otherwise."""
    a1 = certificates._open(office.pfx(name), "a1-sandbox")
    monkeypatch.setattr(certificates, "load", lambda issuer: a1)


@pytest.mark.parametrize(("name", "code"), [("a1-expired", "E1201"), ("a1-plain", "E1208")])
def test_it_waits_where_the_certificate_is_refused(
    tax_office: TaxOffice, invoice: Invoice, monkeypatch: pytest.MonkeyPatch, name: str, code: str
) -> None:
    """No invoice is to blame, so none is rejected."""
    with_certificate(name, office=tax_office, monkeypatch=monkeypatch)
    invoice.access_key = "31062002212ABC34501DE35000000000000126118762800181"
    channel = Sefin(invoice.issuer)
    for ask in (channel.submit, channel.find, channel.cancel, channel.find_cancel):
        with pytest.raises(NoCertificate, match=code):
            ask(invoice)
    assert tax_office.notes() == []


def test_it_is_refused_with_the_certificate_of_somebody_else(
    tax_office: TaxOffice, invoice: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice = make_document(invoice.issuer, organization=make_taker())
    assert isinstance(Sefin(invoice.issuer).submit(invoice), Issued)
    with_certificate("a1-other", office=tax_office, monkeypatch=monkeypatch)
    other = make_document(invoice.issuer, organization=invoice.organization)  # signed with it, too
    refused = Sefin(invoice.issuer).submit(other)
    assert isinstance(refused, Rejected)
    assert refused.messages[0].code == "E0718"
    assert isinstance(Sefin(invoice.issuer).find(invoice), Uncertain | Missing)  # an actor alone is told
    assert len(tax_office.notes()) == 1


def test_it_comes_later_while_the_service_is_closed(tax_office: TaxOffice, invoice: Invoice) -> None:
    tax_office.script("emit", {"kind": "reject", "code": "E1217", "text": "Serviço paralisado para manutenção"})
    assert isinstance(Sefin(invoice.issuer).submit(invoice), Later)


def test_it_connects_once_per_certificate(tax_office: TaxOffice, invoice: Invoice) -> None:
    assert Sefin(invoice.issuer).client is Sefin(invoice.issuer).client
    assert len(exchanges._clients) == 1


def test_it_believes_no_other_server(tax_office: TaxOffice, issuer: Issuer, settings: Settings) -> None:
    settings.SEFIN_CA_FILE = str(tax_office.home / "sandbox" / "ca.pem")  # the bank's authority
    invoice = make_document(issuer)
    assert isinstance(Sefin(issuer).submit(invoice), Later)
    assert tax_office.notes() == []


def test_it_knows_the_official_hosts(settings: Settings) -> None:
    settings.SEFIN_URL = settings.ADN_URL = settings.PARAM_URL = ""
    told = {
        (place, environment): address_of(place, environment=environment)
        for environment, places in HOSTS.items()
        for place in places
    }
    assert told == {
        ("sefin", "1"): "https://sefin.nfse.gov.br/SefinNacional",
        ("adn", "1"): "https://adn.nfse.gov.br/contribuintes",
        ("param", "1"): "https://adn.nfse.gov.br/parametrizacao",
        ("sefin", "2"): "https://sefin.producaorestrita.nfse.gov.br/SefinNacional",
        ("adn", "2"): "https://adn.producaorestrita.nfse.gov.br/contribuintes",
        ("param", "2"): "https://adn.producaorestrita.nfse.gov.br/parametrizacao",
    }
    settings.SEFIN_URL = "https://127.0.0.1:8093/SefinNacional/"
    assert address_of("sefin", environment="1") == "https://127.0.0.1:8093/SefinNacional"


def test_it_asks_where_the_document_was_born(settings: Settings, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The issuer has moved on to production; a note of the restricted place is asked for there."""
    settings.SEFIN_URL = ""
    asked: list[str] = []

    def hear(client: object, method: str, url: str, **_: object) -> Answer:
        asked.append(url)
        return Answer(404, b"", None, None)

    monkeypatch.setattr(sefin, "exchange", hear)
    issuer.environment = "1"
    Sefin(issuer).find(Invoice(environment="2", dps_id="DPS1"))
    Sefin(issuer).find(Invoice(environment="1", dps_id="DPS2"))
    assert asked == [
        "https://sefin.producaorestrita.nfse.gov.br/SefinNacional/dps/DPS1",
        "https://sefin.nfse.gov.br/SefinNacional/dps/DPS2",
    ]


def test_it_tells_nobody_a_secret(tax_office: TaxOffice, invoice: Invoice, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    assert isinstance(Sefin(invoice.issuer).submit(invoice), Issued)
    tax_office.script("emit", "lost")
    Sefin(invoice.issuer).submit(invoice)
    assert "a1-sandbox" not in caplog.text
    assert "PRIVATE KEY" not in caplog.text
    assert invoice.organization.tax_id not in caplog.text


def test_it_hears_a_message_in_full() -> None:
    found = {"erros": [{"Codigo": "E0235", "Descricao": "x" * 700, "Complemento": "toma/end"}]}
    (message,) = exchanges.read_messages(found)
    assert message == Message("E0235", "x" * 600, "toma/end")
