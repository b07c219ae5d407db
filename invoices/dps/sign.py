"""XMLDSig as the tax office takes it: enveloped, on one element by its Id, in the default namespace, the certificate inside. Pure.

The manual prescribes RSA-SHA1 and C14N 1.0; the live service takes RSA-SHA256 and exclusive C14N too, and signs its own notes that
way. Which one is a setting of the issuer (`Issuer.Signature`, whose values are the methods here).

What `sign` returns is what travels, is stored and is sent again: never parse and write it anew, a blank more breaks the signature.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from lxml import etree
from signxml import (  # type: ignore[attr-defined]
    CanonicalizationMethod,
    DigestAlgorithm,
    SignatureConfiguration,
    SignatureMethod,
    XMLSigner,
    XMLVerifier,
    methods,
)
from signxml.exceptions import SignXMLException

from invoices.dps.markup import SIGNATURE_NS, parse_xml, safe_parser

_SHA256 = (SignatureMethod.RSA_SHA256, DigestAlgorithm.SHA256)
_SHA1 = (SignatureMethod.RSA_SHA1, DigestAlgorithm.SHA1)
METHODS: dict[str, tuple[Any, Any, Any]] = {
    "rsa-sha256-exc": (*_SHA256, CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0),
    "rsa-sha256-c14n": (*_SHA256, CanonicalizationMethod.CANONICAL_XML_1_0),
    "rsa-sha1-c14n": (*_SHA1, CanonicalizationMethod.CANONICAL_XML_1_0),
}
_TAKEN_METHODS = frozenset({SignatureMethod.RSA_SHA256, SignatureMethod.RSA_SHA1})
_TAKEN_DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA1})


class BadSignature(ValueError):
    """It does not hold, or holds for something else."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Whose key made a signature that holds."""

    reference: str  # the Id of what is signed
    certificate: x509.Certificate


class _Signer(XMLSigner):
    """signxml refuses SHA-1 unless told; here the tax office's manual is who prescribes it."""

    def check_deprecated_methods(self) -> None:
        pass


def sign(xml: bytes, *, reference: str, key: RSAPrivateKey, certificate: x509.Certificate, method: str) -> bytes:
    """The document with its Signature as the root's last child. `reference` is the Id of the element that is signed."""
    signature_method, digest, canonical = METHODS[method]
    root = parse_xml(xml)
    if [child.get("Id") for child in root] != [reference]:
        raise ValueError(f"The document does not hold {reference} alone")
    signer = _Signer(
        method=methods.enveloped, signature_algorithm=signature_method, digest_algorithm=digest, c14n_algorithm=canonical
    )
    signer.namespaces = {None: SIGNATURE_NS}  # type: ignore[dict-item]  # the message may hold no prefix
    signed = signer.sign(root, key=key, cert=[certificate], reference_uri=f"#{reference}")
    # The certificate comes in lines. It is no part of what is signed, and there are readers that stumble over line breaks.
    for text in signed.iter("{*}X509Certificate"):
        text.text = "".join(text.text.split())
    return b'<?xml version="1.0" encoding="UTF-8"?>' + bytes(etree.tostring(signed, encoding="UTF-8"))


def verify(
    xml: bytes,
    *,
    reference: str,
    certificate: x509.Certificate | None = None,
    ca_pem: bytes = b"",
    at: dt.datetime | None = None,
) -> Signed:
    """Whether the root's own signature holds for its one element, which has the Id `reference`.

    An NFS-e has two signatures, its own and that of the DPS inside it: only the root's counts. Who must have signed is either
    `certificate`, or whoever `ca_pem` vouches for (at the instant `at`, else now). With neither, the certificate inside is taken at
    its word: the document is whole, and whose it is, is known from the connection it came by. Raises BadSignature.
    """
    try:
        root = parse_xml(xml)
    except ValueError as error:
        raise BadSignature(str(error)) from error
    _check_shape(root, reference)
    config = SignatureConfiguration(
        expect_references=1, location="./", signature_methods=_TAKEN_METHODS, digest_algorithms=_TAKEN_DIGESTS, verification_time=at
    )
    verifier = XMLVerifier()
    verifier.excise_empty_xmlns_declarations = True  # inclusive C14N does not verify in signxml without it
    try:
        within = _certificate_within(root)
        with tempfile.NamedTemporaryFile() as authorities:  # signxml takes authorities as a file only
            authorities.write(ca_pem)
            authorities.flush()
            result = verifier.verify(
                xml,
                parser=safe_parser(),
                id_attribute="Id",
                expect_config=config,
                **({"ca_pem_file": authorities.name} if ca_pem else {"x509_cert": certificate or within}),
            )
    except (SignXMLException, InvalidSignature, ValueError, TypeError, etree.LxmlError) as error:
        raise BadSignature(f"The signature does not hold: {error}") from error
    if isinstance(result, list) or result.signed_xml is None or result.signed_xml.get("Id") != reference:
        raise BadSignature("The signature is of another element")
    return Signed(reference=reference, certificate=within)


def _check_shape(root: Any, reference: str) -> None:
    """One element with that Id, at its place, and one signature after it: nothing hides behind a second element of the same Id."""
    children = [child for child in root if isinstance(child.tag, str)]
    signatures = [child for child in children if child.tag == f"{{{SIGNATURE_NS}}}Signature"]
    if len(signatures) != 1 or children[-1] is not signatures[0]:
        raise BadSignature("The document has not one signature of its own")
    if len(children) != 2 or children[0].get("Id") != reference:
        raise BadSignature("The document is of another Id")
    same = [element for element in root.iter() if isinstance(element.tag, str) and element.get("Id") == reference]
    if len(same) != 1:
        raise BadSignature("The Id is there more than once")


def _certificate_within(root: Any) -> x509.Certificate:
    found = root.find(f"{{{SIGNATURE_NS}}}Signature//{{{SIGNATURE_NS}}}X509Certificate")
    if found is None or not found.text:
        raise ValueError("No certificate inside")
    der = "".join(found.text.split())
    pem = f"-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n"
    return x509.load_pem_x509_certificate(pem.encode())
