"""What billing refuses, and why.

TokiaError
└── BillingError
    ├── InsufficientBalance     TK005  402  the wallet does not have it
    ├── BudgetExceeded                 403  a hard budget has less left than the call may cost
    ├── BudgetRefused                  400  a budget that can't be, or that is there already
    ├── LedgerUnavailable              503  the database does not answer; the same call may succeed later
    ├── PriceMissing                   503  a route or a unit without a live price is never served for free
    ├── ExchangeRateStale              503  no exchange rate that is young enough
    ├── PspUnavailable                 503  the bank does not answer
    └── LedgerRefusal                  409  a definite no of the ledger's functions; the same bytes again get the same no
        ├── SessionFenced       TK001       the gateway process was declared dead
        ├── OtherOutcome        TK002       this call was settled with another amount or outcome
        ├── UnknownWallet       TK003       no such wallet (or lot, or plan)
        ├── ReferenceReused     TK004       this business fact was booked with another amount
        ├── HoldAlreadyResolved TK006       the hold was settled or released before
        └── NotReversible       TK007       this entry can't be reversed, or was

The codes are the SQLSTATEs that the functions of `billing/sql/` raise; `translate` turns them into these classes.
"""

from __future__ import annotations

from tokia.errors import TokiaError


class BillingError(TokiaError):
    code = "billing_error"
    status = 500


class InsufficientBalance(BillingError):
    code = "insufficient_balance"
    status = 402


class BudgetExceeded(BillingError):
    code = "budget_exceeded"
    status = 403


class BudgetRefused(BillingError):
    code = "budget_refused"
    status = 400


class LedgerUnavailable(BillingError):
    code = "ledger_unavailable"
    status = 503
    retryable = True


class PriceMissing(BillingError):
    code = "price_missing"
    status = 503


class ExchangeRateStale(BillingError):
    code = "exchange_rate_stale"
    status = 503
    retryable = True


class PspUnavailable(BillingError):
    code = "psp_unavailable"
    status = 503
    retryable = True


class LedgerRefusal(BillingError):
    code = "ledger_refusal"
    status = 409


class SessionFenced(LedgerRefusal):
    code = "session_fenced"


class OtherOutcome(LedgerRefusal):
    code = "other_outcome"


class UnknownWallet(LedgerRefusal):
    code = "unknown_wallet"
    status = 404


class ReferenceReused(LedgerRefusal):
    code = "reference_reused"


class HoldAlreadyResolved(LedgerRefusal):
    code = "hold_already_resolved"


class NotReversible(LedgerRefusal):
    code = "not_reversible"


class TooManyExports(BillingError):
    code = "too_many_exports"
    status = 429


_BY_SQLSTATE: dict[str, tuple[type[BillingError], str]] = {
    "TK001": (SessionFenced, "Este processo foi encerrado e não pode mais reservar saldo."),
    "TK002": (OtherOutcome, "Esta chamada já foi liquidada com outro resultado."),
    "TK003": (UnknownWallet, "Carteira não encontrada."),
    "TK004": (ReferenceReused, "Esta referência já foi lançada com outro valor."),
    "TK005": (InsufficientBalance, "Saldo insuficiente."),
    "TK006": (HoldAlreadyResolved, "Esta reserva já foi encerrada."),
    "TK007": (NotReversible, "Este lançamento não pode ser estornado."),
}


def translate(error: BaseException) -> BillingError | None:
    """The error of ours that a database driver's exception stands for; None where it is not one of the ledger's.

    A connection that was lost has no SQLSTATE of ours: its outcome is unknown, and the same call is to be sent again.
    """
    seen: BaseException | None = error
    while seen is not None:
        sqlstate = getattr(seen, "sqlstate", None) or getattr(getattr(seen, "diag", None), "sqlstate", None)
        if sqlstate in _BY_SQLSTATE:
            kind, message = _BY_SQLSTATE[sqlstate]
            return kind(message)
        seen = seen.__cause__
    return None
