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
from django.views.decorators.http import require_safe

from tokia import clock
from tokia.status_measure import DOWN, OK, SLOW, UNKNOWN
from tokia.status_report import LATE, headline, read_report
from tokia.templatetags.tokia import pct, tax_id

PATHS = (
    "/status/", "/status.json", "/precos.json", "/precos.csv", "/sitemap.xml", "/robots.txt", "/llms.txt", "/openapi.yaml",
    "/postman.json",
)  # fmt: skip
MAX_AGE_SECONDS = 30
BADGES = {OK: ("success", "Normal"), SLOW: ("warning", "Lento"), DOWN: ("error", "Fora do ar"), UNKNOWN: ("neutral", "Sem medição")}
BAR_WIDTH, BAR_GAP, BAR_HEIGHT = 10, 4, 32
FULL_BPS, GOOD_BPS, FAIR_BPS = 10_000, 9_900, 9_000
INCIDENT_WORDS = {
    "investigating": ("error", "Investigando"),
    "identified": ("warning", "Identificado"),
    "monitoring": ("info", "Monitorando"),
    "resolved": ("success", "Resolvido"),
}
IMPACT_WORDS = {"slow": "Lentidão ou falhas em parte", "down": "Fora do ar", "maintenance": "Manutenção programada"}


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
    groups = [("Provedores", report.get("providers", [])), ("Modelos", report.get("models", []))]
    return {
        "components": [{**item, "badge": BADGES[item["state"]]} for item in report.get("components", [])],
        "overhead": [_ms(report.get("gateway", {}).get(f"overhead_{part}_ms")) for part in ("p50", "p95")],
        "groups": [(label, [show_item(item) for item in items]) for label, items in groups if items],
        "unmeasured": report.get("unmeasured", []),
        "incidents": [_incident(incident) for incident in report.get("incidents", [])],
        "chart_widths": {"hours": _width(24), "days": _width(30)},
        "bar_width": BAR_WIDTH,
        "bar_height": BAR_HEIGHT,
    }


def show_item(item: dict[str, Any]) -> dict[str, Any]:
    """A provider's or a model's part of the report, with its bars."""
    hours = _bars(item["hours"], "%d/%m %Hh")
    days = _bars(item["days"], "%d/%m")
    charts = [
        ("Últimas 24 horas", _width(len(hours)), hours, _described(item["hours"], "hora")),
        ("Últimos 30 dias", _width(len(days)), days, _described(item["days"], "dia")),
    ]
    return {**item, "badge": BADGES[item["state"]], "spans": [("24 h", item["day"]), ("30 dias", item["month"])], "charts": charts}


def _bars(spans: list[dict[str, Any]], form: str) -> list[Bar]:
    """Taller is better, and colour says it again; what was not measured is a low grey bar."""
    bars = []
    for place, span in enumerate(spans):
        uptime: int | None = span["uptime_bps"]
        at = dt.datetime.fromisoformat(span["begins_at"]).astimezone(clock.SAO_PAULO).strftime(form)
        height = 4 if uptime is None else max(8, BAR_HEIGHT * uptime // FULL_BPS)
        title = f"{at}: {'sem medição' if uptime is None else pct(uptime)}"
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


def _described(spans: list[dict[str, Any]], unit: str) -> str:
    """The chart in words, for who does not see it."""
    measured = [span["uptime_bps"] for span in spans if span["uptime_bps"] is not None]
    if not measured:
        return "Sem medição neste período"
    return f"Disponibilidade por {unit}: pior {pct(min(measured))}, {len(measured)} de {len(spans)} com medição"


def _width(bars: int) -> int:
    return bars * (BAR_WIDTH + BAR_GAP) - BAR_GAP


def _ms(value: float | None) -> str:
    """`0,84 ms`; the gateway's own time is too short for whole milliseconds."""
    return "—" if value is None else f"{value:.2f}\u00a0ms".replace(".", ",")


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
        kind, word = "info", "Programada"
        updates = [{**update, "word": "Programada"} for update in updates]
    return {
        **incident, "badge": (kind, word), "impact_word": IMPACT_WORDS[incident["impact"]], "updates": updates,
        "starts_at": instant(incident["starts_at"]), "ends_at": instant(incident["ends_at"]),
        "resolved_at": instant(incident["resolved_at"]),
    }  # fmt: skip
