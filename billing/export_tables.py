"""The rows of each table that can be downloaded, stretch by stretch, as text for a spreadsheet or for a program.

Stretches go on from a cursor (the last call's id, the last day's row), so that memory stays flat, no transaction stays open for
minutes, and a worker that dies is followed by one that knows where to go on. Texts that others typed never become a formula.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Sum

from accounts.models import ApiKey, Organization, Project
from accounts.tenancy import tenant
from billing import statements
from billing.call_lists import CallFilter, find_calls, first_id_at
from billing.models import Export, UsageDay
from billing.money import to_brl
from billing.sheets import plain
from billing.usage_sums import NO_PROJECT, UsageFilter, usage_by
from tokia.clock import SAO_PAULO

ROWS_AT_ONCE = 2_000
BOM = "\ufeff"
LINE_GROUPS = {
    "route": "modelo", "key": "chave", "member": "membro", "project": "projeto", "provider": "provedor", "tag": "etiqueta",
    "day": "dia",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Money:
    nanos: int


Cell = str | int | dt.datetime | dt.date | Money | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A table: which one, in which form, of which days (both included), with which filters."""

    kind: Export.Kind
    form: Export.Form
    first_on: dt.date
    last_on: dt.date
    entry_kind: str = ""  # of a statement: LedgerEntry.Kind
    group: str = ""  # of usage: one of LINE_GROUPS; empty: every day's every sum
    only: UsageFilter = field(default_factory=UsageFilter)
    calls: CallFilter = field(default_factory=CallFilter)

    @property
    def name(self) -> str:
        stem = {Export.Kind.STATEMENT: "extrato", Export.Kind.USAGE: "uso", Export.Kind.REQUESTS: "requisicoes"}[self.kind]
        return f"{stem}-{self.first_on}-{self.last_on}.{'ofx' if self.form == Export.Form.OFX else 'csv'}"

    def as_json(self) -> dict[str, Any]:
        only = {name: value for name in UsageFilter.__slots__ if (value := getattr(self.only, name)) not in ("", None)}
        return {
            "first_on": str(self.first_on), "last_on": str(self.last_on), "entry_kind": self.entry_kind, "group": self.group,
            "only": only, "calls": self.calls.as_json(),
        }  # fmt: skip

    @classmethod
    def of(cls, export: Export) -> Wanted:
        given = export.filters
        return cls(
            kind=Export.Kind(export.kind), form=Export.Form(export.form), first_on=dt.date.fromisoformat(given["first_on"]),
            last_on=dt.date.fromisoformat(given["last_on"]), entry_kind=given["entry_kind"], group=given["group"],
            only=UsageFilter(**given["only"]), calls=CallFilter.from_json(given["calls"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some rows as they stand in the file, and where the next ones begin; an empty cursor: there are no more."""

    data: bytes
    rows: int
    cursor: str


def count_rows(organization: Organization, wanted: Wanted) -> tuple[int, bool]:
    """How many rows at most, from the days, and whether it is exactly so many."""
    days = UsageDay.everywhere.filter(organization=organization, day__range=(wanted.first_on, wanted.last_on))
    if wanted.kind == Export.Kind.REQUESTS:
        only = wanted.calls
        if only.route_name:
            days = days.filter(route_name=only.route_name)
        if only.api_key_id is not None:
            days = days.filter(api_key_id=only.api_key_id)
        if only.project_id is not None:
            days = days.filter(project_id=only.project_id)
        column = "failed" if only.situation == "falhou" else "calls"
        return days.aggregate(rows=Sum(column))["rows"] or 0, only.is_known_by_days
    if wanted.kind == Export.Kind.USAGE and not wanted.group:
        return _filtered_days(organization, wanted).count(), True
    return 0, False  # a few, made at once


def write_rows(organization: Organization, wanted: Wanted, *, cursor: str = "") -> Iterator[Stretch]:
    """The file from a cursor on."""
    is_first = not cursor
    make = {Export.Kind.STATEMENT: _statement, Export.Kind.USAGE: _usage, Export.Kind.REQUESTS: _requests}[wanted.kind]
    header, stretches = make(organization, wanted, cursor)
    for rows, following in stretches:
        text = _text(wanted.form, [*([header] if is_first else []), *rows])
        start = BOM if is_first and wanted.form == Export.Form.SHEET else ""
        yield Stretch(f"{start}{text}".encode(), len(rows), following)
        is_first = False


Rows = list[list[Cell]]
Stretches = Iterator[tuple[Rows, str]]


def _text(form: str, rows: Sequence[Sequence[Cell]]) -> str:
    text = io.StringIO()
    tell = _for_people if form == Export.Form.SHEET else _for_programs
    writer = csv.writer(text, delimiter=";" if form == Export.Form.SHEET else ",", lineterminator="\r\n")
    writer.writerows([tell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _for_people(cell: Cell) -> str:
    if isinstance(cell, Money):
        return f"{to_brl(cell.nanos):f}".replace(".", ",")
    if isinstance(cell, dt.datetime):
        return f"{cell.astimezone(SAO_PAULO):%d/%m/%Y %H:%M:%S}"
    if isinstance(cell, dt.date):
        return f"{cell:%d/%m/%Y}"
    return _as_text(cell)


def _for_programs(cell: Cell) -> str:
    if isinstance(cell, Money):
        return f"{to_brl(cell.nanos):f}"
    if isinstance(cell, dt.datetime):
        return cell.astimezone(SAO_PAULO).isoformat(timespec="milliseconds")
    return cell.isoformat() if isinstance(cell, dt.date) else _as_text(cell)


def _as_text(cell: str | int | None) -> str:
    return "" if cell is None else str(cell) if isinstance(cell, int) else plain(cell)


# ── Statement ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _statement(organization: Organization, wanted: Wanted, cursor: str) -> tuple[list[Cell], Stretches]:
    header: list[Cell] = ["Data", "Descrição", "Motivo", "Entrada (R$)", "Saída (R$)", "Saldo (R$)", "Lançamento"]
    return header, _statement_rows(organization, wanted)


def _statement_rows(organization: Organization, wanted: Wanted) -> Stretches:
    with tenant(organization):
        kinds = [wanted.entry_kind] if wanted.entry_kind else []
        found = statements.statement(first_on=wanted.first_on, last_on=wanted.last_on, kinds=kinds)
    rows: Rows = [[wanted.first_on, "Saldo inicial", "", "", "", Money(found.opening_nanos), ""]]
    for row in found.rows:
        described = f"{row.description} ({row.media})" if row.media else row.description
        came = Money(row.in_nanos) if row.in_nanos else ""
        went = Money(row.out_nanos) if row.out_nanos else ""
        rows.append([row.on, described, row.reason, came, went, Money(row.balance_nanos), row.reference])
    totals: list[Cell] = [Money(found.in_nanos), Money(found.out_nanos), Money(found.closing_nanos), ""]
    rows.append([wanted.last_on, "Saldo final", "", *totals])
    yield rows, ""


# ── Usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────
_SUMS: list[Cell] = ["Requisições", "Falhas", "Tokens de entrada", "Em cache", "Tokens de saída", "Bruto (R$)", "Desconto (R$)",
                     "Gasto (R$)"]  # fmt: skip


def _usage(organization: Organization, wanted: Wanted, cursor: str) -> tuple[list[Cell], Stretches]:
    if wanted.group:
        return [LINE_GROUPS[wanted.group].capitalize(), *_SUMS], _usage_lines(organization, wanted)
    header: list[Cell] = ["Dia", "Chave", "Projeto", "Modelo", "Provedor", "Com chave própria", *_SUMS]
    return header, _usage_days(organization, wanted, cursor)


def _usage_lines(organization: Organization, wanted: Wanted) -> Stretches:
    lines = usage_by(
        wanted.group, first_on=wanted.first_on, last_on=wanted.last_on, only=wanted.only, organization=organization
    )  # fmt: skip
    rows: Rows = [
        [line.group if wanted.group == "day" else line.label, line.calls, line.failed, line.input_tokens, line.cached_input_tokens,
         line.output_tokens, Money(line.gross_nanos), Money(line.gross_nanos - line.net_nanos), Money(line.net_nanos)]
        for line in lines
    ]  # fmt: skip
    yield rows, ""


def _filtered_days(organization: Organization, wanted: Wanted) -> Any:
    found = UsageDay.everywhere.filter(organization=organization, day__range=(wanted.first_on, wanted.last_on))
    only = wanted.only
    given = {"route_name": only.route_name or None, "api_key_id": only.api_key_id, "project_id": only.project_id,
             "provider_name": only.provider_name or None}  # fmt: skip
    return found.filter(**{name: value for name, value in given.items() if value is not None})


def _usage_days(organization: Organization, wanted: Wanted, cursor: str) -> Stretches:
    keys, projects = _names(organization)
    found = _filtered_days(organization, wanted).order_by("day", "pk")
    day, last = (dt.date.fromisoformat(cursor[:10]), int(cursor[11:])) if cursor else (wanted.first_on, 0)
    while True:
        page = list(found.filter(day=day, pk__gt=last)[:ROWS_AT_ONCE])
        rows: Rows = [
            [sums.day, keys.get(sums.api_key_id, "Chave removida"), projects.get(sums.project_id, "Projeto removido"),
             sums.route_name, sums.provider_name, "sim" if sums.is_own_key else "", *_sums_of(sums)]
            for sums in page
        ]  # fmt: skip
        if len(page) == ROWS_AT_ONCE:
            last = page[-1].pk
        else:
            day, last = day + dt.timedelta(days=1), 0
        is_end = day > wanted.last_on
        yield rows, "" if is_end else f"{day}:{last}"
        if is_end:
            return


def _sums_of(sums: UsageDay) -> list[Cell]:
    cached, written = sums.cached_input_tokens, sums.cache_write_tokens
    return [
        sums.calls, sums.failed, sums.input_tokens + cached + written + sums.audio_input_tokens + sums.image_input_tokens, cached,
        sums.output_tokens + sums.reasoning_tokens + sums.audio_output_tokens + sums.image_output_tokens, Money(sums.gross_nanos),
        Money(sums.gross_nanos - sums.net_nanos), Money(sums.net_nanos),
    ]  # fmt: skip


def _names(organization: Organization) -> tuple[dict[int, str], dict[int, str]]:
    keys = dict(ApiKey.everywhere.filter(organization=organization).values_list("id", "name"))
    projects = dict(Project.everywhere.filter(organization=organization).values_list("id", "name"))
    return keys, projects | {0: NO_PROJECT}


# ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────
_CALL_COLUMNS: tuple[tuple[str, str], ...] = (
    ("Requisição", "id"), ("Em", "created_at"), ("Modelo", "route_name"), ("Chave", "api_key_id"), ("Projeto", "project_id"),
    ("Etiquetas", "tags"), ("Superfície", "surface"), ("Provedor", "provider_name"), ("Situação", "outcome"),
    ("HTTP", "status_code"), ("Erro", "error_code"), ("Entrada", "input_tokens"), ("Entrada em cache", "cached_input_tokens"),
    ("Escrita em cache", "cache_write_tokens"), ("Saída", "output_tokens"), ("Raciocínio", "reasoning_tokens"),
    ("Imagens", "images"), ("Segundos de áudio", "audio_seconds"), ("Caracteres", "characters"), ("Buscas", "searches"),
    ("1º token (ms)", "first_token_ms"), ("Duração (ms)", "latency_ms"), ("Bruto (R$)", "gross_nanos"), ("Custo (R$)", "net_nanos"),
)  # fmt: skip


def _requests(organization: Organization, wanted: Wanted, cursor: str) -> tuple[list[Cell], Stretches]:
    return [label for label, _ in _CALL_COLUMNS], _call_rows(organization, wanted, cursor)


def _call_rows(organization: Organization, wanted: Wanted, cursor: str) -> Stretches:
    keys, projects = _names(organization)
    tell = _tellers(keys, projects)
    columns = [column for _, column in _CALL_COLUMNS]
    first = first_id_at(dt.datetime.combine(wanted.first_on, dt.time(), SAO_PAULO))
    last = first_id_at(dt.datetime.combine(wanted.last_on + dt.timedelta(days=1), dt.time(), SAO_PAULO))
    found = find_calls(organization, wanted.calls).filter(id__lt=last).order_by("id").values_list(*columns)
    after: uuid.UUID | None = uuid.UUID(cursor) if cursor else None
    while True:
        page = list((found.filter(id__gt=after) if after else found.filter(id__gte=first))[:ROWS_AT_ONCE])
        rows: Rows = [
            [tell[column](value) if column in tell else value for column, value in zip(columns, row, strict=True)] for row in page
        ]
        is_end = len(page) < ROWS_AT_ONCE
        after = page[-1][0] if page else after
        yield rows, "" if is_end else str(after)
        if is_end:
            return


def _tellers(keys: dict[int, str], projects: dict[int, str]) -> dict[str, Callable[[Any], Cell]]:
    outcomes = {"completed": "sucesso", "cut": "interrompida", "cancelled": "cancelada", "failed": "falhou"}
    return {
        "id": str,
        "api_key_id": lambda id_: keys.get(id_, "Chave removida"),
        "project_id": lambda id_: projects.get(id_ or 0, "Projeto removido") if id_ else "",
        "tags": lambda tags: " ".join(tags or ()),
        "outcome": lambda outcome: outcomes.get(outcome, outcome),
        "gross_nanos": Money,
        "net_nanos": Money,
    }
