"""A Dps becomes the XML of layout 1.01, element by element in the order of the XSD. Pure; the tree is never indented.

Texts are cleaned here (`invoices.dps.text`), money and rates are written from integers. What the layout has no place for raises
Incomplete, which names the field; the rules of the tax office beyond the layout are `invoices.dps.rules`.

**A new layout** comes in as a module of its own beside this one: `schema.PATTERNS` and `schema.LAYOUT` are of 1.01, and so is each
element below. `build_dps` then chooses by the day of issue, and documents already signed keep the bytes they have. (Technical note
009/2026 announces groups for credit and debit notes and prepayments, without an XSD or a date.)
"""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo

from lxml import etree

from invoices.dps.document import Dps, Prestador, Replaced, Taker, Terms
from invoices.dps.ids import cancel_id, dps_id, kind_and_tax_id
from invoices.dps.markup import NS, Element
from invoices.dps.text import clean_text
from invoices.errors import Incomplete

VERSION = "1.01"
SOFTWARE = "tokia-1.0"  # verAplic, at most 20 characters
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
# A clock of theirs that is a little behind ours refuses what was "issued in the future" (E0008).
SLACK = dt.timedelta(seconds=60)
CENTAVOS_MAX = 10**17 - 1  # TSDec15V2: fifteen digits before the point
REASON_LENGTH_MIN, REASON_LENGTH_MAX = 15, 255
NO_CONTRIBUTION = ("00", "08", "09")  # CST of PIS/COFINS without base and rates (E0678, E0682)
EMAIL_LENGTH_MAX = 80
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
NORMAL, MEI, SIMPLES = "1", "2", "3"


def build_dps(dps: Dps) -> bytes:
    """The unsigned document. Raises Incomplete where a text or number has no form in the layout."""
    root = etree.Element(f"{{{NS}}}DPS", nsmap={None: NS}, versao=VERSION)
    inf = _group(root, "infDPS")
    inf.set("Id", _id_of(dps))
    _leaf(inf, "tpAmb", dps.environment)
    _leaf(inf, "dhEmi", told_at(dps))
    _leaf(inf, "verAplic", SOFTWARE)
    _leaf(inf, "serie", str(dps.series))
    _leaf(inf, "nDPS", str(dps.number))
    _leaf(inf, "dCompet", dps.competence_on.isoformat())
    _leaf(inf, "tpEmit", "1")  # the issuer itself
    _leaf(inf, "cLocEmi", dps.prestador.city_code)
    if dps.replaces is not None:
        _add_replaced(inf, dps.replaces)
    _add_prestador(inf, dps.prestador, dps.terms)
    _add_taker(inf, dps.taker)
    _add_service(inf, dps)
    _add_amounts(inf, dps)
    if dps.terms.has_ibscbs:
        _add_ibscbs(inf, dps.terms)
    return _written(root)


def build_cancel(*, access_key: str, tax_id: str, environment: str, code: str, reason: str, at: dt.datetime) -> bytes:
    """The issuer's request to cancel (e101101), unsigned. `code` 1 mistake, 2 not rendered, 9 other.

    Raises Incomplete for a reason that is too short, ValueError for what is no access key.
    """
    root = etree.Element(f"{{{NS}}}pedRegEvento", nsmap={None: NS}, versao=VERSION)
    inf = _group(root, "infPedReg")
    inf.set("Id", cancel_id(access_key))
    _leaf(inf, "tpAmb", environment)
    _leaf(inf, "verAplic", SOFTWARE)
    _leaf(inf, "dhEvento", _in_brazil(at - SLACK))
    _leaf(inf, "CNPJAutor" if len(tax_id) == 14 else "CPFAutor", tax_id)
    _leaf(inf, "chNFSe", access_key)
    event = _group(inf, "e101101")
    _leaf(event, "xDesc", "Cancelamento de NFS-e")
    _leaf(event, "cMotivo", code)
    _leaf(event, "xMotivo", clean_reason(reason))
    return _written(root)


def clean_reason(text: str) -> str:
    """As it stands in the document. Raises Incomplete for fewer than 15 characters (TSMotivo)."""
    reason = clean_text(text, length_max=REASON_LENGTH_MAX)
    if len(reason) < REASON_LENGTH_MIN:
        raise Incomplete(
            f"Descreva o motivo com ao menos {REASON_LENGTH_MIN} caracteres.", problem_code="REASON", param="invoice.cancel_reason"
        )
    return reason


def told_at(dps: Dps) -> str:
    """dhEmi: a minute ago, but never on the day before the competence, which may not be later than the issue (E0015)."""
    told = dps.issued_at - SLACK
    day_began = dt.datetime.combine(dps.competence_on, dt.time(), SAO_PAULO)
    if told < day_began <= dps.issued_at:
        told = day_began
    return _in_brazil(told)


