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
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tokia.sandbox.cnpj import check_digits

CA_FILE = "fiscal-ca.pem"
SERVER_FILE = "sefin.pem"
SIGNER_FILE = "sefin-sign.pem"
A1_PASSWORD = "a1-sandbox"  # noqa: S105  of certificates that only the sandbox believes
CNPJ_OID = x509.ObjectIdentifier("2.16.76.1.3.3")  # OtherName of an e-CNPJ (ICP-Brasil, DOC-ICP-04)
CPF_OID = x509.ObjectIdentifier("2.16.76.1.3.1")  # of an e-CPF: birthday (8), CPF (11), …
ORGANIZATION = "ICP-Brasil (sandbox)"
OTHER_TAX_ID = "45997418" + "0001" + check_digits("459974180001")
DAYS_VALID = 3650

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def ensure_fiscal_certificates(folder: Path, *, tax_id: str) -> None:
    """Write every file of the list unless all are there and `a1.pfx` is of `tax_id`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = folder / "fiscal-of"  # goes last: a start that was cut before it begins again
    if mark.exists() and mark.read_text() == tax_id and (folder / CA_FILE).exists():
        return
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("AC Fiscal do Sandbox", key=authority_key, issuer=None, issuer_key=authority_key)
    server_key = ec.generate_private_key(ec.SECP256R1())
    hosts: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = _certificate(
        "localhost", key=server_key, issuer=authority, issuer_key=authority_key, names=hosts, usage=ExtendedKeyUsageOID.SERVER_AUTH
    )
    signer_key, own_key, other_key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3))
    signer = _certificate("SEFIN NACIONAL NFS-E (SANDBOX)", key=signer_key, issuer=authority, issuer_key=authority_key)
    _write_pem(folder / SERVER_FILE, key=server_key, certificate=server)
    _write_pem(folder / SIGNER_FILE, key=signer_key, certificate=signer)
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
        _write(folder / f"{name}.pfx", pfx)
    _write_pem(folder / CA_FILE, key=None, certificate=authority)
    _write(mark, tax_id.encode())


def issue_a1(
    *, cnpj: str, key: rsa.RSAPrivateKey, authority: x509.Certificate, authority_key: Key, has_oid: bool, ends_at: dt.datetime
) -> x509.Certificate:
    """An e-CNPJ as ICP-Brasil issues them: the CNPJ stands in the subject's name and, to be believed, in an OtherName."""
    names: list[x509.GeneralName] = [x509.RFC822Name("fiscal@tokia.local")]
    if has_oid:
        names.insert(0, x509.OtherName(CNPJ_OID, b"\x0c" + bytes([len(cnpj)]) + cnpj.encode()))  # a UTF8String
    return _certificate(
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


def _certificate(
    name: str,
    *,
    key: Key,
    issuer: x509.Certificate | None,
    issuer_key: Key,
    names: list[x509.GeneralName] | None = None,
    usage: x509.ObjectIdentifier | None = None,
    ends_at: dt.datetime | None = None,
) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "BR"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    now = dt.datetime.now(dt.UTC)
    ends_at = ends_at or now + dt.timedelta(days=DAYS_VALID)
    is_authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, ends_at) - dt.timedelta(days=30))
        .not_valid_after(ends_at)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(_key_usage(is_authority=is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=not is_authority,  # "Não Recusa": E0716 asks for it
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pem(path: Path, *, key: Key | None, certificate: x509.Certificate) -> None:
    pem = b""
    if key is not None:
        pem += key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(path, pem + certificate.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, 0600 from the first byte."""
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)
