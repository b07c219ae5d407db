from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts.models import ApiKey, Invitation, LimitProfile, User
from tests.cast import Cast, make_cast
from tests.make import make_key

pytestmark = pytest.mark.django_db
LISTS = ("user", "organization", "membership", "invitation", "apikey", "limitprofile")


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def staff(client: Client, cast: Cast) -> Client:
    client.force_login(User.objects.create_superuser("admin@tokia.com.br", "correct horse battery staple", name="Ada"))
    return client


def test_it_lists_and_searches_everything(staff: Client, cast: Cast) -> None:
    make_key(organization=cast.acme, user=cast.alice)
    LimitProfile.objects.create(name="Padrão", requests_per_minute=60, tokens_per_minute=1000)
    for name in LISTS:
        page = staff.get(f"/admin/accounts/{name}/", {"q": "acme"})
        assert page.status_code == 200, name
    assert "Acme" in staff.get("/admin/accounts/organization/", {"q": "11222333"}).content.decode()


def test_it_suspends_and_reactivates_with_a_reason(staff: Client, cast: Cast) -> None:
    address = f"/admin/accounts/organization/{cast.acme.pk}/"
    staff.post(f"{address}suspender/", {"reason": ""})
    cast.acme.refresh_from_db()
    assert not cast.acme.is_suspended
    staff.post(f"{address}suspender/", {"reason": "Fraude"})
    cast.acme.refresh_from_db()
    assert (cast.acme.is_suspended, cast.acme.suspended_reason) == (True, "Fraude")
    owner = Client()
    owner.force_login(cast.alice)
    assert "Conta suspensa" in owner.get("/app/").content.decode()
    staff.post(f"{address}reativar/", {"reason": "Engano"})
    cast.acme.refresh_from_db()
    assert not cast.acme.is_suspended
    assert [entry.change_message for entry in LogEntry.objects.order_by("id")] == [
        "Suspender empresa: Fraude", "Reativar empresa: Engano",
    ]  # fmt: skip


def test_it_revokes_a_key_and_never_shows_its_digest(staff: Client, cast: Cast) -> None:
    key, secret = make_key(organization=cast.acme, user=cast.alice)
    page = staff.get(f"/admin/accounts/apikey/{key.pk}/change/").content.decode()
    assert bytes(key.key_hash).hex() not in page and secret not in page and "key_hash" not in page
    assert "guarda respostas por padrão" in page.lower()
    staff.post(f"/admin/accounts/apikey/{key.pk}/revogar/", {"reason": "Vazou"})
    key.refresh_from_db()
    assert key.status == ApiKey.Status.REVOKED


def test_it_lets_nobody_write_rows_that_verbs_write(staff: Client, cast: Cast) -> None:
    make_key(organization=cast.acme, user=cast.alice)
    for name in ("membership", "invitation", "apikey", "organization", "user"):
        assert staff.get(f"/admin/accounts/{name}/add/").status_code == 403, name
    key = ApiKey.everywhere.get()
    assert staff.post(f"/admin/accounts/apikey/{key.pk}/change/", {"name": "x"}).status_code == 403
    assert staff.post(f"/admin/accounts/apikey/{key.pk}/delete/", {"post": "yes"}).status_code == 403


def test_it_refuses_staff_without_the_permission(client: Client, cast: Cast) -> None:
    clerk = User.objects.create_user("clerk@tokia.com.br", "correct horse battery staple", is_staff=True)
    client.force_login(clerk)
    key, _ = make_key(organization=cast.acme, user=cast.alice)
    assert client.post(f"/admin/accounts/apikey/{key.pk}/revogar/", {"reason": "x"}).status_code == 403
    assert client.post(f"/admin/accounts/organization/{cast.acme.pk}/suspender/", {"reason": "x"}).status_code == 403
    assert Invitation.everywhere.count() == 0


def test_it_signs_staff_in_by_the_page_with_limits(client: Client, cast: Cast) -> None:
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert client.get("/admin/login/")["Location"].startswith("/conta/entrar/")
    client.force_login(cast.alice)
    assert client.get("/admin/login/").status_code == 403
    assert client.post("/admin/login/", {"username": cast.alice.email, "password": "x"}).status_code == 403
