"""Secrets of issuers move to the newest key, and are what they were."""

from __future__ import annotations

import base64
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from pytest_django import Settings

from invoices.certificates import store_certificate
from invoices.focus import store_token
from invoices.models import Certificate, Issuer
from tests.invoices.cast import make_issuer
from tests.invoices.pki import make_a1, pfx_of
from tokia.sealing import SecretUnreadable, decrypt


@pytest.mark.django_db
def test_reseal_covers_certificates_and_tokens(settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [old]
    issuer = make_issuer()
    pfx = pfx_of(*make_a1(tax_id=issuer.tax_id))
    store_certificate(issuer=issuer, pfx=pfx, password="senha-do-a1", by="teste")
    store_token(issuer, token="token-da-focus-0123456789")
    settings.ENCRYPTION_KEYS = [new, old]
    call_command("reseal", stdout=StringIO())
    settings.ENCRYPTION_KEYS = [new]
    kept = Certificate.objects.get(issuer=issuer)
    assert base64.b64decode(decrypt(bytes(kept.pfx))) and decrypt(bytes(kept.password))
    token = Issuer.objects.get(pk=issuer.pk).focus_token
    assert token is not None and decrypt(bytes(token)) == "token-da-focus-0123456789"
    settings.ENCRYPTION_KEYS = [old]
    with pytest.raises(SecretUnreadable):
        decrypt(bytes(kept.pfx))
