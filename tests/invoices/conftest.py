"""The sandbox's tax office over real TLS, empty before every test, our settings pointing to it, and an issuer known there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django import Settings

from invoices import exchanges
from invoices.models import Issuer
from tests.invoices.cast import make_issuer
from tests.invoices.tax_office import TaxOffice, open_office


@pytest.fixture(scope="session")
def office_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaxOffice]:
    with open_office(tmp_path_factory.mktemp("office")) as office:
        yield office


@pytest.fixture
def tax_office(office_process: TaxOffice, settings: Settings) -> Iterator[TaxOffice]:
    """Sefin, the ADN and Focus NFe, without notes and without scripted faults."""
    for name, value in office_process.settings.items():
        setattr(settings, name, value)
    office_process.post("__reset")
    cache.clear()  # of cities that did not answer
    yield office_process
    exchanges.close_clients()


@pytest.fixture
def issuer(committed_db: None, tax_office: TaxOffice) -> Issuer:
    return make_issuer(pfx=tax_office.pfx())
