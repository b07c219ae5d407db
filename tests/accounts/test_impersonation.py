"""A person of ours looks at the pages as a member does: who may, as whom, for how long, and what is noted of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import Settings

from accounts import impersonation
from accounts.models import ApiKey, AuditEvent, Membership, Organization, User
from tests.cast import PASSWORD, Cast, make_cast
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def make_staff(*permissions: str, email: str = "sofia@tokia.com.br", **fields: Any) -> User:
    """Staff with these permissions ("accounts.view_organization")."""
    person = User.objects.create_user(email, PASSWORD, is_staff=True, **fields)
    for name in permissions:
        app, _, codename = name.partition(".")
        person.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return person


LOOKS = "accounts.view_organization"


def enter(client: Client, organization: Organization, *, member: Membership | None = None, reason: str = "Chamado 812") -> Any:
    member = member or Membership.everywhere.get(organization=organization, role="owner")
    return client.post(f"/admin/empresas/{organization.pk}/entrar/", {"member": member.pk, "reason": reason})


def visitor(organization: Organization) -> tuple[Client, User]:
    """A client that sees as the organization's owner."""
    staff = make_staff(LOOKS, impersonation.PERMISSION)
    client = Client()
    client.force_login(staff)
    response = enter(client, organization)
    assert response.status_code == 302 and response["Location"] == "/app/"
    return client, staff


def events(organization: Organization) -> list[str]:
    found = AuditEvent.everywhere.filter(organization=organization, kind__startswith="impersonation")
    return list(found.order_by("id").values_list("kind", flat=True))


def test_it_shows_what_the_member_sees_under_a_banner_and_says_so_in_the_members_log(cast: Cast) -> None:
    client, staff = visitor(cast.acme)
    page = client.get("/app/")
    text = page.content.decode()
    assert page.status_code == 200
    assert "Você está vendo como <strong>Acme</strong>" in text and 'action="/app/visita/sair/"' in text
    assert page["Cache-Control"] == "no-store, private"
    [event] = AuditEvent.everywhere.filter(organization=cast.acme, kind="impersonation_started")
    assert event.user == staff
    assert event.detail["reason"] == "Chamado 812" and event.detail["as"] == cast.alice.email
    assert Membership.everywhere.get(user=cast.alice).last_seen_at is None, "a visit is no access of hers"


def test_it_goes_back_to_who_one_is(cast: Cast) -> None:
    client, staff = visitor(cast.acme)
    response = client.post("/app/visita/sair/")
    assert response["Location"] == f"/admin/empresas/{cast.acme.pk}/"
    page = client.get(response["Location"])
    assert page.status_code == 200 and page.wsgi_request.user == staff
    assert "Visita a Acme encerrada" in page.content.decode()
    assert impersonation.STATE not in client.session
    assert events(cast.acme) == ["impersonation_started", "impersonation_ended"]


def test_it_keeps_how_our_person_signed_in_for_the_way_back(cast: Cast) -> None:
    """A second factor that was shown is not asked for again; as the member it counts for nothing."""
    client = Client()
    client.force_login(make_staff(LOOKS, impersonation.PERMISSION))
    session = client.session
    session["account_authentication_methods"] = [{"method": "mfa", "at": 1.0}]
    session.save()
    enter(client, cast.acme)
    assert "account_authentication_methods" not in client.session
    client.post("/app/visita/sair/")
    assert client.session["account_authentication_methods"] == [{"method": "mfa", "at": 1.0}]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/app/chaves/nova/"), ("post", "/app/recarregar/"), ("post", "/app/webhooks/novo/"), ("post", "/app/equipe/"),
        ("post", "/app/configuracoes/empresa/"), ("post", "/app/empresas/trocar/"), ("post", "/conta/sair/"),
        ("post", "/app/playground/chave/"), ("put", "/api/v1/keys"), ("delete", "/api/v1/keys/1"), ("patch", "/app/"),
        ("post", "/nenhuma-pagina/"),
        ("get", "/conta/senha/trocar/"), ("get", "/conta/confirmar/"),
    ],
)  # fmt: skip
def test_it_refuses_and_notes_every_write_and_every_page_of_secrets(cast: Cast, method: str, path: str) -> None:
    client, staff = visitor(cast.acme)
    before = list(Organization.objects.values()), list(ApiKey.everywhere.values()), list(Membership.everywhere.values())
    response = getattr(client, method)(path, {"name": "chave", "organization": cast.globex.pk} if method == "post" else {})
    assert response.status_code == 403
    text = response.content.decode()
    assert "Visita a Acme" in text and "Sair da visita" in text
    assert "Esta página é só da pessoa" in text if method == "get" else "só se olha" in text
    assert (list(Organization.objects.values()), list(ApiKey.everywhere.values()), list(Membership.everywhere.values())) == before
    [event] = AuditEvent.everywhere.filter(kind="impersonation_refused")
    assert (event.user, event.organization) == (staff, cast.acme)
    assert event.detail["path"] == path and event.detail["method"] == method.upper()


