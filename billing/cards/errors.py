"""What can go wrong with a card, as the customer reads it."""

from __future__ import annotations

from django.utils.translation import gettext

from billing import errors
from billing.errors import BillingError


class StripeUnavailable(errors.PspUnavailable):
    """Stripe did not answer, or not in a way to decide by. Nothing is known: ask again with the same ids."""

    code = "stripe_unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(
            gettext("O serviço de cartões não respondeu agora. Tente de novo em instantes; nada é cobrado duas vezes.")
        )
        self.detail = detail  # for logs and the admin, never for the customer

    def __str__(self) -> str:
        return self.detail


class StripeRefused(BillingError):
    """Stripe said no to us (not the cardholder's bank to a card). `kind` is its code, where it gave one."""

    code = "stripe_refused"
    status = 502

    def __init__(self, *, http_status: int, kind: str, detail: str) -> None:
        super().__init__(gettext("O serviço de cartões recusou a operação. Nada foi cobrado."))
        self.http_status = http_status
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.http_status} {self.kind}: {self.detail}"[:300]


class CardDeclined(BillingError):
    """The cardholder's bank said no. `intent_id`: the payment that waits for another card, where Stripe names one."""

    code = "card_declined"
    status = 402

    def __init__(self, message: str, *, decline_code: str, intent_id: str) -> None:
        super().__init__(message)
        self.decline_code = decline_code
        self.intent_id = intent_id


class CardRefused(BillingError):
    """A card that can't be used here: none is saved, it was removed, the account is suspended."""

    code = "card_refused"
    status = 409


class CardsOff(StripeUnavailable):
    """This installation takes no cards, or no longer: what is under way waits, as in any silence."""

    code = "cards_off"
    status = 404
    retryable = False


class TooManyDeclines(BillingError):
    """CARD_FAILURES_MAX payments were declined within the hour, or CARDS_MAX cards saved: somebody may be trying stolen cards."""

    code = "too_many_declines"
    status = 429
    retryable = True


class AutoTopUpRefused(BillingError):
    """Amounts of an automatic top-up that don't go together."""

    code = "auto_top_up_refused"
    status = 400
