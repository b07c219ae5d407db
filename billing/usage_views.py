"""Pages about money out: usage by model, key, project, tag or day, and every call with the arithmetic of its price."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.models import ApiKey, Project
from accounts.roles import MemberRequest, requires
from billing import call_story, statements, usage_sums
from billing.call_lists import SITUATIONS, WAYS, find_calls, first_id_at, id_of, known_days, read_filter, within_days
from billing.export_tables import Wanted
from billing.exports import write_file
from billing.models import Export, Hold, Price, PriceVersion, UsageRecord
from billing.money import to_brl
from billing.periods import CHOICES, Period, read_period
from billing.pricing import BUCKETS, adjust_amount
from billing.sheets import stream
from billing.units import media_of, tell_media, tell_per
from billing.usage_sums import UsageFilter, UsageLine

PAGE_SIZE = 50
LINES_MAX = 100  # of a table on the page; the file has them all
GROUPS = {"route": "Modelo", "key": "Chave", "project": "Projeto", "tag": "Etiqueta", "provider": "Provedor", "day": "Dia"}
BADGES = {
    UsageRecord.Outcome.COMPLETED: ("success", "Sucesso"),
    UsageRecord.Outcome.CUT: ("warning", "Interrompida"),
    UsageRecord.Outcome.CANCELLED: ("neutral", "Cancelada"),
    UsageRecord.Outcome.FAILED: ("error", "Falhou"),
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


# ── Usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class UsageRow:
    """A line of the table, with its share of the period's spend in hundredths of a percent."""

    line: UsageLine
    share_bps: int
    per_thousand_nanos: int  # mean net of 1 000 calls

    @property
    def failed_bps(self) -> int:
        return self.line.failed * 10_000 // self.line.calls if self.line.calls else 0


@require_GET
@requires("usage.read")
def usage(request: MemberRequest) -> HttpResponseBase:
    period = read_period(request.GET)
    only, group = read_usage_filter(request.GET)
    lines = usage_sums.usage_by(group, first_on=period.first_on, last_on=period.last_on, only=only, lines_max=LINES_MAX + 1)
    is_whole = len(lines) <= LINES_MAX and group != "tag"
    total = usage_sums.add_up(lines) if is_whole else usage_sums.totals(first_on=period.first_on, last_on=period.last_on, only=only)
    context = {
        "nav": "uso",
        "group": group,
        "groups": [(value, label) for value, label in GROUPS.items() if not only.is_by_tag or value in usage_sums.TAG_GROUPS],
        "rows": _usage_rows(lines[:LINES_MAX], group=group, net_nanos=total.net_nanos),
        "is_cut": len(lines) > LINES_MAX,
        "total": total,
        "discount_nanos": total.gross_nanos - total.net_nanos,
        "per_day_nanos": total.net_nanos // ((period.last_on - period.first_on).days + 1),
        "month": statements.month_to_date(),
        "only": only,
        "forms": Export.Form.choices[:2],
        **_choices(),
        **_period_context(period),
    }
    return render(request, "billing/usage.html", context)


def read_usage_filter(query: Mapping[str, str]) -> tuple[UsageFilter, str]:
    """The filter and the grouping of a page's address; a tag leaves what it does not combine with."""
    calls = read_filter(query)
    group = query.get("por", "route")
    group = group if group in GROUPS else "route"
    if calls.tag:
        return UsageFilter(route_name=calls.route_name, tag=calls.tag), group if group in usage_sums.TAG_GROUPS else "route"
    if group == "tag":
        return UsageFilter(route_name=calls.route_name), group
    only = UsageFilter(
        route_name=calls.route_name, api_key_id=calls.api_key_id, project_id=calls.project_id,
        provider_name=query.get("provedor", "")[:40],
    )  # fmt: skip
    return only, group


