"""What may be declared: each regime, kind of taker and policy, and what else a document may say. Synthetic, all of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import product

from invoices.dps.document import Dps, Prestador, Replaced, Taker, Terms

CITY = "3106200"
CNPJ = "11222333000181"
REPLACED_KEY = "31062002211222333000181000000000000726114567891236"
ISSUED_AT = dt.datetime(2026, 12, 1, 12, 34, 56, 789_000, tzinfo=dt.UTC)

NORMAL = Terms(
    regime="1", simples_assessment="", special_regime="0", service_code="010301", city_service_code="", nbs_code="115062100",
    operation_code="100301", tax_situation="000", tax_class="000001", has_ibscbs=True, iss_bps=None, pis_cofins_situation="01",
    pis_bps=65, cofins_bps=300, federal_bps=1345, state_bps=0, city_bps=300, simples_bps=0,
)  # fmt: skip
SIMPLES = replace(
    NORMAL, regime="3", simples_assessment="1", has_ibscbs=False, iss_bps=200, pis_cofins_situation="", pis_bps=0, cofins_bps=0,
    federal_bps=0, city_bps=0, simples_bps=600,
)  # fmt: skip
MEI = replace(SIMPLES, regime="2", simples_assessment="", iss_bps=None, simples_bps=0)

NUMERIC = Taker(
    tax_id="45997418000153", name="Padaria São João & Filhos Ltda.", email="fiscal@padaria.com.br", city_code="3304557",
    postal_code="20040002", street="Avenida Rio Branco", number="1", complement="Sala 1201", district="Centro",
)  # fmt: skip
LETTERS = replace(NUMERIC, tax_id="12ABC34501DE35", name="Ação Cliente <SA>", complement="", email="")
PERSON = Taker(tax_id="52998224725", name="Maria da Conceição", email="maria@exemplo.com.br")

MONTHLY = "Processamento de dados por API de modelos de linguagem. Competência: novembro de 2026"
TOP_UP = "Processamento de dados por API de modelos de linguagem. Recarga de 22/11/2026"

REGIMES = {"normal": NORMAL, "simples": SIMPLES, "mei": MEI}
TAKERS = {"cnpj": NUMERIC, "letters": LETTERS, "cpf": PERSON}
POLICIES = {"monthly": (MONTHLY, dt.date(2026, 11, 30), 123_456), "top-up": (TOP_UP, dt.date(2026, 11, 22), 10_000)}

BASE = Dps(
    environment="2", series=1, number=7, issued_at=ISSUED_AT, competence_on=dt.date(2026, 11, 30),
    prestador=Prestador(tax_id=CNPJ, city_code=CITY), taker=NUMERIC, terms=NORMAL, amount_centavos=123_456, description=MONTHLY,
)  # fmt: skip


def _grid() -> dict[str, Dps]:
    found = {}
    for (regime, terms), (kind, taker), (policy, (text, day, amount)) in product(REGIMES.items(), TAKERS.items(), POLICIES.items()):
        found[f"{regime}-{kind}-{policy}"] = replace(
            BASE, terms=terms, taker=taker, description=text, competence_on=day, amount_centavos=amount
        )
    return found


CASES: dict[str, Dps] = {
    **_grid(),
    "normal-withheld": replace(BASE, iss_withheld=True, irrf_centavos=1_852, csll_centavos=1_235, pis_cofins_withheld=True),
    "normal-csll-withheld": replace(BASE, csll_centavos=1_235),
    "normal-before-ibscbs": replace(BASE, terms=replace(NORMAL, has_ibscbs=False)),
    "normal-without-contributions": replace(
        BASE, terms=replace(NORMAL, pis_cofins_situation="08", pis_bps=0, cofins_bps=0), irrf_centavos=1_852
    ),
    # Rates are told where the city does not keep them in the national system (E0619, E0640): here, and in "…-iss-outside".
    "normal-city-codes": replace(
        BASE,
        terms=replace(NORMAL, city_service_code="001", iss_bps=250),
        prestador=Prestador(tax_id=CNPJ, city_code=CITY, municipal_registration="1234567"),
    ),
    "normal-issuer-with-letters": replace(BASE, prestador=Prestador(tax_id="12ABC34501DE35", city_code="3550308")),
    "normal-purchase-number": replace(
        BASE, purchase_number="PO 4500/2026", remarks="gpt-4o: 1.204 requisições; claude-sonnet: 87 requisições"
    ),
    "normal-replaces": replace(
        BASE, replaces=Replaced(access_key=REPLACED_KEY, code="99", reason="Correção do valor da fatura de novembro")
    ),
    "normal-replaces-by-law": replace(BASE, replaces=Replaced(access_key=REPLACED_KEY, code="01", reason="")),
    "normal-untidy-texts": replace(
        BASE,
        description=" Consumo —\tAPI “Tokia” \U0001f680\r\n1º mês… łódź ",
        taker=replace(NUMERIC, name="  Café\u0301 \U0001f600 do Zé  ", street="Rua\u00a0das  Flores"),
    ),
    "simples-withheld": replace(BASE, terms=SIMPLES, iss_withheld=True),
    "simples-iss-outside": replace(BASE, terms=replace(SIMPLES, simples_assessment="2")),
    "simples-2027": replace(BASE, terms=replace(SIMPLES, has_ibscbs=True)),
    "production": replace(BASE, environment="1", series=49_999, number=999_999_999_999_999, amount_centavos=1),
}