def test_it_ends_by_itself(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    client, staff = visitor(cast.acme)
    later = clock.now() + impersonation.LASTS
    monkeypatch.setattr(clock, "now", lambda: later)
    response = client.get("/app/")
    assert response["Location"] == f"/admin/empresas/{cast.acme.pk}/?visita=time"
    assert client.get(response["Location"]).wsgi_request.user == staff
    assert AuditEvent.everywhere.get(kind="impersonation_ended").detail["why"] == "time"


def test_it_ends_without_the_write_that_came_too_late(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = visitor(cast.acme)
    later = clock.now() + impersonation.LASTS + dt.timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    response = client.post("/app/chaves/nova/", {"name": "chave"})
    assert response.status_code == 403 and "A visita terminou" in response.content.decode()
    assert not ApiKey.everywhere.exists()


@pytest.mark.parametrize("taken", ["permission", "staff", "active"])
def test_it_ends_at_once_where_the_right_is_taken(cast: Cast, taken: str) -> None:
    client, staff = visitor(cast.acme)
    if taken == "permission":
        staff.user_permissions.clear()
    else:
        User.objects.filter(pk=staff.pk).update(**{f"is_{taken}": False})
    assert client.get("/app/").status_code == 302
    assert not client.get("/conta/entrar/").wsgi_request.user.is_authenticated, "nobody is signed in any more"
    assert events(cast.acme) == ["impersonation_started", "impersonation_ended"]


def test_it_ends_where_the_member_has_left(cast: Cast) -> None:
    """It never falls through to another organization of the same person."""
    Membership.everywhere.create(organization=cast.globex, user=cast.alice, role="admin")
    client, _ = visitor(cast.acme)
    Membership.everywhere.filter(organization=cast.acme, user=cast.alice).delete()
    assert client.get("/app/")["Location"] == f"/admin/empresas/{cast.acme.pk}/?visita=membership"


@pytest.mark.parametrize(
    ("permissions", "fields", "status"),
    [
        ((), {"is_staff": False}, 302),  # a customer with nothing
        ((LOOKS, impersonation.PERMISSION), {"is_staff": False}, 302),  # a permission without the admin
        ((), {}, 403),
        ((LOOKS,), {}, 403),
        ((impersonation.PERMISSION,), {}, 403),  # may not even see the organization
        ((LOOKS, "accounts.change_organization"), {}, 403),
    ],
)  # fmt: skip
def test_it_lets_nobody_in_without_the_permission(
    cast: Cast, permissions: tuple[str, ...], fields: dict[str, Any], status: int
) -> None:
    person = make_staff(*permissions)
    User.objects.filter(pk=person.pk).update(**fields)
    client = Client()
    client.force_login(User.objects.get(pk=person.pk))
    for response in (client.get(f"/admin/empresas/{cast.acme.pk}/entrar/"), enter(client, cast.acme)):
        assert response.status_code == status
    assert impersonation.STATE not in client.session and events(cast.acme) == []


def test_it_lets_no_stranger_in(cast: Cast) -> None:
    for client in (Client(), Client(), Client()):
        assert enter(client, cast.acme).status_code == 302
        assert impersonation.STATE not in client.session
    client = Client()
    client.force_login(cast.charlie)
    assert enter(client, cast.acme)["Location"].startswith("/admin/login/")
    assert events(cast.acme) == []


@pytest.mark.parametrize("fields", [{"is_staff": True}, {"is_superuser": True}, {"is_active": False}])
def test_it_is_never_one_of_ours_nor_somebody_inactive(cast: Cast, fields: dict[str, bool]) -> None:
    """Also where the form is not the one that the page showed."""
    User.objects.filter(pk=cast.alice.pk).update(**fields)
    client = Client()
    client.force_login(make_staff(LOOKS, impersonation.PERMISSION))
    response = enter(client, cast.acme, member=Membership.everywhere.get(user=cast.alice))
    assert response.status_code == 200 and events(cast.acme) == []
    assert cast.alice.email not in client.get(f"/admin/empresas/{cast.acme.pk}/entrar/").content.decode()
    root = User.objects.create_superuser("root@tokia.com.br", PASSWORD)
    assert not impersonation.may_enter(root, person=User.objects.get(pk=cast.alice.pk))


def test_it_takes_a_reason_and_a_member_of_that_organization(cast: Cast) -> None:
    client = Client()
    client.force_login(make_staff(LOOKS, impersonation.PERMISSION))
    assert enter(client, cast.acme, reason="  ").status_code == 200
    assert enter(client, cast.acme, member=Membership.everywhere.get(user=cast.charlie)).status_code == 200
    assert impersonation.STATE not in client.session and events(cast.acme) == []


def test_it_takes_a_second_factor_that_was_used_where_staff_need_one(cast: Cast, settings: Settings) -> None:
    settings.STAFF_NEEDS_MFA = True
    client = Client()
    client.force_login(make_staff(LOOKS, impersonation.PERMISSION))
    assert enter(client, cast.acme).status_code == 302
    assert impersonation.STATE not in client.session and events(cast.acme) == []


def test_it_is_no_sign_in_of_anybody_and_outlives_no_session(cast: Cast) -> None:
    long_ago = clock.now() - dt.timedelta(days=400)
    User.objects.filter(pk=cast.alice.pk).update(last_login=long_ago)
    client = Client()
    staff = make_staff(LOOKS, impersonation.PERMISSION)
    client.force_login(staff)
    signed_in_at = User.objects.get(pk=staff.pk).last_login
    session = client.session
    session.set_expiry(1_234)
    session["secret"] = "ours"
    session.save()
    enter(client, cast.acme)
    key = client.session.session_key
    assert key != session.session_key and "secret" not in client.session and client.session.get_expiry_age() == 1_234
    client.post("/app/visita/sair/")
    assert client.session.session_key != key and client.session.get_expiry_age() == 1_234
    assert User.objects.get(pk=cast.alice.pk).last_login == long_ago
    assert User.objects.get(pk=staff.pk).last_login == signed_in_at


def test_it_asks_a_token_for_entering_and_leaving(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_staff(LOOKS, impersonation.PERMISSION))
    assert enter(client, cast.acme).status_code == 403
    page = client.get(f"/admin/empresas/{cast.acme.pk}/entrar/")
    token = page.context["csrf_token"]
    member = Membership.everywhere.get(user=cast.alice)
    form = {"member": member.pk, "reason": "Chamado", "csrfmiddlewaretoken": str(token)}
    assert client.post(f"/admin/empresas/{cast.acme.pk}/entrar/", form)["Location"] == "/app/"
    assert client.post("/app/visita/sair/").status_code == 403
    token = client.get("/app/").context["csrf_token"]
    assert client.post("/app/visita/sair/", {"csrfmiddlewaretoken": str(token)}).status_code == 302
    assert events(cast.acme)[-1] == "impersonation_ended"
