"""A declined card in Portuguese, by Stripe's decline codes (docs: "Declines"); pages tell it by `billing.kept_texts`.

A customer never reads that a card was reported lost or stolen: the bank tells its holder.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop

AUTHENTICATION = "authentication_required"
ASK_BANK = gettext_noop("O banco do cartão recusou o pagamento. Fale com ele ou use outro cartão.")
WORDS: dict[str, str] = {
    AUTHENTICATION: gettext_noop("O banco do cartão pede que você confirme este pagamento."),
    "approve_with_id": gettext_noop("O banco não autorizou agora. Tente de novo; se persistir, fale com ele."),
    "card_not_supported": gettext_noop("Este cartão não aceita este tipo de compra. Use outro cartão."),
    "card_velocity_exceeded": gettext_noop("O cartão passou do limite de compras do banco. Use outro cartão ou tente mais tarde."),
    "currency_not_supported": gettext_noop("Este cartão não aceita compras em reais. Use outro cartão."),
    "expired_card": gettext_noop("O cartão está vencido. Use outro cartão."),
    "incorrect_cvc": gettext_noop("O código de segurança do cartão não confere."),
    "invalid_cvc": gettext_noop("O código de segurança do cartão não confere."),
    "incorrect_number": gettext_noop("O número do cartão não confere."),
    "invalid_number": gettext_noop("O número do cartão não confere."),
    "incorrect_zip": gettext_noop("O CEP não é o do cartão."),
    "insufficient_funds": gettext_noop("O cartão não tem saldo ou limite para este valor. Use outro cartão."),
    "withdrawal_count_limit_exceeded": gettext_noop("O cartão não tem saldo ou limite para este valor. Use outro cartão."),
    "invalid_account": gettext_noop("O cartão ou a conta dele não vale mais. Use outro cartão."),
    "new_account_information_available": gettext_noop("O cartão ou a conta dele mudou. Salve o cartão de novo."),
    "invalid_amount": gettext_noop("O banco não aceita este valor neste cartão."),
    "invalid_expiry_month": gettext_noop("A validade do cartão não confere."),
    "invalid_expiry_year": gettext_noop("A validade do cartão não confere."),
    "issuer_not_available": gettext_noop("O banco do cartão não respondeu. Tente de novo em instantes."),
    "processing_error": gettext_noop("Algo falhou no processamento do cartão. Tente de novo em instantes."),
    "reenter_transaction": gettext_noop("Algo falhou no processamento do cartão. Tente de novo em instantes."),
    "try_again_later": gettext_noop("O banco do cartão não autorizou agora. Tente de novo mais tarde."),
    "testmode_decline": gettext_noop("Um cartão de teste não paga aqui."),
    "payment_intent_payment_attempt_expired": gettext_noop("O prazo para pagar acabou. Nada foi cobrado."),
}
# No use in asking the same card again: the automatic top-up is switched off at once.
FOR_GOOD = frozenset(
    {
        "card_not_supported", "currency_not_supported", "expired_card", "incorrect_number", "invalid_account", "invalid_number",
        "lost_card", "new_account_information_available", "pickup_card", "restricted_card", "revocation_of_all_authorizations",
        "revocation_of_authorization", "security_violation", "service_not_allowed", "stolen_card", "stop_payment_order",
        "transaction_not_allowed",
    }
)  # fmt: skip


def words_for(decline_code: str) -> str:
    return WORDS.get(decline_code, ASK_BANK)
