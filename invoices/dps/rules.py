"""What the tax office would refuse, found before anything is sent: annex I of the national standard, where we can know it. Pure.

Each rule has the annex's code, the field that a person repairs (`issuer.…`, `terms.…`, `taker.…`, `invoice.…`) and what to do.
Texts and ranges that the XSD alone knows have the code SCHEMA, what a taker must tell has TAKER.

Not here, for they need the tax office's own registers: E0037 to E0039 and E0084 (`invoices.cities` asks for the city), E0116 and
E0120 (the city's register of companies), E0190 and E0207 (whether the CNPJ or CPF exists), E0617, E0619, E0635 and E0640 (whether
the city keeps its rates in the national system). And what the builder makes impossible: E0008, E0121, E0128, E0162, E0600, E0625,
E0694 and their like.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

from accounts.errors import InvalidTaxId
from accounts.tax_ids import parse_cnpj, parse_cpf
from invoices.dps.build import (
    CENTAVOS_MAX,
    MEI,
    NO_CONTRIBUTION,
    NORMAL,
    REASON_LENGTH_MAX,
    REASON_LENGTH_MIN,
    SIMPLES,
    rate_of,
    share_of,
    told_at,
)
from invoices.dps.document import Dps, Replaced, Taker, Terms
from invoices.dps.ids import NUMBER_MAX, taxpayer_of
from invoices.dps.text import clean_text

SERIES_MAX = 49_999
ROOT_LENGTH = 8  # of a CNPJ: head office and branches are one taxpayer
ISS_BPS_MAX, ISS_BPS_MIN_SIMPLES = 500, 180
WHOLE_BPS = 10_000
SUBSTITUTION_CODES = ("01", "02", "03", "04", "05", "99")
ZERO_RATED = ("04", "06")  # CST of PIS/COFINS


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a person must repair. `text_pt` says what to do, in Portuguese."""

    code: str
    field: str
    text_pt: str


def check_rules(dps: Dps) -> list[Problem]:
    """Empty: nothing is known against it. The gravest comes first: who issues, then who takes, then what."""
    return [
        *_check_issue(dps),
        *_check_taker(dps.taker),
        *_check_parties(dps),
        *_check_regime(dps.terms),
        *_check_codes(dps.terms),
        *_check_amount(dps),
        *_check_iss(dps),
        *_check_federal(dps),
        *_check_shares(dps.terms),
        *(_check_replaced(dps, dps.replaces) if dps.replaces is not None else ()),
    ]


# ── Who and when ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _check_issue(dps: Dps) -> Iterator[Problem]:
    if not _is_cnpj(dps.prestador.tax_id):
        yield Problem("E0004", "issuer.tax_id", "O CNPJ do emitente é inválido.")
    if not _is_digits(dps.prestador.city_code, 7):
        yield Problem("E0004", "issuer.city_code", "O município do emitente é um código do IBGE de 7 números.")
    if dps.environment not in ("1", "2"):
        yield Problem("E0006", "issuer.environment", "Escolha o ambiente: produção ou produção restrita.")
    if not 1 <= dps.series <= SERIES_MAX:
        yield Problem("E0010", "issuer.series", f"A série de um sistema próprio vai de 1 a {SERIES_MAX}.")
    if not 1 <= dps.number <= NUMBER_MAX:
        yield Problem("E0004", "invoice.number", "O número da DPS vai de 1 a 15 algarismos.")
    if dps.competence_on > dt.datetime.fromisoformat(told_at(dps)).date():
        yield Problem("E0015", "invoice.competence_on", "A competência não pode ser depois da emissão.")


def _check_taker(taker: Taker) -> Iterator[Problem]:
    if len(taker.tax_id) == 11:
        if not _is_cpf(taker.tax_id):
            yield Problem("E0206", "taker.tax_id", "O CPF do tomador é inválido.")
    elif not _is_cnpj(taker.tax_id):
        yield Problem("E0188", "taker.tax_id", "O CNPJ do tomador é inválido.")
    if not clean_text(taker.name, length_max=150):
        yield Problem("TAKER", "taker.name", "Informe a razão social ou o nome do tomador.")
    if not _has_address(taker):
        return
    if not _is_digits(taker.city_code, 7):
        yield Problem("E0238", "taker.city", "O município do tomador não foi encontrado.")
    if not _is_digits(taker.postal_code, 8):
        yield Problem("E0240", "taker.postal_code", "O CEP do tomador tem 8 números.")
    for field, text, what in (
        ("street", taker.street, "o logradouro"), ("number", taker.number, "o número do endereço"),
        ("district", taker.district, "o bairro"),
    ):  # fmt: skip
        if not clean_text(text, length_max=60):
            yield Problem("TAKER", f"taker.{field}", f"Informe {what} do tomador.")


