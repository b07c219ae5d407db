"""Rows for tests of invoices: an issuer that may issue, an organization that may be billed, a draft of a billed month."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings

from accounts.models import Organization
from invoices.certificates import store_certificate
from invoices.models import Certificate, Invoice, InvoiceLine, InvoicePolicy, Issuer, TaxTerms
from tests.make import make_organization, make_top_up, make_wallet
from tokia import clock

CENTAVO = 10_000_000
PFX_PASSWORD = "a1-sandbox"
_lent: dict[tuple[object, ...], dict[str, Any]] = {}
ADDRESS = {
    "street": "Avenida Paulista", "number": "1000", "district": "Bela Vista", "city": "São Paulo", "state": "SP",
    "postal_code": "01310100",
}  # fmt: skip


def make_issuer(*, pfx: bytes = b"", **fields: Any) -> Issuer:
    """Under the normal regime in Belo Horizonte, policy monthly; with a certificate where `pfx` is given."""
    given = {
        "name": settings.RECEIVER_NAME, "tax_id": settings.RECEIVER_TAX_ID, "city_code": "3106200",
        "municipal_registration": "12345670018", "sends_municipal_registration": True, **fields,
    }  # fmt: skip
    issuer = Issuer.objects.create(**given)
    starts_on = dt.date(2026, 1, 1)
    TaxTerms.objects.create(
        issuer=issuer, starts_on=starts_on, regime=TaxTerms.Regime.NORMAL, ibscbs_from_on=starts_on, pis_cofins_situation="01",
        pis_bps=65, cofins_bps=300, federal_bps=1_345, city_bps=300,
    )  # fmt: skip
    InvoicePolicy.objects.create(issuer=issuer, starts_on=starts_on, kind=InvoicePolicy.Kind.MONTHLY)
    if pfx:
        _lend(issuer, pfx)
    return issuer


def _lend(issuer: Issuer, pfx: bytes) -> None:
    """Opening and sealing a file takes a tenth of a second: once, and then the row as it was. (So the opened one is known, too.)"""
    name = (pfx, issuer.tax_id, *settings.ENCRYPTION_KEYS)
    if name in _lent:
        Certificate.objects.create(issuer=issuer, **_lent[name])
        return
    stored = store_certificate(issuer=issuer, pfx=pfx, password=PFX_PASSWORD, by="test")
    _lent[name] = {
        field.name: getattr(stored, field.name) for field in Certificate._meta.fields if field.name not in ("id", "issuer")
    }


def make_taker(*, has_address: bool = True, **fields: Any) -> Organization:
    organization = make_organization(tax_id=fields.pop("tax_id", "11222333000181"))
    given = {"invoice_email": "notas@example.com.br", "address": ADDRESS if has_address else {}, **fields}
    for name, value in given.items():
        setattr(organization, name, value)
    organization.save()
    return organization


def make_invoice(
    *, organization: Organization | None = None, issuer: Issuer | None = None, centavos: int = 12_345, **fields: Any
) -> Invoice:
    """A draft of one top-up of that amount, due now. (A month's close is the ledger's alone to make: `months.Past`.)"""
    organization = organization or make_taker()
    entry = make_top_up(wallet=make_wallet(organization=organization, brl="0"), brl=f"{centavos / 100:.2f}")
    today = clock.today_in_brazil()
    given = {
        "issuer": issuer or Issuer.objects.get(), "policy": InvoicePolicy.Kind.TOP_UP, "month": today.replace(day=1),
        "competence_on": today, "amount_centavos": centavos, "reference": f"topup:{entry.pk}:1", "due_at": clock.now(), **fields,
    }  # fmt: skip
    invoice = Invoice.everywhere.create(organization=organization, **given)
    InvoiceLine.everywhere.create(organization=organization, invoice=invoice, entry=entry, amount_nanos=centavos * CENTAVO)
    return invoice
