"""A note that somebody brings as a file: whole, or not at all."""

from __future__ import annotations

import pytest

from invoices import uploading
from invoices.dps.build import build_dps
from invoices.dps.sign import sign
from invoices.errors import Incomplete
from tests.invoices.dps.cases import CASES
from tests.invoices.dps.notes import make_nfse
from tests.invoices.pki import make_a1

ID = "DPS310620021122233300018100001000000000000007"


def _note() -> bytes:
    signer = make_a1()
    dps = sign(build_dps(CASES["normal-cnpj-monthly"]), reference=ID, key=signer[0], certificate=signer[1], method="rsa-sha256-exc")
    return make_nfse(dps, signer=signer)


def test_it_takes_the_file_as_the_tax_office_gave_it() -> None:
    assert uploading._read(_note()).amount_centavos == 123_456


@pytest.mark.parametrize(
    "old, new",
    [(b"<vServ>1234.56", b"<vServ>9234.56"), (b"<vLiq>", b"\n<vLiq>"), (b"<SignatureValue>", b"<SignatureValue>AAAA")],
    ids=["amount", "line break", "value"],
)
def test_it_refuses_a_file_that_somebody_changed(old: bytes, new: bytes) -> None:
    with pytest.raises(Incomplete, match="assinatura") as refusal:
        uploading._read(_note().replace(old, new))
    assert refusal.value.param == "nfse_xml"
