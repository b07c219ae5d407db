"""The sandbox's own little certificate authority, made once: the bank's server, Tokia's client, the webhook's sender."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_NAME = "AC Sandbox Tokia"
CLIENT_NAME = "tokia-psp-client"  # the only subject that the bank's port admits
HOOK_NAME = "psp-webhook-sender"
DAYS_VALID = 3650
FILES = ("ca.pem", "server.pem", "client.pem", "hook.pem")


def ensure_certificates(folder: Path) -> None:
    """Write `ca.pem`, `server.pem`, `client.pem` and `hook.pem` (key, then certificate; 0600) unless all are there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if all((folder / name).exists() for name in FILES):
        return
    authority_key, server_key, client_key, hook_key = (ec.generate_private_key(ec.SECP256R1()) for _ in FILES)
    authority = _certificate(name=CA_NAME, key=authority_key, issuer=None, issuer_key=authority_key)
    server = _certificate(
        name="localhost",
        key=server_key,
        issuer=authority,
        issuer_key=authority_key,
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
        hosts=[x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))],
    )
    sign_client = partial(_certificate, issuer=authority, issuer_key=authority_key, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    client = sign_client(name=CLIENT_NAME, key=client_key)
    hook = sign_client(name=HOOK_NAME, key=hook_key)
    # ca.pem goes last: a start that was cut before it begins again.
    _write(folder / "server.pem", key=server_key, certificate=server)
    _write(folder / "client.pem", key=client_key, certificate=client)
    _write(folder / "hook.pem", key=hook_key, certificate=hook)
    _write(folder / "ca.pem", key=None, certificate=authority)


def _certificate(
    *,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    usage: x509.ObjectIdentifier | None = None,
    hosts: list[x509.GeneralName] | None = None,
) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "BR"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sandbox Tokia"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    now = dt.datetime.now(dt.UTC)
    is_authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=DAYS_VALID))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(_key_usage(is_authority=is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, *, key: ec.EllipticCurvePrivateKey | None, certificate: x509.Certificate) -> None:
    pem = b""
    if key is not None:
        pem += key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem += certificate.public_bytes(serialization.Encoding.PEM)
    draft = path.with_suffix(".part")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    draft.replace(path)
