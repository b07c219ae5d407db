"""`/modelos/<fabricante>/<modelo>/`: everything about one model, or one virtual model, that somebody may want to know first."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from billing.comparison_rates import current_rates
from gateway.models import Route
from tokia import model_story, showcase
from tokia.catalog_pages import can_play, layout_of
from tokia.comparing import example_nanos
from tokia.paces import Paces, read_paces
from tokia.price_rows import price_rows
from tokia.showcase import Offer, Shop, VirtualOffer
from tokia.snippets import snippets_for
from tokia.status import BAR_HEIGHT, BAR_WIDTH, show_item
from tokia.templatetags.tokia import said


@require_safe
def model(request: HttpRequest, maker: str, model: str) -> HttpResponse:
    """404 for what is not on sale; another name of a model leads to its own."""
    shop, name = showcase.shop(), f"{maker}/{model}"
    virtual = next((rule for rule in shop.virtual if rule.name == name), None)
    offer = shop.by_name.get(name)
    if offer is None and virtual is not None:
        return render(request, "home/virtual_model.html", _shared(request, virtual, surface="chat") | _virtual_context(virtual))
    if offer is None and name in shop.by_alias:
        return HttpResponsePermanentRedirect(shop.by_alias[name].url)
    if offer is None:
        raise Http404
    return render(request, "home/model.html", _shared(request, offer, surface=offer.surface) | _context(offer, shop))


def _shared(request: HttpRequest, offer: Offer | VirtualOffer, *, surface: str) -> dict[str, Any]:
    return {
        "nav": "modelos",
        "title": offer.display_name,
        "offer": offer,
        "snippets": snippets_for(surface, model=offer.name, base_url=f"{settings.GATEWAY_URL}/v1"),
        "can_play": can_play(request) and surface == Route.Surface.CHAT,
        "layout": layout_of(request),
        "json_ld": _json_ld(offer),
    }


def _context(offer: Offer, shop: Shop) -> dict[str, Any]:
    rates, paces = current_rates(), read_paces()
    rows = list(price_rows(offer, rates))
    into, out = model_story.modalities(offer)
    return {
        "pace": paces.of(offer.name),
        "measured": _measured(offer.name, paces),
        "bar_width": BAR_WIDTH,
        "bar_height": BAR_HEIGHT,
        "rows": rows,
        "sources": sorted({(row.source, row.read_on) for row in rows if row.read_on is not None}),
        "has_abroad": any(row.abroad_nanos is not None for row in rows),
        "rates": rates,
        "version": shop.version,
        "upcoming": model_story.upcoming_of(offer),
        "history": model_story.history_of(offer.name),
        "chart_width": model_story.WIDTH,
        "chart_height": model_story.HEIGHT,
        "example_nanos": example_nanos(offer),
        "into": into,
        "out": out,
        "abilities": [(label, model_story.CAPABILITY_TEXTS.get(name, "")) for name, label in showcase.CAPABILITIES.items()
                      if name in offer.capabilities],
        "parameters": model_story.parameters_of(offer),
        "servers": [(server, model_story.country_of(server)) for server in offer.servers],
        "neighbours": _neighbours(offer, shop),
    }  # fmt: skip


def _virtual_context(offer: VirtualOffer) -> dict[str, Any]:
    paces = read_paces()
    return {"steps": [(step, below, paces.of(step.name)) for step, below in offer.steps]}


def _measured(name: str, paces: Paces) -> dict[str, Any] | None:
    item = paces.items.get(name)
    return show_item(item) if item is not None else None


def _neighbours(offer: Offer, shop: Shop) -> list[Offer]:
    """To compare with: of the same kind, those whose output price is nearest, of other makers first."""
    if offer.output_nanos is None:
        return []
    mine = offer.output_nanos
    others = [
        other for other in shop.offers if other.surface == offer.surface and other != offer and other.output_nanos is not None
    ]
    others.sort(key=lambda other: (other.maker == offer.maker, abs((other.output_nanos or 0) - mine)))
    return others[:3]


def _json_ld(offer: Offer | VirtualOffer) -> list[dict[str, Any]]:
    """For search engines: where the page is, and what is sold."""
    home = settings.WEB_URL
    places = ((f"{home}/modelos/", _("Modelos e preços")), (f"{home}{offer.url}", offer.display_name))
    told: list[dict[str, Any]] = [
        {
            "@context": "https://schema.org", "@type": "BreadcrumbList",
            "itemListElement": [
                {"@type": "ListItem", "position": number, "name": label, "item": url}
                for number, (url, label) in enumerate(places, 1)
            ],
        },
        {
            "@context": "https://schema.org", "@type": "WebAPI", "name": offer.display_name, "identifier": offer.name,
            "description": said(offer.description), "url": f"{home}{offer.url}", "documentation": f"{home}/docs/",
            "provider": {"@type": "Organization", "name": "Tokia", "url": f"{home}/"},
        },
    ]  # fmt: skip
    return told
