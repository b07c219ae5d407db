"""Rows for the admin's tests: notes as they may stand, made directly, each of one top-up."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from accounts.models import Organization
from invoices.certificates import store_certificate
from invoices.models import Invoice, InvoiceLine, InvoicePolicy, Issuer, TaxTerms
from tests.make import make_organization, make_top_up, make_wallet
from tokia import clock

ADDRESS = {
    "street": "Avenida Paulista", "number": "1000", "district": "Bela Vista", "city": "São Paulo", "state": "SP",
    "postal_code": "01310100",
}  # fmt: skip
PFX_PASSWORD = "a1-sandbox"
_number = itertools.count(1)


def issuer_at_work(*, pfx: bytes = b"", **fields: Any) -> Issuer:
    """Belo Horizonte, Lucro Presumido, each top-up; the sandbox's own CNPJ. Without `pfx` no certificate."""
    given = {
        "name": "Tokia Tecnologia Ltda", "tax_id": "12ABC34501DE35", "city_code": "3106200",
        "municipal_registration": "12345670018", "sends_municipal_registration": True, **fields,
    }  # fmt: skip
    issuer = Issuer.objects.create(**given)
    began_on = dt.date(2026, 1, 1)
    TaxTerms.objects.create(
        issuer=issuer, starts_on=began_on, regime=TaxTerms.Regime.NORMAL, ibscbs_from_on=began_on, pis_cofins_situation="01",
        pis_bps=65, cofins_bps=300, federal_bps=1_345, city_bps=300,
    )  # fmt: skip
    InvoicePolicy.objects.create(issuer=issuer, starts_on=began_on, kind=InvoicePolicy.Kind.TOP_UP)
    if pfx:
        store_certificate(issuer=issuer, pfx=pfx, password=PFX_PASSWORD, by="test")
    return issuer


def taker_named(name: str = "Acme Ltda", *, tax_id: str = "11222333000181", address: dict[str, str] | None = None) -> Organization:
    organization = make_organization(name=name, tax_id=tax_id)
    organization.invoice_email, organization.address = "notas@example.com.br", ADDRESS if address is None else address
    organization.save()
    return organization


def note_of(organization: Organization | None = None, *, centavos: int = 12_345, **fields: Any) -> Invoice:
    """A draft, due now; whatever else in `fields`."""
    organization = organization or taker_named()
    entry = make_top_up(wallet=make_wallet(organization=organization, brl="0"), brl=f"{centavos // 100}.{centavos % 100:02d}")
    today = clock.today_in_brazil()
    given = {
        "issuer": Issuer.objects.get(), "policy": InvoicePolicy.Kind.TOP_UP, "month": today.replace(day=1), "competence_on": today,
        "amount_centavos": centavos, "reference": f"topup:{entry.pk}:{next(_number)}", "due_at": clock.now(), **fields,
    }  # fmt: skip
    invoice = Invoice.everywhere.create(organization=organization, **given)
    InvoiceLine.everywhere.create(organization=organization, invoice=invoice, entry=entry, amount_nanos=centavos * 10_000_000)
    return invoice
