"""The catalog for people: `/modelos/`, with filters that have an address."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from gateway import own_keys
from tokia import showcase

ORDERS = {
    "": "Fabricante",
    "entrada": "Menor preço de entrada",
    "saida": "Menor preço de saída",
    "contexto": "Maior contexto",
}


@require_safe
def catalog(request: HttpRequest) -> HttpResponse:
    """`/modelos/`: filters are a GET form, so that every view of it has an address."""
    everything = showcase.offers()
    context = {
        "nav": "modelos",
        "title": "Modelos e preços",
        "offers": _filtered(everything, request),
        "total": len(everything),
        "makers": sorted({offer.maker for offer in everything}),
        "capabilities": [
            (key, label) for key, label in showcase.CAPABILITIES.items() if any(key in offer.capabilities for offer in everything)
        ],
        "orders": ORDERS.items(),
        "own_key_fee": own_keys.tell_fee(),
        "layout": "app.html" if getattr(request, "membership", None) else "public.html",
    }
    template = "home/_catalog_table.html" if getattr(request, "htmx", False) else "home/catalog.html"
    return render(request, template, context)


def _filtered(offers: list[showcase.Offer], request: HttpRequest) -> list[showcase.Offer]:
    words = request.GET.get("busca", "").lower().split()
    maker, capability = request.GET.get("provedor", ""), request.GET.get("capacidade", "")
    kept = [
        offer
        for offer in offers
        if all(word in f"{offer.name} {offer.display_name} {offer.maker}".lower() for word in words)
        and (not maker or offer.maker == maker)
        and (not capability or capability in offer.capabilities)
    ]
    last = 2**63
    keys: dict[str, Any] = {
        "entrada": lambda offer: last if offer.input_nanos is None else offer.input_nanos,
        "saida": lambda offer: last if offer.output_nanos is None else offer.output_nanos,
        "contexto": lambda offer: -offer.context_tokens,
    }
    order = request.GET.get("ordem", "")
    return sorted(kept, key=keys[order]) if order in keys else kept
