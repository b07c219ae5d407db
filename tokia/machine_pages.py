"""What machines read of the site: `/sitemap.xml`, `/robots.txt`, `/llms.txt`, `/openapi.yaml`, `/postman.json`.

The same for everybody: no session is read, and anyone may keep them for some minutes.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from functools import cache
from xml.sax.saxutils import escape

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from tokia import clock, docs, postman, showcase, v1_openapi
from tokia.templatetags.tokia import brl_mtok

MAX_AGE_SECONDS = 300
PAGES = (
    "/",
    "/modelos/",
    "/precos/",
    "/docs/",
    "/status/",
    "/novidades/",
    "/contato/",
    "/termos/",
    "/privacidade/",
    "/suboperadores/",
)
# For people who are signed in, and for programs.
CLOSED = ("/app/", "/admin/", "/conta/", "/api/", "/webhooks/", "/parcial/", "/modelos/comparar/", "/docs/busca/")


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """A demonstration or a test installation is nobody's search result."""
    if not settings.IS_PRODUCTION:
        return _file("User-agent: *\nDisallow: /\n", "text/plain")
    closed = "".join(f"Disallow: {path}\n" for path in CLOSED)
    return _file(f"User-agent: *\n{closed}\nSitemap: {settings.WEB_URL}/sitemap.xml\n", "text/plain")


@require_safe
def sitemap(request: HttpRequest) -> HttpResponse:
    lines = "".join(
        f"  <url><loc>{escape(settings.WEB_URL + path)}</loc>{f'<lastmod>{on:%Y-%m-%d}</lastmod>' if on else ''}</url>\n"
        for path, on in _addresses()
    )
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{lines}</urlset>\n'
    )
    return _file(text, "application/xml")


def _addresses() -> Iterator[tuple[str, dt.date | None]]:
    """Every page that anybody may read, with the day of its last change where one is known: prices change by version."""
    shop = showcase.shop()
    effective_at = shop.version.effective_at if shop.version else None
    priced_on = effective_at.astimezone(clock.SAO_PAULO).date() if effective_at else None
    yield from ((path, None) for path in PAGES)
    yield from ((page.url, None) for page in docs.pages().values())
    yield from ((offer.url, priced_on) for offer in shop.offers)
    yield from ((virtual.url, priced_on) for virtual in shop.virtual)


@require_safe
def llms(request: HttpRequest) -> HttpResponse:
    """What Tokia is, for whoever writes programs with a model's help (llmstxt.org)."""
    shop = showcase.shop()
    context = {
        "web_url": settings.WEB_URL,
        "base_url": f"{settings.GATEWAY_URL}/v1",
        "first_route": showcase.first_route(shop.offers),
        "sections": docs.contents(),
        "offers": [(offer, _price_told(offer)) for offer in shop.offers],
        "virtual": shop.virtual,
    }
    return _file(render_to_string("home/llms.txt", context), "text/markdown")


def _price_told(offer: showcase.Offer) -> str:
    told = [("entrada", offer.input_nanos, "/1M"), ("saída", offer.output_nanos, "/1M")]
    told += [(label.lower(), nanos, per) for label, nanos, per in offer.others]
    return ", ".join(f"{label} {brl_mtok(nanos)}{per}" for label, nanos, per in told if nanos is not None).replace("\u00a0", " ")


@require_safe
def openapi_yaml(request: HttpRequest) -> HttpResponse:
    return _file(v1_openapi.written(), "application/yaml")


@require_safe
def postman_json(request: HttpRequest) -> HttpResponse:
    response = _file(_collection(), "application/json")
    response["Content-Disposition"] = 'attachment; filename="tokia.postman_collection.json"'
    return response


@cache
def _collection() -> str:
    collection = postman.write_collection(v1_openapi.whole_document(), web_url=settings.WEB_URL, gateway_url=settings.GATEWAY_URL)
    return json.dumps(collection, ensure_ascii=False, indent=1)


def _file(text: str, content_type: str) -> HttpResponse:
    response = HttpResponse(text, content_type=f"{content_type}; charset=utf-8")
    response["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    response["Access-Control-Allow-Origin"] = "*"
    return response
