"""What can go wrong with an invoice. The messages are Portuguese, for people.

TokiaError
└── InvoiceError          400
    ├── Incomplete        400  a person must give something; nothing was sent. `param` names it
    ├── NoCertificate     503  none is valid today: the issuer's queue waits, nothing is lost
    ├── NotNow            409  the invoice's status does not allow that
    └── Unreachable       503  a system of the tax office does not answer a question: ask again
"""

from __future__ import annotations

from tokia.errors import TokiaError


class InvoiceError(TokiaError):
    code = "invoice_error"
    status = 400


class Incomplete(InvoiceError):
    """`problem_code` is Invoice.problem_code: "TAKER", "CITY", "TERMS", "SCHEMA"…; `param` is Invoice.problem_field."""

    code = "invoice_incomplete"

    def __init__(self, message: str, *, problem_code: str, param: str) -> None:
        super().__init__(message, param=param)
        self.problem_code = problem_code


class NoCertificate(InvoiceError):
    code = "no_certificate"
    status = 503
    retryable = True


class NotNow(InvoiceError):
    code = "not_now"
    status = 409


class Unreachable(InvoiceError):
    code = "tax_office_unreachable"
    status = 503
    retryable = True
