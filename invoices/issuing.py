"""The parent of an invoice's life: from billed facts to an NFS-e, never twice. `invoices.states.move` alone writes the status.

| from | what happens | to |
|---|---|---|
| DRAFT | data, city and rules hold; the number is taken, in one transaction with the status | NUMBERED |
| DRAFT, NUMBERED | something is missing or the rules would refuse it: nothing is sent; code, text and field are told | REJECTED |
| DRAFT, channel manual | its data hold: it waits for a person (`upload`) | DRAFT |
| NUMBERED | built, checked against the schema, signed; the bytes are kept | SIGNED |
| SIGNED | written before the first byte leaves | SENDING |
| SIGNED, after a worker died or a certificate ended | nothing was sent: built anew, same number | NUMBERED |
| SENDING | authorized | ISSUED |
| SENDING | refused: nothing exists | REJECTED |
| SENDING | it exists already (E0014, a used ref): asked for | UNCERTAIN → ISSUED |
| SENDING | no word, 5xx, garbage: it may have arrived | UNCERTAIN |
| SENDING | it certainly did not arrive (no connection, 429): later, and asked for first | SENDING |
| SENDING | it is being worked on there: asked for | SENDING |
| UNCERTAIN, SENDING of a worker that died | asked for: it is there | ISSUED |
| UNCERTAIN, SENDING of a worker that died | asked for: it is not there; the same bytes, the same number | SENDING |
| UNCERTAIN | asked for: no word; asked again, longer each time; a person is told after about six hours | UNCERTAIN |
| REJECTED | repaired: `reissue`, or by itself once the customer's data changed; the same number | NUMBERED, DRAFT |
| DRAFT, NUMBERED, SIGNED, REJECTED | `discard`: its facts are free again | DISCARDED |
| DRAFT … REJECTED, UNCERTAIN | `upload`: a person brings the document (UNCERTAIN: only the XML of this very DPS) | ISSUED |
| ISSUED | `cancel`: the signed request is kept, then sent (`invoices.cancelling`) | CANCEL_PENDING |
| CANCEL_PENDING | cancelled, or found cancelled (E0840) | CANCELLED |
| CANCEL_PENDING | refused, as after the city's deadline: told, with the way out | ISSUED |
| ISSUED, CANCEL_PENDING | an event made elsewhere (`note_remote_cancel`) | CANCELLED |
| ISSUED | the one that `replaces` it is issued, in the same transaction; the facts change over | REPLACED |

Every row of the table is one short transaction with the invoice's row locked; no lock is held while the tax office is asked, only a
lease (`claimed_until`). A step that finds another worker's lease does nothing. Every answer is kept verbatim as an InvoiceEvent.
"""

from __future__ import annotations

import datetime as dt
import logging
from contextlib import suppress
from dataclasses import asdict

from django.utils.translation import gettext as _

from invoices import backoff, cancelling, certificates
from invoices.building import dps_of
from invoices.cancelling import cancel, note_remote_cancel
from invoices.channels import Channel, Exists, Issued, Later, Missing, Outcome, Pending, Rejected, Uncertain
from invoices.cities import check_channel
from invoices.dps.build import build_dps
from invoices.dps.document import Dps
from invoices.dps.rules import check_rules
from invoices.dps.schema import check_schema
from invoices.dps.sign import sign
from invoices.errors import Incomplete, NoCertificate, NotNow
from invoices.finishing import finish, foreign_reason
from invoices.focus import build_body, resource_of
from invoices.models import Invoice, InvoiceEvent, Issuer
from invoices.numbering import take_number
from invoices.opening import open_channel
from invoices.problems import NO_PROBLEM, Problem, problem_from, problem_of, tell_missing, told, waits_for_customer
from invoices.replacing import replace
from invoices.states import NEVER_SENT, ClaimLost, claim, held, move, note, release, renew, taken
from invoices.takers import taker_of
from invoices.terms import terms_on
from invoices.uploading import upload
from tokia import clock
from tokia.crashpoints import crashpoint

__all__ = ["cancel", "discard", "issue", "note_remote_cancel", "reissue", "replace", "take_up", "upload"]

