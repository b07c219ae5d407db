"""What the national system says of a city, and asking it again."""

from __future__ import annotations

import json

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.cities import city_by_code
from billing.admin_parts import LookOnly, change_url
from invoices.admin_answers import show
from invoices.admin_parts import percent
from invoices.cities import city_terms
from invoices.models import CityTerms, Issuer
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"


def consult_city(request: HttpRequest, issuer: Issuer) -> None:
    """Ask the national system again, and say what it says."""
    try:
        terms = city_terms(issuer, is_fresh=True)
    except TokiaError as refusal:
        messages.error(request, refusal.message)
        return
    told = "usa o emissor nacional" if terms.uses_national_emitter else "não usa o emissor nacional"
    messages.success(request, f"O município {told}. Alíquota do ISS: {percent(terms.iss_bps)}.")


@admin.register(CityTerms)
class CityTermsAdmin(LookOnly):
    """What the national system says of a city, word for word."""

    list_display = ("city", "code", "is_adherent", "uses_national_emitter", "iss", "checked_at")
    search_fields = ("=code",)
    ordering = ("code",)
    fields = readonly_fields = ("city", "code", "is_adherent", "uses_national_emitter", "iss", "checked_at", "said")
    actions_detail = ("consult",)

    @display(description="município")
    def city(self, terms: CityTerms) -> str:
        found = city_by_code(terms.code)
        return f"{found.name.title()}/{found.state}" if found else terms.code

    @display(description="ISS do nosso serviço")
    def iss(self, terms: CityTerms) -> str:
        return percent(terms.iss_bps)

    @display(description="resposta, como veio")
    def said(self, terms: CityTerms) -> SafeString | str:
        return show(json.dumps(terms.answer, ensure_ascii=False).encode())

    @action(description="Consultar agora", url_path="consultar", permissions=["repair"])
    def consult(self, request: HttpRequest, object_id: str) -> HttpResponse:
        terms = get_object_or_404(CityTerms, pk=object_id)
        issuer = Issuer.objects.filter(city_code=terms.code).order_by("-is_active").first()
        if issuer is None:
            messages.error(request, "Nenhum emitente é deste município: a consulta é feita com o certificado de um.")
        else:
            consult_city(request, issuer)
        return redirect(change_url(terms))
