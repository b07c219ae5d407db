"""The sandbox's stand-in for ICP-Brasil: its authority, Sefin's own certificate, and A1 certificates of three kinds.

`fiscal-ca.pem`   the authority's certificate: who trusts it can speak to Sefin, and check what it signed
`sefin.pem`       key and certificate of the TLS port
`sefin-sign.pem`  key and certificate with which Sefin signs notes and events
`a1.pfx`, `a1-expired.pfx`, `a1-other.pfx`, `a1-plain.pfx`
                  of the issuer; ended yesterday; of another company; without the CNPJ's OID (password `a1-sandbox`)
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from tokia.sandbox.certificates import Key, build_certificate, write_pem, write_private
from tokia.sandbox.cnpj import check_digits

CA_FILE = "fiscal-ca.pem"
SERVER_FILE = "sefin.pem"
SIGNER_FILE = "sefin-sign.pem"
A1_PASSWORD = "a1-sandbox"  # noqa: S105  of certificates that only the sandbox believes
CNPJ_OID = x509.ObjectIdentifier("2.16.76.1.3.3")  # OtherName of an e-CNPJ (ICP-Brasil, DOC-ICP-04)
CPF_OID = x509.ObjectIdentifier("2.16.76.1.3.1")  # of an e-CPF: birthday (8), CPF (11), …
ORGANIZATION = "ICP-Brasil (sandbox)"
OTHER_TAX_ID = "45997418" + "0001" + check_digits("459974180001")

_build = partial(build_certificate, organization=ORGANIZATION, days_old=30, signs_documents=True)


def ensure_fiscal_certificates(folder: Path, *, tax_id: str) -> None:
    """Write every file of the list unless all are there and `a1.pfx` is of `tax_id`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = folder / "fiscal-of"  # goes last: a start that was cut before it begins again
    if mark.exists() and mark.read_text() == tax_id and (folder / CA_FILE).exists():
        return
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _build("AC Fiscal do Sandbox", key=authority_key, issuer=None, issuer_key=authority_key)
    server_key = ec.generate_private_key(ec.SECP256R1())
    hosts: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = _build(
        "localhost", key=server_key, issuer=authority, issuer_key=authority_key, names=hosts, usage=ExtendedKeyUsageOID.SERVER_AUTH
    )
    signer_key, own_key, other_key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3))
    signer = _build("SEFIN NACIONAL NFS-E (SANDBOX)", key=signer_key, issuer=authority, issuer_key=authority_key)
    write_pem(folder / SERVER_FILE, key=server_key, certificate=server)
    write_pem(folder / SIGNER_FILE, key=signer_key, certificate=signer)
    now = dt.datetime.now(dt.UTC)
    for name, cnpj, key, has_oid, ends_at in (
        ("a1", tax_id, own_key, True, now + dt.timedelta(days=365)),
        ("a1-expired", tax_id, other_key, True, now - dt.timedelta(days=1)),
        ("a1-other", OTHER_TAX_ID, other_key, True, now + dt.timedelta(days=365)),
        ("a1-plain", tax_id, other_key, False, now + dt.timedelta(days=365)),
    ):
        certificate = issue_a1(
            cnpj=cnpj, key=key, authority=authority, authority_key=authority_key, has_oid=has_oid, ends_at=ends_at
        )
        encryption = serialization.BestAvailableEncryption(A1_PASSWORD.encode())
        pfx = pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, [authority], encryption)
        write_private(folder / f"{name}.pfx", pfx)
    write_pem(folder / CA_FILE, key=None, certificate=authority)
    write_private(mark, tax_id.encode())


def issue_a1(
    *, cnpj: str, key: rsa.RSAPrivateKey, authority: x509.Certificate, authority_key: Key, has_oid: bool, ends_at: dt.datetime
) -> x509.Certificate:
    """An e-CNPJ as ICP-Brasil issues them: the CNPJ stands in the subject's name and, to be believed, in an OtherName."""
    names: list[x509.GeneralName] = [x509.RFC822Name("fiscal@tokia.local")]
    if has_oid:
        names.insert(0, x509.OtherName(CNPJ_OID, b"\x0c" + bytes([len(cnpj)]) + cnpj.encode()))  # a UTF8String
    return _build(
        f"EMPRESA DO SANDBOX LTDA:{cnpj}",
        key=key,
        issuer=authority,
        issuer_key=authority_key,
        names=names,
        usage=ExtendedKeyUsageOID.CLIENT_AUTH,
        ends_at=ends_at,
    )


def tax_id_in(certificate: x509.Certificate) -> str:
    """The CNPJ or CPF of an ICP-Brasil certificate's OtherName; empty where there is none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    for name in names:
        if isinstance(name, x509.OtherName) and name.type_id in (CNPJ_OID, CPF_OID):
            text = name.value[2:].decode("ascii", "replace")
            return text if name.type_id == CNPJ_OID else text[8:19]
    return ""
