"""Sefin Nacional: the national tax office's own web service, as a Channel.

What each answer is, and no more is ever concluded from one:

- never left (no connection, TLS refused), 429, 503, closed for maintenance → Later. After a 503 the caller asks before it resends.
- E1200 to E1209: the connection's certificate is refused, whatever was asked → NoCertificate is raised; the issuer's queue waits.
- left and lost, another 5xx, unreadable, contradicting itself → Uncertain
- E0014 (this DPS made a note already), E0840 (cancelled already) → Exists
- 4xx with a message in either dialect                         → Rejected; without any, Uncertain
- 201 whose XML holds against the schema, bears the key that the answer names, and holds our own DPS → Issued

A 404 for a DPS is Missing: there is no such note, and the same bytes may go again; the tax office itself refuses a second note of
the same DPS.
"""

from __future__ import annotations

import json
import re
from typing import Literal

from invoices.channels import (
    Cancelled,
    CancelOutcome,
    Exists,
    Heard,
    Issued,
    Later,
    Missing,
    Outcome,
    Rejected,
    Uncertain,
)
from invoices.dps.ids import check_access_key
from invoices.dps.nfse import read_event, read_nfse
from invoices.dps.packing import pack, unpack
from invoices.dps.schema import check_schema
from invoices.errors import NoCertificate
from invoices.exchanges import Answer, Lost, Unsent, exchange, later, lost, read_messages, text_of, unsent
from invoices.models import Invoice, Issuer
from invoices.national import address_of, client_for

DUPLICATE_DPS = "E0014"
ALREADY_CANCELLED = "E0840"
# Events that end a note: by us, by its replacement, after the city's analysis, by the city itself.
ENDING_EVENTS = ("101101", "105102", "105104", "305101")  # in the order they are asked for
# Of the connection's certificate (annex I, "Certificado de Transmissão"): nothing was read, and no invoice is to blame.
CERTIFICATE_CODES = frozenset(f"E12{number:02d}" for number in range(10))
_MAINTENANCE = re.compile(r"paralisad[oa] para manuten", re.IGNORECASE)
XML_BYTES_MAX = 2_000_000


