"""The issuer's A1: checked when it comes in, sealed while it lies here, opened to sign and to connect, watched until it ends.

An ICP-Brasil A1 is a PKCS#12 file of one key, its certificate and the chain above it. The CNPJ is inside, in an OtherName of OID
2.16.76.1.3.3, and has the issuer's root (E0718): a branch may sign for its head office. Neither file nor password is ever logged.
"""

from __future__ import annotations

import base64
import datetime as dt
import logging
import os
import secrets
import ssl
import tempfile
from dataclasses import dataclass
from email.utils import parseaddr
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.db.models import Q
from django.template.loader import render_to_string

from accounts.models import User
from accounts.tax_ids import format_tax_id
from invoices.errors import Incomplete, NoCertificate
from invoices.models import Certificate, Issuer
from tokia import clock, sealing

log = logging.getLogger("invoices.certificates")

CNPJ_OID = x509.ObjectIdentifier("2.16.76.1.3.3")
ROOT_LENGTH = 8  # of a CNPJ: what head office and branches share
PFX_BYTES_MAX = 200_000
WARNED_DAYS = (0, 5, 15, 30)  # how long before the end somebody is told; 0: it is over
OPENED_MAX = 4
# OCTET STRING, UTF8String, PrintableString, IA5String: what authorities have put a CNPJ in.
_TEXT_TAGS = frozenset({0x04, 0x0C, 0x13, 0x16})


@dataclass(frozen=True, slots=True, repr=False)
class A1:
    """An opened certificate: what signs a document and opens a connection."""

    key: RSAPrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    ends_at: dt.datetime


class _Unusable(Exception):
    """Why a file is no A1 of ours, in Portuguese; `param` is the field of the form."""

    def __init__(self, message: str, *, param: str = "pfx") -> None:
        super().__init__(message)
        self.message = message
        self.param = param


# ── In ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def store_certificate(*, issuer: Issuer, pfx: bytes, password: str, by: str) -> Certificate:
    """Keep an A1 of the issuer's; the same one again is the same row. Raises Incomplete, which says why it can't be used."""
    now = clock.now()
    try:
        a1 = _open(pfx, password)
        tax_id = _check(a1.certificate, issuer=issuer, now=now)
    except _Unusable as error:
        raise Incomplete(error.message, problem_code="CERTIFICATE", param=error.param) from error
    fields = {
        "pfx": sealing.encrypt(base64.b64encode(pfx).decode()),
        "password": sealing.encrypt(password),
        "subject": _name_of(a1.certificate),
        "tax_id": tax_id,
        "starts_at": a1.certificate.not_valid_before_utc,
        "ends_at": a1.ends_at,
        "is_active": True,
        "uploaded_by": by[:150],
    }
    serial_number = f"{a1.certificate.serial_number:x}"
    with transaction.atomic():
        Issuer.objects.select_for_update().get(pk=issuer.pk)  # two uploads of one file are one row
        certificate, _ = Certificate.objects.update_or_create(issuer=issuer, serial_number=serial_number, defaults=fields)
    log.info("a certificate came in", extra={"issuer": issuer.pk, "serial": serial_number, "by": by})
    return certificate


def _open(pfx: bytes, password: str) -> A1:
    if len(pfx) > PFX_BYTES_MAX:
        raise _Unusable("O arquivo é grande demais para um certificado A1.")
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(pfx, password.encode() or None)
    except UnsupportedAlgorithm as error:
        raise _Unusable("O arquivo usa uma cifra que não é mais aceita. Exporte o A1 de novo, com AES-256.") from error
    except ValueError as error:
        message = "A senha não abre este arquivo. Confira a senha, e se o arquivo é um A1 (.pfx ou .p12)."
        raise _Unusable(message, param="password") from error
    if certificate is None or not isinstance(key, RSAPrivateKey):
        raise _Unusable("O arquivo não tem um certificado com a sua chave. Exporte o A1 com a chave privada.")
    if certificate.public_key() != key.public_key():
        raise _Unusable("A chave do arquivo não é a do certificado.")
    return A1(key=key, certificate=certificate, chain=tuple(chain), ends_at=certificate.not_valid_after_utc)


