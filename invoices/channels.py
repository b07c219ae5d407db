"""How an invoice reaches the tax office: three verbs, two ways, and what each of them may answer.

A channel sends what `Invoice.dps_xml` and `Invoice.cancel_xml` hold and reads the answer; it decides nothing and writes no row.
Every answer that came is handed on verbatim (`heard`), for an InvoiceEvent.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Protocol

from invoices.models import Invoice


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer as it came. `status_code` None: there was none, and `text` says why ("ReadTimeout")."""

    status_code: int | None
    body: bytes = b""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One error or alert of the tax office, in whichever of its dialects it came."""

    code: str  # "E0235"
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """The note exists. Sefin: only where the key inside the XML is the key of the answer."""

    heard: Heard
    access_key: str
    nfse_xml: bytes
    nfse_number: str
    issued_at: dt.datetime
    verification_code: str = ""
    alerts: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """It was refused, and nothing exists. The same number may be sent again once it is repaired."""

    heard: Heard
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """Refused since it exists already (E0014, a used ref; E0840 for a cancellation): our answer was lost. Ask for it."""

    heard: Heard


@dataclass(frozen=True, slots=True)
class Uncertain:
    """It may have arrived: time-out after sending, 5xx, garbage. Only a query may follow, never a blind resend."""

    heard: Heard


@dataclass(frozen=True, slots=True)
class Later:
    """It certainly did not happen: no connection, 429, or told so. The same bytes, after `seconds` (None: ours to say)."""

    heard: Heard
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """It is being worked on there (Focus): ask again."""

    heard: Heard


@dataclass(frozen=True, slots=True)
class Missing:
    """A query's answer: there is no such note (or no such event)."""

    heard: Heard


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The note is cancelled. `event_xml` is the signed event (Sefin), else empty."""

    heard: Heard
    event_xml: bytes = b""


Outcome = Issued | Rejected | Exists | Uncertain | Later | Pending | Missing
CancelOutcome = Cancelled | Rejected | Exists | Uncertain | Later | Pending | Missing


class Channel(Protocol):
    """`invoices.sefin.Sefin`, `invoices.focus.Focus`. Raises NoCertificate where it can't even begin."""

    def submit(self, invoice: Invoice) -> Outcome:
        """Send `invoice.dps_xml`. Never Missing."""

    def find(self, invoice: Invoice) -> Outcome:
        """What became of it, by `dps_id` (Sefin) or `reference` (Focus). Issued, Missing, Pending, Rejected, Uncertain or Later."""

    def cancel(self, invoice: Invoice) -> CancelOutcome:
        """Send `invoice.cancel_xml`."""

    def find_cancel(self, invoice: Invoice) -> CancelOutcome:
        """Whether the note is cancelled. Cancelled, Missing, Pending, Uncertain or Later."""
