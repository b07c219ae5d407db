"""Who issues: the company as the city knows it, with everything of its own on one page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.cities import city_by_code
from accounts.tax_ids import format_tax_id
from billing.admin_forms import ReasonForm
from billing.admin_parts import LookOnlyInline, act_page, change_url, posted
from invoices import attention, issuers
from invoices.admin_cities import consult_city
from invoices.admin_forms import TokenForm
from invoices.admin_parts import tell_days
from invoices.admin_reasons import Reasoned, ReasonedForm
from invoices.focus import store_token
from invoices.models import Certificate, InvoicePolicy, Issuer, TaxTerms
from invoices.setup_check import check_setup

# mypy: disable-error-code="misc,untyped-decorator"


class IssuerForm(ReasonedForm):
    class Meta:
        model = Issuer
        fields = (
            "name", "tax_id", "municipal_registration", "sends_municipal_registration", "city_code", "channel", "environment",
            "series", "signature",
        )  # fmt: skip
        help_texts = {
            "tax_id": "Com ou sem pontuação; pode ter letras.",
            "sends_municipal_registration": "Só onde o cadastro do município a tem: senão a nota é recusada (E0120).",
            "environment": "Produção restrita é de teste: suas notas não têm valor fiscal.",
            "series": "De 1 a 49999. Outra série começa do número 1.",
            "signature": "Mude só se o órgão recusar a assinatura (E0714).",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "tax_id" in self.fields:
            self.fields["tax_id"].max_length = 18  # type: ignore[attr-defined]
            self.fields["tax_id"].validators = []
            self.fields["tax_id"].widget.attrs["maxlength"] = 18

    def clean_tax_id(self) -> str:
        return "".join(char for char in str(self.cleaned_data["tax_id"]).upper() if char.isalnum())

    def check(self) -> dict[str, str]:
        return issuers.check_issuer(self.instance)


class TermsInline(LookOnlyInline):
    model = TaxTerms
    fields = readonly_fields = ("starts_on", "regime", "service_code", "iss_bps", "ibscbs_from_on")


class PolicyInline(LookOnlyInline):
    model = InvoicePolicy
    fields = readonly_fields = ("starts_on", "kind")


class CertificateInline(LookOnlyInline):
    model = Certificate
    fields = readonly_fields = ("subject", "ends_at", "left", "is_active")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("pfx", "password")

    @display(description="validade")
    def left(self, certificate: Certificate) -> SafeString:
        return tell_days(certificate, days=attention.days_left(certificate))


@admin.register(Issuer)
class IssuerAdmin(Reasoned):
    form = IssuerForm
    list_display = ("name", "tax_id_text", "city", "channel", "environment", "series", "certificate", "is_active")
    readonly_fields = ("is_active", "city", "certificate", "has_focus_token", "last_nsu", "created_at")
    inlines = (TermsInline, PolicyInline, CertificateInline)
    actions_detail = ("check_it", "send_certificate", {"title": "Mais", "items": ["activate", "set_token", "consult"]})
    fields = (
        "name", "tax_id", "municipal_registration", "sends_municipal_registration", "city_code", "city", "channel", "environment",
        "series", "signature", "is_active", "certificate", "has_focus_token", "last_nsu", "created_at",
    )  # fmt: skip

    def save_model(self, request: HttpRequest, obj: Issuer, form: Any, change: bool) -> None:
        """The first issuer is the active one; another becomes so by its own act."""
        if not change:
            obj.is_active = not Issuer.objects.filter(is_active=True).exists()
        if {"environment", "tax_id"} & set(form.changed_data):
            obj.last_nsu = 0  # the distribution counts apart for each; read from its beginning, nothing happens twice
        super().save_model(request, obj, form, change)

    @display(description="CNPJ")
    def tax_id_text(self, issuer: Issuer) -> str:
        return format_tax_id(issuer.tax_id)

    @display(description="município")
    def city(self, issuer: Issuer) -> str:
        found = city_by_code(issuer.city_code)
        return f"{found.name.title()}/{found.state}" if found else issuer.city_code or "—"

    @display(description="certificado")
    def certificate(self, issuer: Issuer) -> SafeString | str:
        found = attention.certificate_of(issuer) if issuer.pk else None
        return tell_days(found, days=attention.days_left(found)) if found else "nenhum"

    @display(description="token da Focus guardado", boolean=True)
    def has_focus_token(self, issuer: Issuer) -> bool:
        return bool(issuer.focus_token)

    @action(description="Conferir a configuração", url_path="conferir", permissions=["view"])
    def check_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Everything that an invoice needs, without sending anything."""
        issuer = get_object_or_404(Issuer, pk=object_id)
        findings = [(finding, reverse(f"admin:{finding.place}") if finding.place else "") for finding in check_setup(issuer)]
        bad = sum(1 for finding, _ in findings if not finding.is_ok)
        context = {
            **self.admin_site.each_context(request), "title": f"Configuração de {issuer}", "opts": self.opts, "issuer": issuer,
            "findings": findings, "bad": bad, "back": change_url(issuer),
        }  # fmt: skip
        return render(request, "admin/invoices/check.html", context)

    @action(description="Enviar certificado", url_path="certificado", permissions=["repair"])
    def send_certificate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(f"{reverse('admin:invoices_certificate_send')}?issuer={object_id}")

    @action(description="Tornar ativo", url_path="ativar", permissions=["repair"])
    def activate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        issuer = get_object_or_404(Issuer, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            issuers.activate(issuer)
            return f"As próximas notas são de {issuer}."

        now = Issuer.objects.filter(is_active=True).first()
        return act_page(
            self, request, issuer, title=f"Tornar {issuer} o emitente", button="Tornar ativo", form=ReasonForm(posted(request)),
            act=act, facts=[("Emitente de hoje", now or "nenhum"), ("Passa a ser", issuer)],
        )  # fmt: skip

    @action(description="Trocar o token da Focus", url_path="focus", permissions=["repair"])
    def set_token(self, request: HttpRequest, object_id: str) -> HttpResponse:
        issuer = get_object_or_404(Issuer, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            store_token(issuer, token=data["token"])
            return "Token da Focus guardado, cifrado."

        return act_page(
            self, request, issuer, title="Trocar o token da Focus NFe", button="Guardar token", form=TokenForm(posted(request)),
            act=act, facts=[("Token de hoje", "guardado" if issuer.focus_token else "nenhum")],
        )  # fmt: skip

    @action(description="Consultar o município agora", url_path="municipio", permissions=["repair"])
    def consult(self, request: HttpRequest, object_id: str) -> HttpResponse:
        issuer = get_object_or_404(Issuer, pk=object_id)
        consult_city(request, issuer)
        return redirect(change_url(issuer))
