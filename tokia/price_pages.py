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
from django.views.decorators.http import require_safe

from accounts.models import SnapshotVersion
from billing import pricebooks, pricelists
from tokia import showcase

MAX_AGE_SECONDS = 300
KEPT_SECONDS = 3_600
CATALOG = "catalog"
EXCEL = "excel"


@require_safe
def prices(request: HttpRequest) -> HttpResponse:
    """The whole list, with the dollar it stands at, and what changes when."""
    offers = {offer.name: offer for offer in showcase.offers()}
    told = pricelists.public_prices(route_names=offers)
    context = {
        "nav": "modelos",
        "title": "Tabela de preços",
        "version": pricebooks.version_in_force(),
        "models": [(offers[model["model"]], model["prices"]) for model in told["models"]],
        "upcoming": [
            (version, told_version["changes"])
            for version, told_version in zip(pricelists.scheduled_versions(), told["upcoming"], strict=False)
        ],
        "layout": "app.html" if getattr(request, "membership", None) else "public.html",
    }
    return render(request, "home/prices.html", context)


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
