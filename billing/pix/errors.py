"""What can go wrong with a PIX, as the customer reads it."""

from __future__ import annotations

from django.utils.translation import gettext

from billing import errors
from billing.errors import BillingError


class TopUpRefused(BillingError):
    """An amount outside the limits, or not a whole number of centavos."""

    code = "top_up_refused"
    status = 400


class TooManyOpenCharges(BillingError):
    """TOP_UP_OPEN_MAX charges already await payment."""

    code = "too_many_open_charges"
    status = 429


class PspUnavailable(errors.PspUnavailable):
    """The bank did not answer, or not in a way to decide by. Nothing is known: ask again with the same ids."""

    def __init__(self, detail: str) -> None:
        super().__init__(gettext("O banco não respondeu agora. Nada foi cobrado; tente de novo em instantes."))
        self.detail = detail  # for logs and the admin, never for the customer

    def __str__(self) -> str:
        return self.detail


class PspRefused(BillingError):
    """The bank said no. `kind` is the API's error type (CobOperacaoInvalida…), where it gave one."""

    code = "psp_refused"
    status = 502

    def __init__(self, *, http_status: int, kind: str, detail: str) -> None:
        super().__init__(gettext("O banco recusou a operação. Nada foi cobrado."))
        self.http_status = http_status
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.http_status} {self.kind}: {self.detail}"[:300]


class PixResolved(BillingError):
    """An unmatched Pix that somebody already credited or refunded."""

    code = "pix_resolved"
    status = 409
