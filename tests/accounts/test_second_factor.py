"""Two steps: codes, recovery codes, who must have them, what staff needs, new devices, sessions."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from allauth.core.context import request_context
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from allauth.usersessions.models import UserSession
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts import second_factor
from accounts.errors import NotAllowed
from accounts.models import AuditEvent, Membership, User
from tests.cast import PASSWORD, Cast, make_cast
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cache.clear()
    return make_cast()


def sign_in(user: User, client: Client | None = None) -> Client:
    client = client or Client()
    client.post("/conta/entrar/", {"login": user.email, "password": PASSWORD})
    return client


def code_of(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def set_up_codes(client: Client) -> str:
    """Turns codes on; the secret."""
    page = client.get("/conta/2fa/aplicativo/ligar/")
    if page.status_code == 302:
        client.post(page["Location"], {"password": PASSWORD})
        page = client.get("/conta/2fa/aplicativo/ligar/")
    secret: str = page.context["form"].secret
    assert client.post("/conta/2fa/aplicativo/ligar/", {"code": "000000"}).status_code == 200
    done = client.post("/conta/2fa/aplicativo/ligar/", {"code": code_of(secret)})
    assert done["Location"] == "/conta/2fa/codigos/"
    return secret


def kinds(user: User) -> list[str]:
    return list(AuditEvent.everywhere.filter(user=user).order_by("id").values_list("kind", flat=True))


def test_it_walks_from_a_password_to_codes_and_recovery(cast: Cast, django_capture_on_commit_callbacks: object) -> None:
    client = sign_in(cast.alice)
    told_in = request_context(client.get("/conta/seguranca/").wsgi_request)  # allauth mails within a request
    with told_in, django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        secret = set_up_codes(client)
    assert secret not in str(Authenticator.objects.get(type="totp").data)  # sealed
    assert mail.outbox[-1].subject == "Tokia: verificação em duas etapas ligada"
    page = client.get("/conta/2fa/codigos/")
    recovery = page.context["unused_codes"]
    assert len(recovery) == 10 and recovery[0] in page.content.decode()
    assert recovery[0] in client.get("/conta/2fa/codigos/codigos.txt").content.decode()
    assert "10 códigos restantes" in client.get("/conta/seguranca/").content.decode()

    other = Client()
    found = other.post("/conta/entrar/", {"login": cast.alice.email, "password": PASSWORD})
    assert found["Location"].startswith("/conta/2fa/")
    assert other.get("/app/").status_code == 302  # not in yet
    shown = other.get("/conta/2fa/").content.decode()
    assert "Segunda etapa" in shown and "Sign" not in shown
    assert "Código incorreto." in other.post("/conta/2fa/", {"code": "000000"}).content.decode()
    assert other.post("/conta/2fa/", {"code": recovery[0]})["Location"] == "/app/"
    again = sign_in(cast.alice)
    assert again.post("/conta/2fa/", {"code": recovery[0]}).status_code == 200  # once
    found_kinds = kinds(cast.alice)
    for kind in ("mfa_added", "sign_in_failed", "signed_in", "recovery_code_used", "signed_in_elsewhere"):
        assert kind in found_kinds, kind


def test_it_tells_of_a_device_that_is_new_and_only_of_that(cast: Cast) -> None:
    client = sign_in(cast.alice)
    assert not mail.outbox  # the first of all
    client.post("/conta/sair/")
    sign_in(cast.alice, client)
    assert not mail.outbox
    sign_in(cast.alice)
    assert [message.subject for message in mail.outbox] == ["Tokia: novo acesso à sua conta"]
    assert "IP 127.0.0.1" in str(mail.outbox[0].body)


def test_it_lists_and_ends_sessions(cast: Cast) -> None:
    first, second, third = (sign_in(cast.alice) for _ in range(3))
    page = first.get("/conta/seguranca/").content.decode()
    assert page.count("Encerrar acesso") == 2 and "Este aparelho" in page
    mine = UserSession.objects.get(session_key=first.session.session_key)
    theirs = UserSession.objects.get(session_key=second.session.session_key)
    assert first.post(f"/conta/sessoes/{mine.pk}/encerrar/").status_code == 404
    assert first.post(f"/conta/sessoes/{theirs.pk}/encerrar/").status_code == 302
    assert second.get("/app/").status_code == 302 and third.get("/app/").status_code == 200
    first.post("/conta/sessoes/encerrar-outras/")
    assert third.get("/app/").status_code == 302 and first.get("/app/").status_code == 200
    bob = sign_in(cast.bob)
    assert bob.post(f"/conta/sessoes/{mine.pk}/encerrar/").status_code == 404


def test_it_marks_a_session_in_use_once_in_five_minutes(cast: Cast) -> None:
    client = sign_in(cast.alice)
    session = UserSession.objects.filter(session_key=client.session.session_key)
    hour_ago = clock.now() - dt.timedelta(hours=1)

    def marks() -> list[str]:
        session.update(last_seen_at=hour_ago)
        with CaptureQueriesContext(connection) as asked:
            assert client.get("/app/parcial/saldo/").status_code == 200
        return [query["sql"] for query in asked if "usersessions" in query["sql"]]

    assert len(marks()) == 1 and session.get().last_seen_at > hour_ago
    assert marks() == [] and session.get().last_seen_at == hour_ago  # the poll that follows
    cache.clear()  # five minutes later
    assert len(marks()) == 1 and session.get().last_seen_at > hour_ago


def test_it_demands_two_steps_of_everybody_after_the_grace(cast: Cast) -> None:
    alice = Membership.everywhere.select_related("organization", "user").get(user=cast.alice)
    with pytest.raises(NotAllowed, match="sua própria"):
        second_factor.demand(alice, grace_days=0)
    client = sign_in(cast.alice)
    set_up_codes(client)
    client.post("/app/configuracoes/seguranca/duas-etapas/", {"grace_days": "7"})
    bob = sign_in(cast.bob)
    assert bob.get("/app/uso/").status_code == 200  # within the grace
    assert "vai exigir" in bob.get("/conta/seguranca/").content.decode()
    client.post("/app/configuracoes/seguranca/duas-etapas/", {"act": "stop"})
    client.post("/app/configuracoes/seguranca/duas-etapas/", {"grace_days": "0"})
    assert bob.get("/app/uso/")["Location"] == "/conta/seguranca/"
    assert bob.get("/app/parcial/saldo/", headers={"HX-Request": "true"})["HX-Redirect"] == "/conta/seguranca/"
    assert bob.get("/api/v1/usage").status_code == 403
    assert "exige verificação" in bob.get("/conta/seguranca/").content.decode()
    set_up_codes(bob)
    assert bob.get("/app/uso/").status_code == 200
    page = bob.post("/conta/2fa/aplicativo/remover/").content.decode()  # the last one stays
    assert "ligue outra antes" in page and Authenticator.objects.filter(user=cast.bob, type="totp").exists()
    passkey = Authenticator.objects.create(user=cast.bob, type=Authenticator.Type.WEBAUTHN, data={"name": "x"})
    Authenticator.objects.filter(user=cast.bob, type="totp").delete()
    assert bob.get(f"/conta/chaves-de-acesso/{passkey.pk}/remover/")["Location"] == "/conta/seguranca/"
    assert client.get("/app/configuracoes/seguranca/").status_code == 200
    assert sign_in(cast.charlie).get("/app/uso/").status_code == 200  # elsewhere nobody asks


def test_it_lets_staff_into_the_admin_only_with_two_steps(cast: Cast, settings: Settings) -> None:
    User.objects.filter(pk=cast.alice.pk).update(is_staff=True, is_superuser=True)
    client = sign_in(cast.alice)
    assert client.get("/admin/").status_code == 200  # the demonstration
    settings.STAFF_NEEDS_MFA = True
    assert client.get("/admin/")["Location"] == "/conta/seguranca/"
    secret = set_up_codes(client)
    assert client.get("/admin/")["Location"] == "/conta/2fa/confirmar/?next=%2Fadmin%2F"
    cache.clear()  # the code was just used
    done = client.post("/conta/2fa/confirmar/", {"code": code_of(secret), "next": "/admin/"})
    assert done["Location"] == "/admin/" and client.get("/admin/").status_code == 200
    assert not second_factor.may_remove(Authenticator.objects.get(user=cast.alice, type="totp"))


def test_it_says_how_often_a_password_was_wrong(cast: Cast) -> None:
    Client().post("/conta/entrar/", {"login": cast.alice.email, "password": "errada"})
    Client().post("/conta/entrar/", {"login": "ninguem@acme.com.br", "password": "errada"})
    event = AuditEvent.everywhere.get(kind="sign_in_failed")
    assert event.user == cast.alice and event.organization == cast.acme and event.ip == "127.0.0.1"
