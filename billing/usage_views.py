"""Pages about money out: the statement, usage by model, key or day, and every call with the arithmetic of its price."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.models import ApiKey
from accounts.roles import MemberRequest, requires
from billing import call_story, statements
from billing.models import Hold, LedgerEntry, Price, PriceVersion, UsageRecord
from billing.money import to_brl
from billing.periods import CHOICES, Period, read_period
from billing.pricing import BUCKETS, MEDIA
from billing.sheets import comma, plain, sheet
from billing.units import media_of, tell_media, tell_per
from tokia import clock

PAGE_SIZE = 50
GROUPS = {"route": "Modelo", "key": "Chave", "day": "Dia"}
SITUATIONS = {
    "sucesso": ("Sucesso", {"outcome": UsageRecord.Outcome.COMPLETED}),
    "interrompida": ("Interrompida pelo provedor", {"outcome": UsageRecord.Outcome.CUT}),
    "cancelada": ("Cancelada por você", {"outcome": UsageRecord.Outcome.CANCELLED}),
    "falhou": ("Falhou, não cobrada", {"outcome": UsageRecord.Outcome.FAILED}),
}
BADGES = {
    UsageRecord.Outcome.COMPLETED: ("success", "Sucesso"),
    UsageRecord.Outcome.CUT: ("warning", "Interrompida"),
    UsageRecord.Outcome.CANCELLED: ("neutral", "Cancelada"),
    UsageRecord.Outcome.FAILED: ("error", "Falhou"),
}
# How a call went, beside its outcome.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "nova-tentativa": ("Com nova tentativa", {"attempts__1__isnull": False}),
    "cache": ("Resposta do cache", {"usage_source": UsageRecord.UsageSource.CACHE}),
    "chave-propria": ("Com chave própria", {"is_own_key": True}),
}
# How each bucket is called on a call's bill.
LABELS = {
    "input_tokens": "entrada",
    "cached_input_tokens": "entrada em cache",
    "cache_write_tokens": "escrita em cache",
    "output_tokens": "saída",
    "reasoning_tokens": "raciocínio",
    "requests": "requisição",
    "audio_input_tokens": "áudio na entrada",
    "image_input_tokens": "imagem na entrada",
    "audio_output_tokens": "áudio na saída",
    "image_output_tokens": "imagem na saída",
    "images": "imagens",
    "audio_seconds": "segundos de áudio",
    "characters": "caracteres",
    "searches": "buscas",
}


# ── Statement ────────────────────────────────────────────────────────────────────────────────────────────────────────
@require_GET
@requires("billing.statement")
def statement(request: MemberRequest) -> HttpResponseBase:
    period, kind = read_period(request.GET), _chosen_kind(request)
    found = statements.statement(first_on=period.first_on, last_on=period.last_on, kinds=[kind] if kind else [])
    context = {
        "nav": "extrato",
        "statement": found,
        "rows": found.rows[::-1],  # newest first
        "kind": kind,
        "kinds": LedgerEntry.Kind.choices,
        "lots": statements.lots(),
        **_period_context(period),
    }
    return render(request, "billing/statement.html", context)


@require_GET
@requires("billing.statement")
def statement_csv(request: MemberRequest) -> HttpResponseBase:
    """The same rows for a spreadsheet: `;` and decimal comma as Brazil's read them, no cell that a program would run."""
    period, kind = read_period(request.GET), _chosen_kind(request)
    found = statements.statement(first_on=period.first_on, last_on=period.last_on, kinds=[kind] if kind else [])
    rows = [
        ["Data", "Descrição", "Motivo", "Entrada (R$)", "Saída (R$)", "Saldo (R$)"],
        [f"{period.first_on:%d/%m/%Y}", "Saldo inicial", "", "", "", comma(found.opening_nanos)],
    ]
    for row in found.rows:
        entry = [comma(row.in_nanos) if row.in_nanos else "", comma(row.out_nanos) if row.out_nanos else ""]
        described = f"{row.description} ({row.media})" if row.media else row.description
        rows.append([f"{row.on:%d/%m/%Y}", plain(described), plain(row.reason), *entry, comma(row.balance_nanos)])
    totals = [comma(found.in_nanos), comma(found.out_nanos), comma(found.closing_nanos)]
    rows.append([f"{period.last_on:%d/%m/%Y}", "Saldo final", "", *totals])
    return sheet(f"extrato-{period.first_on}-{period.last_on}", rows)


