"""The last resort: a person issued the note at the city's site, and brings its document."""

from __future__ import annotations

import datetime as dt

from invoices.channels import Heard
from invoices.dps.ids import check_access_key
from invoices.dps.nfse import Nfse, read_nfse
from invoices.dps.sign import BadSignature, verify
from invoices.errors import Incomplete, NotNow
from invoices.finishing import finish
from invoices.models import Invoice, InvoiceEvent, Issuer
from invoices.states import NEVER_SENT, note, taken
from invoices.takers import taker_of
from tokia import clock

PDF_BYTES_MAX, XML_BYTES_MAX = 5_000_000, 2_000_000
Status = Invoice.Status


def upload(
    invoice: Invoice, *, by: str, nfse_xml: bytes = b"", pdf: bytes = b"", number: str = "", access_key: str = ""
) -> Invoice:
    """ISSUED by hand. An XML of the national standard must be of this amount and taker, and says number, key and instant itself;
    without one, the number and the PDF are needed. Raises Incomplete for what does not fit, NotNow for an invoice that may exist.

    An invoice in doubt (UNCERTAIN) takes only the XML of its very own DPS: a proof that it was issued.
    """
    nfse = _read(nfse_xml) if nfse_xml else None
    if len(pdf) > PDF_BYTES_MAX or (pdf and not pdf.startswith(b"%PDF-")):
        raise _refused("Envie um PDF de até 5 MB.", param="pdf")
    if nfse is None and not (number.strip() and pdf):
        raise _refused("Envie o XML da nota, ou o número e o PDF.", param="number")
    if access_key and nfse is None:
        try:
            check_access_key(access_key)
        except ValueError as error:
            raise _refused("A chave de acesso não confere.", param="access_key") from error
    with taken(invoice) as row:
        if row.status not in (*NEVER_SENT, Status.UNCERTAIN):
            raise NotNow("Só uma nota que ainda não foi emitida recebe um documento de fora.")
        if row.status == Status.UNCERTAIN and (nfse is None or nfse.dps_id != row.dps_id):
            raise NotNow("Esta nota pode existir no órgão: só o XML da própria DPS prova que foi emitida.")
        if nfse is not None:
            _check(row, nfse)
        key = nfse.access_key if nfse else access_key
        if key and Invoice.everywhere.filter(access_key=key).exclude(pk=row.pk).exists():
            raise _refused("Esta chave de acesso já está em outra nota.", param="access_key")
        note(row, InvoiceEvent.Kind.PERSON, "Documento emitido fora daqui.", heard=Heard(None, nfse_xml), by=by)
        if row.status != Status.UNCERTAIN:
            row.channel = Issuer.Channel.MANUAL
        row.uploaded_pdf = pdf or None
        finish(
            row, access_key=key, number=str(nfse.number) if nfse else number.strip()[:20],
            issued_at=_issued_at(nfse), nfse_xml=nfse_xml, verification_code="",
        )  # fmt: skip
    return row


def _issued_at(nfse: Nfse | None) -> dt.datetime:
    return nfse.issued_at if nfse else clock.now()


def _read(xml: bytes) -> Nfse:
    if len(xml) > XML_BYTES_MAX:
        raise _refused("Envie um XML de até 2 MB.", param="nfse_xml")
    try:
        nfse = read_nfse(xml)
    except ValueError as error:
        raise _refused("O XML não é uma NFS-e do padrão nacional. Sem ele, envie o número e o PDF.", param="nfse_xml") from error
    try:
        verify(xml, reference=f"NFS{nfse.access_key}")  # an editor's line break is enough: what is kept has to prove itself
    except BadSignature as error:
        raise _refused("A assinatura do XML não confere. Envie o arquivo como o órgão o entregou.", param="nfse_xml") from error
    return nfse


def _check(row: Invoice, nfse: Nfse) -> None:
    if nfse.amount_centavos != row.amount_centavos:
        raise _refused("O valor do XML não é o desta nota.", param="nfse_xml")
    if nfse.issuer_tax_id != row.issuer.tax_id:
        raise _refused("O emitente do XML não é o desta nota.", param="nfse_xml")
    if nfse.taker_tax_id != taker_of(row.organization).tax_id:
        raise _refused("O tomador do XML não é o desta nota.", param="nfse_xml")


def _refused(message: str, *, param: str) -> Incomplete:
    return Incomplete(message, problem_code="UPLOAD", param=param)
