"""Invoices for tests of the channels: numbered rows made directly, documents built and signed as in production."""

from __future__ import annotations

import itertools
from typing import Any

from accounts.models import Organization
from invoices import certificates
from invoices.building import dps_of
from invoices.dps.build import build_cancel, build_dps
from invoices.dps.ids import cancel_id, dps_id
from invoices.dps.sign import sign
from invoices.focus import build_body, build_cancel_body
from invoices.models import Invoice, InvoicePolicy, Issuer
from tests.invoices.cast import make_taker
from tokia import clock

_number = itertools.count(1)


def make_document(issuer: Issuer, *, organization: Organization | None = None, is_signed: bool = True, **fields: Any) -> Invoice:
    """Numbered, and with the bytes that are sent."""
    number = next(_number)
    today = clock.today_in_brazil()
    facts: dict[str, Any] = {
        "organization": organization or make_taker(tax_id="45997418000153", name="Padaria São João Ltda"), "issuer": issuer,
        "policy": InvoicePolicy.Kind.MONTHLY,
        "reference": f"month:{number}:2026-11:1", "month": today.replace(day=1), "competence_on": today, "amount_centavos": 15_000,
        "status": Invoice.Status.SENDING, "channel": issuer.channel, "environment": issuer.environment,
        "city_code": issuer.city_code, "series": issuer.series, "number": number,
        "dps_id": dps_id(city_code=issuer.city_code, tax_id=issuer.tax_id, series=issuer.series, number=number), **fields,
    }  # fmt: skip
    invoice = Invoice.everywhere.create(**facts)
    if is_signed:
        invoice.dps_xml = sign_document(invoice)
        invoice.save(update_fields=["dps_xml"])
    return invoice


def sign_document(invoice: Invoice) -> bytes:
    dps = dps_of(invoice)
    if invoice.channel == Issuer.Channel.FOCUS:
        return build_body(dps, resource=invoice.focus_resource)
    a1 = certificates.load(invoice.issuer)
    return sign(build_dps(dps), reference=invoice.dps_id, key=a1.key, certificate=a1.certificate, method=invoice.issuer.signature)


def sign_cancel(invoice: Invoice, *, reason: str = "Valor informado incorretamente") -> bytes:
    """What `Invoice.cancel_xml` holds."""
    if invoice.channel == Issuer.Channel.FOCUS:
        return build_cancel_body(reason=reason)
    a1, issuer = certificates.load(invoice.issuer), invoice.issuer
    xml = build_cancel(
        access_key=invoice.access_key, tax_id=issuer.tax_id, environment=invoice.environment, code="1", reason=reason,
        at=clock.now(),
    )  # fmt: skip
    return sign(xml, reference=cancel_id(invoice.access_key), key=a1.key, certificate=a1.certificate, method=issuer.signature)
