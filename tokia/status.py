"""`/status/` and `/status.json`: how everything does, for everybody. No query, no session: they work while the database is away,
and anyone may keep them for half a minute."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import dateformat, formats
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from tokia import clock
from tokia.language import is_english
from tokia.status_measure import DOWN, OK, SLOW, UNKNOWN
from tokia.status_report import LATE, component_name, headline, read_report
from tokia.templatetags.tokia import pct, tax_id

PATHS = (
    "/status/", "/status.json", "/precos.json", "/precos.csv", "/sitemap.xml", "/robots.txt", "/llms.txt", "/openapi.yaml",
    "/postman.json",
)  # fmt: skip
MAX_AGE_SECONDS = 30
BADGES: dict[str, tuple[str, str | Promise]] = {
    OK: ("success", _("Normal")),
    SLOW: ("warning", _("Lento")),
    DOWN: ("error", _("Fora do ar")),
    UNKNOWN: ("neutral", _("Sem medição")),
}
BAR_WIDTH, BAR_GAP, BAR_HEIGHT = 10, 4, 32
FULL_BPS, GOOD_BPS, FAIR_BPS = 10_000, 9_900, 9_000
INCIDENT_WORDS: dict[str, tuple[str, str | Promise]] = {
    "investigating": ("error", _("Investigando")),
    "identified": ("warning", _("Identificado")),
    "monitoring": ("info", _("Monitorando")),
    "resolved": ("success", _("Resolvido")),
}
IMPACT_WORDS = {"slow": _("Lentidão ou falhas em parte"), "down": _("Fora do ar"), "maintenance": _("Manutenção programada")}


class CookielessMiddleware:
    """These addresses show everybody the same, so they read nobody's session: a signed-in person's would ask the database."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path not in PATHS:
            return self.get_response(request)
        request.COOKIES = {}
        response = self.get_response(request)
        del response["Vary"]
        return response


@require_safe
def status(request: HttpRequest) -> HttpResponse:
    report = read_report()
    state, words = headline(report)
    context = {
        "title": "Status",
        "canonical_path": "/status/",
        "nav": "status",
        "is_demo": not settings.IS_PRODUCTION,
        "receiver_name": settings.RECEIVER_NAME,
        "receiver_tax_id": tax_id(settings.RECEIVER_TAX_ID),
        "state": state,
        "headline": words,
        "measured_at": dt.datetime.fromisoformat(report["measured_at"]) if report else None,
        "is_late": report is not None and clock.now() - dt.datetime.fromisoformat(report["measured_at"]) > LATE,
        **_shown(report),
    }
    response = HttpResponse(render_to_string("home/status.html", context))
    response["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    return response


@require_safe
def status_json(request: HttpRequest) -> JsonResponse:
    report = read_report()
    state, words = headline(report)
    told = {"state": state, "headline": words, **(report or {})}
    response = JsonResponse(told, json_dumps_params={"ensure_ascii": False})
    response["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    response["Access-Control-Allow-Origin"] = "*"
    return response


# ── For the template ─────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Bar:
    x: int
    y: int
    height: int
    classes: str
    opacity: str
    title: str


def _shown(report: dict[str, Any] | None) -> dict[str, Any]:
    report = report or {}
    groups = [("providers", gettext("Provedores")), ("models", gettext("Modelos"))]
    components = report.get("components", [])
    return {
        "components": [{**item, "name": component_name(item), "badge": BADGES[item["state"]]} for item in components],
        "overhead": [_ms(report.get("gateway", {}).get(f"overhead_{part}_ms")) for part in ("p50", "p95")],
        "groups": [(key, label, [show_item(item) for item in report[key]]) for key, label in groups if report.get(key)],
        "unmeasured": report.get("unmeasured", []),
        "incidents": [_incident(incident) for incident in report.get("incidents", [])],
        "chart_widths": {"hours": _width(24), "days": _width(30)},
        "bar_width": BAR_WIDTH,
        "bar_height": BAR_HEIGHT,
    }


def show_item(item: dict[str, Any]) -> dict[str, Any]:
    """A provider's or a model's part of the report, with its bars."""
    by_hour = gettext("Disponibilidade por hora: pior {worst}, {measured} de {all} com medição")
    by_day = gettext("Disponibilidade por dia: pior {worst}, {measured} de {all} com medição")
    hours = _bars(item["hours"], "j M H:00" if is_english() else r"d/m H\h")
    days = _bars(item["days"], "j M" if is_english() else "d/m")
    charts = [
        (gettext("Últimas 24 horas"), _width(len(hours)), hours, _described(item["hours"], by_hour)),
        (gettext("Últimos 30 dias"), _width(len(days)), days, _described(item["days"], by_day)),
    ]
    spans = [("24 h", item["day"]), (gettext("30 dias"), item["month"])]
    return {**item, "badge": BADGES[item["state"]], "spans": spans, "charts": charts}


def _bars(spans: list[dict[str, Any]], form: str) -> list[Bar]:
    """Taller is better, and colour says it again; what was not measured is a low grey bar."""
    bars = []
    for place, span in enumerate(spans):
        uptime: int | None = span["uptime_bps"]
        at = dateformat.format(dt.datetime.fromisoformat(span["begins_at"]).astimezone(clock.SAO_PAULO), form)
        height = 4 if uptime is None else max(8, BAR_HEIGHT * uptime // FULL_BPS)
        title = f"{at}: {gettext('sem medição') if uptime is None else pct(uptime)}"
        bars.append(
            Bar(
                place * (BAR_WIDTH + BAR_GAP), BAR_HEIGHT - height, height, _colour(uptime), "0.3" if uptime is None else "1", title
            )
        )
    return bars


def _colour(uptime: int | None) -> str:
    if uptime is None:
        return "muted"
    return "text-success" if uptime >= GOOD_BPS else "text-warning" if uptime >= FAIR_BPS else "text-error"


def _described(spans: list[dict[str, Any]], form: str) -> str:
    """The chart in words, for who does not see it."""
    measured = [span["uptime_bps"] for span in spans if span["uptime_bps"] is not None]
    if not measured:
        return gettext("Sem medição neste período")
    return form.format(worst=pct(min(measured)), measured=len(measured), all=len(spans))


def _width(bars: int) -> int:
    return bars * (BAR_WIDTH + BAR_GAP) - BAR_GAP


def _ms(value: float | None) -> str:
    """`0,84 ms`; the gateway's own time is too short for whole milliseconds."""
    return "—" if value is None else f"{formats.number_format(f'{value:.2f}')}\u00a0ms"


def _incident(incident: dict[str, Any]) -> dict[str, Any]:
    """Texts as instants again, states as words."""

    def instant(text: str | None) -> dt.datetime | None:
        return dt.datetime.fromisoformat(text) if text else None

    kind, word = INCIDENT_WORDS[incident["status"]]
    is_planned = incident["impact"] == "maintenance" and incident["status"] == "investigating"
    updates = [
        {"word": INCIDENT_WORDS[update["status"]][1], "text": update["text"], "at": instant(update["at"])}
        for update in incident["updates"]
    ]
    if is_planned:
        kind, word = "info", gettext("Programada")
        updates = [{**update, "word": word} for update in updates]
    return {
        **incident, "badge": (kind, word), "impact_word": IMPACT_WORDS[incident["impact"]], "updates": updates,
        "starts_at": instant(incident["starts_at"]), "ends_at": instant(incident["ends_at"]),
        "resolved_at": instant(incident["resolved_at"]),
    }  # fmt: skip
