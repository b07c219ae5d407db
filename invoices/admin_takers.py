"""What organizations want on their notes. They set it on their own page; staff do it for them, with a reason."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.admin_parts import to
from invoices.admin_parts import percent
from invoices.admin_reasons import Reasoned, ReasonedForm
from invoices.models import FiscalProfile

# mypy: disable-error-code="misc,untyped-decorator"


class WishesForm(ReasonedForm):
    class Meta:
        model = FiscalProfile
        fields = (
            "organization", "accountant_email", "purchase_number", "withholds_iss", "irrf_bps", "csll_bps", "pis_cofins_withheld",
        )  # fmt: skip
        help_texts = {
            "accountant_email": "Recebe cada nota, além do e-mail da empresa.",
            "purchase_number": "Vai em cada nota (xPed).",
            "withholds_iss": "Só quando a lei do município obriga o tomador a reter; a nota precisa do endereço (E0237).",
            "irrf_bps": "150 é 1,5%.",
            "csll_bps": "100 é 1%.",
        }

    def check(self) -> dict[str, str]:
        names = ("irrf_bps", "csll_bps")
        return {name: "Uma alíquota vai até 100%." for name in names if (getattr(self.instance, name) or 0) > 10_000}


@admin.register(FiscalProfile)
class FiscalProfileAdmin(Reasoned):
    form = WishesForm
    list_display = ("organization", "accountant_email", "purchase_number", "withholds_iss", "irrf", "csll", "changed_at")
    list_filter = ("withholds_iss", "pis_cofins_withheld")
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__trade_name", "organization__tax_id", "accountant_email")
    autocomplete_fields = ("organization",)
    ordering = ("-changed_at",)

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> tuple[str, ...]:
        return ("organization_link", "changed_at") if obj else ()

    def get_exclude(self, request: HttpRequest, obj: object = None) -> tuple[str, ...]:
        return ("organization",) if obj else ()

    @display(description="empresa")
    def organization_link(self, wishes: FiscalProfile) -> SafeString | str:
        return to(wishes.organization)

    @display(description="IRRF")
    def irrf(self, wishes: FiscalProfile) -> str:
        return percent(wishes.irrf_bps)

    @display(description="CSLL")
    def csll(self, wishes: FiscalProfile) -> str:
        return percent(wishes.csll_bps)
