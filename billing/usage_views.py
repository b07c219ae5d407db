"""The page of usage: by model, key, member, project, day, tag or provider, in reais, tokens or calls, and as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from accounts.models import ApiKey, Project
from accounts.roles import MemberRequest, requires
from billing import latencies, statements, usage_sums
from billing.call_lists import read_filter
from billing.export_tables import Wanted
from billing.exports import write_file
from billing.latencies import Latency
from billing.models import Export
from billing.periods import CHOICES, Period, read_period
from billing.projection import project_month
from billing.savings import cache_savings
from billing.sheets import stream
from billing.usage_chart import chart_by
from billing.usage_series import METRICS
from billing.usage_sums import UsageFilter, UsageLine

LINES_MAX = 100  # of a table on the page; the file has them all
GROUPS = {
    "route": _("Modelo"), "key": _("Chave"), "member": _("Membro"), "project": _("Projeto"), "day": _("Dia"), "tag": _("Etiqueta"),
    "provider": _("Provedor"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A line of the table, with its share of the period in the page's metric, in hundredths of a percent."""

    line: UsageLine
    share_bps: int
    per_thousand_nanos: int  # mean net of 1 000 calls
    latency: Latency | None = None

    @property
    def failed_bps(self) -> int:
        return self.line.failed * 10_000 // self.line.calls if self.line.calls else 0


@require_GET
@requires("usage.read")
def usage(request: MemberRequest) -> HttpResponseBase:
    period = read_period(request.GET)
    only, group = read_usage_filter(request.GET)
    metric = request.GET.get("medida", "") if request.GET.get("medida", "") in METRICS else "gasto"
    lines = usage_sums.usage_by(group, first_on=period.first_on, last_on=period.last_on, only=only, lines_max=LINES_MAX + 1)
    is_whole = len(lines) <= LINES_MAX and group != "tag"
    total = usage_sums.add_up(lines) if is_whole else usage_sums.totals(first_on=period.first_on, last_on=period.last_on, only=only)
    keep = {name: request.GET[name] for name in ("modelo", "chave", "projeto", "etiqueta") if request.GET.get(name)}
    context = {
        "nav": "uso",
        "group": group,
        "groups": [(value, label) for value, label in GROUPS.items() if not only.is_by_tag or value in usage_sums.TAG_GROUPS],
        "metric": metric,
        "metrics": [(name, one.label) for name, one in METRICS.items()],
        "rows": _usage_rows(lines[:LINES_MAX], group=group, total=total, metric=metric, period=period, only=only),
        "is_cut": len(lines) > LINES_MAX,
        "total": total,
        "chart": chart_by(group, metric=metric, first_on=period.first_on, last_on=period.last_on, only=only, keep=keep),
        "discount_nanos": total.gross_nanos - total.net_nanos,
        "per_day_nanos": total.net_nanos // ((period.last_on - period.first_on).days + 1),
        "failed_bps": total.failed * 10_000 // total.calls if total.calls else 0,
        "projection": project_month(only=only),
        "cache_nanos": cache_savings(first_on=period.first_on, last_on=period.last_on, only=only),
        "month": statements.month_to_date(),
        "newest": latencies.NEWEST,
        "only": only,
        "is_filtered": not only.is_empty,
        "forms": Export.Form.choices[:2],
        **filter_choices(),
        **period_context(period),
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


def _usage_rows(
    lines: Sequence[UsageLine], *, group: str, total: UsageLine, metric: str, period: Period, only: UsageFilter
) -> list[UsageRow]:
    measured = latencies.latencies_by(group, period=period, only=only)
    whole = _measure(total, metric)
    rows = [
        UsageRow(
            line,
            share_bps=_measure(line, metric) * 10_000 // whole if whole else 0,
            per_thousand_nanos=line.net_nanos * 1_000 // line.calls if line.calls else 0,
            latency=measured.get(line.group),
        )
        for line in lines
    ]
    return rows[::-1] if group == "day" else rows


def _measure(line: UsageLine, metric: str) -> int:
    """What a line comes to in the metric of the page."""
    return {"gasto": line.net_nanos, "tokens": line.input_tokens + line.output_tokens, "requisicoes": line.calls}[metric]


def filter_choices() -> dict[str, Any]:
    """What the filters of usage and calls offer."""
    return {
        "keys": list(ApiKey.objects.order_by("name").only("pk", "name")),
        "projects": list(Project.objects.order_by("name").only("pk", "name")),
        "routes": usage_sums.routes_used(),
        "tags": usage_sums.tags_used(),
    }


def period_context(period: Period) -> dict[str, Any]:
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
