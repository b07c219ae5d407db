"""People and organizations leave: what goes, what stays, and that the books still add up."""

from __future__ import annotations

import io
import zipfile

import pytest
from allauth.account.models import EmailAddress
from django.core.cache import cache
from django.db import connection
from django.test import Client
from pytest_django import Settings

from accounts import audit, closing, data_copies
from accounts.errors import ConfirmationMissing, LastOwner
from accounts.keys import mint_key
from accounts.models import ApiKey, AuditEvent, DataCopy, Membership, Organization, Role, User
from billing.models import Hook, LedgerEntry, Wallet
from billing.money import BRL
from billing.reconcile import find_violations
from tests.cast import PASSWORD, Cast, make_cast
from tests.make import make_wallet
from tokia import clock, closures, data_files

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(settings: Settings) -> Cast:
    cache.clear()
    settings.CLOSING_DAYS = 7
    return make_cast()


def place_of(user: User) -> Membership:
    return Membership.everywhere.select_related("organization", "user").get(user=user)


def sign_in(user: User) -> Client:
    client = Client()
    client.post("/conta/entrar/", {"login": user.email, "password": PASSWORD})
    client.post("/conta/confirmar/", {"password": PASSWORD})
    return client


def pass_days(user: User | None = None, organization: Organization | None = None) -> None:
    for row in (user, organization):
        if row is not None:
            type(row).objects.filter(pk=row.pk).update(closes_at=clock.now())


def test_it_forgets_a_person_and_keeps_what_is_the_organizations(cast: Cast) -> None:
    mint_key(cast.acme, user=cast.bob, name="chama")
    mint_key(cast.acme, user=cast.bob, name="administra", scopes=["call", "usage.read"])
    audit.note("role_changed", organization=cast.acme, user=cast.alice, detail={"email": cast.bob.email})
    client = sign_in(cast.bob)
    client.post("/conta/privacidade/excluir/", {"typed": "outro@acme.com.br"})
    assert not User.objects.exclude(closes_at=None).exists()
    client.post("/conta/privacidade/excluir/", {"typed": cast.bob.email})
    assert "Desistir da exclusão" in client.get("/conta/privacidade/").content.decode()
    client.post("/conta/privacidade/desistir/")
    pass_days()
    assert closing.close_due_accounts() == 0
    client.post("/conta/privacidade/excluir/", {"typed": cast.bob.email})
    assert closing.close_due_accounts() == 0  # its days are not over
    pass_days(cast.bob)
    assert closing.close_due_accounts() == 1

    bob = User.objects.get(pk=cast.bob.pk)
    assert (bob.name, bob.is_active, bob.has_usable_password()) == ("", False, False)
    assert bob.email == f"conta-{bob.pk}@excluida.invalid"
    assert client.get("/conta/seguranca/").status_code == 302  # signed out
    assert not EmailAddress.objects.filter(user=bob).exists() and not Membership.everywhere.filter(user=bob).exists()
    assert dict(ApiKey.everywhere.values_list("name", "status")) == {"chama": "active", "administra": "revoked"}
    about = AuditEvent.everywhere.get(kind="role_changed")
    assert about.detail == {} and about.redacted_at and about.user == cast.alice
    assert AuditEvent.everywhere.filter(kind="account_closed", user=bob).exists()
    assert not mentions(cast.bob.email)


def mentions(text: str) -> list[str]:
    """Every table of people and organizations in which a text stands."""
    found = []
    with connection.cursor() as cursor:
        tables = [name for name in connection.introspection.table_names() if name.startswith(("accounts_", "account_", "mfa_"))]
        for table in [*tables, "usersessions_usersession", "socialaccount_socialaccount"]:
            cursor.execute(f'SELECT count(*) FROM "{table}" AS t WHERE t::text ILIKE %s', [f"%{text}%"])
            if cursor.fetchone()[0]:
                found.append(table)
    return found


def test_it_keeps_an_only_owner(cast: Cast) -> None:
    with pytest.raises(LastOwner, match="Acme"):
        closing.ask_to_close(cast.alice, typed=cast.alice.email)
    assert "único Dono de" in sign_in(cast.alice).get("/conta/privacidade/").content.decode()


def test_it_blanks_addresses_half_a_year_later(cast: Cast) -> None:
    event = audit.note("signed_in", organization=cast.acme, user=cast.bob, ip="203.0.113.9")
    User.objects.filter(pk=cast.bob.pk).update(closed_at=clock.now())
    assert closing.redact_audit() == 0
    User.objects.filter(pk=cast.bob.pk).update(closed_at="2020-01-01T00:00:00Z")
    assert closing.redact_audit() == 1
    event.refresh_from_db()
    assert (event.ip, event.kind, event.user) == (None, "signed_in", cast.bob)


