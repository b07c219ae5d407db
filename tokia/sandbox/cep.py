"""Postal codes in the shape of ViaCEP: made-up but stable streets of real cities, with their real codes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from tokia.sandbox.asgi import Json, Request, Response, json_response
from tokia.sandbox.cnpj import DISTRICTS, STREETS
from tokia.sandbox.fiscal_books import Fault, FiscalBooks
from tokia.sandbox.fiscal_faults import Breaker

# The first three digits of a CEP say the region: (from, to, city, state, IBGE, area code). Others are unknown.
_REGIONS = (
    (10, 59, "São Paulo", "SP", "3550308", "11"), (80, 84, "São Paulo", "SP", "3550308", "11"),
    (110, 110, "Santos", "SP", "3548500", "13"), (130, 131, "Campinas", "SP", "3509502", "19"),
    (200, 237, "Rio de Janeiro", "RJ", "3304557", "21"), (240, 241, "Niterói", "RJ", "3303302", "21"),
    (290, 290, "Vitória", "ES", "3205309", "27"), (300, 319, "Belo Horizonte", "MG", "3106200", "31"),
    (400, 424, "Salvador", "BA", "2927408", "71"), (500, 529, "Recife", "PE", "2611606", "81"),
    (600, 605, "Fortaleza", "CE", "2304400", "85"), (660, 668, "Belém", "PA", "1501402", "91"),
    (690, 690, "Manaus", "AM", "1302603", "92"), (700, 727, "Brasília", "DF", "5300108", "61"),
    (740, 748, "Goiânia", "GO", "5208707", "62"), (800, 825, "Curitiba", "PR", "4106902", "41"),
    (880, 880, "Florianópolis", "SC", "4205407", "48"), (892, 892, "Joinville", "SC", "4209102", "47"),
    (900, 919, "Porto Alegre", "RS", "4314902", "51"),
)  # fmt: skip
# Real ones that people type to try.
_KNOWN = {
    "01001000": ("Praça da Sé", "lado ímpar", "Sé"),
    "01310100": ("Avenida Paulista", "de 612 a 1510 - lado par", "Bela Vista"),
    "20040002": ("Avenida Rio Branco", "de 1 ao fim", "Centro"),
    "30130010": ("Praça Sete de Setembro", "", "Centro"),
    "90010150": ("Rua dos Andradas", "", "Centro Histórico"),
}
GENERAL_SUFFIX = "000"  # a town with one CEP for all of it: no street is known


@dataclass
class Cep:
    """`GET /cep/<8 digits>/json/`."""

    books: FiscalBooks
    breaker: Breaker

    async def serve(self, request: Request) -> Response | None:
        async def work() -> Response:
            match = re.fullmatch(r"/cep/([0-9]{5})-?([0-9]{3})/json/?", request.path)
            if request.method != "GET" or match is None:
                return Response(status=400, body=b"<h1>Http 400</h1>", content_type="text/html; charset=utf-8")
            return json_response(describe(match[1] + match[2]))

        def reject(fault: Fault) -> Response:
            return Response(status=400, body=b"<h1>Http 400</h1>", content_type="text/html; charset=utf-8")

        return await self.breaker.run(request, operation="cep", work=work, reject=reject)


def describe(digits: str) -> Json:
    """ViaCEP's record, or `{"erro": true}`, with which it answers 200 for a CEP that nobody has."""
    region = next((row for row in _REGIONS if row[0] <= int(digits[:3]) <= row[1]), None)
    if region is None or digits.endswith("999"):
        return {"erro": True}
    seed = hashlib.sha256(digits.encode()).digest()
    street, complement, district = _KNOWN.get(
        digits,
        (f"{'Avenida' if seed[0] % 2 else 'Rua'} {STREETS[seed[1] % len(STREETS)]}", "", DISTRICTS[seed[2] % len(DISTRICTS)]),
    )
    if digits.endswith(GENERAL_SUFFIX) and digits not in _KNOWN:
        street, complement, district = "", "", ""
    return {
        "cep": f"{digits[:5]}-{digits[5:]}",
        "logradouro": street,
        "complemento": complement,
        "unidade": "",
        "bairro": district,
        "localidade": region[2],
        "uf": region[3],
        "ibge": region[4],
        "gia": "",
        "ddd": region[5],
        "siafi": "",
    }
