"""The catalog for people: `/modelos/`, with filters that have an address, and `/modelos/comparar/`, two to four side by side."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from accounts.flags import is_on
from accounts.models import Membership
from accounts.roles import may
from billing import recounts
from billing.comparison_rates import current_rates
from gateway import own_keys
from gateway.models import Route
from tokia import showcase
from tokia.catalog_filter import BANDS, CONTEXTS, SEQUENCES, read_filter
from tokia.comparing import MODELS_MAX, MODELS_MIN, compare
from tokia.paces import read_paces

FILTERS_CAPABILITIES = ("vision", "tools", "json", "reasoning", "files", "audio", "prompt_cache")


@require_safe
def catalog(request: HttpRequest) -> HttpResponse:
    """Filters are a GET form, so that every view of it has an address. `m`: what is ticked for the comparison."""
    shop, paces, asked = showcase.shop(), read_paces(), read_filter(request.GET)
    shown = asked.apply(shop.offers, paces=paces)
    chosen = _chosen(request, shop)
    has = {capability for offer in shop.offers for capability in offer.capabilities}
    surfaces = {offer.surface for offer in shop.offers}
    context = {
        "nav": "modelos",
        "title": "Modelos e preços",
        "lines": [(offer, paces.of(offer.name)) for offer in shown],
        "chosen": chosen,
        "chosen_elsewhere": [name for name in chosen if name not in {offer.name for offer in shown}],
        "total": len(shop.offers),
        "asked": asked,
        "makers": sorted({offer.maker for offer in shop.offers}),
        "surfaces": [(value, gettext(str(label))) for value, label in Route.Surface.choices if value in surfaces],
        "capabilities": [(key, showcase.CAPABILITIES[key]) for key in FILTERS_CAPABILITIES if key in has],
        "contexts": CONTEXTS.items(),
        "bands": [(key, label) for key, (label, _, _) in BANDS.items()],
        "sequences": SEQUENCES.items(),
        "virtual": [] if not asked.is_empty else shop.virtual,
        "own_key_fee": own_keys.read_fee(),
        "can_play": can_play(request),
        "layout": layout_of(request),
    }
    template = "home/_catalog_table.html" if getattr(request, "htmx", False) else "home/catalog.html"
    return render(request, template, context)


@require_safe
def comparison(request: HttpRequest) -> HttpResponse:
    """`?m=…&m=…`; with fewer than two it asks for them, and of more than four it takes the first."""
    shop = showcase.shop()
    chosen = _chosen(request, shop)
    offers = [shop.by_name[name] for name in chosen[:MODELS_MAX]]
    use = _use_of(request, shop) if len(offers) >= MODELS_MIN else None
    context = {
        "nav": "modelos",
        "title": "Comparar modelos",
        "offers": offers,
        "sections": compare(offers, paces=read_paces(), rates=current_rates(), use=use) if len(offers) >= MODELS_MIN else (),
        "slots": [chosen[place] if place < len(chosen) else "" for place in range(MODELS_MAX)],
        "choices": shop.offers,
        "is_too_many": len(chosen) > MODELS_MAX,
        "unknown": [name for name in dict.fromkeys(request.GET.getlist("m")) if name and name not in chosen][:MODELS_MAX],
        "use": use,
        "can_use": _may_read_usage(request),
        "can_play": can_play(request),
        "layout": layout_of(request),
    }
    return render(request, "home/compare.html", context)


def layout_of(request: HttpRequest) -> str:
    return "app.html" if getattr(request, "membership", None) else "public.html"


def _chosen(request: HttpRequest, shop: showcase.Shop) -> list[str]:
    """The models named by `m`, each once, that are on sale."""
    named = (shop.by_name.get(name) or shop.by_alias.get(name) for name in request.GET.getlist("m"))
    return list(dict.fromkeys(offer.name for offer in named if offer is not None))


def _use_of(request: HttpRequest, shop: showcase.Shop) -> recounts.TextUse | None:
    membership: Membership | None = getattr(request, "membership", None)
    if membership is None or not _may_read_usage(request):
        return None
    chat = [offer.name for offer in shop.offers if offer.surface == Route.Surface.CHAT]
    return recounts.text_use(membership.organization, route_names=chat)


def _may_read_usage(request: HttpRequest) -> bool:
    membership: Any = getattr(request, "membership", None)
    return membership is not None and may(membership, "usage.read")


def can_play(request: HttpRequest) -> bool:
    """Strangers are led through the sign-in to the playground; who can't use it is not sent there."""
    membership: Any = getattr(request, "membership", None)
    if membership is None:
        return is_on("playground")
    return may(membership, "keys.manage") and is_on("playground", organization=membership.organization)
