"""The DANFSe: an NFS-e's XML as the page that people read and print (NT 008/2026: whoever issues draws it)."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from lxml import etree

from invoices.models import Invoice, InvoiceEvent

NATIONAL_ROOT = "{http://www.sped.fazenda.gov.br/nfse}NFSe"


def draw(nfse_xml: bytes, *, is_cancelled: bool = False, is_replaced: bool = False) -> bytes:
    """A PDF of one page, of several where the description is long. Raises ValueError for what is no national NFS-e."""
    if not is_national(nfse_xml):
        raise ValueError("Not a national NFS-e.")
    # A third of a second of fonts and pictures, which no process that only lists notes should pay at its start.
    from brazilfiscalreport.danfse import Danfse, DanfseConfig

    config = DanfseConfig(watermark_cancelled=is_cancelled, watermark_replaced=is_replaced)
    # The page's font has Latin-1 only, as a DPS of ours has; what others wrote into the note must not keep it from being drawn.
    text = nfse_xml.decode("utf-8-sig").encode("latin-1", "replace").decode("latin-1")
    return bytes(Danfse(xml=text, config=config).output())


def is_national(xml: bytes) -> bool:
    """Whether it is the national document; a city's own emitter has a form of its own. A document type is never read."""
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        return False
    try:
        xml.decode("utf-8-sig")
        root = etree.fromstring(xml, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False))
    except (etree.XMLSyntaxError, ValueError):
        return False
    return bool(root.tag == NATIONAL_ROOT)


def pdf_of(invoice: Invoice) -> bytes:
    """What a customer downloads: the uploaded file of a note issued by hand, else drawn; empty where neither is to be had."""
    if invoice.uploaded_pdf:
        return bytes(invoice.uploaded_pdf)
    xml = bytes(invoice.nfse_xml or b"")
    if not is_national(xml):
        return b""
    return draw(
        xml,
        is_cancelled=invoice.status == Invoice.Status.CANCELLED,
        is_replaced=invoice.status == Invoice.Status.REPLACED,
    )


def has_pdf(invoice: Invoice) -> bool:
    """Without drawing it."""
    return bool(invoice.uploaded_pdf) or is_national(bytes(invoice.nfse_xml or b""))


def city_url(invoice: Invoice) -> str:
    """The city's own page of a note that Focus issued there, from the last answer that named one; empty where there is none."""
    if not invoice.focus_resource:
        return ""
    kinds = (InvoiceEvent.Kind.SUBMIT, InvoiceEvent.Kind.QUERY)
    answers = InvoiceEvent.everywhere.filter(invoice=invoice, kind__in=kinds, body__isnull=False).order_by("-id")
    for body in answers.values_list("body", flat=True)[:10]:
        try:
            answer = json.loads(bytes(body or b""))
        except (ValueError, RecursionError):
            continue
        if not isinstance(answer, dict):
            continue
        for name in ("url_danfse", "url"):
            url = str(answer.get(name) or "")
            if len(url) <= 1_000 and urlsplit(url).scheme == "https":
                return url
    return ""


def file_name(invoice: Invoice, ending: str) -> str:
    """`nota-1234.pdf`; plain letters, however the city writes its numbers."""
    number = "".join(char for char in invoice.nfse_number if char.isascii() and char.isalnum())
    return f"nota-{number or invoice.pk}.{ending}"
