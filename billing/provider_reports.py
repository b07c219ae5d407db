"""What a provider says that we used, against what we metered: an imported report by day and model.

Read are CSV files with a header line. Each column is known by several names: OpenAI's and Anthropic's exports, and the plain
`day,model,input_tokens,output_tokens,usd`. Lines of the same day and model are added up. Days are UTC's, as providers count.
Tokens are compared exactly within a tolerance; dollars are ours at the day's PTAX, so a rate that moved shows as a difference.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import sha256

from django.conf import settings
from django.db import connection, transaction

from billing.differences import Comparison, Kind, Subject, keep
from billing.errors import BillingError
from billing.models import ExchangeRate, ProviderReport, ProviderReportLine
from billing.money import BRL, format_brl

FILE_BYTES_MAX = 20_000_000
DAYS_MAX = 93
COLUMNS = {
    "day": ("day", "date", "usage_date_utc", "usage_date", "start_time_iso", "start_time", "dia"),
    "model": ("model", "model_version", "model_id", "line_item", "snapshot_id", "modelo"),
    "usd": ("usd", "cost_usd", "amount_value", "cost", "cost_in_usd", "amount"),
}
# Each kind of token may be told in several columns, which add up.
INPUT_COLUMNS = (
    "input_tokens", "usage_input_tokens", "usage_input_tokens_no_cache", "usage_input_tokens_cache_read",
    "usage_input_tokens_cache_write", "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h",
    "cache_read_input_tokens", "cache_creation_input_tokens", "n_context_tokens_total", "prompt_tokens",
)  # fmt: skip
OUTPUT_COLUMNS = ("output_tokens", "usage_output_tokens", "n_generated_tokens_total", "completion_tokens")
_OURS = """
SELECT (created_at AT TIME ZONE 'UTC')::date, upstream_model,
       sum(input_tokens::bigint + cached_input_tokens + cache_write_tokens + audio_input_tokens + image_input_tokens)::bigint,
       sum(output_tokens::bigint + reasoning_tokens + audio_output_tokens + image_output_tokens)::bigint, sum(cost_nanos)::bigint
FROM billing_usagerecord
WHERE provider_name = %s AND NOT is_own_key AND id >= billing_first_id_of_month(%s) AND created_at >= %s AND created_at < %s
GROUP BY 1, 2
"""  # raw rows: the rollups' days are Brazil's. A person asks for it, for a period


class ReportRefused(BillingError):
    """The file can't be read; the message names the line or the column."""

    code = "provider_report_refused"
    status = 400


