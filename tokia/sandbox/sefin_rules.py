"""What Sefin Nacional refuses of a DPS: rules of annex I (22 Jan 2026), each with its code and the annex's own words, shortened."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from tokia.sandbox import cnpj
from tokia.sandbox.fiscal_books import FiscalBooks, Note, key_check_digit
from tokia.sandbox.fiscal_cities import City
from tokia.sandbox.fiscal_codes import NBS_CODES, SERVICE_CODES
from tokia.sandbox.fiscal_xml import Element, has, text_of

SERIES_OF_OWN_SOFTWARE = range(1, 50_000)
ISS_PERCENT_MAX, ISS_WITHHELD_MIN = Decimal(5), Decimal("1.80")
NONE, MEI, ME_EPP = "1", "2", "3"  # opSimpNac
TRIB = "valores/trib/tribMun"
TOTAL = "valores/trib/totTrib"

Problem = tuple[str, str, str]  # code, text, complement


@dataclass(frozen=True, slots=True)
class Declared:
    """A DPS that passed the schema, and who signed it."""

    inf: Element  # infDPS
    environment: int  # of the address that it came to
    books: FiscalBooks

    def text(self, path: str) -> str:
        return text_of(self.inf, path)

    def has(self, path: str) -> bool:
        return has(self.inf, path)

    @property
    def tax_id(self) -> str:
        return self.text("prest/CNPJ") or self.text("prest/CPF")

    @property
    def taker(self) -> str:
        return self.text("toma/CNPJ") or self.text("toma/CPF")

    @property
    def regime(self) -> str:
        return self.text("prest/regTrib/opSimpNac")

    @property
    def issued_at(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.text("dhEmi"))

    @property
    def city(self) -> City | None:
        """Of the issuer; where a service like ours is taxed, too (annex I, MUN.INCID)."""
        return self.books.cities.get(self.text("cLocEmi"))


def find_problems(dps: Declared) -> list[Problem]:
    """Every rule that the DPS breaks, in the annex's order. E0014 comes last: nothing else may be wrong with a duplicate."""
    found = [
        *_identity(dps), *_city(dps), *_issuer(dps), *_taker(dps), *_service(dps), *_iss(dps), *_total(dps), *_replaced(dps),
    ]  # fmt: skip
    if not found and dps.books.find_note(environment=dps.environment, dps_id=dps.inf.get("Id")):
        found.append(
            (
                "E0014",
                "Conjunto de Série, Número, Código do Município Emissor e CNPJ/CPF informado nesta DPS já existe em uma NFS-e "
                "gerada a partir de uma DPS enviada anteriormente.",
                "",
            )
        )
    return found


def _identity(dps: Declared) -> Iterator[Problem]:
    kind = "1" if dps.text("prest/CPF") else "2"
    number = f"{dps.text('serie').zfill(5)}{dps.text('nDPS').zfill(15)}"
    if dps.inf.get("Id") != f"DPS{dps.text('cLocEmi')}{kind}{dps.tax_id.zfill(14)}{number}":
        yield (
            "E0004", "Conteúdo do identificador informado na DPS difere da concatenação dos campos correspondentes.", "infDPS/@Id"
        )  # fmt: skip
    if dps.text("tpAmb") != str(dps.environment):
        yield "E0006", "Ambiente informado diverge do ambiente de recebimento para o qual o emitente enviou a DPS.", "tpAmb"
    if dps.issued_at > dps.books.now():
        text = "A data e hora de emissão da DPS deve ser anterior ou igual à data do seu processamento (dhProc)."
        yield "E0008", text, f"dhEmi {dps.text('dhEmi')}"
    if int(dps.text("serie")) not in SERIES_OF_OWN_SOFTWARE:
        yield "E0010", "A série informada na DPS não pertence à faixa definida para o tipo de emissor utilizado.", "serie"
    if dt.date.fromisoformat(dps.text("dCompet")) > dps.issued_at.date():
        text = "A data de competência informada na DPS não pode ser posterior à data de emissão (dhEmi) da DPS."
        yield "E0015", text, "dCompet"


def _city(dps: Declared) -> Iterator[Problem]:
    """E0037 and E0038 spare a MEI, who issues nationally wherever he lives."""
    city = dps.city
    if city is None or not city.in_environment:
        if dps.regime != MEI:
            text = "O código do município emissor informado na DPS é inexistente no cadastro de convênio municipal."
            yield "E0037", text, dps.text("cLocEmi")
        return
    if not city.is_active and dps.regime != MEI:
        yield "E0038", "A situação do convênio do município emissor informado na DPS deve ser ATIVO.", city.code
    if not city.uses_emitter and dps.regime != MEI:
        yield "E0039", "O município emissor informado na DPS não utiliza os emissores públicos nacionais.", city.code
    if not city.is_established:
        text = "CNPJ do emitente prestador não possui estabelecimento ou domicílio no município emissor, conforme CNPJ e CNC NFS-e."
        yield "E0084", text, city.code
    if city.im == "required" and not dps.has("prest/IM"):
        yield (
            "E0116",
            "A IM deve ser informada para o emitente prestador do serviço, conforme o CNC NFS-e do município.",
            "prest/IM",
        )
    if city.im == "refused" and dps.has("prest/IM"):
        text = "IM do prestador não deve ser informado, pois não existem informações complementares registradas no CNC NFS-e."
        yield "E0120", text, "prest/IM"


