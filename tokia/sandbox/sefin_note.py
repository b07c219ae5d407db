"""The NFS-e that Sefin makes of a DPS, and events: built element by element, signed by Sefin, valid by the official schemas."""

from __future__ import annotations

import copy
import datetime as dt
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree

from tokia.sandbox.cnpj import describe as describe_cnpj
from tokia.sandbox.fiscal_books import APPLICATION
from tokia.sandbox.fiscal_certs import CA_FILE, SIGNER_FILE
from tokia.sandbox.fiscal_cities import City
from tokia.sandbox.fiscal_codes import NBS_NAMES, SERVICE_NAMES
from tokia.sandbox.fiscal_signature import sign
from tokia.sandbox.fiscal_xml import NS, Element, add, dump_xml, find_schema_errors
from tokia.sandbox.sefin_rules import ME_EPP, NONE, TRIB, Declared

LAYOUT_VERSION = "1.01"
IBS_PERCENT, CBS_PERCENT = Decimal("0.10"), Decimal("0.90")  # the test year's rates, 2026
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Seal:
    """What the sandbox's Sefin signs with, and whom it believes."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    authority: x509.Certificate

    @classmethod
    def load(cls, folder: Path) -> Seal:
        pem = (folder / SIGNER_FILE).read_bytes()
        key = load_pem_private_key(pem, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        authority = x509.load_pem_x509_certificate((folder / CA_FILE).read_bytes())
        return cls(key, x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :]), authority)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What Sefin computes: the ISS, what is withheld, what is left to pay."""

    service: Decimal
    base: Decimal
    iss_percent: Decimal | None  # None: paid within the Simples
    iss: Decimal
    withheld: Decimal


def compute(dps: Declared) -> Amounts:
    service = Decimal(dps.text("valores/vServPrest/vServ"))
    base = service - Decimal(dps.text("valores/vDescCondIncond/vDescIncond") or 0)
    withholds_iss = dps.text(f"{TRIB}/tpRetISSQN") in ("2", "3")
    given = dps.text(f"{TRIB}/pAliq")
    city = dps.city
    percent: Decimal | None = None
    if given:
        percent = Decimal(given)
    elif dps.regime == NONE or (dps.regime == ME_EPP and dps.text("prest/regTrib/regApTribSN") in ("2", "3")):
        percent = Decimal(city.iss_percent) if city else Decimal(0)
    iss = _round(base * percent / 100) if percent is not None else Decimal(0)
    federal = "valores/trib/tribFed"
    withheld = sum((Decimal(dps.text(f"{federal}/{name}") or 0) for name in ("vRetCP", "vRetIRRF", "vRetCSLL")), Decimal(0))
    if dps.text(f"{federal}/piscofins/tpRetPisCofins") == "1":
        withheld += Decimal(dps.text(f"{federal}/piscofins/vPis") or 0) + Decimal(dps.text(f"{federal}/piscofins/vCofins") or 0)
    return Amounts(service, base, percent, iss, withheld + (iss if withholds_iss else Decimal(0)))


def build_note(*, root: Element, dps: Declared, access_key: str, number: int, document: int, at: dt.datetime, seal: Seal) -> bytes:
    """The signed NFS-e of a DPS that passed every rule. Raises RuntimeError where it is not valid: our own mistake."""
    city = dps.city or City(dps.text("cLocEmi"), "Município do MEI", "SP", "0.00")
    amounts = compute(dps)
    note = etree.Element(f"{{{NS}}}NFSe", nsmap={None: NS}, versao=LAYOUT_VERSION)
    inf = add(note, "infNFSe")
    inf.set("Id", f"NFS{access_key}")
    service, nbs = dps.text("serv/cServ/cTribNac"), dps.text("serv/cServ/cNBS")
    for name, text in (
        ("xLocEmi", city.name), ("xLocPrestacao", city.name), ("nNFSe", str(number)), ("cLocIncid", city.code),
        ("xLocIncid", city.name), ("xTribNac", SERVICE_NAMES.get(service, f"Serviço {service} da lista nacional")),
        ("xNBS", NBS_NAMES.get(nbs, f"Item {nbs} da NBS") if nbs else ""), ("verAplic", APPLICATION), ("ambGer", "2"),
        ("tpEmis", "1"), ("procEmi", "1"), ("cStat", "100"), ("dhProc", at.isoformat(timespec="seconds")),
        ("nDFSe", str(document)),
    ):  # fmt: skip
        if text:
            add(inf, name, text)
    _add_issuer(inf, dps=dps, city=city)
    values = add(inf, "valores")
    if amounts.iss_percent is not None:
        add(values, "vBC", money(amounts.base))
        add(values, "pAliqAplic", money(amounts.iss_percent))
        add(values, "vISSQN", money(amounts.iss))
    if amounts.withheld:
        add(values, "vTotalRet", money(amounts.withheld))
    add(values, "vLiq", money(amounts.base - amounts.withheld))
    if dps.has("IBSCBS"):
        _add_ibs_cbs(inf, dps=dps, city=city, amounts=amounts)
    inf.append(copy.deepcopy(root))  # the DPS travels whole, with its own signature
    return _seal(note, signed=inf, seal=seal, kind="NFSe")


