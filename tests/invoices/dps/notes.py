"""What the tax office answers, for tests: an NFS-e around a DPS, an event around a request, signed by somebody of its own."""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from invoices.dps.ids import check_digit, kind_and_tax_id
from invoices.dps.sign import sign

NS = "http://www.sped.fazenda.gov.br/nfse"
Signer = tuple[RSAPrivateKey, x509.Certificate]


def key_of_note(*, tax_id: str = "11222333000181", city_code: str = "3106200", number: int = 42) -> str:
    body = f"{city_code}2{kind_and_tax_id(tax_id)}{number:013d}2612123456789"
    return body + check_digit(body)


def make_nfse(dps: bytes, *, signer: Signer, access_key: str = "", number: int = 42, net: str = "1234.56") -> bytes:
    """`dps` is signed already: the note holds it whole, its signature included."""
    key = access_key or key_of_note(number=number)
    inner = re.sub(rb"^<\?xml[^>]*\?>", b"", dps).decode()
    xml = (
        f'<NFSe xmlns="{NS}" versao="1.01"><infNFSe Id="NFS{key}"><xLocEmi>Belo Horizonte</xLocEmi>'
        f"<xLocPrestacao>Belo Horizonte</xLocPrestacao><nNFSe>{number}</nNFSe><cLocIncid>3106200</cLocIncid>"
        "<xLocIncid>Belo Horizonte</xLocIncid><xTribNac>Processamento de dados</xTribNac><verAplic>SefinTeste_1.0</verAplic>"
        "<ambGer>2</ambGer><tpEmis>1</tpEmis><cStat>100</cStat><dhProc>2026-12-01T09:35:01-03:00</dhProc><nDFSe>9001</nDFSe>"
        "<emit><CNPJ>11222333000181</CNPJ><xNome>Tokia Serviços Digitais Ltda.</xNome><enderNac><xLgr>Rua da Bahia</xLgr>"
        "<nro>1</nro><xBairro>Centro</xBairro><cMun>3106200</cMun><UF>MG</UF><CEP>30160010</CEP></enderNac></emit>"
        f"<valores><vBC>1234.56</vBC><pAliqAplic>2.50</pAliqAplic><vISSQN>30.86</vISSQN><vLiq>{net}</vLiq></valores>{inner}</infNFSe></NFSe>"
    ).encode()
    return sign(xml, reference=f"NFS{key}", key=signer[0], certificate=signer[1], method="rsa-sha256-exc")


def make_event(request: bytes, *, signer: Signer, access_key: str, kind: str = "101101") -> bytes:
    inner = re.sub(rb"^<\?xml[^>]*\?>", b"", request).decode()
    xml = (
        f'<evento xmlns="{NS}" versao="1.01"><infEvento Id="EVT{access_key}{kind}001"><verAplic>SefinTeste_1.0</verAplic>'
        "<ambGer>2</ambGer><nSeqEvento>001</nSeqEvento><dhProc>2026-12-02T10:00:00-03:00</dhProc><nDFSe>9002</nDFSe>"
        f"{inner}</infEvento></evento>"
    ).encode()
    return sign(xml, reference=f"EVT{access_key}{kind}001", key=signer[0], certificate=signer[1], method="rsa-sha256-exc")
