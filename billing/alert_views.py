"""Pages of what was told, and of who reads it. They translate; `billing.events` and `billing.alert_choices` decide."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import MemberRequest, may, requires
from billing import alert_choices, events
from billing.alert_choices import ChoiceRefused
from billing.alert_forms import AlertForm
from billing.event_texts import tell_all
from billing.models import Event
from billing.wallets import wallet_of

PAGE = 50
NAV = "avisos"


@require_safe
@requires("usage.read")
def alerts(request: MemberRequest) -> HttpResponse:
    """The history, newest first."""
    before = request.GET.get("antes", "")
    before_id = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    found = events.list_events(request.membership.organization, before_id=before_id, limit=PAGE + 1)
    context = {
        "nav": NAV,
        "title": _("Avisos"),
        "told": tell_all(found[:PAGE]),
        "next": f"?antes={found[PAGE - 1].pk}" if len(found) > PAGE else "",
        "previous": "",
        "can_dismiss": may(request.membership, "billing.statement"),
        "is_first_page": before_id is None,
    }
    return render(request, "billing/alerts.html", context)


@require_POST
@requires("billing.statement")
def dismiss(request: MemberRequest, event_id: int) -> HttpResponse:
    events.dismiss(get_object_or_404(Event.objects, pk=event_id))
    back = request.POST.get("volta", "")
    return redirect(back if url_has_allowed_host_and_scheme(back, allowed_hosts=None) and back.startswith("/app/") else "dashboard")


@require_http_methods(["GET", "HEAD", "POST"])
@requires("billing.statement")
def choices(request: MemberRequest) -> HttpResponse:
    organization = request.membership.organization
    wallet, choice = wallet_of(organization), alert_choices.choice_of(organization)
    form = AlertForm(request.POST) if request.method == "POST" else AlertForm.of(wallet, choice)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            with transaction.atomic():  # both or neither
                alert_choices.set_low_balance(wallet, typed["low_balance"])
                alert_choices.change_choice(
                    organization, roles=typed["roles"], extra_emails=typed["extra_emails"], muted_kinds=form.muted_kinds(),
                    watches_unusual=typed["watches_unusual"],
                )  # fmt: skip
        except ChoiceRefused as refusal:
            form.add_error(refusal.param if refusal.param in form.fields else None, refusal.message)
        else:
            messages.success(request, _("Avisos salvos."))
            return redirect("alert_choices")
    status = HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK
    context = {
        "nav": "configuracoes",
        "title": _("Configurar avisos"),
        "form": form,
        "lists": [form["roles"], form["mailed_kinds"]],
    }
    return render(request, "billing/alert_choices.html", context, status=status)
