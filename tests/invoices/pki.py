"""Certificates for tests: an authority, and e-CNPJ A1s as ICP-Brasil makes them. Keys are slow: one of each per session."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CNPJ_OID = "2.16.76.1.3.3"
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


@cache
def key_of(name: str) -> RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class Authority:
    key: RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


@cache
def authority(name: str = "AC Teste") -> Authority:
    key = key_of(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, issuer=subject, key=key, ends_at=NOW + dt.timedelta(days=3650))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Authority(key=key, certificate=builder.sign(key, hashes.SHA256()))


def make_a1(
    *,
    tax_id: str = "11222333000181",
    starts_at: dt.datetime = NOW - dt.timedelta(days=10),
    ends_at: dt.datetime = NOW + dt.timedelta(days=300),
    der: bytes | None = None,
    may_connect: bool = True,
    may_sign: bool = True,
    is_authority: bool = False,
    key_name: str = "a1",
    by: str = "AC Teste",
) -> tuple[RSAPrivateKey, x509.Certificate]:
    """`der` is the value of the OtherName where it is not the CNPJ as a UTF8String; empty: no such name."""
    key, signer = key_of(key_name), authority(by)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"TOKIA SERVICOS DIGITAIS LTDA:{tax_id}")])
    builder = _builder(subject, issuer=signer.certificate.subject, key=key, ends_at=ends_at, starts_at=starts_at)
    builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=may_sign), critical=True)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] if may_connect else [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    names: list[x509.GeneralName] = [x509.RFC822Name("fiscal@tokia.com.br")]
    value = b"\x0c\x0e" + tax_id.encode() if der is None else der
    if value:
        names.insert(0, x509.OtherName(x509.ObjectIdentifier(CNPJ_OID), value))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(signer.key, hashes.SHA256())


def make_server() -> tuple[RSAPrivateKey, x509.Certificate]:
    """Of "localhost", by the same authority."""
    key, signer = key_of("server"), authority()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    ends_at = NOW + dt.timedelta(days=30)
    builder = _builder(subject, issuer=signer.certificate.subject, key=key, ends_at=ends_at)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    return key, builder.sign(signer.key, hashes.SHA256())


def pfx_of(key: RSAPrivateKey | None, certificate: x509.Certificate | None, *, password: str = "senha-do-a1") -> bytes:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"a1", key, certificate, [authority().certificate], encryption)


def _builder(
    subject: x509.Name,
    *,
    issuer: x509.Name,
    key: RSAPrivateKey,
    ends_at: dt.datetime,
    starts_at: dt.datetime = NOW - dt.timedelta(days=10),
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts_at)
        .not_valid_after(ends_at)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool = True, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=signs,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
