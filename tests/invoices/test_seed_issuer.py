"""The sandbox's issuer: made once, kept as people change it, never in production."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from pytest_django import Settings

from invoices import issuing
from invoices.models import Certificate, InvoicePolicy, Issuer, TaxTerms
from tests.invoices.cast import make_invoice
from tests.invoices.tax_office import TaxOffice


@pytest.mark.django_db
def test_it_is_seeded_once_and_may_issue(tax_office: TaxOffice, settings: Settings) -> None:
    settings.TOKIA_HOME = tax_office.home
    call_command("seed_issuer")
    Issuer.objects.update(series=7)
    call_command("seed_issuer")
    issuer = Issuer.objects.get()
    assert (issuer.series, issuer.environment, issuer.channel) == (7, "2", "sefin")
    assert [model.objects.count() for model in (TaxTerms, InvoicePolicy, Certificate)] == [1, 1, 1]
    invoice = issuing.issue(make_invoice(issuer=issuer))
    assert invoice.status == "issued", invoice.problem
    [note] = tax_office.notes()
    assert (note["access_key"], note["environment"]) == (invoice.access_key, 2)


@pytest.mark.django_db
def test_it_says_what_is_missing_where_the_sandbox_never_ran(settings: Settings, tmp_path: object) -> None:
    settings.TOKIA_HOME = tmp_path
    call_command("seed_issuer")
    assert (Issuer.objects.count(), Certificate.objects.count()) == (1, 0)


def test_it_has_no_place_in_production(settings: Settings) -> None:
    settings.IS_PRODUCTION = True
    with pytest.raises(CommandError):
        call_command("seed_issuer")


def test_issuing_refuses_to_be_part_of_somebody_elses_transaction(issuer: Issuer, tax_office: TaxOffice) -> None:
    """There what is written before the first byte leaves would be gone with a crash, and sent again."""
    invoice = make_invoice(issuer=issuer)
    with pytest.raises(RuntimeError), transaction.atomic():
        issuing.issue(invoice)
    assert tax_office.notes() == []
