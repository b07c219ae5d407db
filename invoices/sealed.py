"""What an issuer keeps secret, under the newest of ENCRYPTION_KEYS (`manage.py reseal`)."""

from __future__ import annotations

from invoices.models import Certificate, Issuer
from tokia.sealing import rotate


def reseal_issuers() -> int:
    """Certificates with their passwords, and Focus tokens. Gives how many rows; safe to repeat."""
    rows = 0
    for certificate in Certificate.objects.all():
        rows += Certificate.objects.filter(pk=certificate.pk, pfx=certificate.pfx).update(
            pfx=rotate(bytes(certificate.pfx)), password=rotate(bytes(certificate.password))
        )
    for issuer in Issuer.objects.filter(focus_token__isnull=False):
        token = issuer.focus_token
        if token:
            rows += Issuer.objects.filter(pk=issuer.pk, focus_token=token).update(focus_token=rotate(bytes(token)))
    return rows