def _add_issuer(inf: Element, *, dps: Declared, city: City) -> None:
    """Name and address are the registry's: the DPS must not tell them (E0121, E0128)."""
    issuer = add(inf, "emit")
    tax_id = dps.tax_id
    add(issuer, "CPF" if len(tax_id) == 11 else "CNPJ", tax_id)
    if dps.has("prest/IM"):
        add(issuer, "IM", dps.text("prest/IM"))
    known = describe_cnpj(tax_id) if len(tax_id) == 14 else {}
    add(issuer, "xNome", dps.books.names.get(tax_id) or str(known.get("razao_social", "PRESTADOR DO SANDBOX")))
    address = add(issuer, "enderNac")
    for name, text in (
        ("xLgr", str(known.get("logradouro", "RUA DO SANDBOX"))), ("nro", str(known.get("numero", "100"))),
        ("xBairro", str(known.get("bairro", "CENTRO"))), ("cMun", city.code), ("UF", city.state),
        ("CEP", str(known.get("cep", "01001000"))),
    ):  # fmt: skip
        add(address, name, text)


def _add_ibs_cbs(inf: Element, *, dps: Declared, city: City, amounts: Amounts) -> None:
    """The test year: 0.1 % and 0.9 % of what is left after ISS, PIS and COFINS, shown and not due."""
    federal = "valores/trib/tribFed/piscofins"
    other = sum((Decimal(dps.text(f"{federal}/{name}") or 0) for name in ("vPis", "vCofins")), Decimal(0))
    base = amounts.base - amounts.iss - other
    ibs, cbs = _round(base * IBS_PERCENT / 100), _round(base * CBS_PERCENT / 100)
    group = add(inf, "IBSCBS")
    taxed_in = dps.text("toma/end/endNac/cMun") or city.code  # where the buyer lives (cIndOp 100301)
    taxed_city = dps.books.cities.get(taxed_in)
    add(group, "cLocalidadeIncid", taxed_in)
    add(group, "xLocalidadeIncid", taxed_city.name if taxed_city else f"Município {taxed_in}")
    values = add(group, "valores")
    add(values, "vBC", money(base))
    for name, rate, effective, percent in (
        ("uf", "pIBSUF", "pAliqEfetUF", IBS_PERCENT),
        ("mun", "pIBSMun", "pAliqEfetMun", Decimal(0)),
        ("fed", "pCBS", "pAliqEfetCBS", CBS_PERCENT),
    ):
        part = add(values, name)
        add(part, rate, money(percent))
        add(part, effective, money(percent))
    total = add(group, "totCIBS")
    add(total, "vTotNF", money(amounts.service))
    ibs_total = add(total, "gIBS")
    add(ibs_total, "vIBSTot", money(ibs))
    add(add(ibs_total, "gIBSUFTot"), "vIBSUF", money(ibs))
    add(add(ibs_total, "gIBSMunTot"), "vIBSMun", money(Decimal(0)))
    add(add(total, "gCBS"), "vCBS", money(cbs))


def build_event(*, request: Element, access_key: str, event_type: str, document: int, at: dt.datetime, seal: Seal) -> bytes:
    """The signed event around a request (`pedRegEvento`), which keeps its own signature."""
    event = etree.Element(f"{{{NS}}}evento", nsmap={None: NS}, versao=LAYOUT_VERSION)
    inf = add(event, "infEvento")
    inf.set("Id", f"EVT{access_key}{event_type}001")
    for name, text in (
        ("verAplic", APPLICATION), ("ambGer", "2"), ("nSeqEvento", "001"), ("dhProc", at.isoformat(timespec="seconds")),
        ("nDFSe", str(document)),
    ):  # fmt: skip
        add(inf, name, text)
    inf.append(copy.deepcopy(request))
    return _seal(event, signed=inf, seal=seal, kind="evento")


def build_request(
    *, access_key: str, tax_id: str, environment: int, event_type: str, facts: dict[str, str], at: dt.datetime
) -> Element:
    """A `pedRegEvento` that Sefin writes itself (105102), or that somebody wrote at the national portal (101101)."""
    request = etree.Element(f"{{{NS}}}pedRegEvento", nsmap={None: NS}, versao=LAYOUT_VERSION)
    inf = add(request, "infPedReg")
    inf.set("Id", f"PRE{access_key}{event_type}")
    for name, text in (
        ("tpAmb", str(environment)), ("verAplic", APPLICATION), ("dhEvento", at.isoformat(timespec="seconds")),
        ("CPFAutor" if len(tax_id) == 11 else "CNPJAutor", tax_id), ("chNFSe", access_key),
    ):  # fmt: skip
        add(inf, name, text)
    detail = add(inf, f"e{event_type}")
    for name, text in facts.items():
        if text:
            add(detail, name, text)
    return request


def _seal(root: Element, *, signed: Element, seal: Seal, kind: str) -> bytes:
    sign(root, signed=signed, key=seal.key, certificate=seal.certificate)
    errors = find_schema_errors(root, kind)
    if errors:
        raise RuntimeError(f"the sandbox's own {kind} is not valid: {errors}")
    return dump_xml(root)


def money(value: Decimal) -> str:
    """ "1.20": two places; nought is "0.00"."""
    return str(value.quantize(CENT, ROUND_HALF_UP))


def _round(value: Decimal) -> Decimal:
    return value.quantize(CENT, ROUND_HALF_UP)
