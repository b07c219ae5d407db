"""Pages of calls: the list with its filters, live where wanted, and one call with the arithmetic of its price and its way."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import is_valid_path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.flags import is_on
from accounts.models import ApiKey
from accounts.roles import MemberRequest, may, requires
from billing import call_story
from billing.call_lists import SITUATIONS, WAYS, find_calls, first_id_at, id_of, known_days, read_filter, within_days
from billing.models import Export, Hold, PriceVersion, UsageRecord
from billing.periods import read_period
from billing.price_lines import price_lines
from billing.units import media_of, tell_media
from billing.usage_views import filter_choices, period_context

PAGE_SIZE = 50
BADGES = {
    UsageRecord.Outcome.COMPLETED: ("success", _("Sucesso")),
    UsageRecord.Outcome.CUT: ("warning", _("Interrompida")),
    UsageRecord.Outcome.CANCELLED: ("neutral", _("Cancelada")),
    UsageRecord.Outcome.FAILED: ("error", _("Falhou")),
}


@require_GET
@requires("usage.read")
@never_cache
def requests(request: MemberRequest) -> HttpResponseBase:
    """Every call, newest first; pages are cut by id, so that new calls don't shift them. Live (`?vivo=1`), the first page is asked
    again every few seconds: 204 while its newest call is still the one that the page has."""
    period = read_period(request.GET, default_days=7)
    only = read_filter(request.GET)
    found = find_calls(request.membership.organization, only).order_by("-id")
    found = found.filter(id__gte=first_id_at(period.starts_at()), id__lt=first_id_at(period.ends_at()))
    page, previous, following = _cut(request, found, known_days(request.membership.organization, only, period))
    is_first_page = not (request.GET.get("antes") or request.GET.get("depois"))
    is_live = is_first_page and request.GET.get("vivo") == "1"
    newest = str(page[0].pk) if page else ""
    is_part = bool(request.headers.get("HX-Request"))
    if is_live and is_part and request.GET.get("ultima", "") == newest:
        return HttpResponse(status=204)
    choices = filter_choices()
    _dress(page, choices["keys"])
    context = {
        "nav": "requisicoes",
        "records": page,
        "previous": previous,
        "next": following,
        "situations": [(name, label) for name, (label, _) in SITUATIONS.items()],
        "ways": [(name, label) for name, (label, _) in WAYS.items()],
        "is_filtered": not only.is_empty,
        "cost_example": _("0,05"),
        "is_live": is_live,
        "newest": newest,
        "only": only,
        "forms": Export.Form.choices[:2],
        **choices,
        **period_context(period),
    }
    return render(request, "billing/_requests_list.html" if is_part else "billing/requests.html", context)


def _dress(page: list[UsageRecord], keys: list[ApiKey]) -> None:
    named = {key.pk: key for key in keys}
    for record in page:
        record.key = named.get(record.api_key_id)  # type: ignore[attr-defined]
        record.badge = BADGES[UsageRecord.Outcome(record.outcome)]  # type: ignore[attr-defined]
        record.media_text = tell_media(media_of(record))  # type: ignore[attr-defined]
        record.marks = call_story.marks_of(record)  # type: ignore[attr-defined]


def _cut(
    request: MemberRequest, found: QuerySet[UsageRecord], days: dict[dt.date, int] | None
) -> tuple[list[UsageRecord], str, str]:
    """A page, and the query strings of the newer and the older one. `days`: those that may have such calls, where that is known."""
    query = request.GET.copy()
    query.pop("ultima", None)
    query.pop("vivo", None)
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
        "spans": call_story.spans_of(record),
        "playground_url": _playground_url(request),
        "marks": call_story.marks_of(record),
    }
    return render(request, "billing/request_detail.html", context)


def _playground_url(request: MemberRequest) -> str:
    url = "/app/playground/"
    is_open = may(request.membership, "keys.manage") and is_on("playground", organization=request.membership.organization)
    return url if is_open and is_valid_path(url) else ""
