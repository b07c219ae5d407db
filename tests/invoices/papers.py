"""Issued notes for tests of what customers see: rows made directly, an NFS-e around a golden DPS (unsigned: nobody asks)."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from typing import Any

from accounts.models import Organization
from invoices.models import Invoice, InvoiceLine, InvoicePolicy, Issuer
from tests.invoices.dps.notes import NS, key_of_note
from tests.make import make_top_up, make_wallet
from tokia import clock

GOLDEN = Path(__file__).parent / "dps" / "golden"
NOVEMBER = dt.date(2026, 11, 1)
_number = itertools.count(1_001)


def nfse(number: int, *, dps: str = "normal-letters-monthly") -> bytes:
    inner = (GOLDEN / f"{dps}.xml").read_text(encoding="utf-8").split("?>", 1)[-1]
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><NFSe xmlns="{NS}" versao="1.01"><infNFSe Id="NFS{key_of_note(number=number)}">'
        f"<xLocEmi>Belo Horizonte</xLocEmi><xLocPrestacao>Belo Horizonte</xLocPrestacao><nNFSe>{number}</nNFSe>"
        "<cLocIncid>3106200</cLocIncid><xLocIncid>Belo Horizonte</xLocIncid><xTribNac>Processamento de dados, textos, imagens,"
        " videos, paginas eletronicas, aplicativos e sistemas de informacao</xTribNac><xNBS>Software como servico (SaaS)</xNBS>"
        "<verAplic>SefinTeste_1.0</verAplic><ambGer>2</ambGer><tpEmis>1</tpEmis><procEmi>1</procEmi><cStat>100</cStat>"
        "<dhProc>2026-12-01T09:35:01-03:00</dhProc><nDFSe>9001</nDFSe><emit><CNPJ>11222333000181</CNPJ>"
        "<xNome>Tokia Serviços Digitais Ltda.</xNome><enderNac><xLgr>Rua da Bahia</xLgr><nro>1</nro><xBairro>Centro</xBairro>"
        "<cMun>3106200</cMun><UF>MG</UF><CEP>30160010</CEP></enderNac></emit>"
        "<valores><vBC>1234.56</vBC><pAliqAplic>2.50</pAliqAplic><vISSQN>30.86</vISSQN><vLiq>1234.56</vLiq></valores>"
        f"{inner}</infNFSe></NFSe>"
    ).encode()


def make_issuer() -> Issuer:
    found = Issuer.objects.filter(is_active=True).first()
    return found or Issuer.objects.create(
        name="Tokia Serviços Digitais Ltda.", tax_id="11222333000181", city_code="3106200", environment="1"
    )


def make_invoice(organization: Organization, **fields: Any) -> Invoice:
    """A draft of November's use, unless told otherwise."""
    number = next(_number)
    given: dict[str, Any] = {
        "organization": organization, "issuer": make_issuer(), "policy": InvoicePolicy.Kind.MONTHLY, "reference": f"test:{number}",
        "month": NOVEMBER, "competence_on": dt.date(2026, 11, 30), "amount_centavos": 123_456, **fields,
    }  # fmt: skip
    return Invoice.everywhere.create(**given)


def make_note(organization: Organization, **fields: Any) -> Invoice:
    """Issued, its mail due."""
    number = next(_number)
    at = dt.datetime(2026, 12, 1, 12, 35, 1, tzinfo=dt.UTC)
    given: dict[str, Any] = {
        "status": Invoice.Status.ISSUED, "channel": "sefin", "environment": "1", "city_code": "3106200", "series": 1,
        "number": number, "nfse_number": str(number), "access_key": key_of_note(number=number), "nfse_xml": nfse(number),
        "issued_at": at, "delivery": Invoice.Delivery.DUE, "delivery_due_at": clock.now(),
        "taker": {"name": "Acme Tecnologia Ltda", "tax_id": "12ABC34501DE35"}, **fields,
    }  # fmt: skip
    return make_invoice(organization, **given)


def make_line(invoice: Invoice, *, brl: str = "50.00") -> InvoiceLine:
    entry = make_top_up(wallet=make_wallet(organization=invoice.organization, brl="0"), brl=brl)
    return InvoiceLine.everywhere.create(
        organization=invoice.organization, invoice=invoice, entry=entry, amount_nanos=invoice.amount_centavos * 10**7
    )
