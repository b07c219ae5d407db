"""BR Codes against the vectors of the Banco Central's manuals and of the API Pix 2.9.0."""

from __future__ import annotations

import pytest

from billing.pix import brcode

STATIC = "00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-4266554400005204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***63041D3D"  # noqa: E501
DYNAMIC = "00020101021226700014br.gov.bcb.pix2548pix.example.com/8b3da2f39a4140d1a91abd93113bd4415204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***630464E4"  # noqa: E501
VECTORS = {
    "BCB, Manual de Padrões, static": STATIC,
    "BCB, Manual de Padrões, dynamic": DYNAMIC,
    "BCB, Manual do BR Code": "00020104141234567890123426580014BR.GOV.BCB.PIX0136123e4567-e12b-12d1-a456-42665544000027300012BR.COM.OUTRO011001234567895204000053039865406123.455802BR5917NOME DO RECEBEDOR6008BRASILIA61087007490062190515RP12345678-201980390012BR.COM.OUTRO01190123.ABCD.3456.WXYZ6304AD38",  # noqa: E501
    "API Pix 2.9.0, recResponse3": "00020126180014br.gov.bcb.pix5204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***80800014br.gov.bcb.pix2558pix.example.com/qr/v2/rec/2353c790eefb11eaadc10242ac120002630462C9",  # noqa: E501
    "API Pix 2.9.0, recResponse6": "00020101021226760014br.gov.bcb.pix2554pix.example.com/qr/v2/8b3da2f39a4140d1a91abd93113bd4415204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***80800014br.gov.bcb.pix2558pix.example.com/qr/v2/rec/94ed2badcbc04c15b0bb7fa35319489063047741",  # noqa: E501
    "API Pix 2.9.0, recResponse7": "00020101021226810014br.gov.bcb.pix2559pix.example.com/qr/v2/cobv/1e6c54d3ec9449b7a7fc53b6b0f998e75204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***80800014br.gov.bcb.pix2558pix.example.com/qr/v2/rec/3ffa640fa4f14080adccb949fa2dc0d06304A441",  # noqa: E501
}


def test_its_crc_has_the_catalogues_check_value() -> None:
    assert brcode.crc16("123456789") == "29B1"


@pytest.mark.parametrize("source", VECTORS)
def test_it_reads_the_published_codes(source: str) -> None:
    assert brcode.read_code(VECTORS[source])["53"] == "986"


def test_it_builds_the_published_codes() -> None:
    assert brcode.static_code(key="123e4567-e12b-12d1-a456-426655440000", name="Fulano de Tal", city="BRASILIA") == STATIC
    location = "pix.example.com/8b3da2f39a4140d1a91abd93113bd441"
    assert brcode.dynamic_code(location=location, name="Fulano de Tal", city="BRASILIA") == DYNAMIC


def test_it_writes_accents_as_ascii_and_cuts_long_names() -> None:
    code = brcode.dynamic_code(
        location="pix.example.com/x", name="Ação Serviços Digitais do Brasil Ltda", city="São José do Rio Preto", amount="150.00"
    )
    fields = brcode.read_code(code)
    assert (fields["54"], fields["59"], fields["60"]) == ("150.00", "Acao Servicos Digitais do", "Sao Jose do Rio")
    assert code.isascii()


@pytest.mark.parametrize("broken", [STATIC[:-1] + "E", STATIC[:-8], "", "000201", STATIC.replace("986", "840")])
def test_it_refuses_a_broken_code(broken: str) -> None:
    with pytest.raises(brcode.BadBrcode):
        brcode.read_code(broken)


@pytest.mark.parametrize("location", ["https://pix.example.com/x", "x" * 78, ""])
def test_it_refuses_a_location_that_does_not_fit(location: str) -> None:
    with pytest.raises(brcode.BadBrcode):
        brcode.dynamic_code(location=location, name="Tokia", city="SAO PAULO")


def test_it_draws_black_on_white_without_a_style() -> None:
    drawn = brcode.qr_svg(DYNAMIC)
    assert drawn.startswith("<svg") and "viewBox" in drawn
    assert "style" not in drawn and "<?xml" not in drawn and "#fff" in drawn
