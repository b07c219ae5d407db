"""A DPS and a cancel request written by hand, signed with signxml: neither the sandbox's code nor Tokia's."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
from typing import Any
from zoneinfo import ZoneInfo

from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

NS = "http://www.sped.fazenda.gov.br/nfse"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
ISSUER = "12ABC34501DE35"
CITY = "3106200"
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
C14N, EXC = CanonicalizationMethod.CANONICAL_XML_1_0, CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0
METHODS = {
    "rsa-sha256-exc": (SignatureMethod.RSA_SHA256, DigestAlgorithm.SHA256, EXC),
    "rsa-sha256-c14n": (SignatureMethod.RSA_SHA256, DigestAlgorithm.SHA256, C14N),
    "rsa-sha1-c14n": (SignatureMethod.RSA_SHA1, DigestAlgorithm.SHA1, C14N),
}
TAKER = (
    "<toma><CNPJ>11222333000181</CNPJ><xNome>Padaria Ação &amp; Cia</xNome><end>"
    "<endNac><cMun>3304557</cMun><CEP>20040002</CEP></endNac>"
    "<xLgr>Av. Rio Branco</xLgr><nro>1</nro><xBairro>Centro</xBairro></end></toma>"
)
PERSON = "<toma><CPF>52998224725</CPF><xNome>Ana</xNome></toma>"
TOTAL = (
    "<totTrib><pTotTrib><pTotTribFed>13.45</pTotTribFed><pTotTribEst>0.00</pTotTribEst>"
    "<pTotTribMun>3.00</pTotTribMun></pTotTrib></totTrib>"
)
IBSCBS = (
    "<IBSCBS><finNFSe>0</finNFSe><indFinal>0</indFinal><cIndOp>100301</cIndOp><indDest>0</indDest><valores><trib><gIBSCBS>"
    "<CST>000</CST><cClassTrib>000001</cClassTrib></gIBSCBS></trib></valores></IBSCBS>"
)


def write_dps(number: int, **changes: Any) -> bytes:
    """An unsigned DPS of a non-optante in Belo Horizonte; every part of it can be changed."""
    now = dt.datetime.now(SAO_PAULO) - dt.timedelta(seconds=60)
    part: dict[str, Any] = {
        "environment": 2, "at": now, "series": 1, "competence": now.date(), "city": CITY, "subst": "", "issuer": ISSUER,
        "im": "<IM>1234567</IM>", "issuer_extra": "", "regime": "1", "assessment": "", "taker": TAKER, "service": "010301",
        "city_service": "", "nbs": "<cNBS>115062100</cNBS>", "amount": "150.00", "withheld": "1", "rate": "", "federal": "",
        "total": TOTAL, "ibscbs": IBSCBS, "id": "",
    }  # fmt: skip
    assert set(changes) <= set(part), set(changes) - set(part)
    part |= changes
    dps_id = part["id"] or f"DPS{part['city']}2{part['issuer']}{part['series']:05d}{number:015d}"
    return (
        f'<DPS xmlns="{NS}" versao="1.01"><infDPS Id="{dps_id}"><tpAmb>{part["environment"]}</tpAmb>'
        f"<dhEmi>{part['at'].isoformat(timespec='seconds')}</dhEmi><verAplic>teste-1.0</verAplic><serie>{part['series']}</serie>"
        f"<nDPS>{number}</nDPS><dCompet>{part['competence']}</dCompet><tpEmit>1</tpEmit><cLocEmi>{part['city']}</cLocEmi>"
        f"{part['subst']}<prest><CNPJ>{part['issuer']}</CNPJ>{part['im']}{part['issuer_extra']}<regTrib>"
        f"<opSimpNac>{part['regime']}</opSimpNac>{part['assessment']}<regEspTrib>0</regEspTrib></regTrib></prest>{part['taker']}"
        f"<serv><locPrest><cLocPrestacao>{part['city']}</cLocPrestacao></locPrest><cServ><cTribNac>{part['service']}</cTribNac>"
        f"{part['city_service']}<xDescServ>Uso da API em novembro</xDescServ>{part['nbs']}</cServ></serv><valores><vServPrest>"
        f"<vServ>{part['amount']}</vServ></vServPrest><trib><tribMun><tribISSQN>1</tribISSQN><tpRetISSQN>{part['withheld']}</tpRetISSQN>"
        f"{part['rate']}</tribMun>{part['federal']}{part['total']}</trib></valores>{part['ibscbs']}</infDPS></DPS>"
    ).encode()


def write_cancel(access_key: str, *, reason: str = "Valor informado com erro", code: str = "1", environment: int = 2) -> bytes:
    at = (dt.datetime.now(SAO_PAULO) - dt.timedelta(seconds=60)).isoformat(timespec="seconds")
    return (
        f'<pedRegEvento xmlns="{NS}" versao="1.01"><infPedReg Id="PRE{access_key}101101"><tpAmb>{environment}</tpAmb>'
        f"<verAplic>teste-1.0</verAplic><dhEvento>{at}</dhEvento><CNPJAutor>{ISSUER}</CNPJAutor><chNFSe>{access_key}</chNFSe>"
        f"<e101101><xDesc>Cancelamento de NFS-e</xDesc><cMotivo>{code}</cMotivo><xMotivo>{reason}</xMotivo></e101101>"
        f"</infPedReg></pedRegEvento>"
    ).encode()


class _Signer(XMLSigner):
    def check_deprecated_methods(self) -> None:
        """SHA-1 is what the Manual Integrado still writes."""


def sign(xml: bytes, a1: tuple[Any, Any], *, method: str = "rsa-sha256-exc") -> bytes:
    signature, digest, canonical = METHODS[method]
    root = etree.fromstring(xml)
    signer = _Signer(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=signature,
        digest_algorithm=digest,
        c14n_algorithm=canonical,
    )
    signer.namespaces = {None: DSIG}  # type: ignore[dict-item]  # no prefix is allowed in the message
    signed = signer.sign(root, key=a1[0], cert=[a1[1]], reference_uri=f"#{root[0].get('Id')}")
    body: bytes = etree.tostring(signed, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>' + body


def pack(xml: bytes) -> str:
    return base64.b64encode(gzip.compress(xml)).decode()


def unpack(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))
