"""What keeps an invoice from being issued, in words, with the field that a person repairs."""

from __future__ import annotations

from billing import events
from billing.money import from_centavos, to_brl
from invoices.channels import (
    Cancelled,
    CancelOutcome,
    Exists,
    Issued,
    Later,
    Message,
    Missing,
    Outcome,
    Pending,
    Rejected,
    Uncertain,
)
from invoices.errors import Incomplete
from invoices.models import Invoice, InvoiceEvent

Problem = dict[str, str]

# Annex I: which field a refusal is about. What is not here is for whoever reads the text.
FIELDS = {
    "E0010": "issuer.series", "E0014": "invoice.number", "E0015": "invoice.competence_on", "E0037": "issuer.city_code",
    "E0038": "issuer.city_code", "E0039": "issuer.city_code", "E0042": "invoice.replaces", "E0084": "issuer.tax_id",
    "E0116": "issuer.municipal_registration", "E0120": "issuer.sends_municipal_registration", "E0162": "terms.simples_assessment",
    "E0166": "terms.simples_assessment", "E0188": "taker.tax_id", "E0190": "taker.tax_id", "E0202": "taker.tax_id",
    "E0204": "taker.tax_id", "E0206": "taker.tax_id", "E0207": "taker.tax_id", "E0235": "taker.postal_code",
    "E0237": "taker.postal_code", "E0240": "taker.postal_code", "E0242": "taker.postal_code", "E0310": "terms.service_code",
    "E0314": "terms.city_service_code", "E0316": "terms.nbs_code", "E0322": "terms.nbs_code", "E0595": "terms.iss_bps",
    "E0617": "terms.iss_bps", "E0619": "terms.iss_bps", "E0621": "terms.iss_bps", "E0625": "terms.iss_bps",
    "E0635": "terms.iss_bps", "E0640": "terms.iss_bps", "E0712": "terms.simples_bps", "E0713": "terms.federal_bps",
    "E0959": "terms.tax_class",
}  # fmt: skip
NO_PROBLEM: Problem = {"problem_code": "", "problem": "", "problem_field": ""}


def problem_of(refusal: Rejected) -> Problem:
    """The first message decides; the others are told behind it."""
    messages = refusal.messages or (Message(code="", text="Recusada sem motivo."),)
    first = messages[0]
    text = " · ".join(" ".join(part for part in (each.text, each.detail) if part) for each in messages)
    return {"problem_code": first.code[:20], "problem": text[:600], "problem_field": FIELDS.get(first.code.upper(), "")}


def problem_from(lack: Incomplete) -> Problem:
    return {"problem_code": lack.problem_code[:20], "problem": lack.message[:600], "problem_field": (lack.param or "")[:60]}


def told(answer: Outcome | CancelOutcome) -> str:
    """An answer in a line, for the history."""
    if isinstance(answer, Rejected):
        return problem_of(answer)["problem"]
    words = {
        Issued: "Autorizada.", Cancelled: "Cancelada.", Exists: "Já existe: a resposta anterior se perdeu.",
        Missing: "Não existe no órgão.", Pending: "Em processamento no órgão.", Later: "Não chegou ao órgão: fica para depois.",
        Uncertain: "Sem resposta que diga o que houve.",
    }[type(answer)]  # fmt: skip
    return f"{words} {answer.heard.text}".strip()


def waits_for_customer(invoice: Invoice) -> bool:
    """Its field is one that the customer fills in."""
    return invoice.problem_field.startswith("taker.")


def tell_missing(invoice: Invoice, event: InvoiceEvent) -> None:
    """Tell the customer what is asked of them, in the transaction of the refusal `event`."""
    payload = {**_payload(invoice), "problem": invoice.problem, "field": invoice.problem_field}
    events.tell(
        invoice.organization, "invoice.needs_data", reference=f"invoice:{invoice.pk}:needs_data:{event.pk}", payload=payload
    )


def tell_issued(invoice: Invoice) -> None:
    """The mail of it has the documents (`invoices.delivery`)."""
    events.tell(
        invoice.organization, "invoice.issued", reference=f"invoice:{invoice.pk}:issued", payload=_payload(invoice), is_mailed=False
    )


def tell_cancelled(invoice: Invoice) -> None:
    """The mail of it has the event (`invoices.delivery`)."""
    events.tell(
        invoice.organization, "invoice.cancelled", reference=f"invoice:{invoice.pk}:cancelled", payload=_payload(invoice),
        is_mailed=False,
    )  # fmt: skip


def _payload(invoice: Invoice) -> dict[str, str | int]:
    return {
        "invoice_id": invoice.pk, "number": invoice.nfse_number, "month": f"{invoice.month:%Y-%m}",
        "amount": f"{to_brl(from_centavos(invoice.amount_centavos)):.2f}",
    }  # fmt: skip
