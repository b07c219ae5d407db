"""What documents say of taxes, and what is invoiced, from a day on: dated rows, and none that made notes is edited."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.decorators import action, display

from invoices import issuers
from invoices.admin_parts import percent
from invoices.admin_reasons import Reasoned, ReasonedForm
from invoices.models import InvoicePolicy, Issuer, TaxTerms

# mypy: disable-error-code="misc,untyped-decorator"


class TermsForm(ReasonedForm):
    class Meta:
        model = TaxTerms
        fields = (
            "issuer", "starts_on", "regime", "simples_assessment", "special_regime", "service_code", "city_service_code",
            "nbs_code", "operation_code", "tax_situation", "tax_class", "ibscbs_from_on", "iss_bps", "pis_cofins_situation",
            "pis_bps", "cofins_bps", "federal_bps", "state_bps", "city_bps", "simples_bps", "description",
        )  # fmt: skip
        labels = {
            "operation_code": "Indicador da operação (cIndOp)",
            "tax_class": "Classificação tributária (cClassTrib)",
        }
        help_texts = {
            "starts_on": "Dia da emissão a partir do qual vale. Vale até o dia em que outra começa.",
            "ibscbs_from_on": "Obrigatório para processamento de dados (1.03) desde 01/12/2026; optantes do Simples, 01/01/2027.",
            "iss_bps": "200 é 2%. Vazio onde o município informa a alíquota pelo convênio.",
            "simples_bps": "Alíquota nominal da faixa: 600 é 6%.",
            "description": "{period}, {organization} e {number} são preenchidos.",
        }

    def check(self) -> dict[str, str]:
        return issuers.check_terms(self.instance)


@admin.register(TaxTerms)
class TaxTermsAdmin(Reasoned):
    """Dated rules. One that made a note is history; a change of law is another row."""

    form = TermsForm
    list_display = ("starts_on", "issuer", "regime", "service_code", "iss", "ibscbs_from_on", "used")
    list_filter = ("issuer", "regime")
    list_select_related = ("issuer",)
    ordering = ("issuer", "-starts_on")
    actions_list = ("newer",)

    def has_change_permission(self, request: HttpRequest, obj: TaxTerms | None = None) -> bool:
        return bool(super().has_change_permission(request, obj)) and not (obj is not None and issuers.is_used(obj))

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        terms = TaxTerms.objects.filter(pk=object_id).first()
        if terms is not None and request.method == "GET" and issuers.is_used(terms):
            messages.info(
                request, "Há notas feitas por esta regra: ela não muda mais. Para mudar daqui em diante, crie outra com data."
            )
        return cast(HttpResponse, super().change_view(request, object_id, form_url, extra_context))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A new row starts as a copy of the one in force: a law changes one field at a time."""
        given: dict[str, Any] = super().get_changeform_initial_data(request)
        issuer = Issuer.objects.filter(is_active=True).first()
        newest = TaxTerms.objects.filter(issuer=issuer).order_by("-starts_on").first()
        if newest is None:
            return {"issuer": issuer.pk if issuer else None} | given
        kept = (name for name in TermsForm.Meta.fields if name not in ("issuer", "starts_on"))
        return {"issuer": newest.issuer_id} | {name: getattr(newest, name) for name in kept} | given

    @display(description="ISS")
    def iss(self, terms: TaxTerms) -> str:
        return percent(terms.iss_bps)

    @display(description="tem notas", boolean=True)
    def used(self, terms: TaxTerms) -> bool:
        return issuers.is_used(terms)

    @action(description="Nova regra a partir da atual", url_path="nova", permissions=["add"])
    def newer(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:invoices_taxterms_add")


class PolicyForm(ReasonedForm):
    class Meta:
        model = InvoicePolicy
        fields = ("issuer", "starts_on", "kind")
        help_texts = {
            "starts_on": "Dia 1º de um mês que ainda não começou (a primeira política pode valer deste mês). É o corte: o consumo e"
            " as recargas de antes ficam com a política de antes.",
            "kind": "Consumo do mês: uma nota por empresa no 1º dia útil do mês seguinte. Cada recarga: uma nota quando o dinheiro"
            " chega, e o consumo dela não é faturado de novo. Ao passar para consumo do mês, o que resta das recargas já faturadas"
            " é consumido primeiro, sem nota.",
        }  # fmt: skip

    def check(self) -> dict[str, str]:
        return issuers.check_policy(self.instance)


@admin.register(InvoicePolicy)
class InvoicePolicyAdmin(Reasoned):
    form = PolicyForm
    list_display = ("starts_on", "kind", "issuer", "state")
    list_filter = ("issuer",)
    list_select_related = ("issuer",)

    def has_change_permission(self, request: HttpRequest, obj: InvoicePolicy | None = None) -> bool:
        """What began made notes: it stays."""
        return bool(super().has_change_permission(request, obj)) and not (obj is not None and issuers.has_begun(obj))

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        may = request.user.has_perm("invoices.delete_invoicepolicy")
        return bool(may) and isinstance(obj, InvoicePolicy) and not issuers.has_begun(obj)

    @display(description="situação")
    def state(self, policy: InvoicePolicy) -> str:
        if not issuers.has_begun(policy):
            return "começa depois"
        newest = InvoicePolicy.objects.filter(issuer=policy.issuer, starts_on__gt=policy.starts_on).order_by("starts_on")
        return "encerrada" if any(issuers.has_begun(other) for other in newest) else "em vigor"