def _check(certificate: x509.Certificate, *, issuer: Issuer, now: dt.datetime) -> str:
    """The CNPJ inside (E0715, E0716, E0718; of the connection E1200 and after). Raises _Unusable."""
    tax_id = _tax_id_of(certificate)
    if not tax_id:
        raise _Unusable("O certificado não traz um CNPJ (ICP-Brasil, OID 2.16.76.1.3.3). Use o e-CNPJ A1 da empresa.")
    if tax_id[:ROOT_LENGTH] != issuer.tax_id[:ROOT_LENGTH]:
        raise _Unusable(f"O certificado é do CNPJ {format_tax_id(tax_id)}, e o emitente é {format_tax_id(issuer.tax_id)}.")
    if certificate.not_valid_after_utc <= now:
        ended = certificate.not_valid_after_utc.astimezone(clock.SAO_PAULO)
        raise _Unusable(f"O certificado venceu em {ended:%d/%m/%Y}.")
    if not _may_sign_and_connect(certificate):
        raise _Unusable("O certificado não serve para assinar documentos e conectar ao sistema nacional. Use um e-CNPJ A1.")
    return tax_id


def _may_sign_and_connect(certificate: x509.Certificate) -> bool:
    """What its extensions say, where it has them (E0716): no authority's, signs, is not denied, is a client."""
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return False
        if isinstance(value, x509.KeyUsage) and not (value.digital_signature and value.content_commitment):
            return False
        if isinstance(value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in value:
            return False
    return True


def _tax_id_of(certificate: x509.Certificate) -> str:
    """The CNPJ of an e-CNPJ; empty where there is none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    for name in names:
        if isinstance(name, x509.OtherName) and name.type_id == CNPJ_OID:
            return _text_in(name.value)
    return ""


def _text_in(der: bytes) -> str:
    """The text of one short DER value. Anything else is empty."""
    if len(der) != 16 or der[0] not in _TEXT_TAGS or der[1] != 14:
        return ""
    return der[2:].decode("ascii", "replace").upper()


def _name_of(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value if names else certificate.subject.rfc4514_string())[:200]


# ── Out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def load(issuer: Issuer) -> A1:
    """The certificate that signs today: of those in use and valid the one that ends last. Raises NoCertificate."""
    now = clock.now()
    valid = Certificate.objects.filter(issuer=issuer, is_active=True, starts_at__lte=now, ends_at__gt=now)
    certificate = valid.order_by("-ends_at", "-id").first()
    if certificate is None:
        raise NoCertificate("Nenhum certificado A1 do emitente é válido hoje. As notas esperam na fila.")
    try:
        return _opened(bytes(certificate.pfx), bytes(certificate.password), tuple(settings.ENCRYPTION_KEYS))
    except (sealing.SecretUnreadable, _Unusable) as error:
        log.critical("a certificate can't be opened", extra={"certificate": certificate.pk, "error": type(error).__name__})
        raise NoCertificate("O certificado A1 guardado não pode ser aberto. Envie-o de novo.") from error


@lru_cache(maxsize=OPENED_MAX)
def _opened(sealed_pfx: bytes, sealed_password: bytes, _keys: tuple[str, ...]) -> A1:
    """Opening takes a tenth of a second, a month's first day has thousands of notes. Another file is another entry."""
    return _open(base64.b64decode(sealing.decrypt(sealed_pfx)), sealing.decrypt(sealed_password))


def tls_context(a1: A1, *, ca_file: str) -> ssl.SSLContext:
    """For connections that show the certificate. HTTP/1.1 only: the tax office refuses HTTP/2. Empty `ca_file`: the system's.

    `ssl` takes a key from a file alone: it is written for us only, under a password that nobody else has, and is gone at once.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    password = secrets.token_urlsafe(32)
    pem = a1.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    pem += b"".join(certificate.public_bytes(Encoding.PEM) for certificate in (a1.certificate, *a1.chain))
    descriptor, path = tempfile.mkstemp(prefix="tokia-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path, password=password)
    finally:
        os.unlink(path)
    return context


# ── Watch ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def watch(now: dt.datetime) -> int:
    """Tell our own people 30, 15 and 5 days before an active issuer's certificate ends, and when it has; once each.

    Of an issuer the one that ends last counts: who has put in the next one hears no more of this one. How many were told of.
    Raises OSError where no mail at all goes out: nothing is marked then, and the next look tells.
    """
    told = 0
    for issuer in Issuer.objects.filter(is_active=True):
        newest = Certificate.objects.filter(issuer=issuer, is_active=True).order_by("-ends_at", "-id").first()
        if newest is not None:
            told += _warn(newest.pk, now=now)
    return told


@transaction.atomic
def _warn(pk: int, *, now: dt.datetime) -> int:
    certificate = (
        Certificate.objects.select_for_update(of=("self",), skip_locked=True).select_related("issuer").filter(pk=pk).first()
    )
    if certificate is None:
        return 0  # another worker is at it
    left = certificate.ends_at - now
    reached = next((days for days in WARNED_DAYS if left <= dt.timedelta(days=days)), None)
    if reached is None or (certificate.warned_days is not None and certificate.warned_days <= reached):
        return 0
    log.critical(
        "an issuer's certificate ends", extra={"certificate": certificate.pk, "issuer": certificate.issuer_id, "days": left.days}
    )
    _mail(certificate, now=now, threshold=reached)
    certificate.warned_days = reached
    certificate.save(update_fields=["warned_days"])
    return 1


def _mail(certificate: Certificate, *, now: dt.datetime, threshold: int) -> None:
    ours = User.objects.filter(Q(is_superuser=True) | Q(is_staff=True), is_active=True)
    ends_on = certificate.ends_at.astimezone(clock.SAO_PAULO).date()
    context = {
        "certificate": certificate,
        "issuer": certificate.issuer,
        "tax_id": format_tax_id(certificate.tax_id),
        "ends_at": certificate.ends_at.astimezone(clock.SAO_PAULO),
        "days": max((ends_on - now.astimezone(clock.SAO_PAULO).date()).days, 0),
        "is_over": certificate.ends_at <= now,
        "url": f"{settings.WEB_URL}/admin/invoices/certificate/enviar/?issuer={certificate.issuer_id}",
    }
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].partition("@")[2]
    sent, failure = 0, None
    for user_id, email in ours.order_by("id").values_list("id", "email"):
        message = EmailMultiAlternatives(
            subject=_subject(context),
            body=render_to_string("invoices/email/certificate_ends.txt", context),
            to=[email],
            headers={"Message-ID": f"<certificate-{certificate.pk}-{threshold}-{user_id}@{domain}>"},
        )
        message.attach_alternative(render_to_string("invoices/email/certificate_ends.html", context), "text/html")
        try:
            sent += message.send()
        except OSError as error:  # SMTP's errors are; one that is not taken keeps no other from it
            failure = error
            log.error("a certificate's warning was not taken", extra={"user": user_id, "error": type(error).__name__})
    if failure is not None and not sent:
        raise failure


def _subject(context: dict[str, object]) -> str:
    if context["is_over"]:
        return "Tokia: o certificado A1 venceu; nenhuma nota é emitida"
    if context["days"] == 1:
        return "Tokia: o certificado A1 vence amanhã"
    return f"Tokia: o certificado A1 vence em {context['days']} dias" if context["days"] else "Tokia: o certificado A1 vence hoje"