def test_it_closes_an_organization_and_keeps_its_books(cast: Cast) -> None:
    wallet = make_wallet(organization=cast.acme, brl="50.00", promo_brl="5.00")
    mint_key(cast.acme, user=cast.alice, name="chave")
    Hook.everywhere.create(organization=cast.acme, url="https://acme.com.br/", name="erp", secret=b"x")
    alice = place_of(cast.alice)
    with pytest.raises(ConfirmationMissing):
        closures.ask_to_close(alice, typed="acme", gives_up=True)
    with pytest.raises(closures.BalanceLeft, match=r"R\$\s55,00"):
        closures.ask_to_close(alice, typed="Acme", gives_up=False)
    client = sign_in(cast.alice)
    client.post("/app/configuracoes/privacidade/encerrar/", {"typed": "Acme", "gives_up": "on"})
    acme = Organization.objects.get(pk=cast.acme.pk)
    assert acme.is_suspended and acme.closes_at
    wallet.refresh_from_db()
    assert wallet.available_nanos == 0

    client.post("/app/configuracoes/privacidade/desistir/")
    wallet.refresh_from_db()
    assert wallet.available_nanos == 55 * BRL  # it came back
    assert not Organization.objects.get(pk=acme.pk).is_suspended

    closures.ask_to_close(place_of(cast.alice), typed="Acme", gives_up=True)
    entries = LedgerEntry.objects.count()
    assert closures.close_due() == 0
    pass_days(organization=acme)
    assert closures.close_due() == 1
    acme.refresh_from_db()
    assert acme.closed_at and acme.is_suspended and acme.tax_id == "11222333000181"  # the notes tell it
    assert not ApiKey.everywhere.filter(organization=acme, status="active").exists()
    assert not Hook.everywhere.filter(organization=acme).exists()
    assert not Membership.everywhere.filter(organization=acme).exists()
    assert LedgerEntry.objects.count() == entries and Wallet.everywhere.filter(organization=acme).exists()
    assert find_violations() == []


def test_it_does_not_close_over_money_that_came_late(cast: Cast) -> None:
    make_wallet(organization=cast.acme, brl="50.00")
    closures.ask_to_close(place_of(cast.alice), typed="Acme", gives_up=True)
    make_wallet(organization=cast.acme, brl="10.00")
    pass_days(organization=cast.acme)
    assert closures.close_due() == 0
    assert Membership.everywhere.filter(organization=cast.acme).exists()


def test_it_leaves_a_suspension_of_ours_where_it_was(cast: Cast) -> None:
    Organization.objects.filter(pk=cast.acme.pk).update(is_suspended=True, suspended_reason="fraude")
    closures.ask_to_close(place_of(cast.alice), typed="Acme", gives_up=False)
    closures.cancel(place_of(cast.alice))
    assert Organization.objects.get(pk=cast.acme.pk).suspended_reason == "fraude"


def unzip(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode("utf-8-sig") for name in archive.namelist()}


def test_it_hands_out_copies_of_data_without_secrets(cast: Cast) -> None:
    make_wallet(organization=cast.acme, brl="50.00")
    _, secret = mint_key(cast.acme, user=cast.alice, name="=cmd|' /C calc'!A0")
    client = sign_in(cast.alice)
    client.post("/conta/privacidade/copia/")
    client.post("/app/configuracoes/privacidade/copia/")
    client.post("/app/configuracoes/privacidade/copia/")  # the one under way
    assert data_files.make_waiting() == 2
    own, ours = DataCopy.everywhere.get(organization=None), DataCopy.everywhere.get(organization=cast.acme)
    found = unzip(client.get(f"/conta/privacidade/copias/{own.pk}.zip").content)
    assert cast.alice.email in found["pessoa.json"] and "Pediu uma cópia" in found["registro.csv"]
    everything = unzip(client.get(f"/conta/privacidade/copias/{ours.pk}.zip").content)
    assert "R$\xa050,00" in everything["saldo.json"] and cast.bob.email in everything["equipe.csv"]
    assert "'=cmd" in everything["chaves.csv"]
    assert all(secret not in text and PASSWORD not in text for text in [*found.values(), *everything.values()])
    for name in ("extrato.csv", "uso-por-dia.csv", "notas.csv", "recargas-pix.csv", "webhooks.csv", "orcamentos.csv"):
        assert name in everything

    stored = DataCopy.everywhere.get(pk=ours.pk)
    assert stored.file is not None and not bytes(stored.file).startswith(b"PK")  # sealed
    assert sign_in(cast.bob).get(f"/conta/privacidade/copias/{ours.pk}.zip").status_code == 404
    Membership.everywhere.filter(user=cast.alice).update(role=Role.ADMIN)
    assert client.get(f"/conta/privacidade/copias/{ours.pk}.zip").status_code == 404
    DataCopy.everywhere.update(expires_at=clock.now())
    assert client.get(f"/conta/privacidade/copias/{own.pk}.zip").status_code == 404
    assert data_copies.purge() == 2 and not DataCopy.everywhere.exclude(file=None).exists()
