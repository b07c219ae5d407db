"""Google and GitHub: there only where configured; no way into an account that was there before.

A small OAuth server on a real socket stands for GitHub's; Google's answers come as the ID token that it would give.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from django.core import mail
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts.models import AuditEvent, User
from tests.cast import PASSWORD, make_cast

pytestmark = pytest.mark.django_db


class GitHub(ThreadingHTTPServer):
    """What GitHub answers (docs: authorizing OAuth apps, `GET /user`, `GET /user/emails`)."""

    emails: list[dict[str, Any]]
    asked: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: GitHub

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.asked.append(f"token {form['code'][0]} {bool(form.get('code_verifier'))}")
        is_good = form["code"] == ["good"]
        self._answer({"access_token": "gho_x", "token_type": "bearer"} if is_good else {"error": "bad_verification_code"})

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.path} {self.headers['Authorization']}")
        user = {"id": 77, "login": "dora", "name": "Dora Silva", "email": None}
        self._answer(self.server.emails if self.path == "/user/emails" else user)

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[GitHub]:
    cache.clear()
    providers = {name: dict(told) for name, told in settings.SOCIALACCOUNT_PROVIDERS.items()}
    providers["github"]["APPS"] = [{"client_id": "id", "secret": "geheim"}]
    settings.SOCIALACCOUNT_PROVIDERS = providers
    server = GitHub(("127.0.0.1", 0), _Handler)
    server.emails, server.asked = [{"email": "dora@github.example", "primary": True, "verified": True}], []
    base = f"http://127.0.0.1:{server.server_port}"
    for name, path in (("access_token_url", "/token"), ("profile_url", "/user"), ("emails_url", "/user/emails")):
        monkeypatch.setattr(GitHubOAuth2Adapter, name, base + path)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def come_back(client: Client, *, code: str = "good", start: str = "/conta/entrar/github/") -> str:
    """To GitHub and back; where it ends, or the page."""
    sent = urlsplit(client.post(start)["Location"])
    asked = parse_qs(sent.query)
    assert sent.hostname == "github.com" and asked["redirect_uri"][0].endswith("/conta/entrar/github/retorno/")
    assert asked["code_challenge"]
    response = client.get("/conta/entrar/github/retorno/", {"code": code, "state": asked["state"][0]})
    return response["Location"] if response.status_code == 302 else response.content.decode()


def test_it_is_not_there_unless_configured() -> None:
    assert "Continuar com" not in Client().get("/conta/entrar/").content.decode()
    for path in ("google/", "google/retorno/", "github/", "github/retorno/"):
        assert Client().get(f"/conta/entrar/{path}").status_code == 404
    assert Client().get("/conta/cadastro/terminar/").status_code == 404


def test_it_signs_a_new_person_up_with_the_terms(github: GitHub) -> None:
    client = Client()
    page = client.get("/conta/entrar/").content.decode()
    assert "Continuar com GitHub" in page and "Continuar com Google" not in page
    assert come_back(client) == "/conta/cadastro/terminar/"
    assert github.asked[0] == "token good True" and "/user/emails token gho_x" in github.asked
    page = client.get("/conta/cadastro/terminar/").content.decode()
    assert "Terminar o cadastro" in page and "dora@github.example" in page and "Sign" not in page
    assert "aceitar os termos" in client.post("/conta/cadastro/terminar/", {"email": "dora@github.example"}).content.decode()
    done = client.post("/conta/cadastro/terminar/", {"email": "dora@github.example", "terms": "on"})
    assert done["Location"] == "/app/"  # GitHub verified the address
    dora = User.objects.get(email="dora@github.example")
    assert dora.name == "Dora Silva" and dora.accepted_terms_at and not dora.has_usable_password()
    assert not mail.outbox or "código" not in mail.outbox[0].subject
    client.post("/conta/sair/")
    assert come_back(client) == "/app/"
    assert AuditEvent.everywhere.filter(user=dora, kind="signed_up").exists()


def test_it_confirms_an_address_that_nobody_verified(github: GitHub) -> None:
    github.emails = [{"email": "dora@github.example", "primary": True, "verified": False}]
    client = Client()
    come_back(client)
    done = client.post("/conta/cadastro/terminar/", {"email": "dora@github.example", "terms": "on"})
    assert done["Location"] == "/conta/confirmar-email/" and "código de confirmação" in mail.outbox[0].subject
    assert client.get("/app/").status_code == 302


@pytest.mark.parametrize("is_verified", [True, False])
def test_it_opens_no_account_that_was_there_before(github: GitHub, is_verified: bool) -> None:
    """An address at GitHub, verified or not, is no way in: the owner connects it from inside."""
    cast = make_cast()
    github.emails = [{"email": cast.alice.email, "primary": True, "verified": is_verified}]
    client = Client()
    come_back(client)
    client.post("/conta/cadastro/terminar/", {"email": cast.alice.email, "terms": "on"})
    assert client.get("/app/").status_code == 302 and not SocialAccount.objects.exists()
    cast.alice.refresh_from_db()
    assert cast.alice.check_password(PASSWORD)

    inside = Client()
    inside.post("/conta/entrar/", {"login": cast.alice.email, "password": PASSWORD})
    inside.post("/conta/confirmar/", {"password": PASSWORD})
    come_back(inside, start="/conta/entrar/github/?process=connect&next=/conta/seguranca/")
    assert SocialAccount.objects.get().user == cast.alice
    assert "Desligar GitHub" in inside.get("/conta/seguranca/").content.decode()
    assert come_back(Client()) == "/app/"  # now it is a way in
    inside.post("/conta/ligadas/github/desligar/")
    assert not SocialAccount.objects.exists()
    kinds = set(AuditEvent.everywhere.filter(user=cast.alice).values_list("kind", flat=True))
    assert {"social_connected", "social_disconnected"} <= kinds


def test_it_does_not_take_away_the_only_way_in(github: GitHub) -> None:
    client = Client()
    come_back(client)
    client.post("/conta/cadastro/terminar/", {"email": "dora@github.example", "terms": "on"})
    client.post("/conta/ligadas/github/desligar/")
    assert SocialAccount.objects.exists()


def test_it_says_in_portuguese_that_it_did_not_work(github: GitHub) -> None:
    assert "Não deu para entrar por essa conta" in come_back(Client(), code="bad")
    assert "Você desistiu de entrar" in Client().get("/conta/entrar/desistiu/").content.decode()
    assert "Não deu para entrar" in Client().get("/conta/entrar/erro/").content.decode()
    forged = Client().get("/conta/entrar/github/retorno/", {"code": "good", "state": "made-up"}).content.decode()
    assert "Não deu para entrar" in forged
