"""Liveness and readiness of the web process. The gateway answers the same two paths by itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from billing.models import ExchangeRate, PriceVersion
from tokia import clock
from tokia.cache import ForgivingCache


@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """`/healthz`: this process answers. It asks nobody, so that an outage of the database restarts no healthy process."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """`/readyz`: 503 without the database. Valkey, exchange and prices are told, yet take no process out of service."""
    checks: dict[str, Callable[[], str]] = {"database": _database, "valkey": _valkey, "exchange": _exchange, "prices": _prices}
    found: dict[str, str] = {}
    for name, check in checks.items():
        try:
            found[name] = check()
        except DatabaseError:
            found[name] = "down"
    return JsonResponse(found, status=200 if found["database"] == "ok" else 503)


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _valkey() -> str:
    return "ok" if cast(ForgivingCache, caches["default"]).ping() else "down"


def _exchange() -> str:
    newest = ExchangeRate.objects.order_by("-quoted_at").values_list("quoted_at", flat=True).first()
    if newest is None:
        return "missing"
    age = clock.now() - newest
    return "ok" if age <= dt.timedelta(days=settings.EXCHANGE_RATE_MAX_AGE_DAYS) else "stale"


def _prices() -> str:
    published = PriceVersion.objects.filter(status=PriceVersion.Status.PUBLISHED, effective_at__lte=clock.now())
    return "ok" if published.exists() else "missing"
