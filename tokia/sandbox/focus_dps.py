"""What Focus NFe makes of a customer's JSON: the DPS of `/v2/nfsen`, and a city's own note of `/v2/nfse` (ABRASF's shape)."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from typing import Any

from lxml import etree

from tokia.sandbox.asgi import Json
from tokia.sandbox.fiscal_xml import NS, Element, add, dump_xml, parse

ABRASF = "http://www.abrasf.org.br/nfse.xsd"
REQUIRED = (
    "data_emissao", "data_competencia", "serie_dps", "numero_dps", "codigo_municipio_emissora", "cnpj_prestador",
    "codigo_opcao_simples_nacional", "codigo_municipio_prestacao", "codigo_tributacao_nacional_iss", "descricao_servico",
    "valor_servico",
)  # fmt: skip
REQUIRED_NESTED = ("prestador.cnpj", "prestador.codigo_municipio", "servico.discriminacao", "servico.valor_servicos",
                   "servico.item_lista_servico", "tomador.razao_social")  # fmt: skip


class Invalid(Exception):
    """The JSON lacks something, or has something that is no such thing; says what."""


def check_required(body: dict[str, Json], *, resource: str) -> None:
    """Raises Invalid naming the first field that is missing."""
    for name in REQUIRED if resource == "nfsen" else REQUIRED_NESTED:
        value: Any = body
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value in (None, "", {}):
            raise Invalid(name)


def build_dps(body: dict[str, Json], *, environment: int) -> Element:
    """The DPS that says what the flat JSON of `/v2/nfsen` says. Raises Invalid."""

    def text(name: str, default: str = "") -> str:
        value = body.get(name)
        return default if value in (None, "") else str(value)

    root = etree.Element(f"{{{NS}}}DPS", nsmap={None: NS}, versao="1.01")
    inf = add(root, "infDPS")
    city, tax_id = text("codigo_municipio_emissora"), text("cnpj_prestador")
    inf.set("Id", f"DPS{city}2{tax_id}{text('serie_dps').zfill(5)}{text('numero_dps').zfill(15)}")
    _add_all(
        inf, tpAmb=str(environment), dhEmi=_moment(text("data_emissao")), verAplic="FocusNFe_2.0", serie=text("serie_dps"),
        nDPS=text("numero_dps"), dCompet=text("data_competencia")[:10], tpEmit=text("emitente_dps", "1"), cLocEmi=city,
    )  # fmt: skip
    if text("chave_nfse_substituida"):
        _add_all(
            add(inf, "subst"), chSubstda=text("chave_nfse_substituida"), cMotivo=text("codigo_justificativa_substituicao", "99"),
            xMotivo=text("motivo_substituicao"),
        )  # fmt: skip
    issuer = add(inf, "prest")
    _add_all(issuer, CNPJ=tax_id, IM=text("inscricao_municipal_prestador"))
    _add_all(
        add(issuer, "regTrib"), opSimpNac=text("codigo_opcao_simples_nacional"),
        regApTribSN=text("regime_tributario_simples_nacional"), regEspTrib=text("regime_especial_tributacao", "0"),
    )  # fmt: skip
    _add_taker(inf, text)
    service = add(inf, "serv")
    _add_all(add(service, "locPrest"), cLocPrestacao=text("codigo_municipio_prestacao"))
    _add_all(
        add(service, "cServ"), cTribNac=text("codigo_tributacao_nacional_iss"), cTribMun=text("codigo_tributacao_municipal_iss"),
        xDescServ=text("descricao_servico"), cNBS=text("codigo_nbs"),
    )  # fmt: skip
    if text("informacoes_complementares"):
        _add_all(add(service, "infoCompl"), xInfComp=text("informacoes_complementares"))
    _add_values(inf, text)
    if text("ibs_cbs_situacao_tributaria"):
        group = add(inf, "IBSCBS")
        _add_all(
            group, finNFSe=text("finalidade_emissao", "0"), indFinal=text("consumidor_final", "0"),
            cIndOp=text("codigo_indicador_operacao"), indDest=text("indicador_destinatario", "0"),
        )  # fmt: skip
        classes = add(add(add(group, "valores"), "trib"), "gIBSCBS")
        _add_all(classes, CST=text("ibs_cbs_situacao_tributaria"), cClassTrib=text("ibs_cbs_classificacao_tributaria"))
    return parse(dump_xml(root))


def _add_taker(inf: Element, text: Any) -> None:
    if not (text("cnpj_tomador") or text("cpf_tomador")):
        return
    taker = add(inf, "toma")
    _add_all(taker, CNPJ=text("cnpj_tomador"), CPF=text("cpf_tomador"), xNome=text("razao_social_tomador"))
    if text("cep_tomador"):
        address = add(taker, "end")
        _add_all(add(address, "endNac"), cMun=text("codigo_municipio_tomador"), CEP=text("cep_tomador"))
        _add_all(
            address, xLgr=text("logradouro_tomador"), nro=text("numero_tomador"), xCpl=text("complemento_tomador"),
            xBairro=text("bairro_tomador"),
        )  # fmt: skip
    _add_all(taker, email=text("email_tomador"))


def _add_values(inf: Element, text: Any) -> None:
    values = add(inf, "valores")
    _add_all(add(values, "vServPrest"), vServ=_money(text("valor_servico")))
    taxes = add(values, "trib")
    rate = text("percentual_aliquota_relativa_municipio")
    _add_all(
        add(taxes, "tribMun"), tribISSQN=text("tributacao_iss", "1"), tpRetISSQN=text("tipo_retencao_iss", "1"),
        pAliq=_money(rate) if rate else "",
    )  # fmt: skip
    situation, withheld = text("situacao_tributaria_pis_cofins"), ("valor_irrf", "valor_csll")
    if situation or any(text(name) for name in withheld):
        federal = add(taxes, "tribFed")
        if situation:
            names = (
                ("vBCPisCofins", "base_calculo_pis_cofins"), ("pAliqPis", "aliquota_pis"), ("pAliqCofins", "aliquota_cofins"),
                ("vPis", "valor_pis"), ("vCofins", "valor_cofins"),
            )  # fmt: skip
            facts = {tag: _money(text(name)) for tag, name in names if text(name)}
            _add_all(add(federal, "piscofins"), CST=situation, **facts, tpRetPisCofins=text("tipo_retencao_pis_cofins"))
        _add_all(
            federal, **{tag: _money(text(name)) for tag, name in zip(("vRetIRRF", "vRetCSLL"), withheld, strict=True) if text(name)}
        )
    total, prefix = add(taxes, "totTrib"), "percentual_total_tributos"
    if text(f"{prefix}_simples_nacional"):
        _add_all(total, pTotTribSN=_money(text(f"{prefix}_simples_nacional")))
    elif text(f"{prefix}_federais"):
        parts = (("pTotTribFed", "federais"), ("pTotTribEst", "estaduais"), ("pTotTribMun", "municipais"))
        _add_all(add(total, "pTotTrib"), **{tag: _money(text(f"{prefix}_{name}", "0")) for tag, name in parts})
    else:
        _add_all(total, indTotTrib="0")


def build_city_note(body: dict[str, Json], *, number: int, code: str, at: dt.datetime) -> bytes:
    """A municipal NFS-e in ABRASF's shape: no access key, a verification code instead."""
    issuer, taker, service = body["prestador"], body.get("tomador") or {}, body["servico"]
    root = etree.Element(f"{{{ABRASF}}}CompNfse", nsmap={None: ABRASF})

    def put(parent: Element, name: str, text: object = None) -> Element:
        child = etree.SubElement(parent, f"{{{ABRASF}}}{name}")
        child.text = None if text is None else str(text)
        return child

    inf = put(put(root, "Nfse"), "InfNfse")
    inf.set("Id", f"nfse{number}")
    put(inf, "Numero", number)
    put(inf, "CodigoVerificacao", code)
    put(inf, "DataEmissao", at.isoformat(timespec="seconds"))
    put(put(inf, "ValoresNfse"), "ValorLiquidoNfse", _money(str(service["valor_servicos"])))
    supplied = put(put(inf, "DeclaracaoPrestacaoServico"), "InfDeclaracaoPrestacaoServico")
    offered = put(supplied, "Servico")
    put(put(offered, "Valores"), "ValorServicos", _money(str(service["valor_servicos"])))
    put(offered, "ItemListaServico", service["item_lista_servico"])
    put(offered, "Discriminacao", service["discriminacao"])
    put(offered, "CodigoMunicipio", issuer["codigo_municipio"])
    put(put(put(supplied, "Prestador"), "CpfCnpj"), "Cnpj", issuer["cnpj"])
    person = put(supplied, "TomadorServico")
    tax_id = put(put(person, "IdentificacaoTomador"), "CpfCnpj")
    put(tax_id, "Cnpj" if taker.get("cnpj") else "Cpf", taker.get("cnpj") or taker.get("cpf") or "")
    put(person, "RazaoSocial", taker.get("razao_social", ""))
    return dump_xml(root)


def draw_pdf(lines: list[str]) -> bytes:
    """One page of plain text: enough of a PDF for every reader."""
    shown = [
        line.encode("latin-1", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)") for line in lines
    ]
    stream = b"BT /F1 12 Tf 50 780 Td 16 TL " + b" ".join(b"(" + line + b") Tj T*" for line in shown) + b" ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length " + str(len(stream)).encode() + b" >>\nstream\n" + stream + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += str(number).encode() + b" 0 obj\n" + content + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    return out + f"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()


def _add_all(parent: Element, **facts: str) -> None:
    """Children in the sequence given; empty ones are left out."""
    for name, text in facts.items():
        if text:
            add(parent, name, text)


def _money(text: str) -> str:
    try:
        return f"{Decimal(text):.2f}"
    except InvalidOperation:
        raise Invalid(f"{text!r} não é um valor") from None


def _moment(text: str) -> str:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"data_emissao: {text!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone(-dt.timedelta(hours=3)))
    return moment.isoformat(timespec="seconds")
