"""What a customer reads about a payment by Stripe, from its row."""

from __future__ import annotations

from dataclasses import dataclass

from billing.cards.payments import may_confirm
from billing.models import CardPayment
from billing.money import format_brl
from tokia import clock

GOES_ON = ("opening", "page", "bank", "processing", "pix")
Status, How = CardPayment.Status, CardPayment.How


@dataclass(frozen=True, slots=True)
class CardState:
    """`name`: opening, page (Stripe's), bank (the card's), processing, pix, paid, asked (may be confirmed), failed, expired."""

    name: str
    kind: str  # success, warning, error, info: the colour, never alone
    title: str
    text: str

    @property
    def is_paid(self) -> bool:
        return self.name == "paid"


def card_state_of(payment: CardPayment) -> CardState:
    """The state at this instant."""
    status = payment.status
    if status == Status.PAID:
        return CardState("paid", "success", "Pagamento confirmado", f"{format_brl(payment.received_nanos)} no seu saldo.")
    if status == Status.FAILED and may_confirm(payment):
        return CardState(
            "asked",
            "warning",
            "O banco do cartão quer falar com você",
            "Nada foi cobrado ainda. Confirme o pagamento na página do banco.",
        )
    if status == Status.FAILED:
        return CardState("failed", "error", "Pagamento recusado", f"{payment.failure} Nada foi cobrado.".strip())
    if status == Status.EXPIRED or payment.expires_at <= clock.now():
        return CardState("expired", "warning", "O prazo deste pagamento acabou", "Nada foi cobrado.")
    if status == Status.OPENING:
        return CardState("opening", "info", "Falando com a Stripe…", "Leva poucos segundos. Nada é cobrado duas vezes.")
    return _pending(payment)


def _pending(payment: CardPayment) -> CardState:
    if payment.brcode:
        return CardState("pix", "info", "Aguardando pagamento", "Esta página se atualiza sozinha.")
    if payment.how == How.CHECKOUT:
        return CardState(
            "page", "info", "Aguardando pagamento", "Pague na página segura da Stripe. Esta página se atualiza sozinha."
        )
    if payment.page_url:
        return CardState("bank", "info", "O banco do cartão pede uma confirmação", "Confirme na página do banco e volte para cá.")
    return CardState("processing", "info", "Pagamento em processamento", "O banco do cartão está respondendo.")
