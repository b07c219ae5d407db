"""The recibo of a top-up, as PDF: that we received this money from this organization. No fiscal document: the NFS-e follows use.

(`recibo` is the law's own word, like PIX and NFS-e.)
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from django.conf import settings
from django.utils.translation import override

from accounts.models import Organization
from accounts.tax_ids import format_tax_id
from billing import seals
from billing.models import CardPayment, Charge, LedgerEntry, Lot, Refund
from billing.money import CENTAVO, format_brl
from billing.number_words import CENTAVOS_MAX, spell_brl
from tokia.clock import SAO_PAULO


@dataclass(frozen=True, slots=True)
class Recibo:
    """What the paper says. `refunds`: what went back since, by instant."""

    entry: LedgerEntry
    organization: Organization
    amount_nanos: int
    paid_at: dt.datetime
    paid_by: str  # "PIX", "Visa •••• 4242"
    payment_label: str
    payment_id: str
    refunds: list[tuple[dt.datetime, int]] = field(default_factory=list)
    seal_text: str = ""

    @property
    def number(self) -> str:
        return f"{self.entry.pk:08d}"


@override(settings.LANGUAGE_CODE)  # files are Portuguese
def find_recibo(organization: Organization, *, entry_id: int | None = None, reference: str = "") -> Recibo | None:
    """The recibo of one of an organization's top-ups, by its entry or the entry's reference; None where there is no such one."""
    top_ups = Lot.everywhere.filter(wallet__organization=organization, entry__kind=LedgerEntry.Kind.TOP_UP).select_related("entry")
    lot = (top_ups.filter(entry_id=entry_id) if entry_id is not None else top_ups.filter(entry__reference=reference)).first()
    if lot is None:
        return None
    entry = lot.entry
    book, _, payment_id = entry.reference.partition(":")
    paid_at, paid_by, label = entry.created_at, "PIX", "ID da transação (E2E)"
    if book == "stripe":
        payment = CardPayment.everywhere.filter(intent_id=payment_id).first()
        label = "Pagamento na Stripe"
        paid_by = _card_text(payment)
        paid_at = payment.paid_at or paid_at if payment else paid_at
    else:
        paid_at = _pix_instant(organization, payment_id) or paid_at
    seal = seals.seal_of(entry.pk)
    return Recibo(
        entry=entry, organization=organization, amount_nanos=lot.amount_nanos, paid_at=paid_at, paid_by=paid_by,
        payment_label=label, payment_id=payment_id, refunds=_refunds_of(lot),
        seal_text=seals.Head(seal.seq, bytes(seal.digest)).text if seal else "",
    )  # fmt: skip


def _card_text(payment: CardPayment | None) -> str:
    if payment is None:
        return "Cartão"
    if payment.how == CardPayment.How.PIX:
        return "PIX"
    return payment.paid_with or (str(payment.card) if payment.card else "Cartão")


def _pix_instant(organization: Organization, end_to_end_id: str) -> dt.datetime | None:
    """When the bank says that it was paid."""
    charge = Charge.everywhere.filter(
        wallet__organization=organization, payments__contains=[{"endToEndId": end_to_end_id}]
    ).first()  # fmt: skip
    for payment in charge.payments if charge else ():
        if payment.get("endToEndId") == end_to_end_id and payment.get("horario"):
            return dt.datetime.fromisoformat(payment["horario"].replace("Z", "+00:00"))
    return None


def _refunds_of(lot: Lot) -> list[tuple[dt.datetime, int]]:
    """What was returned of it, by us or by who disputed it and won."""
    gone = [
        (refund.done_at or refund.created_at, refund.amount_nanos)
        for refund in Refund.objects.filter(lot=lot, status=Refund.Status.DONE, returned_at=None)
    ]
    return sorted(gone)


@override(settings.LANGUAGE_CODE)  # files are Portuguese
def draw_recibo(recibo: Recibo) -> bytes:
    """The PDF. The same facts are the same bytes."""
    from billing.paper import Paper  # a quarter of a second of fonts, for whoever draws

    organization = recibo.organization
    paper = Paper(
        title=f"Recibo de recarga {recibo.number}", made_at=recibo.entry.created_at,
        foot="Este recibo não é documento fiscal. A nota fiscal de serviço (NFS-e) é emitida sobre o consumo, no mês seguinte.",
    )  # fmt: skip
    paper.write_heading("RECIBO DE RECARGA", beside=f"Nº {recibo.number}")
    paper.write_text(format_brl(recibo.amount_nanos), is_bold=True, size=22)
    paper.ln(4)
    paper.write_text(
        f"Recebemos de {organization.name}, {_tax_text(organization)}a importância de {format_brl(recibo.amount_nanos)}"
        f"{_in_words(recibo.amount_nanos)}, como recarga de saldo pré-pago para uso da plataforma Tokia."
    )
    paper.ln(5)
    paper.write_facts(
        [
            ("Pagador", organization.name),
            *([(organization.get_tax_id_kind_display(), format_tax_id(organization.tax_id))] if organization.tax_id else []),
            ("Forma de pagamento", recibo.paid_by),
            ("Data e hora", f"{_told(recibo.paid_at)} (horário de Brasília)"),
            (recibo.payment_label, recibo.payment_id),
            ("Recebedor", settings.RECEIVER_NAME),
            ("CNPJ do recebedor", format_tax_id(settings.RECEIVER_TAX_ID)),
        ]
    )
    if recibo.refunds:
        paper.write_text("Devoluções desta recarga", is_bold=True)
        paper.ln(1)
        gone = sum(nanos for _, nanos in recibo.refunds)
        paper.write_sums([(f"Devolvido em {_told(at)}", format_brl(-nanos), "") for at, nanos in recibo.refunds])
        paper.write_sums([("Valor que permanece", format_brl(recibo.amount_nanos - gone), "bold")])
        paper.ln(3)
    selo = recibo.seal_text or "em preparo: este recibo o mostra alguns minutos depois da recarga"
    paper.write_small(
        f"Selo no livro de saldos: {selo}. O selo encadeia este lançamento aos anteriores; qualquer alteração o quebra."
    )
    return paper.bytes()


def _tax_text(organization: Organization) -> str:
    return f"{organization.get_tax_id_kind_display()} {format_tax_id(organization.tax_id)}, " if organization.tax_id else ""


def _in_words(nanos: int) -> str:
    centavos, rest = divmod(nanos, CENTAVO)
    return "" if rest or centavos > CENTAVOS_MAX else f" ({spell_brl(centavos)})"


def _told(at: dt.datetime) -> str:
    return f"{at.astimezone(SAO_PAULO):%d/%m/%Y %H:%M:%S}"
