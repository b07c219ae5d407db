"""What machines read: addresses that exist, the same for everybody, and nothing of a demonstration in a search engine."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from django.test import Client
from pytest_django import Settings

from tests.cast import make_cast
from tests.make import make_price, make_route
from tokia import docs

pytestmark = pytest.mark.django_db
NAMES = {"s": "http://www.sitemaps.org/schemas/sitemap/0.9"}


def test_the_sitemap_has_pages_that_answer(client: Client, settings: Settings) -> None:
    make_price(route=make_route(name="acme/one:free"))
    make_route(name="acme/priceless")
    response = client.get("/sitemap.xml")
    places = [place.text or "" for place in ElementTree.fromstring(response.content).findall(".//s:loc", NAMES)]
    assert f"{settings.WEB_URL}/modelos/acme/one:free/" in places and not [place for place in places if "priceless" in place]
    assert len(places) == len(set(places)) > len(docs.pages())
    fixed = [place for place in places if "/docs/" not in place or place.endswith("/docs/")]
    for place in fixed:
        assert client.get(place.removeprefix(settings.WEB_URL)).status_code == 200, place


def test_robots_find_the_public_part_and_nothing_of_a_demonstration(client: Client, settings: Settings) -> None:
    assert client.get("/robots.txt").content == b"User-agent: *\nDisallow: /\n"
    settings.IS_PRODUCTION = True
    text = client.get("/robots.txt").content.decode()
    assert f"Sitemap: {settings.WEB_URL}/sitemap.xml" in text and "Disallow: /app/\n" in text and "Disallow: /\n" not in text


def test_models_learn_what_tokia_is(client: Client, settings: Settings) -> None:
    make_price(route=make_route(name="acme/one", display_name="Um & dois"), units={"input": "0.5", "output": "2"})
    text = client.get("/llms.txt").content.decode()
    assert text.startswith("# Tokia\n\n> ") and f"`{settings.GATEWAY_URL}/v1`" in text
    assert "Um & dois, Teste; entrada R$ 0,5000/1M, saída R$ 2,00/1M; contexto de 128000 tokens" in text
    assert all(f"/docs/{slug}.md)" in text for slug in docs.pages())
    for address in re.findall(rf"\({re.escape(settings.WEB_URL)}(/[^)]+)\)", text)[:12]:
        assert client.get(address).status_code == 200, address


@pytest.mark.parametrize("path", ["/sitemap.xml", "/robots.txt", "/llms.txt"])
def test_they_are_the_same_for_everybody(client: Client, path: str) -> None:
    first = client.get(path)
    client.force_login(make_cast().alice)
    again = client.get(path)
    assert again.content == first.content and again["Cache-Control"] == "public, max-age=300"
    assert "Cookie" not in again.get("Vary", "") and client.post(path).status_code == 405


def test_a_page_says_for_others_what_it_is(client: Client, settings: Settings) -> None:
    page = client.get("/precos/?busca=x").content.decode()
    assert f'<link rel="canonical" href="{settings.WEB_URL}/precos/">' in page
    for name in ("og:title", "og:description", "og:image", "og:url", "twitter:card"):
        assert len(re.findall(rf'"{name}" content="[^"]+"', page)) == 1, name
    title = re.search(r"<title>(.*?)</title>", page)
    assert title and f'<meta property="og:title" content="{title.group(1)}">' in page
    assert client.get("/status/").content.decode().count('rel="canonical"') == 1
