"""A1 certificates: whose, until when. File and password go in and never come out again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display

from accounts.tax_ids import format_tax_id
from billing.admin_forms import ReasonForm
from billing.admin_parts import LookOnly, act_page, change_url, dress, posted, to, who
from invoices import attention
from invoices.admin_forms import CertificateForm
from invoices.admin_parts import tell_days
from invoices.certificates import store_certificate
from invoices.models import Certificate
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"


@admin.register(Certificate)
class CertificateAdmin(LookOnly):
    """The last to end of those in use signs."""

    list_display = ("subject", "issuer_link", "tax_id_text", "ends_at", "left", "is_active", "uploaded_by")
    list_filter = ("is_active", "issuer")
    list_select_related = ("issuer",)
    search_fields = ("subject", "=tax_id", "=serial_number")
    ordering = ("-is_active", "-ends_at")
    fields = readonly_fields = (
        "subject", "tax_id_text", "issuer_link", "serial_number", "starts_at", "ends_at", "left", "is_active", "uploaded_by",
        "created_at",
    )  # fmt: skip
    actions_list = ("send",)
    actions_detail = ("deactivate",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("pfx", "password")

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[UnfoldAction]:
        is_active = Certificate.objects.filter(pk=object_id, is_active=True).exists()
        return super().get_actions_detail(request, object_id) if is_active else []

    @display(description="emitente")
    def issuer_link(self, certificate: Certificate) -> SafeString | str:
        return to(certificate.issuer)

    @display(description="CNPJ")
    def tax_id_text(self, certificate: Certificate) -> str:
        return format_tax_id(certificate.tax_id)

    @display(description="validade")
    def left(self, certificate: Certificate) -> SafeString:
        return tell_days(certificate, days=attention.days_left(certificate))

    @action(description="Enviar certificado", url_path="enviar", permissions=["repair"])
    def send(self, request: HttpRequest) -> HttpResponse:
        """The upload. What was typed is not shown again, whatever happens; the queue that waited goes on by itself."""
        files = request.FILES if request.method == "POST" else None
        form = CertificateForm(posted(request), files, initial={"issuer": request.GET.get("issuer", "")})
        dress(form)
        if request.method == "POST" and form.is_valid():
            data = form.cleaned_data
            try:
                kept = store_certificate(issuer=data["issuer"], pfx=data["pfx"], password=data["password"], by=who(request))
            except TokiaError as refusal:
                form.add_error(None, refusal.message)
            else:
                told = f"{kept.subject}, CNPJ {format_tax_id(kept.tax_id)}, até {kept.ends_at:%d/%m/%Y}"
                self.log_change(request, kept, f"Certificado enviado: {told}. Motivo: {data['reason']}")
                messages.success(request, f"Certificado guardado, cifrado: {told}. As notas que esperavam seguem sozinhas.")
                return redirect(change_url(kept))
        context = {
            **self.admin_site.each_context(request), "title": "Enviar certificado A1", "form": form, "button": "Enviar certificado",
            "back": reverse("admin:invoices_certificate_changelist"), "opts": self.opts,
        }  # fmt: skip
        return render(request, "admin/billing/act.html", context)

    @action(description="Tirar de uso", url_path="tirar-de-uso", permissions=["repair"])
    def deactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        certificate = get_object_or_404(Certificate.objects.select_related("issuer"), pk=object_id)

        def act(data: dict[str, Any]) -> str:
            Certificate.objects.filter(pk=certificate.pk).update(is_active=False)
            left = attention.certificate_of(certificate.issuer)
            return "Certificado fora de uso. " + (f"Agora assina {left}." if left else "Sem outro, a fila de notas espera.")

        facts = [("Titular", certificate.subject), ("Válido até", f"{certificate.ends_at:%d/%m/%Y}")]
        return act_page(
            self, request, certificate, title="Tirar o certificado de uso", button="Tirar de uso", form=ReasonForm(posted(request)),
            act=act, facts=facts,
        )  # fmt: skip