def _issuer(dps: Declared) -> Iterator[Problem]:
    if dps.has("prest/xNome"):
        yield "E0121", "O nome ou razão social do prestador não deve ser informado quando o emitente é o próprio prestador.", ""
    if dps.has("prest/end"):
        yield "E0128", "O endereço do prestador não deve ser informado na DPS quando o próprio prestador for o emitente.", ""
    assessment = dps.has("prest/regTrib/regApTribSN")
    if assessment and dps.regime in (NONE, MEI):
        yield "E0162", "Não é permitido ao não optante do Simples Nacional e ao MEI informar o regime de apuração.", "regApTribSN"
    if not assessment and dps.regime == ME_EPP:
        yield "E0166", "É obrigatório o regime de apuração dos tributos do SN para o optante ME/EPP.", "regApTribSN"


def _taker(dps: Declared) -> Iterator[Problem]:
    company, person = dps.text("toma/CNPJ"), dps.text("toma/CPF")
    unknown = dps.books.settings["unknown_tax_ids"]
    if company and not cnpj.is_valid(company):
        yield "E0188", "CNPJ do tomador informado na DPS é inválido.", "toma/CNPJ"
    elif company in unknown:
        yield "E0190", "CNPJ do tomador não encontrado no cadastro CNPJ.", "toma/CNPJ"
    if company and dps.text("prest/CNPJ")[:8] == company[:8]:
        yield "E0202", "Na emissão da NFS-e não é permitido que o prestador do serviço seja igual ao tomador.", "toma/CNPJ"
    if person and not is_cpf(person):
        yield "E0206", "CPF do tomador informado na DPS é inválido.", "toma/CPF"
    elif person in unknown:
        yield "E0207", "CPF do tomador não encontrado no cadastro CPF.", "toma/CPF"
    has_address = dps.has("toma/end/endNac")
    if company and not has_address:
        yield "E0235", "O endereço nacional do tomador deve ser informado quando o tomador for identificado pelo CNPJ.", "toma/end"
    if dps.text(f"{TRIB}/tpRetISSQN") == "2" and not has_address:
        yield "E0237", "O endereço nacional do tomador deve ser informado quando o ISSQN for retido pelo tomador.", "toma/end"


def _service(dps: Declared) -> Iterator[Problem]:
    service = dps.text("serv/cServ/cTribNac")
    if service not in SERVICE_CODES:
        text = "O código de tributação nacional informado não existe ou não está administrado pelo município de incidência."
        yield "E0310", text, f"cTribNac {service}"
    if dps.has("serv/cServ/cTribMun"):
        text = "O código de tributação municipal informado não existe ou não está administrado pelo município de incidência."
        code = dps.text("serv/cServ/cTribMun")
        if code == "999":  # the one that no city of the sandbox administers
            yield "E0314", text, f"cTribMun {code}"
    nbs = dps.text("serv/cServ/cNBS")
    if nbs and nbs not in NBS_CODES:
        yield "E0316", "Código da lista NBS informado inexistente na tabela de NBS do sistema.", f"cNBS {nbs}"
    if dps.has("IBSCBS"):
        if not nbs:
            yield "E0322", "É obrigatório informar o item da NBS quando o grupo IBSCBS for informado.", "cNBS"
        situation, tax_class = (dps.text(f"IBSCBS/valores/trib/gIBSCBS/{name}") for name in ("CST", "cClassTrib"))
        if not tax_class.startswith(situation):
            yield "E0959", "O código de classificação tributária informado é incompatível com o CST.", f"{situation}/{tax_class}"