log = logging.getLogger("invoices.issuing")
Status, Kind = Invoice.Status, InvoiceEvent.Kind
# Invoice.problem_code where it is ours; those of the tax office are its own ("E0235").
CERTIFICATE_CODE, MANUAL_CODE, STUCK_CODE, EXISTS_CODE, NUMBER_CODE = "CERTIFICATE", "MANUAL", "SILENCE", "EXISTS", "NUMBER"


def issue(invoice: Invoice, *, only_if_due: bool = False) -> Invoice:
    """Carry an invoice on as far as it goes now; returns it as it stands then. What stops it is in its `problem`, never raised.

    Again, at once or by two workers: the second finds the lease, or the end, and does nothing.
    """
    mine = claim(invoice.pk, only_if_due=only_if_due)
    if mine is not None:
        crashpoint("invoice_claimed")
        try:
            _carry_on(mine)
        except ClaimLost:
            log.warning("an invoice went on without this worker", extra={"invoice": mine.pk})
        except NoCertificate as lack:
            _wait_for_certificate(mine, lack)
        except Exception as error:  # one invoice that can't be carried on keeps no other from it
            log.exception("an invoice could not be carried on", extra={"invoice": mine.pk})
            _put_off(mine, error)
    return Invoice.everywhere.select_related("issuer", "organization").get(pk=invoice.pk)


def _carry_on(mine: Invoice) -> None:
    if mine.status == Status.CANCEL_PENDING:
        cancelling.carry_on(mine)
        return
    if mine.status in (Status.SENDING, Status.UNCERTAIN):
        _find(mine)
        return
    if _prepare(mine):
        _send(mine)


# ── Before sending ───────────────────────────────────────────────────────────────────────────────────────────────────
def _prepare(mine: Invoice) -> bool:
    """DRAFT, NUMBERED or SIGNED → SIGNED, ready to be sent; False where it waits for a person.

    What was signed and never sent is built anew: the day, the taxes or the certificate may have changed since.
    """
    try:
        dps = dps_of(mine)
        check_channel(mine.issuer)
        for found in check_rules(dps):
            raise Incomplete(found.text_pt, problem_code=found.code, param=found.field)
        if mine.issuer.channel == Issuer.Channel.MANUAL:
            _wait_for_upload(mine)
            return False
        _number(mine)
        _sign(mine)
    except Incomplete as lack:
        _refuse(mine, lack)
        return False
    return True


def _number(mine: Invoice) -> None:
    issuer = mine.issuer
    resource = resource_of(issuer) if issuer.channel == Issuer.Channel.FOCUS else ""
    taker, terms = asdict(taker_of(mine.organization)), terms_on(issuer, clock.today_in_brazil())
    with held(mine):
        take_number(mine)
        renew(mine)
        move(
            mine, Status.NUMBERED, channel=issuer.channel, focus_resource=resource, taker=taker, terms=terms, dps_xml=None,
            **NO_PROBLEM,
        )  # fmt: skip
    crashpoint("invoice_numbered")


def _sign(mine: Invoice) -> None:
    dps = dps_of(mine)
    is_focus = mine.channel == Issuer.Channel.FOCUS
    body = build_body(dps, resource=mine.focus_resource) if is_focus else _signed(mine, dps)
    with held(mine):
        renew(mine)
        move(mine, Status.SIGNED, dps_xml=body)
    crashpoint("invoice_signed")


def _signed(invoice: Invoice, dps: Dps) -> bytes:
    """Raises Incomplete (SCHEMA), and NoCertificate."""
    xml = build_dps(dps)
    if faults := check_schema(xml, "DPS"):
        raise Incomplete(f"A DPS não segue o esquema: {faults[0]}", problem_code="SCHEMA", param="")
    a1 = certificates.load(invoice.issuer)
    return sign(xml, reference=invoice.dps_id, key=a1.key, certificate=a1.certificate, method=invoice.issuer.signature)


