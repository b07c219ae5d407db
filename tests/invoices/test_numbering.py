"""Numbers of DPS: one after another, none twice, none lost with a worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction

from invoices.models import DpsSeries, Invoice, Issuer
from invoices.numbering import take_number
from tests.invoices.cast import make_invoice, make_issuer, make_taker


@pytest.mark.django_db
def test_a_number_is_its_invoices_for_ever() -> None:
    invoice = make_invoice(issuer=make_issuer())
    assert [take_number(invoice), take_number(invoice)] == [1, 1]
    assert invoice.dps_id == f"DPS31062002{invoice.issuer.tax_id}00001000000000000001"
    assert DpsSeries.objects.get().next_number == 2


@pytest.mark.django_db
def test_series_and_environments_count_by_themselves() -> None:
    issuer = make_issuer()
    first = make_invoice(issuer=issuer)
    take_number(first)
    for changes in ({"series": 2}, {"environment": "1"}, {"city_code": "3304557"}):
        for name, value in changes.items():
            setattr(issuer, name, value)
        issuer.save()
        other = make_invoice(issuer=issuer, organization=make_taker())
        assert take_number(other) == 1
    first.issuer = issuer
    assert (take_number(first), first.city_code, first.environment) == (2, "3304557", "1")  # of another city: not of this series


@pytest.mark.django_db
def test_a_number_that_was_not_committed_is_not_burnt() -> None:
    invoice = make_invoice(issuer=make_issuer())
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        take_number(invoice)
        raise ZeroDivisionError
    invoice.refresh_from_db()
    assert take_number(invoice) == 1


def test_twenty_invoices_at_once_have_twenty_numbers(committed_db: None) -> None:
    issuer = make_issuer()
    organization = make_taker()
    invoices = [make_invoice(issuer=issuer, organization=organization, centavos=100 + number) for number in range(20)]

    def number(invoice: Invoice) -> int:
        try:
            with transaction.atomic():
                row = Invoice.everywhere.select_for_update().get(pk=invoice.pk)
                taken = take_number(row)
                row.save()
            return taken
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(number, invoices)) == list(range(1, 21))
    assert Issuer.objects.count() == 1
