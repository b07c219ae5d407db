"""Notes by e-mail: XML and PDF to whoever the organization named, and its accountant. `Invoice.delivery_due_at` is the queue.

A worker claims rows with SKIP LOCKED and a lease. Each address that SMTP took is an InvoiceEvent, and a retry leaves those out: an
address gets a note at least once, and twice only where a worker died between the hand-over and the row; both copies have the same
Message-ID, which mail programs show once. A resend that a person asked for is a new message to everybody.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import transaction
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from accounts.models import Membership, Organization, Role
from billing.closing import tell_month
from invoices import danfse
from invoices.errors import NotNow
from invoices.kept_texts import ASKED, CANCELLED_MAILED, MAILED, NOT_TAKEN, REPLACED_MAILED
from invoices.models import FiscalProfile, Invoice, InvoiceEvent
from invoices.standings import HAS_PAPER, look_up_url
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("invoices.delivery")

BATCH = 20
LEASE = dt.timedelta(minutes=10)  # beyond what a batch's mails may take at SMTP
RETRY_MINUTES = (1, 5, 15, 60, 240, 480, 960)
ATTEMPTS_MAX = len(RETRY_MINUTES) + 1
SUBJECT_MAX = 150
RESENDS_PER_HOUR_MAX = 5
# What the mail is about: one that was told as issued is told again once it is not any more.
ISSUED, CANCELLED, REPLACED = "Nota", "Aviso de cancelamento", "Aviso de substituição"
_WENT = {ISSUED: MAILED, CANCELLED: CANCELLED_MAILED, REPLACED: REPLACED_MAILED}
_ABOUT = {Invoice.Status.CANCELLED: CANCELLED, Invoice.Status.REPLACED: REPLACED}


def deliver_due() -> int:
    """Claim a batch of notes and mail them. How many were claimed."""
    claimed = claim()
    for invoice in claimed:
        deliver(invoice)
    return len(claimed)


@transaction.atomic
def claim() -> list[Invoice]:
    """Notes whose mail is due; this worker alone has them for LEASE."""
    now = clock.now()
    due = Invoice.everywhere.select_for_update(of=("self",), skip_locked=True, no_key=True)
    found = due.filter(delivery=Invoice.Delivery.DUE, delivery_due_at__lte=now).select_related("organization", "replaces")
    invoices = list(found.order_by("delivery_due_at", "id")[:BATCH])
    for invoice in invoices:
        invoice.delivery_due_at, invoice.delivery_attempts = now + LEASE, invoice.delivery_attempts + 1
    Invoice.everywhere.bulk_update(invoices, ["delivery_due_at", "delivery_attempts"])
    return invoices


def deliver(invoice: Invoice) -> None:
    """Mail a claimed note to everybody who has not got it. What can't be handed over is tried again later, for those alone."""
    if invoice.status not in HAS_PAPER:
        _mine(invoice).update(delivery=Invoice.Delivery.NONE, delivery_due_at=None)
        return
    waiting = [email for email in readers_of(invoice) if not _has_got(invoice, email)]
    failure = "" if readers_of(invoice) else "Ninguém para avisar."
    try:
        if waiting:
            with get_connection() as connection:
                failure = _hand_over(invoice, waiting, connection=connection)
    except OSError as error:  # SMTP's errors are
        failure = f"{type(error).__name__}: {error}"
    except Exception as error:  # one note that can't be mailed keeps no other from it
        log.exception("a note could not be mailed", extra={"invoice": invoice.pk})
        failure = f"{type(error).__name__}: {error}"
    _finish(invoice, failure=failure)


def _hand_over(invoice: Invoice, waiting: list[str], *, connection: Any) -> str:
    """Each to its own; one that SMTP does not take keeps no other from it. What the last failure was; empty where all went."""
    failure, pdf = "", _drawn(invoice)
    for email in waiting:
        message = message_of(invoice, email, pdf=pdf)
        message.connection = connection
        try:
            message.send()
        except OSError as error:
            failure = f"{type(error).__name__}: {error}"
            continue
        crashpoint("invoice_mailed")
        _note(invoice, _went(invoice, email))
    return failure


def _drawn(invoice: Invoice) -> bytes:
    """The XML is the document: it leaves without its page rather than not at all."""
    try:
        return danfse.pdf_of(invoice)
    except Exception:
        log.exception("a note's page could not be drawn", extra={"invoice": invoice.pk})
        return b""


def _finish(invoice: Invoice, *, failure: str) -> None:
    now = clock.now()
    if not failure:
        _mine(invoice).update(delivery=Invoice.Delivery.SENT, delivery_due_at=None, delivered_at=now)
        return
    detail = {"invoice": invoice.pk, "detail": failure[:200]}
    if invoice.delivery_attempts < ATTEMPTS_MAX:
        pause = dt.timedelta(minutes=RETRY_MINUTES[max(invoice.delivery_attempts, 1) - 1])
        _mine(invoice).update(delivery_due_at=now + pause)
        log.warning("a note's mail was not taken", extra=detail)
    elif _mine(invoice).update(delivery=Invoice.Delivery.FAILED, delivery_due_at=None):
        _note(invoice, NOT_TAKEN)
        log.error("a note's mail was given up", extra=detail)


def _mine(invoice: Invoice) -> Any:
    """The row while the claim is still ours: a resend or another worker's claim moves the time."""
    return Invoice.everywhere.filter(pk=invoice.pk, delivery_due_at=invoice.delivery_due_at)