def _usage_rows(lines: Sequence[UsageLine], *, group: str, net_nanos: int) -> list[UsageRow]:
    rows = [
        UsageRow(
            line,
            share_bps=line.net_nanos * 10_000 // net_nanos if net_nanos else 0,
            per_thousand_nanos=line.net_nanos * 1_000 // line.calls if line.calls else 0,
        )
        for line in lines
    ]
    return rows[::-1] if group == "day" else rows


def _choices() -> dict[str, Any]:
    """What the filters of usage and calls offer."""
    return {
        "keys": list(ApiKey.objects.order_by("name").only("pk", "name")),
        "projects": list(Project.objects.order_by("name").only("pk", "name")),
        "routes": usage_sums.routes_used(),
        "tags": usage_sums.tags_used(),
    }


def _period_context(period: Period) -> dict[str, Any]:
    return {"period": period, "period_choices": CHOICES}


@require_GET
@requires("usage.read")
def usage_csv(request: MemberRequest) -> HttpResponseBase:
    """The table of the page, whole, as a file."""
    period = read_period(request.GET)
    only, group = read_usage_filter(request.GET)
    form = Export.Form.PLAIN if request.GET.get("formato") == "programas" else Export.Form.SHEET
    wanted = Wanted(Export.Kind.USAGE, form, period.first_on, period.last_on, group=group, only=only)
    return stream(wanted.name, write_file(request.membership.organization, wanted), content_type="text/csv; charset=utf-8")


# ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@require_GET
@requires("usage.read")
def requests(request: MemberRequest) -> HttpResponseBase:
    """Every call, newest first; pages are cut by id, so that new calls don't shift them."""
    period = read_period(request.GET, default_days=7)
    only = read_filter(request.GET)
    found = find_calls(request.membership.organization, only).order_by("-id")
    found = found.filter(id__gte=first_id_at(period.starts_at()), id__lt=first_id_at(period.ends_at()))
    page, previous, following = _cut(request, found, known_days(request.membership.organization, only, period))
    choices = _choices()
    keys = {key.pk: key for key in choices["keys"]}
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
        "situations": [(name, label) for name, (label, _) in SITUATIONS.items()],
        "ways": [(name, label) for name, (label, _) in WAYS.items()],
        "is_filtered": not only.is_empty,
        "only": only,
        "forms": Export.Form.choices[:2],
        **choices,
        **_period_context(period),
    }
    return render(request, "billing/requests.html", context)


def _cut(
    request: MemberRequest, found: QuerySet[UsageRecord], days: dict[dt.date, int] | None
) -> tuple[list[UsageRecord], str, str]:
    """A page, and the query strings of the newer and the older one. `days`: those that may have such calls, where that is known."""
    query = request.GET.copy()
    before, after = id_of(query.pop("antes", [""])[-1]), id_of(query.pop("depois", [""])[-1])
    if days is not None:
        found = within_days(found, days, before=before, after=after)
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
    """What each bucket of a call came to, at the prices of its version as they are for its organization. Their sum, up to the next
    nano, is its gross."""
    if record.usage_source == UsageRecord.UsageSource.CACHE:
        return []
    prices = {price.unit: price for price in Price.objects.filter(version_id=record.price_version_id, route_name=record.route_name)}
    lines = []
    for name, units in BUCKETS:
        quantity = getattr(record, name)
        price = next((prices[unit] for unit in units if unit in prices), None)
        if quantity and price is not None:
            percent = _percent_of(record, price)
            asked = adjust_amount(price.amount_nanos, record.margin_bps)
            amount = to_brl(quantity * asked * percent) / (100 * price.per_units)
            per = tell_per(price.unit, price.per_units)
            lines.append(PriceLine(LABELS[name], quantity, asked, price.per_units, amount, per, percent))
    return lines


def _percent_of(record: UsageRecord, price: Price) -> int:
    if record.is_own_key:
        return price.own_key_percent
    return price.batch_percent if record.is_batch else 100
