"""How an invoice stands, in a customer's words: what happened, why, and what they can do. No row is written here."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from invoices.models import Invoice, InvoiceEvent

ORGANIZATION_PAGE = "/app/configuracoes/empresa/"
FISCAL_PAGE = "/app/notas/dados/"
OURS_TEXT = "Estamos corrigindo. Você não precisa fazer nada: ela sai com o mesmo número."
# What the tax office says of the taker (annex I, group toma), and what it means to whoever typed it.
TAKER_REASONS = {
    "E0188": "o CNPJ não existe na Receita",
    "E0202": "o CNPJ é da mesma empresa que emite a nota",
    "E0206": "o CPF não existe na Receita",
    "E0207": "o CPF não existe na Receita",
    "E0234": "falta o endereço",
    "E0235": "falta o endereço",
    "E0237": "falta o endereço, que a retenção do ISS exige",
    "E0238": "o município do endereço não existe",
    "E0240": "o CEP não existe ou é de outro município",
    "E0247": "o e-mail para notas não é válido",
}
# Of `Invoice.Status`; what was never issued and never will be is no customer's business.
LABELS = {
    Invoice.Status.DRAFT: ("Na fila", "neutral"),
    Invoice.Status.NUMBERED: ("Na fila", "neutral"),
    Invoice.Status.SIGNED: ("Na fila", "neutral"),
    Invoice.Status.SENDING: ("Emitindo", "info"),
    Invoice.Status.UNCERTAIN: ("Emitindo", "info"),
    Invoice.Status.ISSUED: ("Autorizada", "success"),
    Invoice.Status.REJECTED: ("Rejeitada", "error"),
    Invoice.Status.CANCEL_PENDING: ("Cancelando", "warning"),
    Invoice.Status.CANCELLED: ("Cancelada", "neutral"),
    Invoice.Status.REPLACED: ("Substituída", "neutral"),
}
# What a page's and the API's filter asks for.
FILTERS = {
    "na-fila": ("Na fila", (Invoice.Status.DRAFT, Invoice.Status.NUMBERED, Invoice.Status.SIGNED)),
    "emitindo": ("Emitindo", (Invoice.Status.SENDING, Invoice.Status.UNCERTAIN)),
    "autorizada": ("Autorizada", (Invoice.Status.ISSUED, Invoice.Status.CANCEL_PENDING)),
    "rejeitada": ("Rejeitada", (Invoice.Status.REJECTED,)),
    "cancelada": ("Cancelada", (Invoice.Status.CANCELLED,)),
    "substituida": ("Substituída", (Invoice.Status.REPLACED,)),
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
    label, kind = LABELS.get(Invoice.Status(invoice.status), ("Descartada", "neutral"))
    if invoice.status != Invoice.Status.REJECTED:
        return Standing(label, kind, has_paper=invoice.status in HAS_PAPER)
    code = invoice.problem_code
    if code == "TAKER":  # ours: nothing was sent
        reason = _sentence(invoice.problem or "Falta um dado da sua empresa")
        return Standing(label, kind, reason, ORGANIZATION_PAGE, "Corrigir dados")
    if code in TAKER_REASONS or invoice.problem_field.startswith("taker."):
        reason = TAKER_REASONS.get(code, "há um erro nos dados da sua empresa")
        return Standing(label, kind, f"A prefeitura recusou: {reason}.", ORGANIZATION_PAGE, "Corrigir dados")
    return Standing(label, kind, OURS_TEXT)


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
    number = f" com o número {invoice.nfse_number}" if invoice.nfse_number else ""
    steps = [Step(invoice.created_at, "Nota preparada.")]
    if invoice.issued_at:
        steps.append(Step(invoice.issued_at, f"Autorizada{number}."))
    if invoice.cancelled_at:
        why = f" Motivo: {_sentence(invoice.cancel_reason)}" if invoice.cancel_reason else ""
        is_replaced = invoice.status == Invoice.Status.REPLACED
        steps.append(Step(invoice.cancelled_at, f"{'Substituída por outra nota' if is_replaced else 'Cancelada'}.{why}"))
    mails = InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.DELIVERY).order_by("id")
    steps += [Step(mail.created_at, mail.text) for mail in mails]
    return sorted(steps, key=lambda step: step.at)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