def rate_of(dps: Dps) -> int | None:
    """pAliq in hundredths of a percent, where it is told.

    Never of a MEI (E0600) or in a special regime (E0604); of ME/EPP with the ISS inside the Simples only where it is withheld
    (E0621, E0625, E0631). Else as the terms say: none where the city keeps its rates in the national system (E0617, E0635).
    """
    terms = dps.terms
    if terms.regime == MEI or terms.special_regime != "0":
        return None
    if terms.regime == SIMPLES and terms.simples_assessment == "1" and not dps.iss_withheld:
        return None
    return terms.iss_bps


def share_of(amount_centavos: int, *, bps: int) -> int:
    """`bps` hundredths of a percent of an amount, in centavos, half up."""
    return (amount_centavos * bps + 5_000) // 10_000


# ── Groups, in the layout's order ────────────────────────────────────────────────────────────────────────────────────
def _add_replaced(inf: Element, replaced: Replaced) -> None:
    group = _group(inf, "subst")
    _leaf(group, "chSubstda", replaced.access_key)
    _leaf(group, "cMotivo", replaced.code)
    if replaced.reason or replaced.code == "99":  # E0078: 99 has to say why
        _leaf(group, "xMotivo", clean_reason(replaced.reason))


def _add_prestador(inf: Element, prestador: Prestador, terms: Terms) -> None:
    group = _group(inf, "prest")  # an issuer that is the prestador tells neither name nor address (E0121, E0128)
    _leaf(group, "CNPJ", prestador.tax_id)
    if prestador.municipal_registration:
        _leaf(group, "IM", prestador.municipal_registration)
    regime = _group(group, "regTrib")
    _leaf(regime, "opSimpNac", terms.regime)
    if terms.regime == SIMPLES:  # E0162, E0166
        _leaf(regime, "regApTribSN", terms.simples_assessment)
    _leaf(regime, "regEspTrib", terms.special_regime)


def _add_taker(inf: Element, taker: Taker) -> None:
    group = _group(inf, "toma")
    _leaf(group, "CNPJ" if len(taker.tax_id) == 14 else "CPF", taker.tax_id)
    _leaf(group, "xNome", _required(taker.name, length_max=150, field="taker.name", what="O nome"))
    if taker.city_code and taker.postal_code:
        address = _group(group, "end")
        town = _group(address, "endNac")
        _leaf(town, "cMun", taker.city_code)
        _leaf(town, "CEP", taker.postal_code)
        _leaf(address, "xLgr", _required(taker.street, length_max=255, field="taker.street", what="O logradouro"))
        _leaf(address, "nro", _required(taker.number, length_max=60, field="taker.number", what="O número do endereço"))
        if complement := clean_text(taker.complement, length_max=156):
            _leaf(address, "xCpl", complement)
        _leaf(address, "xBairro", _required(taker.district, length_max=60, field="taker.district", what="O bairro"))
    # It need not be told, and half an address of mail reaches nobody: what does not fit as it is stays out (E0247).
    if _EMAIL.fullmatch(taker.email) and clean_text(taker.email, length_max=EMAIL_LENGTH_MAX) == taker.email:
        _leaf(group, "email", taker.email)


def _add_service(inf: Element, dps: Dps) -> None:
    service = _group(inf, "serv")
    _leaf(_group(service, "locPrest"), "cLocPrestacao", dps.prestador.city_code)
    what = _group(service, "cServ")
    _leaf(what, "cTribNac", dps.terms.service_code)
    if dps.terms.city_service_code:
        _leaf(what, "cTribMun", dps.terms.city_service_code)
    text = _required(dps.description, length_max=1000, field="terms.description", what="A descrição do serviço")
    _leaf(what, "xDescServ", text)
    if dps.terms.nbs_code:
        _leaf(what, "cNBS", dps.terms.nbs_code)
    purchase_number = clean_text(dps.purchase_number, length_max=60)
    remarks = clean_text(dps.remarks, length_max=2000)
    if purchase_number or remarks:
        more = _group(service, "infoCompl")
        if purchase_number:
            _leaf(more, "xPed", purchase_number)
        if remarks:
            _leaf(more, "xInfComp", remarks)


def _add_amounts(inf: Element, dps: Dps) -> None:
    if not 0 < dps.amount_centavos <= CENTAVOS_MAX:
        raise Incomplete("O valor da nota deve ser maior que zero.", problem_code="SCHEMA", param="invoice.amount_centavos")
    amounts = _group(inf, "valores")
    _leaf(_group(amounts, "vServPrest"), "vServ", _decimal(dps.amount_centavos))
    taxes = _group(amounts, "trib")
    city = _group(taxes, "tribMun")
    _leaf(city, "tribISSQN", "1")  # taxable
    _leaf(city, "tpRetISSQN", "2" if dps.iss_withheld else "1")
    rate = rate_of(dps)
    if rate is not None:
        _leaf(city, "pAliq", _decimal(rate))
    if dps.terms.pis_cofins_situation or dps.irrf_centavos or dps.csll_centavos:
        _add_federal(taxes, dps)
    _add_total_taxes(taxes, dps.terms)


