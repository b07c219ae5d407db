from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import lookups
from accounts.cities import city_of, nearest_city
from accounts.errors import UnknownCity
from accounts.lookups import LookupAway
from accounts.models import Organization
from accounts.postal import look_up_cep
from accounts.signup import Identity, identify
from tests.accounts.test_registry import Answers, answers  # noqa: F401 - a fixture
from tests.cast import make_cast
from tests.make import make_organization, make_user
from tokia.processes import free_port

CEP = "01310100"
STREET = {
    "cep": "01310-100", "logradouro": "Avenida Paulista", "complemento": "de 612 a 1510", "bairro": "Bela Vista",
    "localidade": "São Paulo", "uf": "SP", "ibge": "3550308",
}  # fmt: skip


@pytest.fixture
def ceps(answers: type[Answers], settings: Settings) -> Iterator[type[Answers]]:  # noqa: F811
    settings.CEP_URL = settings.CNPJ_URL.replace("/cnpj", "/cep")
    yield answers


def test_it_reads_the_street_of_a_cep(ceps: type[Answers]) -> None:
    ceps.body = json.dumps(STREET).encode()
    assert look_up_cep(CEP) == {"street": "Avenida Paulista", "district": "Bela Vista", "city": "São Paulo", "state": "SP"}
    ceps.body = json.dumps(STREET | {"logradouro": "", "bairro": ""}).encode()  # a town with a single CEP
    assert look_up_cep(CEP) == {"city": "São Paulo", "state": "SP"}


def test_it_tells_an_unknown_cep_from_a_look_up_that_is_away(ceps: type[Answers], settings: Settings) -> None:
    for body in (b'{"erro": true}', b'{"erro": "true"}'):
        ceps.body = body
        assert look_up_cep(CEP) is None
    ceps.status = 400
    assert look_up_cep(CEP) is None
    for status, body in (
        (500, b"{}"),
        (302, b""),
        (200, b"not json"),
        (200, b"[1]"),
        (200, b"{}"),
        (200, b'"' + b"x" * 20_000 + b'"'),
    ):
        ceps.status, ceps.body = status, body
        with pytest.raises(LookupAway):
            look_up_cep(CEP)
    for cep in ("", "0131010", "013101000", "0131010a", "٠١٣١٠١٠٠", "01310/00"):  # never put into an address
        with pytest.raises(LookupAway):
            look_up_cep(cep)
    settings.CEP_URL = f"http://127.0.0.1:{free_port()}/cep"
    with pytest.raises(LookupAway):
        look_up_cep(CEP)
    settings.CEP_URL = ""
    with pytest.raises(LookupAway):
        look_up_cep(CEP)


def test_it_gives_up_on_a_look_up_that_drips(ceps: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "SECONDS_MAX", 0.2)
    ceps.body, ceps.drip_seconds = json.dumps(STREET).encode(), 0.05
    with pytest.raises(LookupAway):
        look_up_cep(CEP)


@pytest.mark.django_db
def test_it_fills_the_address_and_keeps_number_and_complement(client: Client, ceps: type[Answers]) -> None:
    client.force_login(make_user())
    ceps.body = json.dumps(STREET).encode()
    typed = {"postal_code": "01310-100", "number": "1578", "complement": "14º andar", "street": "Rua errada"}
    page = client.get("/app/comecar/cep/", typed).content.decode()
    assert all(text in page for text in ("Avenida Paulista", "Bela Vista", "São Paulo", "1578", "14º andar"))
    assert "Rua errada" not in page and '<option value="SP" selected' in page
    ceps.body = b'{"erro": true}'
    assert "não existe" in client.get("/app/comecar/cep/", typed).content.decode()
    ceps.status = 503
    away = client.get("/app/comecar/cep/", typed)
    assert away.status_code == 200 and "Preencha à mão" in away.content.decode() and "Rua errada" in away.content.decode()


def test_it_knows_a_city_however_it_is_written_and_suggests_the_nearest() -> None:
    for name, state in (("São Paulo", "SP"), ("sao paulo", "sp"), ("SANTA BÁRBARA D'OESTE", "SP"), ("Embu-Guaçu", "SP")):
        assert city_of(name, state) is not None, name
    near = nearest_city("Sao Palo", "SP")
    assert near is not None and near.code == "3550308"
    assert nearest_city("Xyzzy", "SP") is None and nearest_city("São Paulo", "XX") is None


@pytest.mark.django_db
def test_it_refuses_a_city_that_is_none_with_the_name_that_was_meant(client: Client) -> None:
    cast = make_cast()
    client.force_login(cast.alice)
    form = {"tax_id_kind": "cnpj", "cnpj": "12ABC34501DE35", "name": "Acme SA", "city": "Rio de Janero", "state": "RJ"}
    page = client.post("/app/configuracoes/empresa/", form).content.decode()
    assert "Você quis dizer Rio de Janeiro?" in page
    page = client.post("/app/configuracoes/empresa/", form | {"city": "Rio de Janeiro", "state": ""}).content.decode()
    assert "Escolha a UF do município." in page
    assert client.post("/app/configuracoes/empresa/", form | {"city": "Rio de Janeiro"}).status_code == 302
    cast.acme.refresh_from_db()
    assert cast.acme.address == {"city": "Rio de Janeiro", "state": "RJ"}


@pytest.mark.django_db
def test_it_lets_an_address_of_before_stand_until_it_changes() -> None:
    organization = make_organization()
    Organization.objects.filter(pk=organization.pk).update(address={"city": "Lugar Nenhum", "state": "SP"})
    organization.refresh_from_db()
    identify(organization, identity=Identity(name="Outro nome", address=dict(organization.address)))
    assert organization.name == "Outro nome"
    with pytest.raises(UnknownCity) as refusal:
        identify(organization, identity=Identity(name="Acme", address={"city": "Lugar Nenhum", "state": "SP", "number": "1"}))
    assert refusal.value.param == "address.city"
