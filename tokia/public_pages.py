"""Pages for everybody, signed in or not: the shop window with its calculator, contact, news, and the legal texts."""

from __future__ import annotations

import datetime as dt
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import formats
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from billing import volume
from billing.abroad import ComparisonRates, Premise
from billing.comparison_rates import current_rates
from billing.models import Unit
from billing.pricing import Tier
from billing.referral_link import keep_code
from tokia import comparison, showcase, status_report, subprocessors
from tokia import comparison_input as asking
from tokia.language import is_english
from tokia.templatetags.tokia import usd

FEATURED = 8
TERMS_DATE = dt.date(2026, 11, 23)  # of the texts of terms and privacy; change it with them
LISTED_UNITS = {Unit.INPUT: _("entrada"), Unit.CACHED_INPUT: _("em cache"), Unit.OUTPUT: _("saída")}  # per million tokens
NEWS = Path(__file__).resolve().parent / "news.toml"
NEWS_TEXTS = ("title", "texts", "url_label")


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    shop = showcase.shop()
    featured = [offer for offer in shop.offers if offer.is_featured][:FEATURED] or list(shop.offers[:FEATURED])
    context = {
        "title": "Modelos de IA em reais",
        "featured": featured,
        "offer_count": len(shop.offers),
        "provider_count": len({server.name for offer in shop.offers for server in offer.servers}),
        "first_route": showcase.first_route(shop.offers),
        "top_up_min": settings.TOP_UP_MIN_BRL,
        "refund_days": settings.REFUND_SELF_DAYS,
        "notice_days": settings.PRICE_NOTICE_DAYS,
        "version": shop.version,
        **_measured(),
        **_calculator(request, shop),
    }
    response = render(request, "home/landing.html", context)
    keep_code(request, response)
    return response


@require_safe
def comparison_part(request: HttpRequest) -> HttpResponse:
    """The calculator's answer alone, for htmx; a person who follows the address gets the page around it."""
    if not getattr(request, "htmx", False):
        return redirect(f"/?{request.GET.urlencode()}#calculadora")
    return render(request, "home/_comparison.html", _calculator(request, showcase.shop()))


@require_safe
def terms(request: HttpRequest) -> HttpResponse:
    context = {
        "title": gettext("Termos de uso"), "updated_on": TERMS_DATE, "top_up_min": settings.TOP_UP_MIN_BRL,
        "refund_days": settings.REFUND_SELF_DAYS, "notice_days": settings.PRICE_NOTICE_DAYS,
    }  # fmt: skip
    return render(request, "home/terms.html", context)


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    context = {
        "title": gettext("Política de privacidade"), "updated_on": TERMS_DATE, "files_days": settings.FILES_TTL_DAYS,
        "responses_days": settings.RESPONSES_TTL_DAYS, "closing_days": settings.CLOSING_DAYS, "copy_days": settings.DATA_COPY_DAYS,
        "address_days": settings.AUDIT_ADDRESS_DAYS, "idempotency_hours": settings.IDEMPOTENCY_TTL_HOURS,
    }  # fmt: skip
    return render(request, "home/privacy.html", context)


@require_safe
def subprocessors_page(request: HttpRequest) -> HttpResponse:
    return render(request, "home/subprocessors.html", {"title": "Suboperadores", "countries": subprocessors.by_country()})


@require_safe
def news(request: HttpRequest) -> HttpResponse:
    return render(request, "home/changelog.html", {"title": "Novidades", "entries": _news()})


@require_safe
def contact(request: HttpRequest) -> HttpResponse:
    return render(request, "home/contact.html", {"title": "Contato", "nav": "contato"})


def _news() -> list[dict[str, Any]]:
    """The newest first, in the reader's language: beside `title` stands `title_en`."""
    tail = "_en" if is_english() else ""
    return [{"on": entry["on"], **{name: entry.get(name + tail, "") for name in NEWS_TEXTS}} | {"url": entry.get("url", "")}
            for entry in _all_news()]  # fmt: skip


@cache
def _all_news() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = tomllib.loads(NEWS.read_text(encoding="utf-8"))["entries"]
    return sorted(entries, key=lambda entry: entry["on"], reverse=True)


def _measured() -> dict[str, Any]:
    """What the status page measured, where it has: the gateway's own time on a call, and how much of the month models answered."""
    report = status_report.read_report() or {}
    parts = [model["month"]["uptime_bps"] for model in report.get("models", ()) if model["month"]["uptime_bps"] is not None]
    overhead = (report.get("gateway") or {}).get("overhead_p50_ms")
    return {
        "overhead": "" if overhead is None else formats.number_format(f"{max(overhead, 0.1):.1f}"),
        "uptime_bps": sum(parts) // len(parts) if parts else None,
    }


def _calculator(request: HttpRequest, shop: showcase.Shop) -> dict[str, Any]:
    """The form as asked and, unless it has errors, what each set-up costs. Empty where no model has a public list price."""
    models = asking.models_of(shop, provider_names=asking.provider_names())
    if not models:
        return {}
    asked = asking.read_asked(request.GET.dict(), shop=shop, models=models)
    rates = current_rates()
    context: dict[str, Any] = {
        "asked": asked,
        "makers": asking.by_maker(shop.offers, models),
        "rates": rates,
        "version": shop.version,
        "premises": _premises(rates, asked),
        "tiers": _tiers(),
    }
    if not asked.errors:
        choice, use = asking.what_to_compare(asked, models)
        context["listed"] = _listed(shop, choice)
        context["result"] = comparison.compare(
            choice, use, rates=rates, tiers=context["tiers"], with_import_taxes=asked.with_import_taxes, gettext=gettext
        )
    return context


def _tiers() -> list[Tier]:
    plan = volume.plan_in_force()
    return [Tier(tier.above_nanos, tier.discount_bps) for tier in plan.tiers.all()] if plan else []


def _listed(shop: showcase.Shop, choice: comparison.Choice) -> list[dict[str, Any]]:
    """The providers' own prices per million tokens of the models that are compared, each with where and when it was read."""
    chosen = [choice.model, choice.cheaper, choice.mix and choice.mix.second, choice.other]
    models = {model.name: model for model in chosen if model}
    lines = []
    for name, model in models.items():
        listed = shop.by_name[name].listed
        parts = [f"{label} {usd(listed[unit].usd_nanos)}" for unit, label in LISTED_UNITS.items() if unit in listed]
        first = listed[Unit.INPUT]
        told = gettext("página da {name}") if first.is_from_page else gettext("dados públicos {name}")
        source = told.format(name=model.provider if first.is_from_page else first.source)
        lines.append(
            {"label": model.label, "provider": model.provider, "text": ", ".join(parts), "source": source, "read_on": first.read_on}
        )
    return lines


def _premises(rates: ComparisonRates, asked: asking.Asked) -> list[Premise]:
    """The numbers behind the sums besides PTAX and prices; import taxes only where they were asked for."""
    return [one for one in rates.premises if asked.with_import_taxes or not one.name.startswith("import_")]
