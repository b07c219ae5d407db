"""Focus NFe as a Channel: for cities with an emitter of their own, and as another way to the national one.

A note is known there by its `ref`, which is made of `Invoice.reference` and of letters and digits alone: a ref that made a note
can't make another. Work is done behind the answer: 202 and "processando_autorizacao" is Pending, and only a query tells the end. A
note was born in one of two resources and stays there, so the resource is kept in `Invoice.focus_resource` (`resource_of` proposes
it, the caller stores it together with the body).
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
from typing import Literal
from urllib.parse import quote, urljoin, urlsplit
from zoneinfo import ZoneInfo

import httpx
from django.conf import settings

from invoices.channels import (
    Cancelled,
    CancelOutcome,
    Exists,
    Issued,
    Later,
    Message,
    Missing,
    Outcome,
    Pending,
    Rejected,
    Uncertain,
)
from invoices.cities import city_terms
from invoices.dps.ids import taxpayer_of
from invoices.dps.nfse import read_nfse
from invoices.dps.schema import check_schema
from invoices.errors import Incomplete, NoCertificate, Unreachable
from invoices.exchanges import Answer, Lost, Unsent, client_of, exchange, later, lost, read_messages, text_of, unsent
from invoices.focus_body import MUNICIPAL, NATIONAL, build_body, build_cancel_body
from invoices.models import Invoice, Issuer
from tokia import clock
from tokia.sealing import SecretUnreadable, decrypt, encrypt

HOSTS = {"1": "https://api.focusnfe.com.br", "2": "https://homologacao.focusnfe.com.br"}
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
REFUSED_CODE = "FOCUS_TOKEN"
REFUSED_TEXT = (
    "A Focus NFe recusou o token do emitente. Confira se ele é o do CNPJ e do ambiente certos (produção e homologação têm tokens"
    " diferentes) e se a empresa está habilitada no painel da Focus."
)
EXISTS_CODES = {"nfe_autorizada", "em_processamento", "already_processed"}
CANCELLED_CODES = {"nfe_cancelada"}
# "Já existe um DPS com esta referência.": erro_validacao, as every other mistake.
_USED_REFERENCE = re.compile(r"\bj[áa] (existe|foi utilizad|utilizad)\w*\b.*\brefer[êe]ncia", re.IGNORECASE | re.DOTALL)
# Where they keep files; their own token goes to their own API alone.
_FILE_HOSTS = re.compile(r"(?:[a-z0-9-]+\.)*focusnfe\.com\.br|focusnfe[a-z0-9-]*\.s3[a-z0-9.-]*\.amazonaws\.com", re.ASCII)


def reference_of(invoice: Invoice) -> str:
    """The `ref`: letters and digits, the same for ever, and `invoice_reference` undoes it. ":" is C, "-" is H, others Z and hex."""
    escapes = {":": "C", "-": "H"}
    return "".join(
        char if char.isascii() and (char.isdigit() or char.islower()) else escapes.get(char) or f"Z{ord(char):06x}"
        for char in invoice.reference
    )


def invoice_reference(ref: str) -> str:
    """Which `Invoice.reference` a ref stands for. Whatever is no ref of ours comes back as it is, or raises ValueError."""
    plain = {"C": ":", "H": "-"}
    return re.sub(r"Z([0-9a-f]{6})|[CH]", lambda found: chr(int(found[1], 16)) if found[1] else plain[found[0]], ref)


def resource_of(issuer: Issuer) -> str:
    """ "nfsen" where the city uses the national emitter, "nfse" for its own: that is what Focus is chosen for, so also in doubt."""
    try:
        return NATIONAL if city_terms(issuer).uses_national_emitter else MUNICIPAL
    except (NoCertificate, Unreachable):
        return MUNICIPAL


def store_token(issuer: Issuer, *, token: str) -> None:
    """Keep it sealed. Raises Incomplete for what can't be one."""
    token = token.strip()
    if not re.fullmatch(r"[\x21-\x39\x3b-\x7e]{8,200}", token):  # a colon would end it in Basic
        raise Incomplete("Este não parece um token da Focus NFe.", problem_code=REFUSED_CODE, param="issuer.focus_token")
    issuer.focus_token = encrypt(token)
    issuer.save(update_fields=["focus_token"])


