"""Signatures, judged by xmlsec (libxmlsec1: not our signer's code), and by our own reader of what comes back."""

from __future__ import annotations

import datetime as dt

import pytest
import xmlsec
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from invoices.dps.build import build_cancel, build_dps
from invoices.dps.ids import cancel_id
from invoices.dps.markup import SIGNATURE_NS
from invoices.dps.schema import check_schema
from invoices.dps.sign import METHODS, BadSignature, sign, verify
from invoices.models import Issuer
from tests.invoices.dps.cases import CASES, CNPJ, ISSUED_AT
from tests.invoices.dps.notes import key_of_note, make_nfse
from tests.invoices.pki import NOW, authority, make_a1
from tokia.sandbox import fiscal_signature, fiscal_xml

KEY, CERTIFICATE = make_a1()
DPS = build_dps(CASES["normal-letters-monthly"])
ID = "DPS310620021122233300018100001000000000000007"


def _signed(method: str = "rsa-sha256-exc", xml: bytes = DPS, reference: str = ID) -> bytes:
    return sign(xml, reference=reference, key=KEY, certificate=CERTIFICATE, method=method)


def _holds_for_xmlsec(xml: bytes) -> bool:
    root = etree.fromstring(xml)
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(CERTIFICATE.public_bytes(Encoding.PEM), xmlsec.constants.KeyDataFormatCertPem)
    try:
        context.verify(root.find(f"{{{SIGNATURE_NS}}}Signature"))
    except xmlsec.Error:
        return False
    return True


def test_it_has_a_method_for_each_choice_of_the_issuer() -> None:
    assert set(METHODS) == set(Issuer.Signature.values)


@pytest.mark.parametrize("method", METHODS)
def test_it_signs_so_that_another_verifier_agrees(method: str) -> None:
    xml = _signed(method)
    assert _holds_for_xmlsec(xml) and check_schema(xml, "DPS") == []
    assert verify(xml, reference=ID).certificate == CERTIFICATE
    cancel = build_cancel(
        access_key=key_of_note(), tax_id=CNPJ, environment="2", code="1", reason="Valor informado incorretamente", at=ISSUED_AT
    )
    request = _signed(method, cancel, cancel_id(key_of_note()))
    assert _holds_for_xmlsec(request) and check_schema(request, "pedRegEvento") == []


@pytest.mark.parametrize("method", METHODS)
def test_it_signs_the_whole_corpus_as_the_tax_office_of_the_sandbox_reads_it(method: str) -> None:
    """Its reader of schemas and signatures shares no code with ours."""
    for dps in CASES.values():
        xml = build_dps(dps)
        signed = _signed(method, xml, etree.fromstring(xml)[0].get("Id"))
        root = fiscal_xml.parse(signed)
        assert _holds_for_xmlsec(signed) and fiscal_xml.find_schema_errors(root, "DPS") == []
        signer = fiscal_signature.verify(root, signed_name="infDPS", authority=authority().certificate)
        assert (signer.method, signer.tax_id) == (method, CNPJ)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "old, new",
    [
        (b"<vServ>1234.56<", b"<vServ>1234.55<"),
        (b"12ABC34501DE35", b"12ABC34501DE34"),
        (b"</infDPS>", b" </infDPS>"),
        (b"<tpAmb>2", b"<tpAmb>1"),
    ],
)
def test_it_sees_what_was_changed_after_signing(method: str, old: bytes, new: bytes) -> None:
    xml = _signed(method).replace(old, new)
    assert not _holds_for_xmlsec(xml)
    with pytest.raises(BadSignature):
        verify(xml, reference=ID)


def test_it_uses_no_prefix_no_line_break_and_keeps_the_document_byte_for_byte() -> None:
    xml = _signed()
    assert b"ds:" not in xml and b"\n" not in xml and b"\r" not in xml
    assert xml.startswith(DPS.removesuffix(b"</DPS>")) and xml.count(b"<X509Certificate>") == 1


def test_it_signs_what_it_was_asked_to_and_nothing_else() -> None:
    with pytest.raises(ValueError):
        _signed(reference="DPS310620021122233300018100001000000000000008")
    with pytest.raises(ValueError):
        _signed(xml=_signed())  # twice


def test_it_looks_at_the_notes_own_signature_and_not_at_the_one_inside() -> None:
    key = key_of_note()
    other = make_a1(tax_id="00394460005887", key_name="sefin")
    note = make_nfse(_signed(), signer=other)
    assert check_schema(note, "NFSe") == []
    assert verify(note, reference=f"NFS{key}").certificate == other[1]
    for old, new in ((b"<vLiq>1234.56", b"<vLiq>0.01"), (b"<vServ>1234.56", b"<vServ>0.01"), (b"<nNFSe>42", b"<nNFSe>43")):
        with pytest.raises(BadSignature):
            verify(note.replace(old, new), reference=f"NFS{key}")
    inner_only = etree.fromstring(note)
    inner_only.remove(inner_only.find(f"{{{SIGNATURE_NS}}}Signature"))
    with pytest.raises(BadSignature):
        verify(etree.tostring(inner_only), reference=f"NFS{key}")


def test_it_asserts_which_element_was_signed() -> None:
    with pytest.raises(BadSignature, match="another Id"):
        verify(_signed(), reference=ID[:-1] + "8")


def test_it_is_not_fooled_by_a_signature_moved_around_another_element() -> None:
    """Wrapping: the signed element is hidden, a forged one of the same Id stands where readers look."""
    xml = _signed().decode()
    start, end = xml.index("<infDPS"), xml.index("</infDPS>") + len("</infDPS>")
    signed = xml[start:end]
    forged = signed.replace("1234.56", "1.00")
    hidden = forged.replace("</infDPS>", f"<hidden>{signed}</hidden></infDPS>")
    beside = xml[:start] + forged + signed + xml[end:]
    for document in (xml[:start] + hidden + xml[end:], beside, xml.replace("</DPS>", f"<x>{signed}</x></DPS>")):
        with pytest.raises(BadSignature):
            verify(document.encode(), reference=ID)


def test_it_tells_whose_signature_it_has_to_be() -> None:
    _, other = make_a1(key_name="other")
    assert verify(_signed(), reference=ID, certificate=CERTIFICATE).reference == ID
    with pytest.raises(BadSignature):
        verify(_signed(), reference=ID, certificate=other)


def test_it_asks_an_authority_where_it_has_one() -> None:
    xml = _signed()
    assert verify(xml, reference=ID, ca_pem=authority().pem).certificate == CERTIFICATE
    with pytest.raises(BadSignature):
        verify(xml, reference=ID, ca_pem=authority("AC Alheia").pem)
    with pytest.raises(BadSignature):
        verify(xml, reference=ID, ca_pem=authority().pem, at=NOW + dt.timedelta(days=400))


@pytest.mark.parametrize(
    "xml",
    [
        b"", b"<DPS", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', DPS,
        _signed().replace(b"<X509Certificate>", b"<X509Certificate>@@"),
        _signed().replace(b"</SignatureValue>", b"AAAA</SignatureValue>"),
        _signed().replace(b"xmldsig-more#rsa-sha256", b"xmldsig-more#hmac-sha256"),
    ],
    ids=["empty", "cut", "doctype", "unsigned", "certificate", "value", "algorithm"],
)  # fmt: skip
def test_it_refuses_what_is_not_whole(xml: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(xml, reference=ID)
