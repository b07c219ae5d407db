"""XML signatures as the tax office reads and makes them: enveloped, one reference, RSA with SHA-256 or SHA-1, no prefix.

Written from W3C's xmldsig-core and the Manual Integrado, with lxml's canonical form and cryptography's RSA: nothing of what Tokia
itself signs with, so that one mistake does not confirm the other.
"""

from __future__ import annotations

import base64
import binascii
import copy
import datetime as dt
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from tokia.sandbox.fiscal_certs import tax_id_in
from tokia.sandbox.fiscal_xml import DSIG, Element

D = f"{{{DSIG}}}"
ENVELOPED = f"{DSIG}enveloped-signature"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
# Identifier → (exclusive, with comments)
CANONICAL = {
    C14N: (False, False),
    f"{C14N}#WithComments": (False, True),
    EXC_C14N: (True, False),
    f"{EXC_C14N}WithComments": (True, True),
}
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SIGNING: dict[str, hashes.HashAlgorithm] = {f"{DSIG}rsa-sha1": hashes.SHA1(), RSA_SHA256: hashes.SHA256()}  # noqa: S303
DIGESTS = {f"{DSIG}sha1": hashlib.sha1, SHA256: hashlib.sha256}


class BadSignature(Exception):
    """`code` is the tax office's: E0714 (does not verify), E0715 (certificate), E0716 (its kind), E0717 (none there)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code} {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed. `method` names the algorithms: "rsa-sha256-exc", "rsa-sha1-c14n"."""

    tax_id: str
    certificate: x509.Certificate
    method: str


def verify(root: Element, *, signed_name: str, authority: x509.Certificate, now: dt.datetime | None = None) -> Signer:
    """Check the signature that stands beside the element `signed_name` below `root`. Raises BadSignature."""
    signatures = root.findall(f"{D}Signature")
    if not signatures:
        raise BadSignature("E0717", "")
    signed = [child for child in root if etree.QName(child).localname == signed_name]
    if len(signatures) != 1 or len(signed) != 1:
        raise BadSignature("E0714", "uma assinatura, de um elemento")
    info = _one(signatures[0], "SignedInfo")
    canonical_info, signing, digest_name = _check_info(info, signed=signed[0])
    certificate = _read_certificate(signatures[0])
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadSignature("E0716", "a chave não é RSA")
    try:
        key.verify(_bytes(_one(signatures[0], "SignatureValue")), canonical_info, padding.PKCS1v15(), signing)
    except InvalidSignature:
        raise BadSignature("E0714", "SignatureValue") from None
    tax_id = check_certificate(certificate, authority=authority, now=now)
    method = _one(info, "CanonicalizationMethod").get("Algorithm", "")
    return Signer(tax_id, certificate, f"rsa-{digest_name}-{'exc' if method.startswith(EXC_C14N) else 'c14n'}")


