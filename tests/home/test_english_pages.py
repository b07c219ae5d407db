"""The switch to English, on pages: chosen by a button alone, kept in a cookie, and never another reader's."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import translation

from tests.cast import make_cast

pytestmark = pytest.mark.django_db
PUBLIC = ["/", "/modelos/", "/conta/entrar/"]


def switch(client: Client, language: str = "en", back: str = "/modelos/") -> str:
    answer = client.post("/idioma/", {"language": language, "next": back})
    assert answer.status_code == 302
    return str(answer["Location"])


def lang(client: Client, address: str, **headers: str) -> str:
    answer = client.get(address, headers=headers)
    assert answer.status_code == 200, address
    assert "Cookie" in answer["Vary"]
    told = "en" if b'<html lang="en">' in answer.content else "pt-BR" if b'<html lang="pt-BR">' in answer.content else "?"
    assert answer["Content-Language"] == told
    return told


@pytest.mark.parametrize("address", PUBLIC)
def test_it_speaks_english_to_whoever_chose_it(client: Client, address: str) -> None:
    assert lang(client, address) == "pt-BR" and ">English</button>" in client.get(address).content.decode()
    assert switch(client) == "/modelos/"
    page = client.get(address).content.decode()
    assert lang(client, address) == "en" and ">Português</button>" in page and "Pular para o conteúdo" not in page
    assert 'content="en_US"' in page and 'content="pt_BR"' not in page
    switch(client, "pt-br")
    assert lang(client, address) == "pt-BR" and 'content="pt_BR"' in client.get(address).content.decode()


def test_it_asks_no_browser_what_it_prefers(client: Client) -> None:
    assert lang(client, "/", **{"accept-language": "en-US,en;q=0.9"}) == "pt-BR"


def test_it_tells_each_reader_their_own_language(client: Client) -> None:
    """Two readers by turns, in one process: compiled templates, kept texts and the thread's language are not shared."""
    reader = Client()
    switch(reader)
    for address in ("/", "/modelos/", "/status/", "/docs/", "/precos/", "/conta/entrar/", "/novidades/"):
        for _ in range(2):
            assert lang(client, address) == "pt-BR" and lang(reader, address) == "en"
            assert translation.get_language() == "pt-br"
    told = [person.get("/status/")["Cache-Control"] for person in (client, reader)]
    assert told[0] == told[1] and "public" in told[0]  # a cache between may keep both: they vary by the cookie


def test_it_speaks_english_in_the_panel_and_none_in_the_administration(client: Client) -> None:
    cast = make_cast()
    cast.alice.is_staff = cast.alice.is_superuser = True
    cast.alice.save()
    client.force_login(cast.alice)
    assert lang(client, "/app/") == "pt-BR"
    switch(client)
    page = client.get("/app/").content.decode()
    assert lang(client, "/app/") == "en" and ">Português</button>" in page and "Recarregar" not in page
    answer = client.get("/admin/")
    assert answer.status_code == 200 and 'lang="en"' not in answer.content.decode() and "Content-Language" not in answer


def test_files_stay_portuguese(client: Client) -> None:
    before = client.get("/llms.txt").content
    switch(client)
    assert client.get("/llms.txt").content == before


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"])
def test_it_leads_nowhere_else(client: Client, elsewhere: str) -> None:
    assert switch(client, back=elsewhere) == "/"


def test_it_takes_a_language_it_has_by_a_form_with_its_token(client: Client) -> None:
    assert client.get("/idioma/").status_code == 405
    switch(client, "fr")
    assert lang(client, "/") == "pt-BR"
    client.cookies["idioma"] = "tlh"
    assert lang(client, "/") == "pt-BR"
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/idioma/", {"language": "en"}).status_code == 403
    answer = client.post("/idioma/", {"language": "en", "next": "/"})
    cookie = answer.cookies["idioma"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["max-age"] == 31_536_000
