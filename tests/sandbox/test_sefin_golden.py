"""Every DPS of the golden corpus, as Tokia builds and signs it, at the sandbox's tax office, which shares no code with it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import httpx
import pytest

from invoices.dps.build import build_dps
from invoices.dps.document import Dps
from invoices.dps.ids import dps_id
from invoices.dps.sign import sign
from tests.fiscal import FiscalSandbox
from tests.invoices.dps.cases import CASES
from tests.sandbox.dps import CITY, ISSUER, METHODS, pack
from tokia.sandbox.cnpj import check_digits

OTHER_WITH_LETTERS = "B2C3D4E50001" + check_digits("B2C3D4E50001")


@pytest.fixture
def sefin(fiscal: FiscalSandbox) -> Iterator[httpx.Client]:
    fiscal.set_city(CITY, im="any")
    last = max(case.issued_at for case in CASES.values())
    fiscal.set(offset_seconds=(last - dt.datetime.now(dt.UTC)).total_seconds() + 86_400)
    with fiscal.client() as client:
        yield client


def of_the_sandbox(case: Dps, *, number: int) -> Dps:
    """The case with the sandbox's issuer, whose certificate we have."""
    taker = replace(case.taker, tax_id=OTHER_WITH_LETTERS) if case.taker.tax_id == ISSUER else case.taker
    issuer = replace(case.prestador, tax_id=ISSUER, city_code=CITY)
    return replace(case, number=number, prestador=issuer, taker=taker, replaces=None)


def test_it_takes_every_dps_of_the_corpus(fiscal: FiscalSandbox, sefin: httpx.Client) -> None:
    key, certificate = fiscal.a1()
    refused: dict[str, list[str]] = {}
    for number, ((name, case), method) in enumerate(zip(CASES.items(), cycle(METHODS), strict=False), 1):
        dps = of_the_sandbox(case, number=number)
        reference = dps_id(city_code=CITY, tax_id=ISSUER, series=dps.series, number=number)
        xml = sign(build_dps(dps), reference=reference, key=key, certificate=certificate, method=method)
        path = f"{fiscal.fiscal_url}/producao/SefinNacional/nfse" if dps.environment == "1" else "/nfse"
        answer = sefin.post(path, json={"dpsXmlGZipB64": pack(xml)})
        if answer.status_code != 201:
            refused[name] = [error["codigo"] for error in answer.json()["erros"]]
    # These two tell a rate, as is right only where the city keeps none in the national system; this one does.
    assert refused == {"normal-city-codes": ["E0617"], "simples-iss-outside": ["E0635"]}
    assert len(fiscal.notes()) == len(CASES) - len(refused)
