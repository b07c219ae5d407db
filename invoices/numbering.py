"""Numbers of DPS: taken once, kept by the invoice for ever, used again after a rejection, since nothing was made of it then."""

from __future__ import annotations

from django.db import transaction

from invoices.dps.ids import dps_id
from invoices.models import DpsSeries, Invoice, Issuer

NUMBER_MAX = 10**15 - 1  # nDPS has fifteen digits


def take_number(invoice: Invoice) -> int:
    """Give the invoice its number, and with it series, environment, city and DPS id; a number it has stays its own.

    Call it inside the transaction that holds the invoice's row: number and status are committed together, so that a worker which
    dies burns none. The caller saves the invoice. A number of another city or environment (the issuer moved) is not of this series.
    """
    issuer = invoice.issuer
    if invoice.number is not None and (invoice.city_code, invoice.environment) == (issuer.city_code, issuer.environment):
        return invoice.number
    number = _next_number(issuer)
    invoice.series, invoice.number = issuer.series, number
    invoice.city_code, invoice.environment = issuer.city_code, issuer.environment
    invoice.dps_id = dps_id(city_code=issuer.city_code, tax_id=issuer.tax_id, series=issuer.series, number=number)
    return number


NUMBER_FIELDS = ("series", "number", "city_code", "environment", "dps_id")


def _next_number(issuer: Issuer) -> int:
    """One at a time per series: the row is locked until the invoice that takes the number is committed, some milliseconds."""
    with transaction.atomic():
        key = {
            "city_code": issuer.city_code, "tax_id": issuer.tax_id, "series": issuer.series, "environment": issuer.environment,
        }  # fmt: skip
        DpsSeries.objects.bulk_create([DpsSeries(**key)], ignore_conflicts=True)
        series = DpsSeries.objects.select_for_update().get(**key)
        number = series.next_number
        if number > NUMBER_MAX:
            raise OverflowError("This series has no numbers left.")
        series.next_number = number + 1
        series.save(update_fields=["next_number"])
    return number
