"""How an invoice stands, in a customer's words: what happened, why, and what they can do. No row is written here."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from invoices.kept_texts import tell_event, tell_problem
from invoices.models import Invoice, InvoiceEvent

ORGANIZATION_PAGE = "/app/configuracoes/empresa/"
FISCAL_PAGE = "/app/notas/dados/"
OURS_TEXT = _("Estamos corrigindo. Você não precisa fazer nada: ela sai com o mesmo número.")
# What the tax office says of the taker (annex I, group toma), and what it means to whoever typed it.
TAKER_REASONS = {
    "E0188": _("o CNPJ não existe na Receita"),
    "E0202": _("o CNPJ é da mesma empresa que emite a nota"),
    "E0206": _("o CPF não existe na Receita"),
    "E0207": _("o CPF não existe na Receita"),
    "E0234": _("falta o endereço"),
    "E0235": _("falta o endereço"),
    "E0237": _("falta o endereço, que a retenção do ISS exige"),
    "E0238": _("o município do endereço não existe"),
    "E0240": _("o CEP não existe ou é de outro município"),
    "E0247": _("o e-mail para notas não é válido"),
}
# Of `Invoice.Status`; what was never issued and never will be is no customer's business.
LABELS = {
    Invoice.Status.DRAFT: (_("Na fila"), "neutral"),
    Invoice.Status.NUMBERED: (_("Na fila"), "neutral"),
    Invoice.Status.SIGNED: (_("Na fila"), "neutral"),
    Invoice.Status.SENDING: (_("Emitindo"), "info"),
    Invoice.Status.UNCERTAIN: (_("Emitindo"), "info"),
    Invoice.Status.ISSUED: (_("Autorizada"), "success"),
    Invoice.Status.REJECTED: (_("Rejeitada"), "error"),
    Invoice.Status.CANCEL_PENDING: (_("Cancelando"), "warning"),
    Invoice.Status.CANCELLED: (_("Cancelada"), "neutral"),
    Invoice.Status.REPLACED: (_("Substituída"), "neutral"),
}
# What a page's and the API's filter asks for.
FILTERS = {
    "na-fila": (_("Na fila"), (Invoice.Status.DRAFT, Invoice.Status.NUMBERED, Invoice.Status.SIGNED)),
    "emitindo": (_("Emitindo"), (Invoice.Status.SENDING, Invoice.Status.UNCERTAIN)),
    "autorizada": (_("Autorizada"), (Invoice.Status.ISSUED, Invoice.Status.CANCEL_PENDING)),
    "rejeitada": (_("Rejeitada"), (Invoice.Status.REJECTED,)),
    "cancelada": (_("Cancelada"), (Invoice.Status.CANCELLED,)),
    "substituida": (_("Substituída"), (Invoice.Status.REPLACED,)),
}
HAS_PAPER = (Invoice.Status.ISSUED, Invoice.Status.CANCEL_PENDING, Invoice.Status.CANCELLED, Invoice.Status.REPLACED)
LOOK_UP_URL = "https://www.nfse.gov.br/ConsultaPublica/?tpc=1&chave="


@dataclass(frozen=True, slots=True)
class Standing:
    """`reason` only where something is wrong; `fix_url` only where the customer is the one who can mend it."""

    label: str
    kind: str  # of `parts/_badge.html`
    reason: str = ""
    fix_url: str = ""
    fix_label: str = ""
    has_paper: bool = False


def standing_of(invoice: Invoice) -> Standing:
    name, kind = LABELS.get(Invoice.Status(invoice.status), (_("Descartada"), "neutral"))
    label = str(name)
    if invoice.status != Invoice.Status.REJECTED:
        return Standing(label, kind, has_paper=invoice.status in HAS_PAPER)
    code = invoice.problem_code
    if code == "TAKER":  # ours: nothing was sent
        reason = _sentence(tell_problem(invoice.problem) or gettext("Falta um dado da sua empresa"))
        return Standing(label, kind, reason, ORGANIZATION_PAGE, gettext("Corrigir dados"))
    if code in TAKER_REASONS or invoice.problem_field.startswith("taker."):
        reason = str(TAKER_REASONS.get(code, _("há um erro nos dados da sua empresa")))
        told = gettext("A prefeitura recusou: {reason}.").format(reason=reason)
        return Standing(label, kind, told, ORGANIZATION_PAGE, gettext("Corrigir dados"))
    return Standing(label, kind, str(OURS_TEXT))


def look_up_url(invoice: Invoice) -> str:
    """The public page of a national note that has fiscal value; empty for all others."""
    national = len(invoice.access_key) == 50 and invoice.environment == "1" and invoice.status in HAS_PAPER
    return LOOK_UP_URL + invoice.access_key if national else ""


@dataclass(frozen=True, slots=True)
class Step:
    at: dt.datetime
    text: str


def story_of(invoice: Invoice) -> list[Step]:
    """What happened so far, oldest first: the turns of the note, and where it was mailed to."""
    steps = [Step(invoice.created_at, gettext("Nota preparada."))]
    if invoice.issued_at:
        number = invoice.nfse_number
        told = gettext("Autorizada com o número {number}.").format(number=number) if number else gettext("Autorizada.")
        steps.append(Step(invoice.issued_at, told))
    if invoice.cancelled_at:
        is_replaced = invoice.status == Invoice.Status.REPLACED
        told = gettext("Substituída por outra nota.") if is_replaced else gettext("Cancelada.")
        if invoice.cancel_reason:
            told += " " + gettext("Motivo: {reason}").format(reason=_sentence(invoice.cancel_reason))
        steps.append(Step(invoice.cancelled_at, told))
    mails = InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.DELIVERY).order_by("id")
    steps += [Step(mail.created_at, tell_event(mail.text)) for mail in mails]
    return sorted(steps, key=lambda step: step.at)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
