"""`/precos/`, `/precos.json`, `/precos.csv`: every price that is on sale, of today and of days to come, for people and machines.

No sign-in. The two files are the same for everybody: they read no session, may be kept for some minutes, and carry an ETag. What
is on sale changes with the catalog's number and with the version in force, so that pair is what they are cached by.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from accounts.models import SnapshotVersion
from billing import pricebooks, pricelists
from billing.comparison_rates import current_rates
from billing.models import PriceVersion
from gateway.models import Route
from tokia import showcase
from tokia.catalog_filter import read_filter
from tokia.catalog_pages import layout_of
from tokia.paces import NO_PACES
from tokia.price_rows import price_rows

MAX_AGE_SECONDS = 300
KEPT_SECONDS = 3_600
CATALOG = "catalog"
EXCEL = "excel"


@require_safe
def prices(request: HttpRequest) -> HttpResponse:
    """The whole list beside what the same costs abroad by card, with the dollar it stands at, and what changes when."""
    shop, rates, asked = showcase.shop(), current_rates(), read_filter(request.GET)
    shown = asked.apply(shop.offers, paces=NO_PACES)
    models = [(offer, list(price_rows(offer, rates))) for offer in shown]
    rows = [row for _, told in models for row in told]
    surfaces = {offer.surface for offer in shop.offers}
    context = {
        "nav": "modelos",
        "title": "Tabela de preços",
        "version": shop.version,
        "models": models,
        "total": len(shop.offers),
        "asked": asked,
        "makers": sorted({offer.maker for offer in shop.offers}),
        "surfaces": [(value, gettext(str(label))) for value, label in Route.Surface.choices if value in surfaces],
        "rates": rates,
        "has_abroad": any(row.abroad_nanos is not None for row in rows),
        "sources": sorted({(row.source, row.read_on) for row in rows if row.read_on is not None}),
        "upcoming": [(version, _changes_of(version, shop)) for version in shop.scheduled],
        "layout": layout_of(request),
    }
    template = "home/_price_list.html" if getattr(request, "htmx", False) else "home/prices.html"
    return render(request, template, context)


def _changes_of(version: PriceVersion, shop: showcase.Shop) -> list[dict[str, Any]]:
    return [
        change.as_json()
        for offer in shop.offers
        for changing, felt in offer.changes
        if changing.pk == version.pk
        for change in felt
    ]


@require_safe
def prices_json(request: HttpRequest) -> HttpResponseBase:
    def write() -> str:
        return json.dumps(_told(), ensure_ascii=False, indent=1)

    return _file(request, "json", write, content_type="application/json; charset=utf-8")


@require_safe
def prices_csv(request: HttpRequest) -> HttpResponseBase:
    """RFC 4180 with decimal points; with `?formato=excel` as a spreadsheet in Brazil reads it: `;`, decimal commas, a BOM."""
    is_excel = request.GET.get("formato") == EXCEL

    def write() -> str:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=";" if is_excel else ",", lineterminator="\r\n")
        writer.writerow(pricelists.COLUMNS)
        writer.writerows(pricelists.price_rows(_told(), is_excel=is_excel))
        return ("\ufeff" if is_excel else "") + text.getvalue()

    response = _file(request, "csv-excel" if is_excel else "csv", write, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="precos-tokia.csv"'
    return response


def _told() -> dict[str, Any]:
    return pricelists.public_prices(route_names={offer.name for offer in showcase.offers()})


def _file(request: HttpRequest, name: str, write: Callable[[], str], *, content_type: str) -> HttpResponseBase:
    catalog = SnapshotVersion.objects.filter(subject=CATALOG).values_list("number", flat=True).first()
    version = pricebooks.version_in_force()
    key = f"prices:{name}:{catalog}:{version.pk if version else 0}"
    body = cache.get(key)
    if body is None:
        body = write()
        cache.set(key, body, KEPT_SECONDS)
    etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    response = get_conditional_response(request, etag=etag) or HttpResponse(body, content_type=content_type)
    response["ETag"] = etag
    response["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    response["Access-Control-Allow-Origin"] = "*"
    return response
