from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts.models import PasswordFailure, User
from tests.cast import PASSWORD, make_cast
from tokia import clock
from tokia.processes import free_port

pytestmark = pytest.mark.django_db
GOOD = "uma frase bem comprida"


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    cache.clear()


def sign_in(client: Client, email: str, password: str) -> str:
    response = client.post("/conta/entrar/", {"login": email, "password": password})
    return response["Location"] if response.status_code == 302 else response.content.decode()


def test_it_walks_from_sign_up_to_a_confirmed_address(client: Client) -> None:
    form = {"email": "nova@acme.com.br", "password1": GOOD}
    assert "aceitar os termos" in client.post("/conta/cadastro/", form).content.decode()
    assert "12 caracteres" in client.post("/conta/cadastro/", form | {"password1": "curta", "terms": "on"}).content.decode()
    response = client.post("/conta/cadastro/", form | {"terms": "on"})
    assert response["Location"] == "/conta/confirmar-email/"
    assert mail.outbox[0].subject.startswith("Tokia: código de confirmação ")
    code = re.search(r"^(\d{6})$", str(mail.outbox[0].body), re.MULTILINE)
    assert code
    page = client.get("/conta/confirmar-email/").content.decode()
    assert "/inbox/" in page and code[1] not in page
    wrong = "000000" if code[1] != "000000" else "111111"
    assert "Código incorreto" in client.post("/conta/confirmar-email/", {"code": wrong}).content.decode()
    assert client.get("/app/").status_code == 302  # not in yet
    client.post("/conta/confirmar-email/", {"code": code[1]})
    assert client.get("/app/")["Location"] == "/app/comecar/"
    user = User.objects.get(email="nova@acme.com.br")
    assert user.accepted_terms_at is not None


def test_a_password_alone_lets_nobody_in_whose_address_is_not_confirmed(client: Client) -> None:
    """So no page has a banner about it: whoever is signed in has confirmed."""
    client.post("/conta/cadastro/", {"email": "nova@acme.com.br", "password1": GOOD, "terms": "on"})
    other_browser = Client()
    cache.clear()  # minutes later: a code was mailed just now
    assert sign_in(other_browser, "nova@acme.com.br", GOOD) == "/conta/confirmar-email/"
    assert other_browser.get("/app/")["Location"].startswith("/conta/entrar/")
    assert client.get("/conta/email/")["Location"] == "/app/"  # nor is there a page that adds another address


def test_it_answers_alike_for_an_address_that_is_taken(client: Client) -> None:
    cast = make_cast()
    response = client.post("/conta/cadastro/", {"email": cast.alice.email, "password1": GOOD, "terms": "on"})
    assert response["Location"] == "/conta/confirmar-email/"
    assert mail.outbox[0].subject == "Tokia: você já tem uma conta"
    assert "/conta/senha/esqueci/" in mail.outbox[0].body


def test_it_signs_in_and_out(client: Client) -> None:
    cast = make_cast()
    assert sign_in(client, cast.alice.email.upper(), PASSWORD) == "/app/"
    assert client.get("/app/").status_code == 200
    client.post("/conta/sair/")
    assert client.get("/app/").status_code == 302


def test_it_leads_nowhere_else_after_signing_in(client: Client) -> None:
    cast = make_cast()
    form = {"login": cast.alice.email, "password": PASSWORD, "next": "https://evil.example/"}
    assert client.post("/conta/entrar/", form)["Location"] == "/app/"


def test_it_locks_an_account_after_five_failures_though_valkey_is_flushed(client: Client, settings: Settings) -> None:
    cast = make_cast()
    for number in range(settings.PASSWORD_FAILURES_MAX):
        cache.clear()
        stranger = Client(REMOTE_ADDR=f"10.0.0.{number}")
        assert "E-mail ou senha incorretos" in sign_in(stranger, cast.alice.email, "wrong wrong wrong")
    cache.clear()
    assert "Muitas tentativas" in sign_in(client, cast.alice.email, PASSWORD)
    assert sign_in(client, cast.bob.email, PASSWORD) == "/app/"
    clock.shift(settings.PASSWORD_FAILURES_SECONDS + 1)
    try:
        cache.clear()
        assert sign_in(Client(), cast.alice.email, PASSWORD) == "/app/"
    finally:
        clock.shift(0)


def test_it_counts_failures_for_unknown_addresses_too_and_forgets_old_ones(client: Client) -> None:
    sign_in(client, "nobody@acme.com.br", "wrong wrong wrong")
    assert PasswordFailure.objects.get().email == "nobody@acme.com.br"
    clock.shift(2 * 86_400)
    try:
        sign_in(client, "nobody@acme.com.br", "wrong wrong wrong")
    finally:
        clock.shift(0)
    assert PasswordFailure.objects.count() == 1


def test_it_goes_on_when_valkey_is_away(client: Client, settings: Settings) -> None:
    cast = make_cast()
    dead = {"default": settings.CACHES["default"] | {"LOCATION": f"redis://127.0.0.1:{free_port()}/0"}}
    settings.CACHES = dead
    assert "incorretos" in sign_in(client, cast.alice.email, "wrong wrong wrong")
    assert sign_in(client, cast.alice.email, PASSWORD) == "/app/"
    assert client.get("/app/").status_code == 200


def test_it_resets_a_password_once(client: Client) -> None:
    cast = make_cast()
    for email in (cast.alice.email, "nobody@acme.com.br"):
        assert client.post("/conta/senha/esqueci/", {"email": email})["Location"] == "/conta/senha/esqueci/enviado/"
    assert "não há conta" in mail.outbox[1].subject
    found = re.search(r"http\S+/conta/senha/nova/\S+", str(mail.outbox[0].body))
    assert found
    path = urlsplit(found[0]).path
    form_address = client.get(path)["Location"]
    client.post(form_address, {"password1": GOOD, "password2": GOOD})
    assert "não vale mais" in Client().get(path).content.decode()
    assert sign_in(Client(), cast.alice.email, GOOD) == "/app/"


def test_it_changes_a_password(client: Client) -> None:
    cast = make_cast()
    sign_in(client, cast.alice.email, PASSWORD)
    client.post("/conta/senha/trocar/", {"oldpassword": PASSWORD, "password1": GOOD, "password2": GOOD})
    assert sign_in(Client(), cast.alice.email, GOOD) == "/app/"


def test_it_refuses_forms_without_a_csrf_token() -> None:
    cast = make_cast()
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.alice)
    response = client.post("/app/chaves/nova/", {"name": "x"})
    assert response.status_code == 403 and "O formulário ficou velho" in response.content.decode()
