"""Whoever reads in English is told in English; what rows, files and mail keep of what they did stays Portuguese."""

from __future__ import annotations

import pytest
from django.core import mail
from django.test import Client
from django.utils import translation

from accounts import audit
from accounts.errors import AccountsError, UnknownCity
from accounts.forms import IdentityForm, InviteForm
from accounts.members import accept
from accounts.models import AuditEvent, Membership, Organization
from accounts.scopes import SCOPES
from accounts.signup import Identity, check_city, identify
from tests.cast import Cast, make_cast

pytestmark = pytest.mark.django_db
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
LOG = "/app/configuracoes/seguranca/registro"


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def client(cast: Cast) -> Client:
    client = Client(headers={"User-Agent": CHROME})
    client.force_login(cast.alice)
    client.cookies["idioma"] = "en"
    return client


def test_an_invitation_is_told_in_english_and_mailed_and_kept_in_portuguese(cast: Cast, client: Client) -> None:
    asked = {"emails": "nina@acme.com.br", "role": "developer"}
    page = client.post("/app/equipe/", asked, follow=True).content.decode()
    assert "Invitation sent to nina@acme.com.br. It is valid for 7 days." in page and "Open invitations" in page
    assert "como Desenvolvedor" in mail.outbox[-1].body and mail.outbox[-1].subject == "Tokia: convite para a equipe de Acme"
    event = AuditEvent.everywhere.get(kind="member_invited")
    assert event.detail == {"email": "nina@acme.com.br", "role": "Desenvolvedor"}
    assert event.user_agent == "Chrome no Windows"


def test_the_log_is_english_on_the_page_and_portuguese_in_the_file(cast: Cast, client: Client) -> None:
    bob = Membership.everywhere.get(user=cast.bob)
    client.post(f"/app/equipe/{bob.pk}/papel/", {"role": "finance"})
    told = {"how": ["senha", "aplicativo de códigos"], "keys": "passadas a carol@acme.com.br", "reason": "senha", "why": None}
    audit.note("member_removed", organization=cast.acme, user=cast.alice, detail=told)
    page = client.get(f"{LOG}/").content.decode()
    for text in ("Changed a person’s role", "Chrome on Windows", "from: Developer · email: bob@acme.com.br", "to: Finance",
                 "how: password, authenticator app", "keys: handed over to carol@acme.com.br", "why: nothing",
                 "reason: senha"):  # fmt: skip
        assert text in page or _turned(text) in page, text
    client.cookies["idioma"] = "pt-br"
    page = client.get(f"{LOG}/").content.decode()
    assert "Mudou o papel de uma pessoa" in page and "keys" not in page and "chaves: passadas a carol@acme.com.br" in page
    client.cookies["idioma"] = "en"
    with translation.override("en"):  # the file is written as it leaves, after the view
        table = b"".join(client.get(f"{LOG}.csv")).decode("utf-8-sig")
    assert table.startswith("Quando;Quem;O quê") and "Mudou o papel de uma pessoa" in table and "Chrome no Windows" in table


def _turned(text: str) -> str:
    """JSON of the database keeps no sequence of names."""
    return " · ".join(reversed(text.split(" · ")))


def test_a_security_notice_is_portuguese(cast: Cast, client: Client) -> None:
    client.post("/conta/senha/esqueci/", {"email": cast.alice.email})
    told = f"{mail.outbox[-1].subject} {mail.outbox[-1].body}".lower()
    assert "senha" in told and "password" not in told


def test_refusals_are_told_in_the_reader_s_language(cast: Cast) -> None:
    with translation.override("en"):
        form = IdentityForm(
            {"tax_id_kind": "cnpj", "cnpj": "11.111.111/1111-11", "name": "x", "postal_code": "1", "city": "Recife"}
        )
        assert form.errors == {
            "cnpj": ["This CNPJ is not valid. Check the 14 characters."],
            "postal_code": ["A CEP has 8 digits."],
            "state": ["Choose the state of the city."],
        }
        with pytest.raises(UnknownCity, match="Did you mean Sao Paulo"):
            check_city("Sao Pualo", "SP")
        with pytest.raises(AccountsError, match="This invitation is no longer valid"):
            accept(cast.alice, token="none")
        roles = InviteForm(by=Membership.everywhere.get(user=cast.alice)).fields["role"].choices  # type: ignore[attr-defined]
        assert [label for _, label in roles] == ["Owner", "Admin", "Developer", "Finance"]
        assert str(SCOPES["keys.read"].label) == "See keys"
    assert str(SCOPES["keys.read"].label) == "Ver chaves"


def test_what_changed_is_kept_in_portuguese(cast: Cast) -> None:
    with translation.override("en"):
        identify(Organization.objects.get(pk=cast.acme.pk), identity=Identity(name="Acme 2", tax_id="11222333000181"))
    assert AuditEvent.everywhere.get(kind="fiscal_data_changed").detail == {"changed": ["razão social ou nome"]}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/conta/dados/", "Organizations you work in"),
        ("/conta/seguranca/", "Authenticator app <span"),
        ("/conta/privacidade/", "You are the only Owner of <strong>Acme</strong>. <span>Give the role"),
        ("/app/configuracoes/empresa/", "These details go on your invoices (NFS-e)."),
        ("/app/configuracoes/privacidade/", "By default nothing stays"),
        ("/app/comecar/?nova=1", "Who is going to use Tokia?"),
        ("/app/nada/", "Page not found."),
    ],
)
def test_pages_of_one_s_own_are_english(client: Client, path: str, text: str) -> None:
    page = client.get(path).content.decode()
    assert text in page and '<html lang="en"' in page


def test_doors_are_english_for_strangers() -> None:
    client = Client()
    assert "Esqueci a senha" in client.get("/conta/entrar/").content.decode()
    client.cookies["idioma"] = "en"
    assert ">Email</label>" in client.get("/conta/entrar/").content.decode()
    asked = client.post("/conta/entrar/", {"login": "nobody@acme.com.br", "password": "a phrase of theirs"}).content.decode()
    assert "The email or the password is wrong." in asked
    asked = client.post("/conta/cadastro/", {"email": "nina@acme.com.br", "password1": "12345"}).content.decode()
    assert "You need to accept the terms" in asked and "This password is too short" in asked