# ── Sending, and asking ──────────────────────────────────────────────────────────────────────────────────────────────
def _send(mine: Invoice) -> None:
    """Send the bytes that are kept. SENDING is committed before the first one leaves: from then on, whoever retries asks first."""
    channel = open_channel(mine.issuer, channel=mine.channel)
    if (until := backoff.rests_until(mine)) is not None:
        _rest(mine, until)
        return
    with held(mine):
        renew(mine)
        move(mine, Status.SENDING)
    crashpoint("invoice_sending")
    answer = channel.submit(mine)
    crashpoint("invoice_sent")
    _take(mine, answer, kind=Kind.SUBMIT)
    crashpoint("invoice_answered")
    if isinstance(answer, Exists):
        _ask(mine, channel)


def _find(mine: Invoice) -> None:
    """A worker died after SENDING, the answer was lost, or it is being worked on: ask, and send only what is not there."""
    channel = open_channel(mine.issuer, channel=mine.channel)
    with held(mine):
        renew(mine)
        move(mine, mine.status)
    if _ask(mine, channel):
        _send(mine)


def _ask(mine: Invoice, channel: Channel) -> bool:
    """What became of it. True: it is not there, and the worker goes on with the same bytes."""
    answer = channel.find(mine)
    crashpoint("invoice_found")
    if not isinstance(answer, Missing):
        _take(mine, answer, kind=Kind.QUERY)
        return False
    was_refused_as_there = mine.problem_code == EXISTS_CODE
    with held(mine):
        note(mine, Kind.QUERY, told(answer), heard=answer.heard)
        renew(mine)
        if was_refused_as_there:  # it says both that it exists and that it does not: later it will know
            release(mine, due_at=backoff.next_try(mine))
        move(mine, mine.status, **NO_PROBLEM)
    return not was_refused_as_there


def _take(mine: Invoice, answer: Outcome, *, kind: str) -> None:
    """Write what an answer means, and the answer."""
    try:
        with held(mine):
            event = note(mine, kind, told(answer), heard=answer.heard)
            if isinstance(answer, Issued):
                _take_issued(mine, answer)
            elif isinstance(answer, Rejected):
                _reject(mine, problem_of(answer), event)
            elif isinstance(answer, Exists):
                renew(mine)
                move(mine, Status.UNCERTAIN, problem_code=EXISTS_CODE, problem=told(answer), problem_field="")
            else:
                _take_silence(mine, answer)
    except ClaimLost:  # whoever has it now asks, and learns it there
        note(mine, kind, told(answer), heard=answer.heard)
        raise


def _take_issued(mine: Invoice, answer: Issued) -> None:
    reason = foreign_reason(mine, answer)
    if reason:
        event = note(mine, Kind.OURS, f"{reason} Chave {answer.access_key}.")
        _reject(mine, {"problem_code": NUMBER_CODE, "problem": reason, "problem_field": "invoice.number"}, event)
        return
    finish(
        mine, access_key=answer.access_key, number=answer.nfse_number, issued_at=answer.issued_at, nfse_xml=answer.nfse_xml,
        verification_code=answer.verification_code,
    )  # fmt: skip


def _take_silence(mine: Invoice, answer: Outcome) -> None:
    """No word, or not yet: the next step is due later. After long enough a person is told, and it goes on all the same."""
    to = Status.UNCERTAIN if isinstance(answer, Uncertain) else mine.status
    seconds = answer.seconds if isinstance(answer, Later) else None
    mine.attempts += 1
    release(mine, due_at=backoff.next_try(mine, told_seconds=seconds, is_pending=isinstance(answer, Pending)))
    fields = {"problem_code": "", "problem": "", "problem_field": ""}
    if backoff.is_stuck(mine):
        fields["problem_code"] = STUCK_CODE
        fields["problem"] = "O órgão não diz o que foi feito desta nota há horas. A consulta continua sozinha."
        if mine.problem_code != STUCK_CODE:
            log.critical("an invoice has no answer for hours", extra={"invoice": mine.pk, "attempts": mine.attempts})
    move(mine, to, **fields)


def _reject(mine: Invoice, problem: Problem, event: InvoiceEvent) -> None:
    release(mine, due_at=None)
    mine.attempts = 0
    move(mine, Status.REJECTED, **problem)
    if waits_for_customer(mine):
        tell_missing(mine, event)


