"""Pages that span apps: the overview, and what its parts ask."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.models import ApiKey, Organization
from accounts.roles import MemberRequest, may, requires
from billing import discounts
from billing.event_texts import tell_all
from billing.events import open_alerts
from billing.models import Lot, UsageRecord
from billing.promotions import welcome_offered_to
from billing.referral_link import follow_code
from billing.units import media_of, tell_media
from billing.usage_chart import chart_by
from tokia import clock, overview
from tokia.templatetags.tokia import brl_fino, num

PERIODS = (7, 30, 90)
GROUPS = {"route": gettext_lazy("Modelo"), "key": gettext_lazy("Chave"), "project": gettext_lazy("Projeto")}
STOP_POLLING = 286  # htmx: swap, then ask no more


# ── The overview ─────────────────────────────────────────────────────────────────────────────────────────────────────
@requires("usage.read")
@require_safe
def dashboard(request: MemberRequest) -> HttpResponse:
    organization = request.membership.organization
    days = next((period for period in PERIODS if request.GET.get("dias") == str(period)), 30)
    group = request.GET.get("por", "") if request.GET.get("por", "") in GROUPS else "route"
    today = clock.today_in_brazil()
    recent = overview.recent(organization)
    context: dict[str, object] = {
        "nav": "painel",
        "title": "Painel",
        "checklist": checklist(request),
        "recent": recent,
        "period": days,
        "periods": PERIODS,
        "group": group,
        "groups": GROUPS.items(),
        "alerts": tell_all(open_alerts(organization)),
        "can_keys": may(request.membership, "keys.manage"),
        "can_dismiss": may(request.membership, "billing.statement"),
        "prices": overview.price_news(),
    }
    if recent.calls:
        standing = discounts.standing()
        context |= {
            "standing": standing,
            "before": overview.month_before(net_nanos=standing.net_nanos),
            "savings": overview.savings_of(standing),
            "chart": chart_by(group, metric="gasto", first_on=today - dt.timedelta(days=days - 1), last_on=today),
            "top_keys": overview.top_keys(),
            **_last_calls(),
        }
    response = render(request, "home/dashboard.html", context)
    follow_code(request, response)
    return response


def _last_calls(*, is_paused: bool = False) -> dict[str, object]:
    calls = overview.last_calls()
    return {"calls": calls, "newest": calls[0].pk if calls else "", "is_paused": is_paused}


@requires("usage.read")
@require_safe
@never_cache
def last_calls(request: MemberRequest) -> HttpResponse:
    """The overview's last calls, asked every ten seconds unless they are paused; 204 while there is none that the page lacks."""
    context = _last_calls(is_paused=request.GET.get("pausa") == "1")
    if str(context["newest"]) == request.GET.get("ultima"):
        return HttpResponse(status=204)
    return render(request, "home/_last_calls.html", context)


def checklist(request: MemberRequest) -> dict[str, Any] | None:
    """The three first steps; none once they are done or put away."""
    organization = request.membership.organization
    if organization.checklist_dismissed_at:
        return None
    first = UsageRecord.everywhere.filter(organization=organization, status_code__lt=400).order_by("-id").first()
    funded = Lot.everywhere.filter(wallet__organization=organization).exists()
    keyed = ApiKey.everywhere.filter(organization=organization, kind=ApiKey.Kind.MADE).exists()
    steps = [
        {"label": _("Adicionar saldo por PIX"), "is_done": funded, "url": "/app/recarregar/", "permission": "billing.top_up",
         "text": _("Você escolhe o valor e paga no app do seu banco. O saldo entra em segundos e não expira."),
         "action": _("Adicionar saldo")},
        {"label": _("Criar a primeira chave"), "is_done": keyed, "url": "/app/chaves/nova/", "permission": "keys.manage",
         "text": _("A chave identifica o seu programa. Ela pode ter limite de gasto e ser revogada a qualquer hora."),
         "action": _("Criar chave")},
        {"label": _("Fazer a primeira chamada"), "is_done": first is not None, "url": "", "permission": "usage.read",
         "text": _("Copie o exemplo, cole no terminal ou no seu código e veja a resposta chegar."), "action": ""},
    ]  # fmt: skip
    for step in steps:
        if not may(request.membership, str(step["permission"])):
            step["url"] = ""
    done = sum(1 for step in steps if step["is_done"])
    if done == len(steps):
        return None
    return {
        "steps": steps,
        "done": done,
        "current": next((step for step in steps if not step["is_done"]), None),
        "is_waiting": funded and keyed and first is None,
        "welcome_nanos": welcome_offered_to(organization),
    }


@requires("usage.read")
@require_safe
@never_cache
def first_call(request: MemberRequest) -> HttpResponse:
    """The detector of the first call, asked every two seconds while the checklist waits; 286 when it has come."""
    calls = UsageRecord.everywhere.filter(organization=request.membership.organization).order_by("-id")
    worked = calls.filter(status_code__lt=400).first()
    if worked is not None:
        tokens = worked.input_tokens + worked.cached_input_tokens + worked.cache_write_tokens  # of text
        tokens += worked.output_tokens + worked.reasoning_tokens
        used = ", ".join(part for part in (f"{num(tokens)} tokens" if tokens else "", tell_media(media_of(worked))) if part)
        told = ", ".join(part for part in (worked.route_name, used, brl_fino(worked.net_nanos)) if part)
        text = _("Funcionou! {call}.").format(call=told)
        response = render(request, "home/_first_call.html", {"worked": text, "call": worked}, status=STOP_POLLING)
        response["HX-Trigger"] = "saldo-mudou"
        return response
    return render(request, "home/_first_call.html", {"failed": calls.first()})


@requires("usage.read")
@require_POST
def dismiss_checklist(request: MemberRequest) -> HttpResponse:
    Organization.objects.filter(pk=request.membership.organization_id).update(checklist_dismissed_at=clock.now())
    return redirect("dashboard")


@requires("usage.read")
@require_safe
@never_cache
def balance(request: MemberRequest) -> HttpResponse:
    """The chip in the header and, out of band, the card in the sidebar; on the overview also the one of narrow screens."""
    return render(request, "home/_balance.html", {"is_partial": True, "nav": "painel" if request.GET.get("painel") else ""})