def _check_parties(dps: Dps) -> Iterator[Problem]:
    taker, root = dps.taker, dps.prestador.tax_id[:ROOT_LENGTH]
    if len(taker.tax_id) == 14 and taker.tax_id[:ROOT_LENGTH] == root:
        yield Problem("E0202", "taker.tax_id", "O tomador é da mesma empresa que emite: não há nota de uma para si mesma.")
    if _has_address(taker):
        return
    if len(taker.tax_id) == 14:
        yield Problem("E0235", "taker.postal_code", "Um tomador com CNPJ precisa do endereço completo.")
    elif dps.iss_withheld:
        yield Problem("E0237", "taker.postal_code", "Quando o tomador retém o ISS, a nota precisa do endereço dele.")


# ── Taxes ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _check_regime(terms: Terms) -> Iterator[Problem]:
    if terms.regime not in (NORMAL, MEI, SIMPLES):
        yield Problem("E0160", "terms.regime", "Escolha o regime: não optante, MEI ou Simples Nacional.")
    if terms.regime == SIMPLES and terms.simples_assessment not in ("1", "2", "3"):
        yield Problem("E0166", "terms.simples_assessment", "No Simples Nacional, diga como os tributos são apurados.")
    if terms.special_regime not in ("0", "1", "2", "3", "4", "5", "6", "9"):
        yield Problem("SCHEMA", "terms.special_regime", "O regime especial de tributação é um código de 0 a 6, ou 9.")
    elif terms.special_regime != "0" and terms.regime == MEI:
        yield Problem("E0174", "terms.special_regime", "O MEI não tem regime especial de tributação: use 0.")
    elif terms.special_regime != "0" and terms.regime == SIMPLES and terms.simples_assessment == "1":
        yield Problem("E0175", "terms.special_regime", "Com tudo apurado pelo Simples não há regime especial: use 0.")


def _check_codes(terms: Terms) -> Iterator[Problem]:
    if not _is_digits(terms.service_code, 6):
        yield Problem("E0310", "terms.service_code", "O código de tributação nacional tem 6 números.")
    if terms.city_service_code and not _is_digits(terms.city_service_code, 3):
        yield Problem("E0314", "terms.city_service_code", "O código de tributação municipal tem 3 números.")
    if terms.nbs_code and not _is_digits(terms.nbs_code, 9):
        yield Problem("E0316", "terms.nbs_code", "O código da NBS tem 9 números.")
    if not terms.has_ibscbs:
        return
    if not terms.nbs_code:
        yield Problem("E0322", "terms.nbs_code", "Com o grupo IBS/CBS, a nota precisa do código da NBS.")
    if not _is_digits(terms.operation_code, 6):
        yield Problem("SCHEMA", "terms.operation_code", "O cIndOp tem 6 números.")
    if not _is_digits(terms.tax_situation, 3):
        yield Problem("SCHEMA", "terms.tax_situation", "O CST do IBS/CBS tem 3 números.")
    if not _is_digits(terms.tax_class, 6) or terms.tax_class[:3] != terms.tax_situation:
        yield Problem("E0959", "terms.tax_class", "O cClassTrib tem 6 números e começa pelo CST do IBS/CBS.")


def _check_amount(dps: Dps) -> Iterator[Problem]:
    if not 0 < dps.amount_centavos <= CENTAVOS_MAX:
        yield Problem("SCHEMA", "invoice.amount_centavos", "O valor da nota deve ser maior que zero.")
    if not clean_text(dps.description, length_max=1000):
        yield Problem("SCHEMA", "terms.description", "Escreva a descrição do serviço.")


def _check_iss(dps: Dps) -> Iterator[Problem]:
    terms, rate = dps.terms, rate_of(dps)
    if dps.iss_withheld and terms.regime == MEI:
        yield Problem("E0583", "invoice.iss_withheld", "O ISS de um MEI não é retido.")
    if dps.iss_withheld and terms.special_regime != "0":
        yield Problem("E0588", "invoice.iss_withheld", "Com regime especial de tributação o ISS não é retido.")
    if rate is not None and not 0 <= rate <= ISS_BPS_MAX:
        yield Problem("E0595", "terms.iss_bps", "A alíquota do ISS vai até 5%.")
    if dps.iss_withheld and terms.regime == SIMPLES and terms.simples_assessment == "1" and (rate or 0) < ISS_BPS_MIN_SIMPLES:
        yield Problem("E0621", "terms.iss_bps", "No Simples, com ISS retido, informe a alíquota do ISS: de 1,80% a 5%.")