def _iss(dps: Declared) -> Iterator[Problem]:
    withheld = dps.text(f"{TRIB}/tpRetISSQN") in ("2", "3")
    has_rate, rate = dps.has(f"{TRIB}/pAliq"), Decimal(dps.text(f"{TRIB}/pAliq") or 0)
    assessment = dps.text("prest/regTrib/regApTribSN")
    is_active = dps.city is not None and dps.city.in_environment and dps.city.is_active
    if withheld and dps.regime == MEI:
        yield "E0583", "Não é permitido retenção do ISSQN para o prestador do serviço que seja MEI.", "tpRetISSQN"
    if rate > ISS_PERCENT_MAX:
        yield "E0595", "Não é permitido informar alíquota superior a 5%.", "pAliq"
    if has_rate and dps.regime == MEI:
        yield "E0600", "Não é permitido informar a alíquota para prestador de serviço MEI.", "pAliq"
    if dps.regime == NONE and has_rate and is_active:
        yield "E0617", "Não é permitido informar alíquota: não optante, com o município de incidência ATIVO.", "pAliq"
    if dps.regime == NONE and not has_rate and not is_active and dps.text("prest/regTrib/regEspTrib") == "0":
        yield "E0619", "É obrigatório informar alíquota: não optante, com o município de incidência não ATIVO.", "pAliq"
    if dps.regime == ME_EPP and assessment == "1":
        if withheld and (not has_rate or rate < ISS_WITHHELD_MIN):
            yield "E0621", "É obrigatório informar alíquota quando há retenção do ISSQN para ME/EPP com apuração pelo SN.", "pAliq"
        if has_rate and not withheld:
            yield "E0625", "Não é permitido informar alíquota quando não há retenção do ISSQN para ME/EPP.", "pAliq"
    if dps.regime == ME_EPP and assessment in ("2", "3"):
        if has_rate and is_active:
            yield "E0635", "Não é permitido informar alíquota: município ATIVO, ISSQN apurado fora do Simples Nacional.", "pAliq"
        if not has_rate and not is_active:
            yield "E0640", "É obrigatório informar alíquota: município não ATIVO, ISSQN fora do Simples Nacional.", "pAliq"


def _total(dps: Declared) -> Iterator[Problem]:
    """Lei 12.741: which of the four ways to tell the approximate taxes each regime may use."""
    if dps.regime == MEI and dps.has(f"{TOTAL}/pTotTribSN"):
        yield "E0710", "Para MEI somente um dos 3 poderá ser informado: vTotTrib, pTotTrib ou indTotTrib.", "totTrib"
    if dps.regime == ME_EPP and dps.has(f"{TOTAL}/indTotTrib"):
        yield "E0712", "Para ME/EPP somente um dos 3 poderá ser informado: vTotTrib, pTotTrib ou pTotTribSN.", "totTrib"
    if dps.regime == NONE and (dps.has(f"{TOTAL}/indTotTrib") or dps.has(f"{TOTAL}/pTotTribSN")):
        yield "E0713", "Para não optante somente um dos 2 poderá ser informado: vTotTrib ou pTotTrib.", "totTrib"


def _replaced(dps: Declared) -> Iterator[Problem]:
    """A note that takes another's place: the other exists, is the issuer's own, lives, and said the same but for the error."""
    key = dps.text("subst/chSubstda")
    if not key:
        return
    if key_check_digit(key[:49]) != key[49] or key[9:23] != dps.tax_id.zfill(14) or key[:7] != dps.text("cLocEmi"):
        yield "E0042", "Chave de NFS-e a ser substituída é inválida.", key
        return
    note = dps.books.notes.get(key)
    if note is None or note["environment"] != dps.environment:
        yield "E0044", "NFS-e não existe na base de dados do autorizador de NFS-e nacional.", key
        return
    if note["status"] != "issued":
        yield "E0046", "Uma NFS-e cancelada não pode ser substituída. Informe uma chave de NFS-e não cancelada.", key
    if dps.city and is_past(note, days=dps.city.replace_days, now=dps.books.now()):
        yield "E0050", "Uma NFS-e não pode ser substituída fora do prazo estabelecido pelo município emissor.", key
    same = (note["competence_on"], note["service_code"], note["place"])
    if dps.regime == NONE and same != (
        dps.text("dCompet"),
        dps.text("serv/cServ/cTribNac"),
        dps.text("serv/locPrest/cLocPrestacao"),
    ):
        yield "E0060", "Os campos data de competência, subitem da lista, código complementar e local não podem ser alterados.", key
    if dps.text("subst/cMotivo") == "99" and not dps.text("subst/xMotivo"):
        yield "E0078", "Quando o campo cMotivo = 99, o campo xMotivo deve ser informado obrigatoriamente.", "xMotivo"


def is_past(note: Note, *, days: int | None, now: dt.datetime) -> bool:
    """Whether a city's term after a note's issue is over."""
    return days is not None and now > dt.datetime.fromisoformat(note["issued_at"]) + dt.timedelta(days=days)


def is_cpf(text: str) -> bool:
    """Eleven digits, not all the same, with their two check digits."""
    if len(text) != 11 or not text.isascii() or not text.isdigit() or len(set(text)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(digit) * (length + 1 - place) for place, digit in enumerate(text[:length]))
        if int(text[length]) != total * 10 % 11 % 10:
            return False
    return True