def _add_federal(taxes: Element, dps: Dps) -> None:
    federal = _group(taxes, "tribFed")
    terms = dps.terms
    if terms.pis_cofins_situation:
        group = _group(federal, "piscofins")
        _leaf(group, "CST", terms.pis_cofins_situation)
        if terms.pis_cofins_situation not in NO_CONTRIBUTION:
            _leaf(group, "vBCPisCofins", _decimal(dps.amount_centavos))
            _leaf(group, "pAliqPis", _decimal(terms.pis_bps))
            _leaf(group, "pAliqCofins", _decimal(terms.cofins_bps))
            _leaf(group, "vPis", _decimal(share_of(dps.amount_centavos, bps=terms.pis_bps)))
            _leaf(group, "vCofins", _decimal(share_of(dps.amount_centavos, bps=terms.cofins_bps)))
            _leaf(group, "tpRetPisCofins", _withheld_kind(dps))  # E0698
    if dps.irrf_centavos:
        _leaf(federal, "vRetIRRF", _decimal(dps.irrf_centavos))
    if dps.csll_centavos:
        _leaf(federal, "vRetCSLL", _decimal(dps.csll_centavos))


def _withheld_kind(dps: Dps) -> str:
    """tpRetPisCofins of layout 1.01: 0 none, 3 PIS, COFINS and CSLL, 4 without the CSLL, 8 the CSLL alone."""
    if dps.pis_cofins_withheld:
        return "3" if dps.csll_centavos else "4"
    return "8" if dps.csll_centavos else "0"


def _add_total_taxes(taxes: Element, terms: Terms) -> None:
    """Law 12.741. ME/EPP tell the nominal rate of their bracket (E0712), MEI may tell nothing, the others tell shares (E0713)."""
    total = _group(taxes, "totTrib")
    if terms.regime == SIMPLES:
        _leaf(total, "pTotTribSN", _decimal(terms.simples_bps))
    elif terms.regime == MEI:
        _leaf(total, "indTotTrib", "0")
    else:
        shares = _group(total, "pTotTrib")
        _leaf(shares, "pTotTribFed", _decimal(terms.federal_bps))
        _leaf(shares, "pTotTribEst", _decimal(terms.state_bps))
        _leaf(shares, "pTotTribMun", _decimal(terms.city_bps))


def _add_ibscbs(inf: Element, terms: Terms) -> None:
    """A regular note of a service that is none of personal use (LC 214, art. 57), to the taker itself."""
    group = _group(inf, "IBSCBS")
    _leaf(group, "finNFSe", "0")
    _leaf(group, "indFinal", "0")
    _leaf(group, "cIndOp", terms.operation_code)
    _leaf(group, "indDest", "0")
    situation = _group(_group(_group(group, "valores"), "trib"), "gIBSCBS")
    _leaf(situation, "CST", terms.tax_situation)
    _leaf(situation, "cClassTrib", terms.tax_class)


# ── Bricks ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _id_of(dps: Dps) -> str:
    try:
        kind_and_tax_id(dps.taker.tax_id)
    except ValueError as error:
        raise Incomplete("O CNPJ ou CPF do tomador é inválido.", problem_code="TAKER", param="taker.tax_id") from error
    try:
        return dps_id(city_code=dps.prestador.city_code, tax_id=dps.prestador.tax_id, series=dps.series, number=dps.number)
    except ValueError as error:
        raise Incomplete(
            "Confira o município, o CNPJ e a série do emitente.", problem_code="E0004", param="issuer.city_code"
        ) from error


def _required(text: str, *, length_max: int, field: str, what: str) -> str:
    cleaned = clean_text(text, length_max=length_max)
    if not cleaned:
        code = "TAKER" if field.startswith("taker.") else "SCHEMA"
        raise Incomplete(f"{what} não tem nenhum caractere que a NFS-e aceite.", problem_code=code, param=field)
    return cleaned


def _decimal(hundredths: int) -> str:
    """Centavos as reais, or hundredths of a percent as a percentage. Never through a float."""
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def _in_brazil(at: dt.datetime) -> str:
    """`2026-11-30T23:59:01-03:00`: TSDateTimeUTC knows no fraction."""
    return at.astimezone(SAO_PAULO).replace(microsecond=0).isoformat()


def _group(parent: Element, name: str) -> Element:
    return etree.SubElement(parent, f"{{{NS}}}{name}")


def _leaf(parent: Element, name: str, text: str) -> None:
    etree.SubElement(parent, f"{{{NS}}}{name}").text = text


def _written(root: Element) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>' + bytes(etree.tostring(root, encoding="UTF-8"))
