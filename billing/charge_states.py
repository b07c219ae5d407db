"""What a customer reads about a charge, from its row and its refunds."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from billing.figures import tell_brl, tell_day_of_year
from billing.models import Charge, PixNotice, Refund, UnmatchedPix
from billing.money import from_brl
from tokia import clock

CHARGE_GOES_ON = ("opening", "awaiting", "confirming")


@dataclass(frozen=True, slots=True)
class Payment:
    end_to_end_id: str
    amount_nanos: int
    paid_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ChargeState:
    """`name`: opening, awaiting, confirming, under_review, paid, other_amount, twice, returned, expired, failed."""

    name: str
    kind: str  # success, warning, error, info: the colour, never alone
    title: str
    text: str
    payments: tuple[Payment, ...] = ()
    refunds: tuple[Refund, ...] = field(default=())

    @property
    def is_paid(self) -> bool:
        return self.name in ("paid", "other_amount", "twice", "returned")


def state_of(charge: Charge) -> ChargeState:
    """The state at this instant: an open charge past its time reads as expired before the sweep says so."""
    status = charge.status
    if status == Charge.Status.PAID:
        return _paid(charge)
    if status == Charge.Status.FAILED:
        return ChargeState(
            "failed", "error", _("Não conseguimos gerar este PIX"), _("O banco recusou a cobrança. Nada foi cobrado.")
        )
    told = _told_by_bank(charge)
    if told is not None:
        return told
    if status == Charge.Status.EXPIRED or charge.expires_at <= clock.now():
        return ChargeState(
            "expired", "warning", _("Este código expirou"), _("Nada foi cobrado. Se você já pagou, o saldo entra mesmo assim.")
        )
    if status == Charge.Status.OPENING:
        return ChargeState("opening", "info", _("Gerando seu PIX…"), _("Leva poucos segundos."))
    return ChargeState("awaiting", "info", _("Aguardando pagamento"), _("Esta página se atualiza sozinha."))


def _told_by_bank(charge: Charge) -> ChargeState | None:
    """What the bank said of an unpaid charge and nobody has booked: a rumour to be confirmed, or money that a person looks at."""
    if PixNotice.objects.filter(txid=charge.txid, status=PixNotice.Status.DUE).exists():
        return ChargeState("confirming", "info", _("Pagamento identificado"), _("Liberando o saldo…"))
    if UnmatchedPix.objects.filter(txid=charge.txid, status=UnmatchedPix.Status.OPEN).exists():
        text = _("Costuma levar até 15 minutos. Seu dinheiro não se perde.")
        return ChargeState("under_review", "warning", _("Estamos conferindo este pagamento"), text)
    return None


def _paid(charge: Charge) -> ChargeState:
    payments = tuple(
        Payment(pix["endToEndId"], from_brl(pix["valor"]), dt.datetime.fromisoformat(pix["horario"])) for pix in charge.payments
    )
    ids = [payment.end_to_end_id for payment in payments]
    refunds = tuple(Refund.objects.filter(end_to_end_id__in=ids).order_by("created_at"))
    received = tell_brl(charge.received_nanos)
    done = [refund for refund in refunds if refund.status == Refund.Status.DONE]
    if done and sum(refund.amount_nanos for refund in done) >= charge.received_nanos:
        at = max(refund.done_at for refund in done if refund.done_at).astimezone(clock.SAO_PAULO)
        name, title = "returned", _("Pagamento devolvido")
        text = _("Devolvido em {date} às {time} para a conta de origem.").format(date=tell_day_of_year(at), time=f"{at:%H:%M}")
    elif len(payments) > 1:
        name, title = "twice", _("Este PIX foi pago duas vezes") if len(payments) == 2 else _("Este PIX foi pago mais de uma vez")
        text = _("Creditamos todos os pagamentos, {amount} no total. O que sobrou pode ser devolvido com um clique.")
        text = text.format(amount=received)
    elif charge.received_nanos != charge.amount_nanos:
        name, title = "other_amount", _("Pagamento confirmado")
        text = _("Recebemos {received} em um código de {amount}. Creditamos {received}.")
        text = text.format(received=received, amount=tell_brl(charge.amount_nanos))
    else:
        name, title, text = "paid", _("Pagamento confirmado"), _("{amount} no seu saldo.").format(amount=received)
    return ChargeState(name, "success", title, text, payments=payments, refunds=refunds)
