from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from accounts import signup
from accounts.errors import InvalidTaxId, TooMany
from accounts.models import Membership, Organization, Role, User
from accounts.signup import Identity, identify, open_organization
from accounts.tenancy import NoTenant, tenant
from tests.cast import make_cast
from tests.make import make_user

pytestmark = pytest.mark.django_db


def test_it_opens_an_organization_with_its_owner() -> None:
    user = make_user()
    membership = open_organization(
        user, identity=Identity(name=" Acme Ltda ", tax_id="12.abc.345/01de-35", address={"city": "Recife", "number": " "})
    )
    assert membership.role == Role.OWNER
    organization = membership.organization
    assert (organization.name, organization.tax_id, organization.address) == ("Acme Ltda", "12ABC34501DE35", {"city": "Recife"})


def test_it_opens_without_a_tax_id_and_takes_it_later() -> None:
    organization = open_organization(make_user(), identity=Identity(name="Ana")).organization
    assert organization.tax_id == ""
    identify(organization, identity=Identity(name="Ana", tax_id="111.444.777-35", tax_id_kind="cpf"))
    assert Organization.objects.get().tax_id == "11144477735"
    with pytest.raises(InvalidTaxId):
        identify(organization, identity=Identity(name="Ana", tax_id="111.444.777-36", tax_id_kind="cpf"))


def test_it_bounds_what_one_person_owns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signup, "ORGANIZATIONS_MAX", 1)
    user = make_user()
    open_organization(user, identity=Identity(name="Uma"))
    with pytest.raises(TooMany):
        open_organization(user, identity=Identity(name="Outra"))


def test_it_knows_an_address_once_whatever_its_case() -> None:
    make_user(email="ana@acme.com.br")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(email="ANA@acme.com.br")


def test_it_raises_for_a_query_without_a_tenant() -> None:
    cast = make_cast()
    with pytest.raises(NoTenant):
        Membership.objects.count()
    with tenant(cast.globex):
        assert [member.user for member in Membership.objects.all()] == [cast.charlie]
    with pytest.raises(NoTenant):
        Membership.objects.count()


def test_it_walks_through_the_first_page_of_the_app(client: Client) -> None:
    user = make_user()
    client.force_login(user)
    assert client.get("/app/")["Location"] == "/app/comecar/"
    wrong = client.post("/app/comecar/", {"tax_id_kind": "cnpj", "cnpj": "11.222.333/0001-80", "name": "Acme"})
    assert "CNPJ inválido" in wrong.content.decode()
    done = client.post("/app/comecar/", {"tax_id_kind": "cnpj", "cnpj": "11.222.333/0001-81", "name": "Acme"})
    assert done["Location"] == "/app/"
    assert "Comece em 3 passos" in client.get("/app/").content.decode()
    assert client.get("/app/comecar/")["Location"] == "/app/"  # done once


def test_it_saves_the_settings_of_the_organization(client: Client) -> None:
    cast = make_cast()
    client.force_login(cast.carol)  # finance keeps the fiscal data
    page = client.get("/app/configuracoes/empresa/").content.decode()
    assert "11222333000181" in page
    form = {"tax_id_kind": "cnpj", "cnpj": "12ABC34501DE35", "name": "Acme SA", "postal_code": "01310-100", "state": "SP"}
    assert client.post("/app/configuracoes/empresa/", form).status_code == 302
    cast.acme.refresh_from_db()
    assert (cast.acme.tax_id, cast.acme.address) == ("12ABC34501DE35", {"postal_code": "01310100", "state": "SP"})
