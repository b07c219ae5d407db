"""What staff do to an invoice. Each act has its page, asks a reason, calls a verb and leaves a line in the history."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action

from accounts.signup import identify
from billing.admin_forms import ReasonForm
from billing.admin_parts import LookOnly, posted, who
from invoices import delivery, drafting, issuing, reviews
from invoices.admin_forms import CancelForm, ReplaceForm, TakerForm, UploadForm
from invoices.admin_parts import act_on, reais
from invoices.models import Invoice
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"
Status = Invoice.Status
UNSENT = (Status.DRAFT, Status.NUMBERED, Status.SIGNED)
# Where a button shows. The verb decides all the same: a page that is older than the invoice is refused by it, in words.
SHOWN_IN: dict[str, tuple[str, ...]] = {
    "ask_now": (*UNSENT, Status.SENDING, Status.UNCERTAIN, Status.CANCEL_PENDING),
    "correct_taker": (*UNSENT, Status.REJECTED, Status.ISSUED),
    "reissue": (Status.REJECTED,),
    "upload": (*UNSENT, Status.REJECTED, Status.UNCERTAIN),
    "resend": (Status.ISSUED, Status.CANCELLED),
    "replace": (Status.ISSUED,),
    "cancel": (Status.ISSUED,),
    "discard": (*UNSENT, Status.REJECTED),
    "draft_again": (Status.CANCELLED, Status.DISCARDED),
    "close_review": (Status.ISSUED, Status.CANCELLED, Status.REPLACED),
}


def invoice_of(object_id: str) -> Invoice:
    return get_object_or_404(Invoice.everywhere.select_related("organization", "issuer"), pk=object_id)


def state_of(invoice: Invoice) -> str:
    """How it stands now, for the sentence after an act."""
    invoice.refresh_from_db()
    told = f"Situação: {invoice.get_status_display().lower()}"
    return f"{told}. {invoice.problem}" if invoice.problem else f"{told}."


class InvoiceActs(LookOnly):
    """The acts of the invoice's page; `InvoiceAdmin` shows the rows."""

    actions_detail = (
        "reissue", "ask_now", "resend",
        {"title": "Mais", "items": ["correct_taker", "cancel", "replace", "close_review", "upload", "discard", "draft_again"]},
        {"title": "Baixar", "items": ["take_xml", "take_pdf", "take_dps", "take_cancel"]},
    )  # fmt: skip

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[UnfoldAction]:
        """Only what the invoice's status allows."""
        found: list[UnfoldAction] = super().get_actions_detail(request, object_id)
        status = Invoice.everywhere.filter(pk=object_id).values_list("status", flat=True).first()
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        return [
            offered
            for offered in found
            if (name := offered.action_name.removeprefix(prefix)) not in SHOWN_IN or status in SHOWN_IN[name]
        ]

    @action(description="Reemitir", url_path="reemitir", permissions=["repair"])
    def reissue(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            issuing.reissue(invoice, by=who(request))
            return f"A nota volta à fila com o mesmo número. {state_of(invoice)}"

        return act_on(self, request, invoice, title=f"Reemitir: {invoice}", button="Reemitir", form=ReasonForm, act=act)

    @action(description="Corrigir tomador", url_path="corrigir-tomador", permissions=["repair"])
    def correct_taker(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The organization's particulars, for every note from now on; a rejected one may go on at once."""
        invoice = invoice_of(object_id)
        if not request.user.has_perm("accounts.change_organization"):
            raise PermissionDenied
        form = TakerForm(posted(request), invoice=invoice)

        def act(data: dict[str, Any]) -> str:
            identify(invoice.organization, identity=form.identity())
            self.log_change(request, invoice.organization, f"Dados fiscais corrigidos. Motivo: {data['reason']}")
            if not data.get("reissues"):
                return "Tomador corrigido: vale para as próximas notas."
            try:
                issuing.reissue(invoice, by=who(request))
            except TokiaError as refusal:  # the correction stands all the same
                return f"Tomador corrigido; a nota ainda não segue: {refusal.message}"
            return f"Tomador corrigido, e a nota volta à fila. {state_of(invoice)}"

        return act_on(
            self, request, invoice, title=f"Corrigir tomador: {invoice.organization}", button="Salvar tomador",
            form=lambda *_: form, act=act,
        )  # fmt: skip

    @action(description="Dar o próximo passo agora", url_path="agora", permissions=["repair"])
    def ask_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the queue would do by itself a little later: number, sign, send, or ask what became of it."""
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            issuing.issue(invoice)
            return state_of(invoice)

        return act_on(
            self, request, invoice, title=f"Próximo passo: {invoice}", button="Dar o próximo passo", form=ReasonForm, act=act
        )

    @action(description="Reenviar por e-mail", url_path="reenviar", permissions=["repair"])
    def resend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            delivery.resend(invoice, by=who(request))
            return "XML e PDF vão de novo para os e-mails da empresa."

        return act_on(self, request, invoice, title=f"Reenviar: {invoice}", button="Reenviar nota", form=ReasonForm, act=act)

    @action(description="Cancelar", url_path="cancelar", permissions=["repair"])
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            issuing.cancel(invoice, code=data["code"], reason=data["reason"], by=who(request))
            return f"Cancelamento pedido. {state_of(invoice)}"

        return act_on(self, request, invoice, title=f"Cancelar: {invoice}", button="Cancelar nota", form=CancelForm, act=act)

    @action(description="Substituir", url_path="substituir", permissions=["repair"])
    def replace(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            new = issuing.replace(
                invoice, code=data["code"], reason=data["reason"], by=who(request), amount_centavos=data["amount"]
            )
            return f"A nota nova, de {reais(new.amount_centavos)}, está na fila; esta vale até ela ser autorizada."

        form = partial(ReplaceForm, amount_centavos=invoice.amount_centavos)
        return act_on(self, request, invoice, title=f"Substituir: {invoice}", button="Substituir nota", form=form, act=act)

    @action(description="Enviar nota emitida à mão", url_path="enviar", permissions=["repair"])
    def upload(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The last resort: the city's own site issued it, and a person brings the document."""
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            issuing.upload(
                invoice, by=who(request), nfse_xml=data["xml"], pdf=data["pdf"], number=data["number"],
                access_key=data["access_key"],
            )  # fmt: skip
            return f"Documento guardado. {state_of(invoice)}"

        return act_on(
            self, request, invoice, title=f"Nota emitida à mão: {invoice}", button="Enviar documento", form=UploadForm, act=act
        )

    @action(description="Encerrar a revisão", url_path="revisada", permissions=["repair"])
    def close_review(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The accountant decided that the note stays as it is."""
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            reviews.close_review(invoice, reason=data["reason"], by=who(request))
            return "Revisão encerrada: a nota fica como está."

        return act_on(
            self, request, invoice, title=f"Encerrar a revisão: {invoice}", button="Encerrar revisão", form=ReasonForm, act=act
        )

    @action(description="Descartar", url_path="descartar", permissions=["repair"])
    def discard(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            issuing.discard(invoice, by=who(request))
            return "Nota descartada. O que ela cobrava só entra em outra por “Faturar de novo”."

        return act_on(self, request, invoice, title=f"Descartar: {invoice}", button="Descartar nota", form=ReasonForm, act=act)

    @action(description="Faturar de novo", url_path="faturar-de-novo", permissions=["repair"])
    def draft_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)

        def act(data: dict[str, Any]) -> str:
            again = drafting.redraft(invoice)
            return f"O que ela cobrava está em uma nova nota, na fila: {again.reference}."

        return act_on(
            self, request, invoice, title=f"Faturar de novo: {invoice}", button="Faturar de novo", form=ReasonForm, act=act
        )


def report(request: HttpRequest, *, done: int, refused: list[str]) -> None:
    """After a bulk act: how many went on, and each refusal in its words."""
    if done:
        messages.success(request, f"{done} nota{'' if done == 1 else 's'} de volta à fila.")
    for line in refused[:20]:
        messages.error(request, line)
    if len(refused) > 20:
        messages.error(request, f"E mais {len(refused) - 20} recusadas.")