class Focus:
    """Of one issuer. Raises NoCertificate where there is no token: its queue waits, as without a certificate."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        if not issuer.focus_token:
            raise NoCertificate("Falta o token da Focus NFe deste emitente.")
        try:
            self.auth = httpx.BasicAuth(decrypt(bytes(issuer.focus_token)), "")
        except SecretUnreadable as error:
            raise NoCertificate("O token da Focus NFe não pode ser lido: cadastre-o de novo.") from error
        self.client = client_of(("focus",), context_of=ssl.create_default_context)

    def submit(self, invoice: Invoice) -> Outcome:
        answer = self._ask(
            "POST", invoice, f"{self._resource(invoice)}?ref={reference_of(invoice)}", body=bytes(invoice.dps_xml or b"")
        )
        if not isinstance(answer, Answer):
            return answer
        if answer.status_code < 300:
            return self._read_status(invoice, answer)
        if answer.status_code in (401, 403):
            return _token_refused(answer)
        return _read_refusal(answer, exists=EXISTS_CODES)

    def find(self, invoice: Invoice) -> Outcome:
        answer = self._ask("GET", invoice, f"{self._resource(invoice)}/{reference_of(invoice)}")
        if not isinstance(answer, Answer):
            return answer
        if answer.status_code == 200:
            return self._read_status(invoice, answer)
        return _read_trouble(answer)

    def cancel(self, invoice: Invoice) -> CancelOutcome:
        body = bytes(invoice.cancel_xml or b"") or build_cancel_body(reason=invoice.cancel_reason)
        answer = self._ask("DELETE", invoice, f"{self._resource(invoice)}/{reference_of(invoice)}", body=body)
        if not isinstance(answer, Answer):
            return answer
        if answer.status_code < 300:
            return self._read_cancel(invoice, answer)
        if answer.status_code in (401, 403):
            return _token_refused(answer)
        return _read_refusal(answer, exists=CANCELLED_CODES)

    def find_cancel(self, invoice: Invoice) -> CancelOutcome:
        answer = self._ask("GET", invoice, f"{self._resource(invoice)}/{reference_of(invoice)}")
        if not isinstance(answer, Answer):
            return answer
        if answer.status_code != 200:
            trouble = _read_trouble(answer)
            # A note that we saw issued can't be unknown there.
            return Uncertain(answer.heard("A Focus não conhece a nota.")) if isinstance(trouble, Missing) else trouble
        if text_of(answer.fields, "status") in ("autorizado", "erro_cancelamento"):
            return Missing(answer.heard())
        return self._read_cancel(invoice, answer)

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _read_status(self, invoice: Invoice, answer: Answer) -> Outcome:
        status = text_of(answer.fields, "status")
        if text_of(answer.fields, "ref") not in ("", reference_of(invoice)):
            return Uncertain(answer.heard("A resposta fala de outra referência."))
        if status.startswith("processando"):
            return Pending(answer.heard())
        if status == "autorizado":
            return self._read_note(invoice, answer)
        if status in ("erro_autorizacao", "negado"):
            messages = read_messages(answer.found) or (Message("FOCUS", "A prefeitura recusou a nota e não disse por quê."),)
            return Rejected(answer.heard(), messages)
        if status == "cancelado":
            return Uncertain(answer.heard("A nota foi emitida e já está cancelada na Focus: confira no painel dela."))
        return Uncertain(answer.heard(f"A Focus respondeu uma situação desconhecida: {status}"[:600]))

    def _read_note(self, invoice: Invoice, answer: Answer) -> Issued | Pending | Uncertain:
        """The JSON has neither key nor taxes: they are in the XML, which may come a little later than the word "autorizado"."""
        path = text_of(answer.fields, "caminho_xml_nota_fiscal")
        xml = self._read_file(invoice, path)
        is_national = self._resource(invoice) == NATIONAL
        if not xml and (path or is_national):
            return Pending(answer.heard("Autorizada; o XML ainda não está disponível."))
        number = text_of(answer.fields, "numero")
        verification_code = text_of(answer.fields, "codigo_verificacao")[:40]
        if not is_national:  # of each city its own form, kept as it is
            if not number:
                return Uncertain(answer.heard("A nota autorizada não tem número."))
            issued_at = _instant_of(text_of(answer.fields, "data_emissao"))
            return Issued(answer.heard(), "", xml, number[:20], issued_at, verification_code)
        try:
            if found := check_schema(xml, "NFSe"):
                return Uncertain(answer.heard(f"A NFS-e não segue o esquema: {found[0]}"[:600]))
            nfse = read_nfse(xml)
            ours = (self.issuer.tax_id, invoice.amount_centavos, invoice.environment)
            if (taxpayer_of(nfse.access_key)[1], nfse.amount_centavos, nfse.environment) != ours:
                return Uncertain(answer.heard("A NFS-e é de outro emitente, de outro valor ou de outro ambiente."))
        except ValueError as error:
            return Uncertain(answer.heard(f"A NFS-e não se lê: {error}"[:600]))
        return Issued(answer.heard(), nfse.access_key, xml, nfse.number, nfse.issued_at, verification_code)

    def _read_cancel(self, invoice: Invoice, answer: Answer) -> CancelOutcome:
        status = text_of(answer.fields, "status")
        if status == "cancelado":
            xml = self._read_file(invoice, text_of(answer.fields, "caminho_xml_cancelamento"))
            return Cancelled(answer.heard(), event_xml=xml)
        if status == "erro_cancelamento":
            messages = read_messages(answer.found) or (
                Message("FOCUS", "A prefeitura recusou o cancelamento e não disse por quê."),
            )
            return Rejected(answer.heard(), messages)
        if status.startswith("processando"):
            return Pending(answer.heard())
        return Uncertain(answer.heard(f"A Focus respondeu uma situação desconhecida: {status}"[:600]))

    def _read_file(self, invoice: Invoice, path: str) -> bytes:
        """A file of theirs; empty where it can't be had now. One redirect to their store is followed, without our token."""
        base = self._base(invoice)
        url = path if "://" in path else _below(base, path)
        for _ in range(2):
            if not path or not url or not self._is_theirs(url, base=base):
                return b""
            is_api = _origin(url) == _origin(base)
            try:
                answer = exchange(self.client, "GET", url, auth=self.auth if is_api else None)
            except (Unsent, Lost):
                return b""
            if answer.status_code == 200:
                return answer.body
            url = urljoin(url, answer.location) if answer.status_code in (301, 302, 303, 307, 308) else ""
        return b""

    def _is_theirs(self, url: str, *, base: str) -> bool:
        parts = urlsplit(url)
        if _origin(url) == _origin(base):
            return True
        return parts.scheme == "https" and parts.port in (None, 443) and bool(_FILE_HOSTS.fullmatch(parts.hostname or ""))

    def _ask(
        self, method: Literal["GET", "POST", "DELETE"], invoice: Invoice, path: str, *, body: bytes | None = None
    ) -> Answer | Later | Uncertain:
        try:
            return exchange(self.client, method, f"{self._base(invoice)}/v2/{path}", body=body, auth=self.auth)
        except Unsent as error:
            return unsent(error)
        except Lost as error:
            return lost(error)

    def _base(self, invoice: Invoice) -> str:
        return (settings.FOCUS_URL or HOSTS[invoice.environment or self.issuer.environment]).rstrip("/")

    def _resource(self, invoice: Invoice) -> str:
        return invoice.focus_resource or MUNICIPAL


