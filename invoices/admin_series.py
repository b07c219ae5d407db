"""The numbers of DPS: looked at, and raised once, when another system used the series before us."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.decorators import action

from billing.admin_parts import LookOnly, act_page, posted
from invoices import issuers
from invoices.admin_forms import NextNumberForm
from invoices.models import DpsSeries

# mypy: disable-error-code="misc,untyped-decorator"


@admin.register(DpsSeries)
class DpsSeriesAdmin(LookOnly):
    """Numbers go up by themselves. A person raises one only when another system used the series before us."""

    list_display = ("series", "tax_id", "city_code", "environment", "next_number")
    list_filter = ("environment",)
    search_fields = ("=tax_id", "=city_code")
    ordering = ("tax_id", "city_code", "series")
    fields = readonly_fields = ("series", "tax_id", "city_code", "environment", "next_number")
    actions_detail = ("raise_number",)

    @action(description="Avançar a numeração", url_path="avancar", permissions=["repair"])
    def raise_number(self, request: HttpRequest, object_id: str) -> HttpResponse:
        series = get_object_or_404(DpsSeries, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            before = series.next_number
            issuers.raise_next_number(series, next_number=data["next_number"])
            return f"Próximo número: de {before} para {data['next_number']}. Os do meio não serão usados."

        return act_page(
            self, request, series, title=f"Avançar a série {series}", button="Avançar a numeração",
            form=NextNumberForm(posted(request)), act=act, facts=[("Próximo número hoje", series.next_number)],
        )  # fmt: skip
