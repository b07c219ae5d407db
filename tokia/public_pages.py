"""Pages for everybody, signed in or not: the shop window and the legal texts."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from billing.referral_link import keep_code
from tokia import showcase


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    offers = showcase.offers()
    featured = [offer for offer in offers if offer.is_featured][:8] or offers[:8]
    context = {
        "title": "Modelos de IA em reais",
        "featured": featured,
        "offer_count": len(offers),
        "maker_count": len({offer.maker for offer in offers}),
        "first_route": showcase.first_route(offers),
        "top_up_min": settings.TOP_UP_MIN_BRL,
    }
    response = render(request, "home/landing.html", context)
    keep_code(request, response)
    return response


@require_safe
def terms(request: HttpRequest) -> HttpResponse:
    return render(request, "home/terms.html", {"title": "Termos de uso"})


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    return render(request, "home/privacy.html", {"title": "Privacidade"})