def _read_refusal(answer: Answer, *, exists: set[str]) -> Exists | Rejected | Uncertain | Later:
    if answer.status_code in (429, 503):
        return later(answer)
    messages = read_messages(answer.found)
    # Details in `erros` stand beside a code of the whole.
    said = (Message(text_of(answer.fields, "codigo"), text_of(answer.fields, "mensagem")), *messages)
    if any(message.code in exists or (exists is EXISTS_CODES and _USED_REFERENCE.search(message.text)) for message in said):
        return Exists(answer.heard())
    if 400 <= answer.status_code < 500 and answer.status_code != 408 and messages:
        return Rejected(answer.heard(), messages)
    return Uncertain(answer.heard("Recusa sem motivo." if answer.status_code < 500 else "A Focus falhou."))


def _read_trouble(answer: Answer) -> Later | Missing | Uncertain:
    """Of a question. What a bad token hides is not known: no note is rejected for it."""
    if answer.status_code in (429, 503):
        return later(answer)
    if answer.status_code in (401, 403):
        return Uncertain(answer.heard(REFUSED_TEXT))
    if answer.status_code == 404 and text_of(answer.fields, "codigo") == "nao_encontrado":
        return Missing(answer.heard())
    return Uncertain(answer.heard("Consulta sem resposta útil."))


def _token_refused(answer: Answer) -> Rejected:
    return Rejected(
        answer.heard(), (Message(REFUSED_CODE, REFUSED_TEXT, next((said.text for said in read_messages(answer.found)), "")),)
    )


def _instant_of(text: str) -> dt.datetime:
    """Cities tell it with or without a zone: Brazil's, then. What is no instant is now, since the note exists."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return clock.now()
    return found if found.tzinfo else found.replace(tzinfo=SAO_PAULO)


def _below(base: str, path: str) -> str:
    """Their paths begin at their host; the sandbox's host has a prefix, which its paths may or may not tell."""
    prefix = urlsplit(base).path
    path = "/" + quote(path.lstrip("/"), safe="/%-._~")
    return _origin(base) + (path if prefix and path.startswith(prefix + "/") else prefix + path)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


__all__ = ["HOSTS", "Focus", "build_body", "build_cancel_body", "invoice_reference", "reference_of", "resource_of", "store_token"]
