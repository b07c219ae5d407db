"""The test cards, by Stripe's own numbers and names, and what each does. Any other number is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TestCard:
    """`decline`: the decline code of every charge; `asks`: the cardholder's bank wants to see them; the rest speaks for itself."""

    number: str
    token: str
    brand: str
    label: str
    decline: str = ""
    asks: bool = False
    refund: str = "succeeded"  # or "pending": later succeeded; or "fails": succeeded, later failed
    is_disputed: bool = False


TEST_CARDS = (
    TestCard("4242424242424242", "pm_card_visa", "visa", "aprovado"),
    TestCard("5555555555554444", "pm_card_mastercard", "mastercard", "aprovado"),
    TestCard("4000000000000002", "pm_card_chargeDeclined", "visa", "recusado pelo banco", decline="generic_decline"),
    TestCard(
        "4000000000009995", "pm_card_chargeDeclinedInsufficientFunds", "visa", "sem saldo ou limite", decline="insufficient_funds"
    ),
    TestCard("4000000000000069", "pm_card_chargeDeclinedExpiredCard", "visa", "vencido", decline="expired_card"),
    TestCard("4000000000009979", "pm_card_chargeDeclinedStolenCard", "visa", "roubado", decline="stolen_card"),
    TestCard(
        "4000000000000341", "pm_card_chargeCustomerFail", "visa", "salva, mas toda cobrança é recusada", decline="generic_decline"
    ),
    TestCard("4000002760003184", "pm_card_authenticationRequired", "visa", "o banco pede confirmação", asks=True),
    TestCard("4000000000007726", "pm_card_pendingRefund", "visa", "a devolução demora", refund="pending"),
    TestCard("4000000000005126", "pm_card_refundFail", "visa", "a devolução falha depois", refund="fails"),
    TestCard("4000000000000259", "pm_card_createDispute", "visa", "a compra é contestada", is_disputed=True),
)
BY_NUMBER = {card.number: card for card in TEST_CARDS}
BY_TOKEN = {card.token: card for card in TEST_CARDS}
SAVEABLE_ALTHOUGH_DECLINED = {"4000000000000341"}
MESSAGES = {
    "generic_decline": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "stolen_card": "Your card was declined.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}
# Declines whose `code` is their own; the others are "card_declined" with a `decline_code`.
OWN_CODES = {"expired_card", "authentication_required"}
