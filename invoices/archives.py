"""A month's notes in one ZIP, made as it leaves: one note at a time is in memory, whatever the month holds."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections.abc import Iterator

from django.db.models import QuerySet

from accounts.models import Organization
from invoices import danfse
from invoices.models import Invoice
from invoices.standings import HAS_PAPER
from tokia import clock


class _Outlet(io.RawIOBase):
    """A file that is only written to; what was written since is taken away by whoever sends it."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._sent = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._waiting += piece
        return len(piece)

    def tell(self) -> int:
        return self._sent + len(self._waiting)

    def take(self) -> bytes:
        piece = bytes(self._waiting)
        self._sent += len(piece)
        self._waiting.clear()
        return piece


def month_zip(organization: Organization, *, month: dt.date) -> Iterator[bytes]:
    """XML, PDF and cancellation of each note of a month (its first day), in pieces. A month without any is an empty ZIP."""
    return zip_of(papers(organization, month=month))


def zip_of(found: QuerySet[Invoice], *, has_pdfs: bool = True) -> Iterator[bytes]:
    """Any notes as one ZIP. Drawing is the slow part: an accountant's program reads the XML alone."""
    outlet = _Outlet()
    numbers = list(found.order_by("id").values_list("id", flat=True))
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED) as archive:
        taken: set[str] = set()
        for number in numbers:
            invoice = Invoice.everywhere.get(pk=number)
            for name, data in _files(invoice, has_pdfs=has_pdfs):
                archive.writestr(_entry(name, invoice, taken=taken), data)
                yield outlet.take()
    yield outlet.take()


def papers(organization: Organization, *, month: dt.date) -> QuerySet[Invoice]:
    """The notes of a month that have a document."""
    return Invoice.everywhere.filter(organization=organization, month=month, status__in=HAS_PAPER)


def _files(invoice: Invoice, *, has_pdfs: bool) -> Iterator[tuple[str, bytes]]:
    if invoice.nfse_xml:
        yield danfse.file_name(invoice, "xml"), bytes(invoice.nfse_xml)
    # The file of a note issued by hand may be all there is of it.
    pdf = danfse.pdf_of(invoice) if has_pdfs or not invoice.nfse_xml else b""
    if pdf:
        yield danfse.file_name(invoice, "pdf"), pdf
    if invoice.cancel_xml and invoice.status in (Invoice.Status.CANCELLED, Invoice.Status.REPLACED):
        yield danfse.file_name(invoice, "cancelamento.xml"), bytes(invoice.cancel_xml)


def _entry(name: str, invoice: Invoice, *, taken: set[str]) -> zipfile.ZipInfo:
    """Dated by the note, so that the same month is the same file; a number that comes twice (two issuers) gets the row's, too."""
    if name in taken:
        name = f"{invoice.pk}-{name}"
    taken.add(name)
    at = (invoice.issued_at or invoice.created_at).astimezone(clock.SAO_PAULO)
    entry = zipfile.ZipInfo(name, date_time=(at.year, at.month, at.day, at.hour, at.minute, at.second))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
