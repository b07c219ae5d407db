"""The national distribution of documents, read to its end: what happened to our notes elsewhere.

The ADN numbers all that concerns our CNPJ (NSU) and hands it out in batches. Of it we follow the events of our own notes: one that
ends a note (a cancellation at the city's site, by its replacement, after an analysis, by the city itself) goes to `issuing`;
another is kept as an InvoiceEvent. Reading begins after `Issuer.last_nsu` and may stop anywhere: nothing is followed twice to
another end.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from invoices import issuing
from invoices.channels import Cancelled, CancelOutcome, Later
from invoices.dps.nfse import read_event
from invoices.dps.packing import unpack
from invoices.errors import NotNow
from invoices.exchanges import Answer, Lost, Unsent, exchange, text_of
from invoices.models import Invoice, InvoiceEvent, Issuer
from invoices.national import address_of, client_for
from invoices.opening import open_channel
from invoices.sefin import XML_BYTES_MAX
from tokia import clock

log = logging.getLogger("invoices")

BATCHES_MAX = 200  # of one reading; the next goes on
FOCUS_DAYS = 60  # how long a note may still be cancelled in Focus's panel
FOCUS_PAUSE_SECONDS = 60.0  # a token's hundred requests are a minute's
ENDED = (Invoice.Status.CANCELLED, Invoice.Status.REPLACED)
TITLES = {
    "101103": "Cancelamento solicitado à análise da prefeitura",
    "105105": "Cancelamento indeferido pela prefeitura",
    "305102": "Nota bloqueada pela prefeitura",
    "305103": "Nota desbloqueada pela prefeitura",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One document of a batch. `xml` is empty where it can't be read."""

    nsu: int
    is_event: bool
    access_key: str
    xml: bytes


def read_new(issuer: Issuer) -> int:
    """Follow everything since the last time; how many events of our own notes there were.

    Raises NoCertificate. Where the ADN is away it stops, and the next reading begins there.
    """
    followed = 0
    last = Issuer.objects.values_list("last_nsu", flat=True).get(pk=issuer.pk)
    for _ in range(BATCHES_MAX):
        items = [item for item in _ask(issuer, after=last) if item.nsu > last]
        if not items:
            return followed
        for item in sorted(items, key=lambda one: one.nsu):
            # Together: what was followed is behind us, and what failed comes again.
            with transaction.atomic():
                followed += _follow(issuer, item)
                last = item.nsu
                Issuer.objects.filter(pk=issuer.pk, last_nsu__lt=last).update(last_nsu=last)
    log.warning("the distribution goes on beyond one reading", extra={"issuer": issuer.pk, "nsu": last})
    return followed


def check_note(invoice_id: int) -> bool:
    """Ask the channel of one issued note whether it lives; whether it was cancelled elsewhere. For channels that call us (Focus).

    Raises NoCertificate; NotNow while a worker is at the note.
    """
    return isinstance(_look_at(Invoice.everywhere.select_related("issuer").get(pk=invoice_id)), Cancelled)


def check_focus_notes(*, seconds: float) -> int:
    """Ask Focus of each note of the last FOCUS_DAYS, for `seconds` at most: a call of theirs may be lost. How many were cancelled.

    Raises NoCertificate (there is no token).
    """
    ends_at, cancelled = time.monotonic() + seconds, 0
    since = clock.now() - dt.timedelta(days=FOCUS_DAYS)
    notes = Invoice.everywhere.filter(channel=Issuer.Channel.FOCUS, status=Invoice.Status.ISSUED, issued_at__gte=since)
    for invoice in notes.select_related("issuer").order_by("?"):
        if time.monotonic() > ends_at:
            log.warning("not every note of Focus was asked for", extra={"seconds": seconds})
            break
        try:
            outcome = _look_at(invoice)
        except NotNow:  # a worker is at it
            continue
        if isinstance(outcome, Later):
            time.sleep(min(outcome.seconds or FOCUS_PAUSE_SECONDS, FOCUS_PAUSE_SECONDS))
        cancelled += isinstance(outcome, Cancelled)
    return cancelled


def _look_at(invoice: Invoice) -> CancelOutcome | None:
    """What the channel says of an issued note; one that was cancelled there is noted."""
    if invoice.status != Invoice.Status.ISSUED:
        return None
    outcome = open_channel(invoice.issuer, channel=invoice.channel).find_cancel(invoice)
    if isinstance(outcome, Cancelled):
        issuing.note_remote_cancel(invoice, event_xml=outcome.event_xml)
    return outcome


def _ask(issuer: Issuer, *, after: int) -> list[Item]:
    """A batch; empty at the end, or where none can be had now."""
    url = f"{address_of('adn', environment=issuer.environment)}/DFe/{after}?lote=true"
    try:
        answer = exchange(client_for(issuer), "GET", url)
    except (Unsent, Lost) as error:
        log.warning("the distribution does not answer", extra={"issuer": issuer.pk, "cause": str(error)})
        return []
    if answer.status_code == 404:
        return []
    if answer.status_code != 200:
        log.warning("the distribution refuses", extra={"issuer": issuer.pk, "status": answer.status_code})
        return []
    return _items_of(answer)


def _items_of(answer: Answer) -> list[Item]:
    listed = answer.fields.get("lotedfe")
    items = []
    for one in listed if isinstance(listed, list) else []:
        fields = {str(name).lower(): value for name, value in one.items()} if isinstance(one, dict) else {}
        if (nsu := text_of(fields, "NSU")).isdecimal():
            kind = text_of(fields, "TipoDocumento").upper()
            items.append(Item(int(nsu), kind == "EVENTO", text_of(fields, "ChaveAcesso"), _xml_of(fields)))
    return items


def _xml_of(fields: dict[str, Any]) -> bytes:
    try:
        return unpack(text_of(fields, "ArquivoXml"), bytes_max=XML_BYTES_MAX)
    except ValueError:
        return b""


def _follow(issuer: Issuer, item: Item) -> bool:
    """Whether it was an event of a note of ours."""
    if not item.is_event:
        return False
    try:
        event = read_event(item.xml)
    except ValueError:
        log.error("an event of the distribution can't be read", extra={"nsu": item.nsu, "access_key": item.access_key})
        return False
    invoice = Invoice.everywhere.filter(issuer=issuer, access_key=event.access_key).first()
    if invoice is None:
        log.info("an event of a note that is not ours", extra={"nsu": item.nsu, "access_key": event.access_key})
        return False
    if not event.is_cancelling:
        _keep(invoice, kind=event.kind, item=item)
    elif invoice.status not in ENDED:
        issuing.note_remote_cancel(invoice, event_xml=item.xml)
    return True


def _keep(invoice: Invoice, *, kind: str, item: Item) -> None:
    text = f"{TITLES.get(kind, f'Evento {kind}')} (NSU {item.nsu})"
    found = InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.REMOTE, text=text)
    if not found.exists():
        InvoiceEvent.everywhere.create(
            organization_id=invoice.organization_id, invoice=invoice, kind=InvoiceEvent.Kind.REMOTE, text=text, body=item.xml,
            actor="ADN",
        )  # fmt: skip