def resend(invoice: Invoice, *, by: str) -> list[str]:
    """To everybody again, as soon as the next worker comes. Who gets it. Raises NotNow: no document yet, or too often."""
    with transaction.atomic():
        found = Invoice.everywhere.select_for_update(of=("self",), no_key=True).select_related("organization").get(pk=invoice.pk)
        if found.status not in HAS_PAPER:
            raise NotNow(_("Esta nota ainda não foi emitida."))
        readers = readers_of(found)
        if not readers:
            raise NotNow(_("Não há para quem enviar: informe o e-mail para notas."))
        since = clock.now() - dt.timedelta(hours=1)
        if _asked(found).filter(created_at__gte=since).count() >= RESENDS_PER_HOUR_MAX:
            raise NotNow(_("Esta nota já foi reenviada várias vezes na última hora. Tente mais tarde."))
        _note(found, ASKED, actor=by[:150])
        found.delivery, found.delivery_due_at, found.delivery_attempts = Invoice.Delivery.DUE, clock.now(), 0
        found.save(update_fields=["delivery", "delivery_due_at", "delivery_attempts"])
    return readers


# ── Who ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def readers_of(invoice: Invoice) -> list[str]:
    return readers_at(invoice.organization)


def readers_at(organization: Organization) -> list[str]:
    """The e-mail for notes, or every owner's; and the accountant's. Lower-case, each once."""
    wanted = [organization.invoice_email]
    if not organization.invoice_email:
        owners = Membership.everywhere.filter(organization=organization, role=Role.OWNER, user__is_active=True)
        wanted = list(owners.order_by("id").values_list("user__email", flat=True))
    wanted += FiscalProfile.everywhere.filter(organization=organization).values_list("accountant_email", flat=True)
    return list(dict.fromkeys(email.strip().lower() for email in wanted if email.strip()))


def _has_got(invoice: Invoice, email: str) -> bool:
    """Since the last time that a person asked for it."""
    went = InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.DELIVERY, text=_went(invoice, email))
    return went.filter(pk__gt=_round(invoice)).exists()


def _went(invoice: Invoice, email: str) -> str:
    return _WENT[_about(invoice)].format(email=email)


def _about(invoice: Invoice) -> str:
    return _ABOUT.get(Invoice.Status(invoice.status), ISSUED)


def _asked(invoice: Invoice) -> Any:
    return InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.DELIVERY, text=ASKED)


def _round(invoice: Invoice) -> int:
    """The event that began this round of mails; 0 for the first."""
    return _asked(invoice).order_by("-id").values_list("id", flat=True).first() or 0


def _note(invoice: Invoice, text: str, *, actor: str = "") -> None:
    InvoiceEvent.everywhere.create(
        organization=invoice.organization, invoice=invoice, kind=InvoiceEvent.Kind.DELIVERY, text=text[:600], actor=actor
    )


# ── What ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def message_of(invoice: Invoice, email: str, *, pdf: bytes) -> EmailMultiAlternatives:
    about = _about(invoice)
    replacement = Invoice.everywhere.filter(replaces=invoice).first() if about == REPLACED else None
    context = {
        "invoice": invoice, "organization": invoice.organization, "month": tell_month(invoice.month),
        "is_cancelled": about == CANCELLED, "is_replaced": about == REPLACED, "replacement": replacement,
        "amount_nanos": invoice.amount_centavos * 10**7, "look_up_url": look_up_url(invoice), "has_pdf": bool(pdf),
        "city_url": "" if pdf else danfse.city_url(invoice),
        "url": f"{settings.WEB_URL}/app/notas/{invoice.pk}/", "receiver_name": settings.RECEIVER_NAME,
        "is_trial": invoice.environment == "2",
    }  # fmt: skip
    message = EmailMultiAlternatives(
        subject=subject_of(invoice),
        body=render_to_string("invoices/email/invoice.txt", context),
        to=[email],
        headers={"Message-ID": _message_id(invoice, email), "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(render_to_string("invoices/email/invoice.html", context), "text/html")
    if invoice.nfse_xml:
        message.attach(danfse.file_name(invoice, "xml"), bytes(invoice.nfse_xml), "application/xml")
    if pdf:
        message.attach(danfse.file_name(invoice, "pdf"), pdf, "application/pdf")
    if about != ISSUED and invoice.cancel_xml:
        message.attach(danfse.file_name(invoice, "cancelamento.xml"), bytes(invoice.cancel_xml), "application/xml")
    return message


def subject_of(invoice: Invoice) -> str:
    number = f" {invoice.nfse_number}" if invoice.nfse_number else ""
    what = {ISSUED: f"de {tell_month(invoice.month)}", CANCELLED: "cancelada", REPLACED: "substituída"}[_about(invoice)]
    return " ".join(f"Tokia: nota fiscal{number} {what}".split())[:SUBJECT_MAX]


def _message_id(invoice: Invoice, email: str) -> str:
    """The same for the same round, matter and reader, however often it is sent."""
    reader = hashlib.sha256(f"{_about(invoice)} {_round(invoice)} {email.lower()}".encode()).hexdigest()[:20]
    return f"<invoice-{invoice.pk}-{reader}@{parseaddr(settings.DEFAULT_FROM_EMAIL)[1].partition('@')[2]}>"
