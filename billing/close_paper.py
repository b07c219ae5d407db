"""A closed month on paper and as a table: "Fechamento de outubro de 2026"."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import override

from accounts.tax_ids import format_tax_id
from billing import seals
from billing.closing import lines_of, tell_month
from billing.models import MonthClose
from billing.sheets import comma
from tokia.clock import SAO_PAULO


def seal_text(close: MonthClose) -> str:
    return seals.Head(close.seal_seq, bytes(close.seal_digest)).text if close.seal_seq else ""


@override(settings.LANGUAGE_CODE)  # files are Portuguese
def draw_close(close: MonthClose) -> bytes:
    """The PDF; the same close is the same bytes."""
    from billing.paper import Paper  # a quarter of a second of fonts, for whoever draws

    organization = close.organization
    paper = Paper(
        title=f"Fechamento de {tell_month(close.month)}", made_at=close.closed_at,
        foot="Não é documento fiscal: a nota fiscal de serviço (NFS-e) é emitida sobre o consumo. Horário de Brasília.",
    )  # fmt: skip
    closed_at = f"{close.closed_at.astimezone(SAO_PAULO):%d/%m/%Y às %H:%M}"
    paper.write_heading(f"Fechamento de {tell_month(close.month)}", beside=f"Fechado em {closed_at}; não muda mais.")
    facts = [("Empresa", organization.name)]
    if organization.tax_id:
        facts.append((organization.get_tax_id_kind_display(), format_tax_id(organization.tax_id)))
    facts += [
        ("Plataforma", f"{settings.RECEIVER_NAME}, CNPJ {format_tax_id(settings.RECEIVER_TAX_ID)}"),
        ("Requisições", f"{close.calls:,}".replace(",", ".")),
    ]
    paper.write_facts(facts)
    lines = lines_of(close)
    paper.write_sums(
        [
            (line.label, line.text, "detail" if line.is_detail else "bold" if at in (0, len(lines) - 1) else "")
            for at, line in enumerate(lines)
        ]
    )
    paper.ln(4)
    paper.write_small(
        "Também em CSV, na página deste fechamento. Requisições que chegarem depois dele entram como ajuste no fechamento seguinte."
    )
    if text := seal_text(close):
        paper.write_small(f"Selo do livro de saldos no fechamento: {text}.")
    return paper.bytes()


@override(settings.LANGUAGE_CODE)  # files are Portuguese
def table_of(close: MonthClose) -> list[list[str]]:
    """For a spreadsheet, exact to the nano."""
    rows = [["Fechamento", "Descrição", "Valor (R$)", "Detalhe (R$)"]]
    for line in lines_of(close):
        amount = comma(line.nanos)
        rows.append([f"{close.month:%m/%Y}", line.label, "" if line.is_detail else amount, amount if line.is_detail else ""])
    return rows