# ── What stops it ────────────────────────────────────────────────────────────────────────────────────────────────────
def _refuse(mine: Invoice, lack: Incomplete) -> None:
    """Ours: nothing was sent. What was built of the taker is kept, so that a change of it shows (`take_up`)."""
    with held(mine):
        mine.taker = _taker_now(mine)
        _reject(mine, problem_from(lack), note(mine, Kind.OURS, lack.message))


def _taker_now(invoice: Invoice) -> dict[str, str]:
    try:
        return asdict(taker_of(invoice.organization))
    except Incomplete:
        return {}


def _wait_for_upload(mine: Invoice) -> None:
    problem = "Emita esta nota no site da prefeitura e envie o documento."
    with held(mine):
        release(mine, due_at=None)
        move(mine, mine.status, channel=Issuer.Channel.MANUAL, taker=_taker_now(mine),
             problem_code=MANUAL_CODE, problem=problem, problem_field="")  # fmt: skip


def _wait_for_certificate(mine: Invoice, lack: NoCertificate) -> None:
    """The row stays due: it goes on by itself once a certificate is stored. Told once per invoice, and by the queue each time."""
    with suppress(ClaimLost), held(mine):
        if mine.problem_code != CERTIFICATE_CODE:
            note(mine, Kind.OURS, lack.message)
            log.critical("an invoice waits for a certificate", extra={"invoice": mine.pk, "detail": lack.message})
        release(mine, due_at=mine.due_at or clock.now())
        move(mine, mine.status, problem_code=CERTIFICATE_CODE, problem=lack.message, problem_field="")


def _rest(mine: Invoice, until: dt.datetime) -> None:
    with held(mine):
        note(mine, Kind.OURS, "Enviada muitas vezes hoje: a próxima tentativa é amanhã.")
        log.error("an invoice was sent too often today", extra={"invoice": mine.pk})
        release(mine, due_at=until)
        move(mine, mine.status)


def _put_off(mine: Invoice, error: Exception) -> None:
    with suppress(ClaimLost), held(mine):
        mine.attempts += 1
        note(mine, Kind.OURS, f"Erro nosso: {type(error).__name__}. A próxima tentativa é automática.")
        release(mine, due_at=backoff.next_try(mine))
        move(mine, mine.status)


# ── What people ask ──────────────────────────────────────────────────────────────────────────────────────────────────
def reissue(invoice: Invoice, *, by: str) -> Invoice:
    """A rejected invoice goes on, repaired, with its number; only one that another note has is given up. Raises NotNow."""
    with taken(invoice) as row:
        if row.status != Status.REJECTED:
            raise NotNow(_("Só uma nota rejeitada é reemitida."))
        if row.problem_code == NUMBER_CODE:
            row.number, row.series, row.dps_id = None, None, ""
        note(row, Kind.PERSON, "Volta à fila.", by=by)
        row.attempts, row.dps_xml = 0, None
        release(row, due_at=clock.now())
        move(row, Status.DRAFT if row.number is None else Status.NUMBERED, **NO_PROBLEM)
    return row


def discard(invoice: Invoice, *, by: str) -> Invoice:
    """End what was never sent, or certainly refused; its facts are free again. Raises NotNow."""
    with taken(invoice) as row:
        if row.status not in NEVER_SENT:
            raise NotNow("Esta nota pode existir no órgão: consulte, cancele ou substitua.")
        note(row, Kind.PERSON, f"Descartada. Substituía a {row.replaces}." if row.replaces else "Descartada.", by=by)
        release(row, due_at=None)
        move(row, Status.DISCARDED, replaces=None)
    return row


def take_up(invoice: Invoice) -> bool:
    """A rejected invoice that waited for its customer's data: reissued where they changed and nothing is missing."""
    if invoice.status != Status.REJECTED or not waits_for_customer(invoice):
        return False
    now = _taker_now(invoice)
    if not now or now == invoice.taker:
        return False
    try:
        reissue(invoice, by="cadastro do cliente")
    except NotNow:  # somebody was faster
        return False
    return True