def _chosen_kind(request: MemberRequest) -> str:
    kind = request.GET.get("tipo", "")
    return kind if kind in LedgerEntry.Kind.values else ""


def _period_context(period: Period) -> dict[str, Any]:
    return {"period": period, "period_choices": CHOICES}


# ── Usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class UsageRow:
    """A line of the table, with its share of the period's spend in hundredths of a percent."""

    line: statements.UsageLine
    share_bps: int
    per_thousand_nanos: int  # mean net of 1 000 calls

    @property
    def failed_bps(self) -> int:
        return self.line.failed * 10_000 // self.line.calls if self.line.calls else 0


@require_GET
@requires("usage.read")
def usage(request: MemberRequest) -> HttpResponseBase:
    period = read_period(request.GET)
    group = request.GET.get("por", "route")
    group = group if group in GROUPS else "route"
    lines = statements.usage_by(group, first_on=period.first_on, last_on=period.last_on)
    net, calls = sum(line.net_nanos for line in lines), sum(line.calls for line in lines)
    days = (period.last_on - period.first_on).days + 1
    rows = [
        UsageRow(
            line,
            share_bps=line.net_nanos * 10_000 // net if net else 0,
            per_thousand_nanos=line.net_nanos * 1_000 // line.calls if line.calls else 0,
        )
        for line in lines
    ]
    context = {
        "nav": "uso",
        "group": group,
        "groups": GROUPS.items(),
        "rows": rows[::-1] if group == "day" else rows,
        "net_nanos": net,
        "gross_nanos": sum(line.gross_nanos for line in lines),
        "discount_nanos": sum(line.gross_nanos - line.net_nanos for line in lines),
        "calls": calls,
        "input_tokens": sum(line.input_tokens for line in lines),
        "cached_input_tokens": sum(line.cached_input_tokens for line in lines),
        "output_tokens": sum(line.output_tokens for line in lines),
        "media_text": tell_media({name: sum(line.media.get(name, 0) for line in lines) for name, _ in MEDIA}),
        "per_day_nanos": net // days,
        "month": statements.month_to_date(),
        **_period_context(period),
    }
    return render(request, "billing/usage.html", context)


# ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@require_GET
@requires("usage.read")
def requests(request: MemberRequest) -> HttpResponseBase:
    """Every call, newest first; pages are cut by id, so that new calls don't shift them."""
    period = read_period(request.GET, default_days=7)
    keys = {key.pk: key for key in ApiKey.objects.order_by("name")}
    found, is_filtered = _filtered(request, keys)
    found = found.filter(
        id__gte=_first_id_at(period.starts_at()), id__lt=_first_id_at(period.ends_at()),
    )  # fmt: skip
    page, previous, following = _cut(request, found)
    for record in page:
        record.key = keys.get(record.api_key_id)  # type: ignore[attr-defined]
        record.badge = BADGES[UsageRecord.Outcome(record.outcome)]  # type: ignore[attr-defined]
        record.media_text = tell_media(media_of(record))  # type: ignore[attr-defined]
        record.marks = call_story.marks_of(record)  # type: ignore[attr-defined]
    context = {
        "nav": "requisicoes",
        "records": page,
        "previous": previous,
        "next": following,
        "keys": keys.values(),
        "routes": _routes_used(),
        "situations": [(name, label) for name, (label, _) in SITUATIONS.items()],
        "ways": [(name, label) for name, (label, _) in WAYS.items()],
        "is_filtered": is_filtered,
        **_period_context(period),
    }
    return render(request, "billing/requests.html", context)


def _filtered(request: MemberRequest, keys: dict[int, ApiKey]) -> tuple[QuerySet[UsageRecord], bool]:
    found, is_filtered = UsageRecord.objects.order_by("-id"), False
    route, key, situation = (request.GET.get(name, "") for name in ("modelo", "chave", "situacao"))
    if route:
        found, is_filtered = found.filter(route_name=route[:100]), True
    if key:
        found, is_filtered = found.filter(api_key_id=int(key) if key.isdecimal() and int(key) in keys else -1), True
    if situation in SITUATIONS:
        found, is_filtered = found.filter(**SITUATIONS[situation][1]), True
    if (way := request.GET.get("caminho", "")) in WAYS:
        found, is_filtered = found.filter(**WAYS[way][1]), True
    if wanted := request.GET.get("id", "").strip():
        found, is_filtered = found.filter(pk=_id_of(wanted) or uuid.UUID(int=0)), True
    return found, is_filtered