@dataclass(slots=True)
class Line:
    """One day of one model."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: Decimal | None = None


Lines = dict[tuple[dt.date, str], Line]


def read_report(content: bytes) -> Lines:
    """Raises ReportRefused."""
    if len(content) > FILE_BYTES_MAX:
        raise ReportRefused("O arquivo passa de 20 MB. Exporte um período menor.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ReportRefused("O arquivo não é um CSV em UTF-8.") from None
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if text.partition("\n")[0].count(";") > 2 else ",")
    names = {(name or "").strip().lower(): name or "" for name in rows.fieldnames or []}
    columns = {field: next((names[known] for known in known_names if known in names), "") for field, known_names in COLUMNS.items()}
    inputs = [names[name] for name in INPUT_COLUMNS if name in names]
    outputs = [names[name] for name in OUTPUT_COLUMNS if name in names]
    if not columns["day"] or not columns["model"] or not (inputs or outputs or columns["usd"]):
        raise ReportRefused("Faltam colunas: o dia (day), o modelo (model) e tokens ou custo (input_tokens, output_tokens, usd).")
    lines: Lines = {}
    try:
        for number, row in enumerate(rows, start=2):
            day, model = _day(row.get(columns["day"]), number), (row.get(columns["model"]) or "").strip()[:120]
            line = lines.setdefault((day, model), Line())
            line.input_tokens = _add(line.input_tokens, (row.get(name) for name in inputs), number)
            line.output_tokens = _add(line.output_tokens, (row.get(name) for name in outputs), number)
            if columns["usd"]:
                line.usd = (line.usd or Decimal(0)) + _decimal(row.get(columns["usd"]), number)
    except csv.Error as error:
        raise ReportRefused(f"O CSV não pôde ser lido: {error}.") from None
    if not lines:
        raise ReportRefused("O arquivo não tem linhas.")
    days = [day for day, _ in lines]
    if max(days) - min(days) > dt.timedelta(days=DAYS_MAX):
        raise ReportRefused(f"O período passa de {DAYS_MAX} dias. Exporte um menor.")
    return lines


def _day(told: str | None, number: int) -> dt.date:
    try:
        return dt.date.fromisoformat((told or "").strip()[:10])
    except ValueError:
        raise ReportRefused(f"Linha {number}: o dia “{told}” não é uma data (AAAA-MM-DD).") from None


def _decimal(told: str | None, number: int) -> Decimal:
    try:
        value = Decimal((told or "0").strip().replace("$", "") or "0")
    except InvalidOperation:
        raise ReportRefused(f"Linha {number}: “{told}” não é um número.") from None
    if not value.is_finite() or abs(value) > 10**10:
        raise ReportRefused(f"Linha {number}: “{told}” não é um número possível.")
    return value


def _add(known: int | None, told: Iterable[str | None], number: int) -> int | None:
    values = [_decimal(text, number) for text in told]
    return known if not values else (known or 0) + int(sum(values))


def import_report(*, provider_name: str, file_name: str, content: bytes, by: str) -> ProviderReport:
    """Keep a report and compare it. The same file again is the same report, compared again. Raises ReportRefused."""
    lines = read_report(content)
    digest = sha256(provider_name.encode() + b"\x00" + content).digest()
    days = [day for day, _ in lines]
    with transaction.atomic():
        report, is_new = ProviderReport.objects.get_or_create(
            digest=digest,
            defaults={
                "provider_name": provider_name, "file_name": file_name[:200], "first_on": min(days), "last_on": max(days),
                "rows": len(lines), "usd": sum((line.usd or Decimal(0) for line in lines.values()), Decimal(0)),
                "imported_by": by[:150],
            },
        )  # fmt: skip
        if is_new:
            ProviderReportLine.objects.bulk_create(
                ProviderReportLine(
                    report=report, day=day, upstream_model=model, input_tokens=line.input_tokens,
                    output_tokens=line.output_tokens, usd=line.usd,
                )
                for (day, model), line in lines.items()
            )  # fmt: skip
        compare_report(report)
    return report


def compare_report(report: ProviderReport) -> Comparison:
    """Every day and model of a report, and those that only we have; what agrees again is gone."""
    first_at = dt.datetime.combine(report.first_on, dt.time(), dt.UTC)
    last_at = dt.datetime.combine(report.last_on + dt.timedelta(days=1), dt.time(), dt.UTC)
    run = Comparison(
        Subject.PROVIDER, first_at, last_at, is_examined=lambda reference: reference.startswith(f"{report.provider_name} ")
    )
    ours = _our_days(report.provider_name, first_at, last_at)
    rates = _rates(report.first_on, report.last_on)
    lines = {(line.day, line.upstream_model): line for line in report.lines.all()}
    has_tokens = any(line.input_tokens is not None for line in lines.values())
    for day, model in sorted({*lines, *ours}):
        _compare_day(run, report.provider_name, day, model, lines.get((day, model)), ours.get((day, model)), rates, has_tokens)
    keep(run)
    return run


def _our_days(provider: str, first_at: dt.datetime, last_at: dt.datetime) -> dict[tuple[dt.date, str], tuple[int, int, int]]:
    """(input tokens, output tokens, cost in nanos) by UTC day and upstream model."""
    month = (first_at - dt.timedelta(days=1)).date().replace(day=1)  # Brazil's month of that instant may be the one before
    with connection.cursor() as cursor:
        cursor.execute(_OURS, [provider, month, first_at, last_at])
        return {(day, model): figures for day, model, *rest in cursor.fetchall() if (figures := tuple(rest))}


def _rates(first_on: dt.date, last_on: dt.date) -> Mapping[dt.date, Decimal]:
    """The newest quotation up to each day's end, of the days that have one."""
    found: dict[dt.date, Decimal] = {}
    quoted = ExchangeRate.objects.filter(quoted_at__lt=dt.datetime.combine(last_on + dt.timedelta(days=1), dt.time(), dt.UTC))
    newest = [(rate.quoted_at.date(), rate.rate) for rate in quoted.order_by("-quoted_at")[: DAYS_MAX * 4]]
    for number in range((last_on - first_on).days + 1):
        day = first_on + dt.timedelta(days=number)
        rate = next((rate for quoted_on, rate in newest if quoted_on <= day), None)
        if rate is not None:
            found[day] = rate
    return found


def _compare_day(
    run: Comparison, provider: str, day: dt.date, model: str, line: ProviderReportLine | None, ours: tuple[int, int, int] | None,
    rates: Mapping[dt.date, Decimal], has_tokens: bool,
) -> None:  # fmt: skip
    reference, at = f"{provider} {day} {model}"[:200], dt.datetime.combine(day, dt.time(12), dt.UTC)
    our_input, our_output, our_cost = ours or (0, 0, 0)
    usd = line.usd if line else None
    theirs = None if usd is None or day not in rates else -int(-(usd * rates[day] * BRL) // 1)
    if line is None:
        if our_input or our_output or our_cost:
            run.add(reference, kind=Kind.ONLY_HERE, at=at, ours=our_cost, theirs=None, detail=_tokens(our_input, our_output, None))
        return
    tokens_differ = has_tokens and (
        _differs(our_input, line.input_tokens or 0, least=1_000) or _differs(our_output, line.output_tokens or 0, least=1_000)
    )
    cost_differs = theirs is not None and _differs(our_cost, theirs, least=BRL)
    if not tokens_differ and not cost_differs:
        return
    dollars = "" if usd is None else f" Custo: {format_brl(our_cost)} aqui, US$ {usd} lá."
    run.add(
        reference,
        kind=Kind.ONLY_THERE if ours is None else Kind.AMOUNT,
        at=at,
        ours=our_cost if ours else None,
        theirs=theirs,
        detail=_tokens(our_input, our_output, line) + dollars,
    )


def _differs(ours: int, theirs: int, *, least: int) -> bool:
    """Beyond the tolerance, and by more than a trifle (`least`)."""
    gap = abs(ours - theirs)
    return gap > least and gap * 100 > settings.PROVIDER_REPORT_TOLERANCE_PERCENT * max(ours, theirs)


def _tokens(our_input: int, our_output: int, line: ProviderReportLine | None) -> str:
    def told(number: int | None) -> str:
        return "—" if number is None else f"{number:,}".replace(",", ".")

    theirs_in, theirs_out = (line.input_tokens, line.output_tokens) if line else (None, None)
    return f"Entrada: {told(our_input)} tokens aqui, {told(theirs_in)} lá. Saída: {told(our_output)} aqui, {told(theirs_out)} lá."
