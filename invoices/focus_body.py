"""A Dps in Focus NFe's JSON: flat for its national resource, nested for the cities' own emitters.

The flat one is read off the DPS that we would send to Sefin (`invoices.dps.build`), tag by tag, so that the two channels can't say
different things. Amounts and rates are decimal strings, codes that begin with zeros are strings, counts are integers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from accounts.cities import city_by_code
from invoices.dps.build import MEI, SIMPLES, build_dps, clean_reason, rate_of, share_of, told_at
from invoices.dps.document import Dps, Taker
from invoices.dps.markup import Element, name_of, parse_xml
from invoices.dps.text import clean_text
from invoices.errors import Incomplete
from invoices.kept_texts import NAME_UNUSABLE

NATIONAL, MUNICIPAL = "nfsen", "nfse"
# Their environment is the host and the token; the rest of these is theirs to fill in.
UNTOLD = {"tpAmb", "verAplic"}
# path below infDPS → name in the flat body
NAMES = {
    "dhEmi": "data_emissao",
    "serie": "serie_dps",
    "nDPS": "numero_dps",
    "dCompet": "data_competencia",
    "tpEmit": "emitente_dps",
    "cLocEmi": "codigo_municipio_emissora",
    "subst/chSubstda": "chave_nfse_substituida",
    "subst/cMotivo": "codigo_justificativa_substituicao",
    "subst/xMotivo": "motivo_substituicao",
    "prest/CNPJ": "cnpj_prestador",
    "prest/IM": "inscricao_municipal_prestador",
    "prest/regTrib/opSimpNac": "codigo_opcao_simples_nacional",
    "prest/regTrib/regApTribSN": "regime_tributario_simples_nacional",
    "prest/regTrib/regEspTrib": "regime_especial_tributacao",
    "toma/CNPJ": "cnpj_tomador",
    "toma/CPF": "cpf_tomador",
    "toma/xNome": "razao_social_tomador",
    "toma/end/endNac/cMun": "codigo_municipio_tomador",
    "toma/end/endNac/CEP": "cep_tomador",
    "toma/end/xLgr": "logradouro_tomador",
    "toma/end/nro": "numero_tomador",
    "toma/end/xCpl": "complemento_tomador",
    "toma/end/xBairro": "bairro_tomador",
    "toma/email": "email_tomador",
    "serv/locPrest/cLocPrestacao": "codigo_municipio_prestacao",
    "serv/cServ/cTribNac": "codigo_tributacao_nacional_iss",
    "serv/cServ/cTribMun": "codigo_tributacao_municipal_iss",
    "serv/cServ/xDescServ": "descricao_servico",
    "serv/cServ/cNBS": "codigo_nbs",
    "serv/infoCompl/xInfComp": "informacoes_complementares",
    "valores/vServPrest/vServ": "valor_servico",
    "valores/trib/tribMun/tribISSQN": "tributacao_iss",
    "valores/trib/tribMun/tpRetISSQN": "tipo_retencao_iss",
    "valores/trib/tribMun/pAliq": "percentual_aliquota_relativa_municipio",
    "valores/trib/tribFed/piscofins/CST": "situacao_tributaria_pis_cofins",
    "valores/trib/tribFed/piscofins/vBCPisCofins": "base_calculo_pis_cofins",
    "valores/trib/tribFed/piscofins/pAliqPis": "aliquota_pis",
    "valores/trib/tribFed/piscofins/pAliqCofins": "aliquota_cofins",
    "valores/trib/tribFed/piscofins/vPis": "valor_pis",
    "valores/trib/tribFed/piscofins/vCofins": "valor_cofins",
    "valores/trib/tribFed/piscofins/tpRetPisCofins": "tipo_retencao_pis_cofins",
    "valores/trib/tribFed/vRetIRRF": "valor_irrf",
    "valores/trib/tribFed/vRetCSLL": "valor_csll",
    "valores/trib/totTrib/pTotTrib/pTotTribFed": "percentual_total_tributos_federais",
    "valores/trib/totTrib/pTotTrib/pTotTribEst": "percentual_total_tributos_estaduais",
    "valores/trib/totTrib/pTotTrib/pTotTribMun": "percentual_total_tributos_municipais",
    "valores/trib/totTrib/indTotTrib": "indicador_total_tributacao",
    "valores/trib/totTrib/pTotTribSN": "percentual_total_tributos_simples_nacional",
    "IBSCBS/finNFSe": "finalidade_emissao",
    "IBSCBS/indFinal": "consumidor_final",
    "IBSCBS/cIndOp": "codigo_indicador_operacao",
    "IBSCBS/indDest": "indicador_destinatario",
    "IBSCBS/valores/trib/gIBSCBS/CST": "ibs_cbs_situacao_tributaria",
    "IBSCBS/valores/trib/gIBSCBS/cClassTrib": "ibs_cbs_classificacao_tributaria",
}
INTEGERS = {
    "serie_dps", "numero_dps", "emitente_dps", "codigo_municipio_emissora", "codigo_municipio_tomador",
    "codigo_municipio_prestacao", "codigo_opcao_simples_nacional", "regime_tributario_simples_nacional",
    "regime_especial_tributacao", "tributacao_iss", "tipo_retencao_iss", "tipo_retencao_pis_cofins",
    "indicador_total_tributacao", "finalidade_emissao", "consumidor_final", "indicador_destinatario",
}  # fmt: skip
PURCHASE_NUMBER = "serv/infoCompl/xPed"  # they have no name for it
_SPECIAL_REGIMES = {MEI: "5", SIMPLES: "6"}  # ABRASF's regime_especial_tributacao


def build_body(dps: Dps, *, resource: str) -> bytes:
    """What `Invoice.dps_xml` holds where the channel is Focus. The same Dps gives the same bytes. Raises Incomplete."""
    body = _flat(dps) if resource == NATIONAL else _nested(dps)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def build_cancel_body(*, reason: str) -> bytes:
    """What `Invoice.cancel_xml` holds where the channel is Focus: it knows a text, no code. Raises Incomplete."""
    return json.dumps({"justificativa": clean_reason(reason)}, ensure_ascii=False).encode()


def _flat(dps: Dps) -> dict[str, Any]:
    body: dict[str, Any] = {}
    purchase_number = ""
    for path, text in _leaves(parse_xml(build_dps(dps))[0], ""):
        if path == PURCHASE_NUMBER:
            purchase_number = text
        elif path not in UNTOLD:
            name = NAMES[path]
            body[name] = int(text) if name in INTEGERS else text
    if purchase_number:
        remarks = " ".join(part for part in (f"Pedido: {purchase_number}.", body.get("informacoes_complementares", "")) if part)
        body["informacoes_complementares"] = remarks[:2000]
    return body


def _leaves(element: Element, path: str) -> Iterator[tuple[str, str]]:
    for child in element:
        below = f"{path}/{name_of(child)}" if path else name_of(child)
        if len(child):
            yield from _leaves(child, below)
        else:
            yield below, child.text or ""


# ── A city's own emitter ─────────────────────────────────────────────────────────────────────────────────────────────
def _nested(dps: Dps) -> dict[str, Any]:
    terms = dps.terms
    if not dps.prestador.municipal_registration:
        raise Incomplete(
            "O emissor do município exige a inscrição municipal: preencha-a no emitente e marque que ela é informada.",
            problem_code="TERMS", param="issuer.municipal_registration",
        )  # fmt: skip
    if dps.replaces is not None:
        raise Incomplete(
            "O emissor do município não substitui notas: cancele a anterior e emita outra.",
            problem_code="CITY", param="invoice.replaces",
        )  # fmt: skip
    body: dict[str, Any] = {"data_emissao": told_at(dps), "natureza_operacao": "1"}
    if terms.regime in _SPECIAL_REGIMES:
        body["regime_especial_tributacao"] = _SPECIAL_REGIMES[terms.regime]
    body |= {
        "optante_simples_nacional": terms.regime in _SPECIAL_REGIMES,
        "incentivador_cultural": False,
        "prestador": {
            "cnpj": dps.prestador.tax_id,
            "inscricao_municipal": dps.prestador.municipal_registration,
            "codigo_municipio": dps.prestador.city_code,
        },
        "tomador": _taker(dps.taker),
        "servico": _service(dps),
    }
    return body


def _taker(taker: Taker) -> dict[str, Any]:
    found: dict[str, Any] = {
        "cnpj" if len(taker.tax_id) == 14 else "cpf": taker.tax_id,
        "razao_social": clean_text(taker.name, length_max=115),
    }
    if not found["razao_social"]:
        raise Incomplete(NAME_UNUSABLE, problem_code="TAKER", param="taker.name")
    if taker.email and len(taker.email) <= 80:
        found["email"] = taker.email
    if taker.city_code and taker.postal_code:
        city = city_by_code(taker.city_code)
        address = {
            "logradouro": clean_text(taker.street, length_max=125),
            "numero": clean_text(taker.number, length_max=10),
            "complemento": clean_text(taker.complement, length_max=60),
            "bairro": clean_text(taker.district, length_max=60),
            "codigo_municipio": taker.city_code,
            "uf": city.state if city else "",
            "cep": taker.postal_code,
        }
        found["endereco"] = {name: text for name, text in address.items() if text}
    return found


def _service(dps: Dps) -> dict[str, Any]:
    terms, amount = dps.terms, dps.amount_centavos
    rate = rate_of(dps)
    remarks = " ".join(
        part for part in (dps.description, f"Pedido: {dps.purchase_number}." if dps.purchase_number else "", dps.remarks) if part
    )
    service: dict[str, Any] = {
        "valor_servicos": _decimal(amount),
        "discriminacao": clean_text(remarks, length_max=1000),
        "item_lista_servico": terms.service_code[:4],  # LC 116: the first four of the national code's six
        "codigo_tributario_municipio": terms.city_service_code,
        "codigo_municipio": dps.prestador.city_code,
        "iss_retido": dps.iss_withheld,
        "codigo_nbs": terms.nbs_code,
        "percentual_total_tributos": _decimal(terms.federal_bps + terms.state_bps + terms.city_bps),
    }
    if rate is not None:
        service |= {"aliquota": _decimal(rate), "base_calculo": _decimal(amount), "valor_iss": _decimal(share_of(amount, bps=rate))}
        if dps.iss_withheld:
            service["valor_iss_retido"] = service["valor_iss"]
    if dps.pis_cofins_withheld:
        service["valor_pis"] = _decimal(share_of(amount, bps=terms.pis_bps))
        service["valor_cofins"] = _decimal(share_of(amount, bps=terms.cofins_bps))
    if dps.irrf_centavos:
        service["valor_ir"] = _decimal(dps.irrf_centavos)
    if dps.csll_centavos:
        service["valor_csll"] = _decimal(dps.csll_centavos)
    if terms.has_ibscbs:
        service["codigo_indicador_operacao"] = terms.operation_code
        service["ibs_cbs_situacao_tributaria"] = terms.tax_situation
        service["ibs_cbs_classificacao_tributaria"] = terms.tax_class
    return {name: value for name, value in service.items() if value != ""}


def _decimal(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"
