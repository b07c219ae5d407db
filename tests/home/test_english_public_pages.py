"""Public pages for whoever reads English: nothing of them is left in Portuguese, and nobody else's words are kept for them."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from gateway.models import Provider, Route
from tests.cast import make_cast
from tests.home.test_pages import words
from tests.make import make_price, make_provider, make_route
from tests.tokia.test_comparison import ask, shop, shown  # noqa: F401 - a fixture
from tokia import public_pages

pytestmark = pytest.mark.django_db
PAGES = ("/", "/modelos/", "/precos/", "/status/", "/novidades/", "/contato/", "/suboperadores/", "/docs/",
         "/modelos/comparar/", "/modelos/comparar/?m=acme/large&m=bolt/sonnet", "/modelos/acme/large/")  # fmt: skip
# Letters that English has not, and Portuguese's small words; "Português" is the button that leads back.
PORTUGUESE = re.compile(r"\w*[ãõçâêôáéíóúà]\w*|\b(?:de|para|com|não|por|em|uma?|dos|das?|que|ou|sem|mais|preços?|modelos?)\b")
NAMES = re.compile(r"Português|Brasília|api\.openai\.com|\S*base_url\S*|\S+/\S+|Fonte de teste|“em vigor”")


@pytest.fixture
def reader(settings: Settings) -> Client:
    settings.RECEIVER_NAME, settings.IMPRINT_ADDRESS, settings.DPO_NAME = "Tokia", "1 Main Street", "Mary"
    client = Client()
    client.cookies["idioma"] = "en"
    return client


def read(client: Client, address: str, **parameters: Any) -> str:
    answer = client.get(address, parameters)
    assert answer.status_code == 200, address
    return answer.content.decode().replace("\xa0", " ")


def heard(page: str) -> list[str]:
    """What is read aloud or shown on a pointer, and what others show of the page."""
    return re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*)"|<meta (?:name|property)="[^"]+" content="([^"]*)"', page)


def test_nothing_is_left_in_portuguese(reader: Client, shop: None) -> None:  # noqa: F811
    for address in PAGES:
        page = read(reader, address)
        for text in (words(page), *("".join(pair) for pair in heard(page))):
            left = PORTUGUESE.findall(NAMES.sub(" ", text))
            assert not left, (address, left, text[:300])


def test_what_binds_stays_portuguese_and_says_so(reader: Client, client: Client) -> None:
    for address, title, sentence in (
        ("/termos/", "Terms of use", "O saldo é pré-pago em reais"),
        ("/privacidade/", "Privacy policy", "não vendemos dados"),
    ):
        page = read(reader, address)
        assert f"{title}</h1>" in page and "This text is in Portuguese" in page and sentence in page
        assert page.index('lang="pt-BR"') < page.index(sentence), "a voice is told which language it reads"
        assert "This text is in Portuguese" not in read(client, address) and sentence in read(client, address)


def test_the_kept_shop_has_no_language(reader: Client, client: Client) -> None:
    make_price(route=make_route(name="acme/sight", maker="Acme", surface=Route.Surface.IMAGES), units={"input": "1", "image": "2"})
    for _ in range(2):
        assert "/imagem" in read(client, "/modelos/") and "Marque de 2 a 4 modelos" in read(client, "/modelos/")
        page = read(reader, "/modelos/")
        assert "/image" in page and "/imagem" not in page and "Tick 2 to 4 models" in page


def test_the_calculator_reads_and_writes_numbers_as_english_does(reader: Client, client: Client, shop: None) -> None:  # noqa: F811
    theirs, ours = read(reader, "/", requisicoes="1,234,000"), read(client, "/", requisicoes="1.234.000")
    assert 'value="1,234,000"' in theirs and 'value="1.234.000"' in ours
    assert shown(theirs) == shown(ours) == shown(ask(client, requisicoes=1_234_000))
    for text in ("Directly at", "Tokia, with a cheaper model", "Card spread", "Provider&#x27;s price, at the commercial dollar"):
        assert text in theirs, text
    assert "Requests per month: enter a whole number from 1 to 1,000,000,000." in read(reader, "/", requisicoes="1.5")
    assert "Requisições por mês: informe um número inteiro de 1 a 1.000.000.000." in read(client, "/", requisicoes="1,5")


def test_each_piece_of_news_has_its_english(reader: Client) -> None:
    entries = tomllib.loads(public_pages.NEWS.read_text())["entries"]
    page = read(reader, "/novidades/").replace("&#x27;", "'")
    for entry in entries:
        assert len(entry["texts"]) == len(entry["texts_en"]) and ("url" in entry) == ("url_label_en" in entry)
        assert entry["title_en"] in page and all(text in page for text in entry["texts_en"]), entry["title"]


def test_countries_are_in_the_readers_words_brazil_first(reader: Client, client: Client, settings: Settings) -> None:
    settings.SUBPROCESSORS = "Mailer|Alemanha|E-mail"
    provider = make_provider(slug="acme")
    make_route(name="acme/small", provider=provider, upstream_model="small")
    Provider.objects.filter(pk=provider.pk).update(country="US")
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", read(reader, "/suboperadores/")) == ["Brazil", "Germany", "United States"]
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", read(client, "/suboperadores/")) == ["Brasil", "Alemanha", "Estados Unidos"]


def test_the_first_steps_and_the_menu_are_in_english(reader: Client) -> None:
    cast = make_cast()
    reader.force_login(cast.alice)
    page = words(read(reader, "/app/"))
    for text in ("Get started in 3 steps", "Add balance by PIX", "This is what an answer looks like", "Budgets", "Top up"):
        assert text in page, text