def _check_federal(dps: Dps) -> Iterator[Problem]:
    terms, amount = dps.terms, dps.amount_centavos
    situation = terms.pis_cofins_situation
    withholds = bool(dps.irrf_centavos or dps.csll_centavos or dps.pis_cofins_withheld)
    if terms.regime == MEI and (situation or withholds):
        yield Problem("E0676", "terms.pis_cofins_situation", "A nota de um MEI não traz tributos federais nem retenções deles.")
    if situation and not _is_digits(situation, 2):
        yield Problem("SCHEMA", "terms.pis_cofins_situation", "O CST do PIS/COFINS tem 2 números.")
    if dps.pis_cofins_withheld and (not situation or situation in NO_CONTRIBUTION):
        yield Problem("E0698", "terms.pis_cofins_situation", "Para reter PIS e COFINS, informe o CST e as alíquotas deles.")
    if situation in ZERO_RATED and (terms.pis_bps or terms.cofins_bps):
        yield Problem("E0688", "terms.pis_bps", "Com este CST as alíquotas do PIS e da COFINS são zero.")
    for bps, code, field in ((terms.pis_bps, "E0686", "terms.pis_bps"), (terms.cofins_bps, "E0692", "terms.cofins_bps")):
        if not 0 <= bps < WHOLE_BPS:
            yield Problem(code, field, "A alíquota fica abaixo de 100%.")
    for centavos, code, name in ((dps.irrf_centavos, "E0700", "irrf"), (dps.csll_centavos, "E0701", "csll")):
        if centavos and not 0 < centavos < amount:
            yield Problem(
                code, f"invoice.{name}_centavos", f"O valor retido ({name.upper()}) é maior que zero e menor que o da nota."
            )
    if _withheld_centavos(dps) > amount > 0:
        yield Problem("E0428", "invoice.amount_centavos", "O que o tomador retém é mais que o valor da nota.")


def _withheld_centavos(dps: Dps) -> int:
    withheld = dps.irrf_centavos + dps.csll_centavos
    if dps.pis_cofins_withheld:
        withheld += share_of(dps.amount_centavos, bps=dps.terms.pis_bps) + share_of(dps.amount_centavos, bps=dps.terms.cofins_bps)
    if dps.iss_withheld:
        withheld += share_of(dps.amount_centavos, bps=rate_of(dps) or 0)
    return withheld


def _check_shares(terms: Terms) -> Iterator[Problem]:
    """Law 12.741: what share of the price is taxes."""
    if terms.regime == SIMPLES:
        if not 0 < terms.simples_bps < WHOLE_BPS:
            yield Problem("E0712", "terms.simples_bps", "Informe a alíquota nominal da faixa do Simples Nacional.")
    elif terms.regime == NORMAL:
        for bps, code, field in (
            (terms.federal_bps, "E0706", "terms.federal_bps"), (terms.state_bps, "E0707", "terms.state_bps"),
            (terms.city_bps, "E0708", "terms.city_bps"),
        ):  # fmt: skip
            if not 0 <= bps <= WHOLE_BPS:
                yield Problem(code, field, "O percentual de tributos vai de 0% a 100%.")


# ── Replacing ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _check_replaced(dps: Dps, replaced: Replaced) -> Iterator[Problem]:
    try:
        city_code, tax_id = taxpayer_of(replaced.access_key)
    except ValueError:
        yield Problem("E0042", "invoice.replaces", "A chave de acesso da nota substituída é inválida.")
    else:
        if (city_code, tax_id) != (dps.prestador.city_code, dps.prestador.tax_id):
            yield Problem("E0042", "invoice.replaces", "A nota substituída é de outro emitente ou município.")
    if replaced.code not in SUBSTITUTION_CODES:
        yield Problem("SCHEMA", "invoice.cancel_code", "O motivo da substituição é um código de 01 a 05, ou 99.")
    reason = clean_text(replaced.reason, length_max=REASON_LENGTH_MAX)
    if (reason or replaced.code == "99") and len(reason) < REASON_LENGTH_MIN:
        yield Problem("E0078", "invoice.cancel_reason", f"Descreva o motivo com ao menos {REASON_LENGTH_MIN} caracteres.")


# ── Bricks ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _has_address(taker: Taker) -> bool:
    return bool(taker.city_code and taker.postal_code)


def _is_digits(text: str, length: int) -> bool:
    return re.fullmatch(rf"[0-9]{{{length}}}", text, re.ASCII) is not None


def _is_cnpj(text: str) -> bool:
    try:
        return parse_cnpj(text) == text
    except InvalidTaxId:
        return False


def _is_cpf(text: str) -> bool:
    try:
        return parse_cpf(text) == text
    except InvalidTaxId:
        return False
