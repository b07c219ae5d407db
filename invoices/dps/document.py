"""What a DPS says, as nouns. Amounts are centavos, rates hundredths of a percent, days are Brazil's. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prestador:
    """Who issues."""

    tax_id: str  # CNPJ, 14 characters
    city_code: str
    municipal_registration: str = ""  # empty: not told


@dataclass(frozen=True, slots=True)
class Taker:
    """Who is billed. An address is whole or empty; a CNPJ needs one (E0235)."""

    tax_id: str  # CNPJ (14) or CPF (11)
    name: str
    email: str = ""
    city_code: str = ""
    postal_code: str = ""
    street: str = ""
    number: str = ""
    complement: str = ""
    district: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """The taxes in force on the day of issue (`invoices.models.TaxTerms`, whose names these are)."""

    regime: str  # "1" none, "2" MEI, "3" ME/EPP
    simples_assessment: str
    special_regime: str
    service_code: str
    city_service_code: str
    nbs_code: str
    operation_code: str
    tax_situation: str
    tax_class: str
    has_ibscbs: bool
    iss_bps: int | None
    pis_cofins_situation: str
    pis_bps: int
    cofins_bps: int
    federal_bps: int
    state_bps: int
    city_bps: int
    simples_bps: int


@dataclass(frozen=True, slots=True)
class Replaced:
    """The note that this one takes the place of (`subst`)."""

    access_key: str
    code: str  # 01–05, 99
    reason: str  # 15–255 characters


@dataclass(frozen=True, slots=True)
class Dps:
    """One declaration of services. `issued_at` is aware; told in Brazil's time, without fractions, never ahead (E0008)."""

    environment: str  # "1" production, "2" restricted
    series: int
    number: int
    issued_at: dt.datetime
    competence_on: dt.date
    prestador: Prestador
    taker: Taker
    terms: Terms
    amount_centavos: int
    description: str
    purchase_number: str = ""  # xPed
    remarks: str = ""  # xInfComp
    iss_withheld: bool = False
    irrf_centavos: int = 0
    csll_centavos: int = 0
    pis_cofins_withheld: bool = False
    replaces: Replaced | None = None
