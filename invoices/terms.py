"""Which issuer, which taxes and which policy are in force on a day. Of dated rows the newest that began is."""

from __future__ import annotations

import datetime as dt

from invoices.errors import Incomplete
from invoices.models import InvoicePolicy, Issuer, TaxTerms


def active_issuer() -> Issuer:
    """The issuer of new invoices. Raises Incomplete (ISSUER) where none is active."""
    issuer = Issuer.objects.filter(is_active=True).order_by("-pk").first()
    if issuer is None:
        raise Incomplete("Nenhum emitente está ativo. Cadastre o emitente das notas.", problem_code="ISSUER", param="issuer")
    return issuer


def terms_on(issuer: Issuer, day: dt.date) -> TaxTerms:
    """The taxes of a document issued on `day`. Raises Incomplete (TERMS) where none began by then: taxes are never guessed."""
    terms = TaxTerms.objects.filter(issuer=issuer, starts_on__lte=day).order_by("-starts_on").first()
    if terms is None:
        raise Incomplete(
            f"Nenhuma regra fiscal do emitente vale em {day:%d/%m/%Y}. Cadastre uma.", problem_code="TERMS", param="terms"
        )
    return terms


def policy_on(issuer: Issuer, day: dt.date) -> InvoicePolicy | None:
    """What is invoiced of facts of `day`; None: nothing yet, the first policy's day is the cut-over."""
    return InvoicePolicy.objects.filter(issuer=issuer, starts_on__lte=day).order_by("-starts_on").first()
