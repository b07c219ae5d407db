"""Files that take a while: asked for, watched, fetched by the organization they are of."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from django.contrib import messages
from django.http import Http404, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts import audit
from accounts.roles import MemberRequest, may, refuse, requires
from billing import exports
from billing.call_lists import read_filter
from billing.errors import TooManyExports
from billing.export_tables import Wanted
from billing.models import Export
from billing.periods import read_period
from billing.sheets import stream
from billing.usage_views import read_usage_filter

LISTED_MAX = 30
STOP_POLLING = 286  # htmx: swap, then ask no more
CSV = "text/csv; charset=utf-8"
BACK = {Export.Kind.STATEMENT: "statement", Export.Kind.USAGE: "usage", Export.Kind.REQUESTS: "requests"}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires("usage.read")
def export_list(request: MemberRequest) -> HttpResponseBase:
    """GET: the files of the last days. POST: a table with a page's filters: at once where it is short, else in the background."""
    if request.method == "POST":
        return _open(request)
    found = [export for export in Export.objects.order_by("-created_at")[:LISTED_MAX] if _may(request, export)]
    return render(request, "billing/exports.html", {"nav": "requisicoes", "exports": found})


def _open(request: MemberRequest) -> HttpResponseBase:
    wanted = _read_wanted(request)
    organization = request.membership.organization
    if exports.is_short(organization, wanted):
        audit.act("export_asked", organization=organization, detail={"table": wanted.name})
        return stream(wanted.name, exports.write_file(organization, wanted), content_type=CSV)
    try:
        export = exports.open_export(organization, wanted, by=request.user)
    except TooManyExports as refusal:
        messages.error(request, refusal.message)
        return redirect("exports")
    return redirect("export", export.pk)


def _read_wanted(request: MemberRequest) -> Wanted:
    """The table that the form names, with the page's address in `consulta`. Raises Http404 for one that is not there."""
    query = QueryDict(request.POST.get("consulta", "")[:2_000])
    kind, form = request.POST.get("tabela", ""), request.POST.get("formato", Export.Form.SHEET)
    if kind not in (Export.Kind.USAGE, Export.Kind.REQUESTS) or form not in (Export.Form.SHEET, Export.Form.PLAIN):
        raise Http404
    if kind == Export.Kind.REQUESTS:
        period = read_period(query, default_days=7)
        return Wanted(Export.Kind.REQUESTS, Export.Form(form), period.first_on, period.last_on, calls=read_filter(query))
    period = read_period(query)
    only, _ = read_usage_filter(query)
    return Wanted(Export.Kind.USAGE, Export.Form(form), period.first_on, period.last_on, only=only)


@never_cache
@require_GET
@requires("usage.read")
def export(request: MemberRequest, export_id: uuid.UUID) -> HttpResponseBase:
    found = get_object_or_404(Export.objects, pk=export_id)
    if not _may(request, found):
        return refuse(request, request.membership)
    return render(request, "billing/export.html", _context(found))


@never_cache
@require_GET
@requires("usage.read")
def export_status(request: MemberRequest, export_id: uuid.UUID) -> HttpResponseBase:
    """The poll of the progress; 286 at the end."""
    found = get_object_or_404(Export.objects, pk=export_id)
    if not _may(request, found):
        return refuse(request, request.membership)
    status = HTTPStatus.OK if found.status in exports.OPEN else STOP_POLLING
    return render(request, "billing/_export.html", _context(found), status=status)


@never_cache
@require_GET
@requires("usage.read")
def export_file(request: MemberRequest, export_id: uuid.UUID) -> HttpResponseBase:
    found = get_object_or_404(Export.objects, pk=export_id)
    if not _may(request, found):
        return refuse(request, request.membership)
    if found.status != Export.Status.DONE:
        raise Http404
    response = stream(Wanted.of(found).name, exports.read_file(found), content_type=CSV)
    response["Content-Length"] = str(found.bytes)
    return response


def _may(request: MemberRequest, found: Export) -> bool:
    return may(request.membership, "billing.statement" if found.kind == Export.Kind.STATEMENT else "usage.read")


def _context(found: Export) -> dict[str, object]:
    wanted = Wanted.of(found)
    return {
        "nav": "requisicoes" if found.kind == Export.Kind.REQUESTS else "uso", "export": found, "name": wanted.name,
        "wanted": wanted, "is_open": found.status in exports.OPEN, "back": BACK[Export.Kind(found.kind)],
    }  # fmt: skip
