"""What the national system says of a city, kept for a day."""

from __future__ import annotations

import datetime as dt

import pytest
from pytest_django import Settings

from invoices import cities
from invoices.cities import check_channel, city_terms
from invoices.errors import Incomplete, NoCertificate, Unreachable
from invoices.models import CityTerms, Issuer
from tests.invoices.cast import make_issuer
from tests.invoices.tax_office import TaxOffice
from tokia import clock

pytestmark = pytest.mark.django_db
DAY = dt.date(2026, 11, 22)


@pytest.fixture
def issuer(tax_office: TaxOffice) -> Issuer:
    return make_issuer(pfx=tax_office.pfx())


def asked(tax_office: TaxOffice) -> list[str]:
    return [call["path"] for call in tax_office.ledger()["calls"] if "/parametrizacao/" in str(call.get("path"))]


def test_it_knows_a_city_of_the_national_emitter(issuer: Issuer) -> None:
    terms = city_terms(issuer)
    assert (terms.code, terms.is_adherent, terms.uses_national_emitter, terms.iss_bps) == ("3106200", True, True, 300)
    assert terms.answer["convenio"]["parametrosConvenio"]["aderenteEmissorNacional"] == 1  # verbatim
    assert list(terms.answer["aliquota"]["aliquotas"]) == ["01.03.01.000"]
    check_channel(issuer)


@pytest.mark.parametrize(("code", "name"), [("3550308", "Sao Paulo/SP"), ("1302603", "Manaus/AM"), ("9999999", "9999999")])
def test_it_names_the_way_out_of_another_city(issuer: Issuer, code: str, name: str) -> None:
    issuer.city_code = code
    with pytest.raises(Incomplete) as raised:
        check_channel(issuer)
    assert (raised.value.problem_code, raised.value.param) == ("CITY", "issuer.channel")
    assert name in raised.value.message
    assert "Focus NFe" in raised.value.message
    assert "Manual" in raised.value.message
    issuer.channel = Issuer.Channel.FOCUS
    check_channel(issuer)
    issuer.channel = Issuer.Channel.MANUAL
    check_channel(issuer)


def test_it_asks_once_a_day(tax_office: TaxOffice, issuer: Issuer) -> None:
    city_terms(issuer)
    tax_office.post("__city/3106200", iss_percent="5.00", uses_emitter=False)
    assert city_terms(issuer).iss_bps == 300
    CityTerms.objects.update(checked_at=clock.now() - dt.timedelta(days=1))
    assert (city_terms(issuer).iss_bps, city_terms(issuer).uses_national_emitter) == (500, False)
    tax_office.post("__city/3106200", iss_percent="2.50", uses_emitter=True)
    assert city_terms(issuer, is_fresh=True).iss_bps == 250


@pytest.mark.parametrize("fault", ["503", "429", "500", "lost", "garbage"])
def test_it_takes_the_old_answer_while_the_system_is_away(tax_office: TaxOffice, issuer: Issuer, fault: str) -> None:
    city_terms(issuer)
    CityTerms.objects.update(checked_at=clock.now() - dt.timedelta(days=9))
    tax_office.script("parameters", fault)
    assert city_terms(issuer).iss_bps == 300
    tax_office.post("__city/3106200", iss_percent="5.00")
    assert city_terms(issuer).iss_bps == 300  # nobody asks again for five minutes
    with pytest.raises(Unreachable):
        tax_office.script("parameters", fault)
        city_terms(issuer, is_fresh=True)  # a person who asks is told
    assert city_terms(issuer, is_fresh=True).iss_bps == 500


def test_it_lets_the_tax_office_decide_where_nothing_is_known(issuer: Issuer, settings: Settings) -> None:
    settings.PARAM_URL = "https://127.0.0.1:1/parametrizacao"
    with pytest.raises(Unreachable):
        city_terms(issuer)
    check_channel(issuer)
    assert not CityTerms.objects.exists()


def test_it_keeps_a_city_whose_rate_is_not_told(tax_office: TaxOffice, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cities._ask

    def ask(issuer: Issuer, path: str) -> object:
        if path.endswith("aliquota"):
            raise Unreachable("HTTP 500")
        return real(issuer, path)

    monkeypatch.setattr(cities, "_ask", ask)
    terms = city_terms(issuer)
    assert (terms.uses_national_emitter, terms.iss_bps) == (True, None)


def test_it_needs_a_certificate(tax_office: TaxOffice) -> None:
    issuer = make_issuer()
    with pytest.raises(NoCertificate):
        check_channel(issuer)


@pytest.mark.parametrize(
    ("rates", "bps"),
    [
        ([{"Aliq": "2.5", "DtIni": "2026-01-01T00:00:00", "DtFim": None}], 250),
        ([{"aliq": 5, "dtIni": "2026-01-01", "dtFim": "2026-11-22T23:59:59"}], 500),
        ([{"Aliq": "2", "DtIni": "2026-11-23T00:00:00"}], None),
        ([{"Aliq": "2", "DtIni": "2020-01-01T00:00:00", "DtFim": "2026-11-21T00:00:00"}], None),
        ([{"Aliq": "2", "DtIni": "2020-01-01"}, {"Aliq": "3", "DtIni": "2024-01-01"}], 300),
        ([{"Aliq": "NaN", "DtIni": "2020-01-01"}], None),
        ([{"Aliq": "200", "DtIni": "2020-01-01"}], None),
        ([{"Aliq": None, "DtIni": "2020-01-01"}, None, "x"], None),
        (None, None),
    ],
)
def test_it_reads_the_rate_in_force(rates: object, bps: int | None) -> None:
    assert cities._rate_on(DAY, {"01.03.01.000": rates}) == bps


@pytest.mark.parametrize("rates", [None, [], "x", {}])
def test_it_reads_no_rate_where_there_is_none(rates: object) -> None:
    assert cities._rate_on(DAY, rates) is None
