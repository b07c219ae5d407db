"""An organization's security: who must have a second factor, and the audit log. They translate; verbs decide."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext, gettext_noop, override, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import audit, second_factor
from accounts.errors import AccountsError
from accounts.models import AuditEvent, Membership, User
from accounts.roles import MemberRequest, requires
from tokia import clock

PAGE = 50
CSV_ROWS_MAX = 100_000
GRACE_CHOICES = (("0", _("Agora")), ("7", _("Em 7 dias")), ("14", _("Em 14 dias")), ("30", _("Em 30 dias")))
# What the details of an event are called on the page; others are shown by their own name.
WORDS = {
    "how": pgettext_lazy("audit log", "como"), "name": _("nome"), "email": _("e-mail"), "role": _("papel"),
    "from": pgettext_lazy("audit log", "de"), "to": pgettext_lazy("audit log", "para"), "key": _("chave"), "reason": _("motivo"),
    "acted_by": pgettext_lazy("audit log", "por"), "as": pgettext_lazy("seen as", "como"),
    "until": pgettext_lazy("audit log", "até"), "why": _("porquê"), "browser": _("navegador"), "count": _("quantos"),
    "grace_days": _("prazo em dias"), "provider": _("provedor"), "keys": _("chaves"), "url": _("endereço"),
    "scopes": _("permissões"), "given_up_nanos": _("saldo cedido (nanos)"), "changed": pgettext_lazy("audit log", "mudou"),
    "scope": pgettext_lazy("audit log", "limita"), "window": pgettext_lazy("audit log", "período"), "limit": _("limite"),
    "table": _("tabela"), "form": _("formato"), "amount": _("valor"), "lot": _("recarga"), "method": _("método"),
    "path": _("página"), "via": pgettext_lazy("audit log", "via"), "budget": _("orçamento"), "project": _("projeto"),
    "use": pgettext_lazy("audit log", "uso"),
}  # fmt: skip

# Details that rows keep in words of ours, in Portuguese; what people typed is shown as they typed it.
TOLD_BY_US = frozenset({"how", "role", "from", "to", "keys", "why", "changed", "table", "scope", "window", "form", "use"})
HANDED_OVER = "passadas a "


# ── Two steps for everybody ──────────────────────────────────────────────────────────────────────────────────────────
@requires("organization.manage")
@require_safe
@never_cache
def security(request: MemberRequest) -> HttpResponse:
    ours = request.membership.organization
    with_factor = second_factor.users_with_second_factor(ours)
    members = Membership.objects.select_related("user").order_by("id")
    context = {
        "nav": "configuracoes",
        "title": gettext("Segurança"),
        "without_factor": [item for item in members if item.user_id not in with_factor],
        "members_count": members.count(),
        "is_demanded": second_factor.is_demanded(ours),
        "has_own": request.user.pk in with_factor,
        "grace_choices": GRACE_CHOICES,
        "latest": _tell(AuditEvent.objects.select_related("user").order_by("-id")[:8]),
    }
    return render(request, "accounts/security.html", context)


@require_POST
@requires("organization.manage")
def demand_second_factor(request: MemberRequest) -> HttpResponse:
    try:
        if request.POST.get("act") == "stop":
            second_factor.stop_demanding(request.membership)
            messages.success(request, gettext("A verificação em duas etapas deixou de ser exigida."))
        else:
            days = request.POST.get("grace_days", "")
            if days not in dict(GRACE_CHOICES):
                messages.error(request, gettext("Escolha um prazo da lista."))
                return redirect("organization_security")
            second_factor.demand(request.membership, grace_days=int(days))
            messages.success(request, gettext("A verificação em duas etapas passa a ser exigida de todos."))
    except AccountsError as error:
        messages.error(request, error.message)
    return redirect("organization_security")


# ── The log ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@requires("organization.manage")
@require_safe
@never_cache
def audit_log(request: MemberRequest) -> HttpResponse:
    events = _filtered(request)
    before = request.GET.get("antes", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        events = events.filter(pk__lt=int(before))
    found = list(events.select_related("user").order_by("-id")[: PAGE + 1])
    asked = request.GET.copy()
    asked.pop("antes", None)
    people = User.objects.filter(pk__in=AuditEvent.objects.order_by().values("user").distinct())
    kinds = sorted(AuditEvent.objects.order_by().values_list("kind", flat=True).distinct())
    following = asked.copy()
    if len(found) > PAGE:
        following["antes"] = str(found[PAGE - 1].pk)
    context = {
        "nav": "configuracoes",
        "title": gettext("Registro de auditoria"),
        "events": _tell(found[:PAGE]),
        "next": f"?{following.urlencode()}" if len(found) > PAGE else "",
        "previous": f"?{asked.urlencode()}" if before else "",
        "kinds": [(kind, _what(kind)) for kind in kinds],
        "people": people.order_by("email"),
        "is_filtered": any(request.GET.get(name) for name in ("o-que", "quem", "desde", "ate")),
        "asked": asked,
        "csv_query": asked.urlencode(),
    }
    return render(request, "accounts/audit_log.html", context)


@requires("organization.manage")
@require_safe
@never_cache
def audit_csv(request: MemberRequest) -> HttpResponseBase:
    """As Brazil's spreadsheets read it. Evaluated before the tenant's view is over: rows are read as they leave."""
    organization = request.membership.organization
    events = _filtered(request).order_by("-id")[:CSV_ROWS_MAX]
    rows = AuditEvent.everywhere.filter(organization=organization, pk__in=list(events.values_list("pk", flat=True)))
    audit.note(
        "export_asked", organization=organization, user=request.user, detail={"table": gettext_noop("registro de auditoria")}
    )
    response = StreamingHttpResponse(_lines(rows.select_related("user").order_by("-id")), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="registro-{clock.today_in_brazil()}.csv"'
    return response


def _lines(rows: QuerySet[AuditEvent]) -> Iterator[bytes]:
    yield b"\xef\xbb\xbf" + _line(["Quando", "Quem", "O quê", "Detalhes", "IP", "Navegador"])
    for event in rows.iterator(chunk_size=500):
        when = event.created_at.astimezone(clock.SAO_PAULO).strftime("%d/%m/%Y %H:%M:%S")
        details = json.dumps(event.detail, ensure_ascii=False) if event.detail else ""
        with override(settings.LANGUAGE_CODE):  # files are Portuguese
            who = _who(event)
        yield _line([when, who, audit.KINDS.get(event.kind, event.kind), details, event.ip or "", event.user_agent])


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    # A cell that begins like a formula is text to a spreadsheet.
    csv.writer(text, delimiter=";", lineterminator="\r\n").writerow(
        [f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell for cell in cells]
    )
    return text.getvalue().encode()


def _filtered(request: MemberRequest) -> QuerySet[AuditEvent]:
    events = AuditEvent.objects.all()
    if (kind := request.GET.get("o-que", "")) in audit.KINDS:
        events = events.filter(kind=kind)
    person = request.GET.get("quem", "")
    if person == "tokia":
        events = events.filter(user=None)
    elif person.isascii() and person.isdigit() and len(person) < 19:
        events = events.filter(user_id=int(person))
    if (since := _day(request.GET.get("desde", ""))) is not None:
        events = events.filter(created_at__gte=_midnight(since))
    if (until := _day(request.GET.get("ate", ""))) is not None:
        events = events.filter(created_at__lt=_midnight(until + dt.timedelta(days=1)))
    return events


def _day(text: str) -> dt.date | None:
    try:
        found = dt.date.fromisoformat(text)
    except ValueError:
        return None
    return found if 2000 <= found.year <= 2100 else None


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), clock.SAO_PAULO)


def _tell(events: Any) -> list[dict[str, Any]]:
    return [
        {
            "at": event.created_at, "who": _who(event), "what": _what(event.kind), "ip": event.ip,
            "browser": audit.show_browser(event.user_agent),
            "details": [(_called(name), _words(value, name=name)) for name, value in event.detail.items()],
        }
        for event in events
    ]  # fmt: skip


def _what(kind: str) -> str:
    return gettext(audit.KINDS[kind]) if kind in audit.KINDS else kind


def _called(name: str) -> str:
    return str(WORDS.get(name, name))


def _words(value: Any, *, name: str) -> str:
    if isinstance(value, bool):
        return gettext("sim") if value else gettext("não")
    if isinstance(value, list):
        return ", ".join(_words(item, name=name) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{_called(inner)}: {_words(item, name=inner)}" for inner, item in value.items())
    if value is None:
        return gettext("nada")
    text = str(value)
    if name == "browser":
        return audit.show_browser(text)
    if name == "keys" and text.startswith(HANDED_OVER):
        return gettext("passadas a {email}").format(email=text.removeprefix(HANDED_OVER))
    return gettext(text) if text and name in TOLD_BY_US else text


def _who(event: AuditEvent) -> str:
    if event.user is None:
        return "Tokia"
    if event.user.closed_at:
        return gettext("Conta excluída")
    return gettext("Equipe Tokia ({email})").format(email=event.user.email) if event.user.is_staff else event.user.email
