"""What a customer reads about a payment by Stripe, from its row."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from billing.cards.payments import may_confirm
from billing.figures import tell_brl
from billing.kept_texts import tell_kept
from billing.models import CardPayment
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
        told = _("{amount} no seu saldo.").format(amount=tell_brl(payment.received_nanos))
        return CardState("paid", "success", _("Pagamento confirmado"), told)
    if status == Status.FAILED and may_confirm(payment):
        return CardState(
            "asked",
            "warning",
            _("O banco do cartão quer falar com você"),
            _("Nada foi cobrado ainda. Confirme o pagamento na página do banco."),
        )
    if status == Status.FAILED:
        told = f"{tell_kept(payment.failure)} {_('Nada foi cobrado.')}".strip()
        return CardState("failed", "error", _("Pagamento recusado"), told)
    if status == Status.EXPIRED or payment.expires_at <= clock.now():
        return CardState("expired", "warning", _("O prazo deste pagamento acabou"), _("Nada foi cobrado."))
    if status == Status.OPENING:
        return CardState("opening", "info", _("Falando com a Stripe…"), _("Leva poucos segundos. Nada é cobrado duas vezes."))
    return _pending(payment)


def _pending(payment: CardPayment) -> CardState:
    if payment.brcode:
        return CardState("pix", "info", _("Aguardando pagamento"), _("Esta página se atualiza sozinha."))
    if payment.how == How.CHECKOUT:
        return CardState(
            "page", "info", _("Aguardando pagamento"), _("Pague na página segura da Stripe. Esta página se atualiza sozinha.")
        )
    if payment.page_url:
        return CardState(
            "bank", "info", _("O banco do cartão pede uma confirmação"), _("Confirme na página do banco e volte para cá.")
        )
    return CardState("processing", "info", _("Pagamento em processamento"), _("O banco do cartão está respondendo."))