def _cut(request: MemberRequest, found: QuerySet[UsageRecord]) -> tuple[list[UsageRecord], str, str]:
    """A page, and the query strings of the newer and the older one."""
    query = request.GET.copy()
    before, after = _id_of(query.pop("antes", [""])[-1]), _id_of(query.pop("depois", [""])[-1])
    if after:
        page = list(found.filter(id__gt=after).order_by("id")[: PAGE_SIZE + 1])
        has_newer, has_older = len(page) > PAGE_SIZE, True
        page = page[:PAGE_SIZE][::-1]
    else:
        page = list((found.filter(id__lt=before) if before else found)[: PAGE_SIZE + 1])
        has_newer, has_older = before is not None, len(page) > PAGE_SIZE
        page = page[:PAGE_SIZE]
    if not page:
        return page, "", ""
    newer, older = query.copy(), query.copy()
    newer["depois"], older["antes"] = str(page[0].pk), str(page[-1].pk)
    return page, f"?{newer.urlencode()}" if has_newer else "", f"?{older.urlencode()}" if has_older else ""


def _id_of(text: str) -> uuid.UUID | None:
    """A call's id as a person pastes it, with or without the API's prefix; None when it is none."""
    try:
        return uuid.UUID(text.rsplit("_", 1)[-1].removeprefix("chatcmpl-"))
    except ValueError:
        return None


def _first_id_at(instant: dt.datetime) -> uuid.UUID:
    return uuid.UUID(int=int(instant.timestamp() * 1000) << 80)


def _routes_used() -> list[str]:
    since = clock.now() - dt.timedelta(days=90)
    names = UsageRecord.objects.filter(id__gte=_first_id_at(since)).order_by("route_name").values_list("route_name", flat=True)
    return list(names.distinct())


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One line of a call's arithmetic."""

    label: str
    quantity: int
    price_nanos: int
    per_units: int
    amount: Decimal  # reais, to 28 digits: only the sum is rounded
    per: str  # "/1M", "/imagem"
    percent: int = 100  # of the price: less in a batch, and by the customer's own key

    @property
    def text(self) -> str:
        """At least nine decimals, all of them where there are more; fifteen where there is no end (a second of an hour's price)."""
        whole, _, decimals = f"{round(self.amount, 15):f}".partition(".")
        return f"R$\u00a0{int(whole):,}".replace(",", ".") + f",{decimals.rstrip('0'):0<9}"


@require_GET
@requires("usage.read")
def request_detail(request: MemberRequest, call_id: uuid.UUID) -> HttpResponseBase:
    record = UsageRecord.objects.filter(pk=call_id).first()
    if record is None:
        held = Hold.objects.filter(pk=call_id).first()
        if held is None:
            raise Http404
        return render(request, "billing/request_running.html", {"nav": "requisicoes", "hold": held})
    version = PriceVersion.objects.filter(pk=record.price_version_id).first()
    lines = price_lines(record)
    context = {
        "nav": "requisicoes",
        "record": record,
        "key": ApiKey.objects.filter(pk=record.api_key_id).first(),
        "badge": BADGES[UsageRecord.Outcome(record.outcome)],
        "version": version,
        "lines": lines,
        "discount_nanos": record.gross_nanos - record.net_nanos,
        "minus_discount": record.net_nanos - record.gross_nanos,
        "choice": call_story.choice_of(record),
        "passed_over": call_story.passed_over(record),
        "attempts": call_story.attempts_of(record),
        "marks": call_story.marks_of(record),
    }
    return render(request, "billing/request_detail.html", context)


def price_lines(record: UsageRecord) -> list[PriceLine]:
    """What each bucket of a call came to, at the prices of its version. Their sum, up to the next nano, is its gross."""
    if record.usage_source == UsageRecord.UsageSource.CACHE:
        return []
    prices = {price.unit: price for price in Price.objects.filter(version_id=record.price_version_id, route_name=record.route_name)}
    lines = []
    for name, units in BUCKETS:
        quantity = getattr(record, name)
        price = next((prices[unit] for unit in units if unit in prices), None)
        if quantity and price is not None:
            percent = _percent_of(record, price)
            amount = to_brl(quantity * price.amount_nanos * percent) / (100 * price.per_units)
            per = tell_per(price.unit, price.per_units)
            lines.append(PriceLine(LABELS[name], quantity, price.amount_nanos, price.per_units, amount, per, percent))
    return lines


def _percent_of(record: UsageRecord, price: Price) -> int:
    if record.is_own_key:
        return price.own_key_percent
    return price.batch_percent if record.is_batch else 100