class Sefin:
    """Of one issuer. Raises NoCertificate."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.client = client_for(issuer)

    def submit(self, invoice: Invoice) -> Outcome:
        body = json.dumps({"dpsXmlGZipB64": pack(bytes(invoice.dps_xml or b""))}).encode()
        answer = self._ask("POST", invoice, "/nfse", body=body)
        if not isinstance(answer, Answer):
            return answer
        if answer.status_code in (200, 201):
            return _read_note(invoice, answer, access_key="")
        return _read_refusal(answer, exists=DUPLICATE_DPS)

    def find(self, invoice: Invoice) -> Outcome:
        answer = self._ask("GET", invoice, f"/dps/{invoice.dps_id}")
        if not isinstance(answer, Answer):
            return answer
        if _is_missing(answer):
            return Missing(answer.heard())
        if answer.status_code != 200:
            return _read_trouble(answer)
        access_key = text_of(answer.fields, "chaveAcesso")
        if (problem := _key_problem(access_key)) or text_of(answer.fields, "idDps") not in ("", invoice.dps_id):
            return Uncertain(answer.heard(problem or "A resposta fala de outra DPS."))
        answer = self._ask("GET", invoice, f"/nfse/{access_key}")
        if not isinstance(answer, Answer):
            return answer
        if answer.status_code != 200:
            return _read_trouble(answer)
        return _read_note(invoice, answer, access_key=access_key)

    def cancel(self, invoice: Invoice) -> CancelOutcome:
        body = json.dumps({"pedidoRegistroEventoXmlGZipB64": pack(bytes(invoice.cancel_xml or b""))}).encode()
        answer = self._ask("POST", invoice, f"/nfse/{invoice.access_key}/eventos", body=body)
        if not isinstance(answer, Answer):
            return answer
        if answer.status_code in (200, 201):
            return _read_event(invoice, answer)
        return _read_refusal(answer, exists=ALREADY_CANCELLED)

    def find_cancel(self, invoice: Invoice) -> CancelOutcome:
        heard = Heard(None)
        for kind in ENDING_EVENTS:
            answer = self._ask("GET", invoice, f"/nfse/{invoice.access_key}/eventos/{kind}/1")
            if not isinstance(answer, Answer):
                return answer
            if answer.status_code == 200:
                return _read_event(invoice, answer)
            if not _is_missing(answer):
                return _read_trouble(answer)
            heard = answer.heard()
        return Missing(heard)

    def _ask(
        self, method: Literal["GET", "POST"], invoice: Invoice, path: str, *, body: bytes | None = None
    ) -> Answer | Later | Uncertain:
        base = address_of("sefin", environment=invoice.environment or self.issuer.environment)
        try:
            answer = exchange(self.client, method, base + path, body=body)
        except Unsent as error:
            return unsent(error)
        except Lost as error:
            return lost(error)
        messages = read_messages(answer.found) if 400 <= answer.status_code < 500 else ()
        for message in messages:
            if message.code.upper() in CERTIFICATE_CODES:
                raise NoCertificate(
                    f"A Sefin recusou o certificado A1: {message.code} {message.text} {message.detail}".strip()[:600]
                )
        if any(_MAINTENANCE.search(message.text) for message in messages):
            return later(answer)
        return answer


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_note(invoice: Invoice, answer: Answer, *, access_key: str) -> Issued | Uncertain:
    """`access_key` is what a query named before; empty after a submission."""
    told = text_of(answer.fields, "chaveAcesso")
    problem = _key_problem(told)
    if not problem and access_key not in ("", told):
        problem = "A resposta traz a chave de outra nota."
    if not problem and text_of(answer.fields, "idDps") not in ("", invoice.dps_id):
        problem = "A resposta fala de outra DPS."
    if problem:
        return Uncertain(answer.heard(problem))
    try:
        xml = unpack(text_of(answer.fields, "nfseXmlGZipB64"), bytes_max=XML_BYTES_MAX)
        if found := check_schema(xml, "NFSe"):
            return Uncertain(answer.heard(f"A NFS-e não segue o esquema: {found[0]}"[:600]))
        nfse = read_nfse(xml)
    except ValueError as error:
        return Uncertain(answer.heard(f"A NFS-e não se lê: {error}"[:600]))
    if nfse.access_key != told:
        return Uncertain(answer.heard("A chave da resposta não é a da NFS-e."))
    if nfse.dps_id != invoice.dps_id:
        return Uncertain(answer.heard("A NFS-e é de outra DPS."))
    return Issued(
        answer.heard(), access_key=told, nfse_xml=xml, nfse_number=nfse.number, issued_at=nfse.issued_at,
        alerts=read_messages(answer.found, names=("alertas",)) if "alertas" in answer.fields else (),
    )  # fmt: skip


def _read_event(invoice: Invoice, answer: Answer) -> Cancelled | Uncertain:
    try:
        xml = unpack(text_of(answer.fields, "eventoXmlGZipB64"), bytes_max=XML_BYTES_MAX)
        if found := check_schema(xml, "evento"):
            return Uncertain(answer.heard(f"O evento não segue o esquema: {found[0]}"[:600]))
        event = read_event(xml)
    except ValueError as error:
        return Uncertain(answer.heard(f"O evento não se lê: {error}"[:600]))
    if event.access_key != invoice.access_key:
        return Uncertain(answer.heard("O evento é de outra nota."))
    if not event.is_cancelling:
        return Uncertain(answer.heard(f"O evento {event.kind} não cancela."))
    return Cancelled(answer.heard(), event_xml=xml)


def _read_refusal(answer: Answer, *, exists: str) -> Exists | Rejected | Uncertain | Later:
    """Of something that was sent. Only a message says that nothing happened."""
    if answer.status_code in (429, 503):
        return later(answer)
    messages = read_messages(answer.found)
    if any(message.code.upper() == exists for message in messages):
        return Exists(answer.heard())
    if 400 <= answer.status_code < 500 and answer.status_code != 408 and messages:
        return Rejected(answer.heard(), messages)
    return Uncertain(answer.heard("Recusa sem motivo." if answer.status_code < 500 else "A Sefin falhou."))


def _read_trouble(answer: Answer) -> Later | Uncertain:
    """Of a question that was not answered."""
    if answer.status_code in (429, 503):
        return later(answer)
    said = next(iter(read_messages(answer.found)), None)
    return Uncertain(answer.heard(f"{said.code} {said.text}".strip()[:600] if said else "Consulta sem resposta útil."))


def _is_missing(answer: Answer) -> bool:
    """404 of the service itself, which speaks JSON or nothing; a page of some proxy on the way proves nothing."""
    return answer.status_code == 404 and (answer.found is not None or not answer.body.strip())


def _key_problem(access_key: str) -> str:
    try:
        check_access_key(access_key)
    except ValueError:
        return "A resposta não traz uma chave de acesso válida."
    return ""