def check_certificate(certificate: x509.Certificate, *, authority: x509.Certificate, now: dt.datetime | None = None) -> str:
    """The CNPJ or CPF that the certificate proves. Raises BadSignature (E0715, E0716)."""
    now = now or dt.datetime.now(dt.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise BadSignature("E0715", "fora da validade")
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise BadSignature("E0715", "cadeia de certificação") from None
    tax_id = tax_id_in(certificate)
    if not tax_id:
        raise BadSignature("E0716", "falta o CNPJ (OtherName 2.16.76.1.3.3)")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound as error:
        raise BadSignature("E0716", str(error)) from None
    if is_authority or not (usage.digital_signature and usage.content_commitment):
        raise BadSignature("E0716", "uso da chave")
    return tax_id


def _check_info(info: Element, *, signed: Element) -> tuple[bytes, hashes.HashAlgorithm, str]:
    """The canonical SignedInfo, the hash of its signature, and that hash's name, once the only reference's digest is right."""
    method = _one(info, "CanonicalizationMethod")
    if method.get("Algorithm") not in CANONICAL:
        raise BadSignature("E0714", f"canonização {method.get('Algorithm')}")
    signing = SIGNING.get(_one(info, "SignatureMethod").get("Algorithm", ""))
    if signing is None:
        raise BadSignature("E0714", "SignatureMethod")
    reference = _one(info, "Reference")
    if not signed.get("Id") or reference.get("URI") != f"#{signed.get('Id')}":
        raise BadSignature("E0714", "a referência não é ao elemento da mensagem")
    transforms = [child for child in _one(reference, "Transforms") if child.tag == f"{D}Transform"]
    names = [child.get("Algorithm", "") for child in transforms]
    if not 1 <= len(names) <= 2 or names[0] != ENVELOPED or any(name not in CANONICAL for name in names[1:]):
        raise BadSignature("E0714", f"Transforms {names}")
    digest = DIGESTS.get(_one(reference, "DigestMethod").get("Algorithm", ""))
    if digest is None:
        raise BadSignature("E0714", "DigestMethod")
    # Without a second transform the octets come of plain canonical XML (xmldsig-core 4.4.3.2).
    canonical = canonize(signed, algorithm=names[1] if len(names) == 2 else C14N, prefixes=_prefixes(transforms[-1]))
    if not hmac.compare_digest(digest(canonical).digest(), _bytes(_one(reference, "DigestValue"))):
        raise BadSignature("E0714", "DigestValue")
    return canonize(info, algorithm=method.get("Algorithm"), prefixes=_prefixes(method)), signing, signing.name


def canonize(element: Element, *, algorithm: str, prefixes: list[str] | None = None) -> bytes:
    """The canonical octets of an element within its document: with what it inherits, where the algorithm is inclusive."""
    is_exclusive, has_comments = CANONICAL[algorithm]
    # A document of its own, in which the namespaces in force at the element (and xml:…) are declared at the root.
    apart = etree.Element(element.tag, nsmap=element.nsmap)
    if not is_exclusive:
        for ancestor in reversed(list(element.iterancestors())):
            for name, value in ancestor.attrib.items():
                if name.startswith("{http://www.w3.org/XML/1998/namespace}"):
                    apart.set(name, value)
    for name, value in element.attrib.items():
        apart.set(name, value)
    apart.text = element.text
    for child in element:
        apart.append(copy.deepcopy(child))
    octets: bytes = etree.tostring(
        apart, method="c14n", exclusive=is_exclusive, with_comments=has_comments, inclusive_ns_prefixes=prefixes or None
    )
    return octets


def sign(root: Element, *, signed: Element, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
    """Append a signature of `signed` to `root`, as Sefin makes them: RSA-SHA256, exclusive canonical XML with comments."""
    algorithm = f"{EXC_C14N}WithComments"
    digest = base64.b64encode(hashlib.sha256(canonize(signed, algorithm=algorithm)).digest()).decode()
    signature = etree.SubElement(root, f"{D}Signature", nsmap={None: DSIG})
    info = _child(signature, "SignedInfo")
    _child(info, "CanonicalizationMethod", Algorithm=algorithm)
    _child(info, "SignatureMethod", Algorithm=RSA_SHA256)
    reference = _child(info, "Reference", URI=f"#{signed.get('Id')}")
    transforms = _child(reference, "Transforms")
    _child(transforms, "Transform", Algorithm=ENVELOPED)
    _child(transforms, "Transform", Algorithm=algorithm)
    _child(reference, "DigestMethod", Algorithm=SHA256)
    _child(reference, "DigestValue").text = digest
    value = key.sign(canonize(info, algorithm=algorithm), padding.PKCS1v15(), hashes.SHA256())
    _child(signature, "SignatureValue").text = base64.b64encode(value).decode()
    data = _child(_child(signature, "KeyInfo"), "X509Data")
    _child(data, "X509Certificate").text = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def _child(parent: Element, name: str, **attributes: str) -> Any:
    return etree.SubElement(parent, f"{D}{name}", attrib=attributes)


def _one(parent: Element, name: str) -> Element:
    found = parent.findall(f"{D}{name}")
    if len(found) != 1:
        raise BadSignature("E0714", f"um {name}, não {len(found)}")
    return found[0]


def _bytes(element: Element) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("E0714", f"{etree.QName(element).localname} não é base64") from None


def _prefixes(element: Element) -> list[str]:
    found = element.find(f"{{{EXC_C14N}}}InclusiveNamespaces")
    return [] if found is None else str(found.get("PrefixList", "")).split()


def _read_certificate(signature: Element) -> x509.Certificate:
    """The first certificate of KeyInfo, the signer's."""
    found = signature.find(f"{D}KeyInfo/{D}X509Data/{D}X509Certificate")
    if found is None:
        raise BadSignature("E0714", "falta o certificado em KeyInfo")
    try:
        return x509.load_der_x509_certificate(_bytes(found))
    except ValueError:
        raise BadSignature("E0714", "o certificado em KeyInfo não se lê") from None
