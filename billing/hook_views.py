"""The pages of webhooks. They translate; `billing.hooks` decides, and a worker sends (`billing.hook_deliveries`)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import MemberRequest, requires
from billing import hooks
from billing.event_texts import label_of
from billing.hook_deliveries import ATTEMPTS_MAX, message_of
from billing.hook_forms import HookForm
from billing.kept_texts import tell_kept
from billing.models import Hook, HookDelivery
from tokia import clock
from tokia.errors import TokiaError

NAV = "webhooks"
PAGE = 30
STOP_POLLING = 286  # htmx: swap, then ask no more
STATUSES = {"fila": HookDelivery.Status.DUE, "entregues": HookDelivery.Status.DELIVERED, "falhas": HookDelivery.Status.FAILED}


def _found(hook_id: int) -> Hook:
    return get_object_or_404(Hook.objects.select_related("created_by", "organization"), pk=hook_id)


@require_safe
@requires("hooks.manage")
def listing(request: MemberRequest) -> HttpResponse:
    found = hooks.list_hooks(request.membership.organization)
    for hook in found:
        hook.disabled_reason = tell_kept(hook.disabled_reason)  # as this page's reader reads it; never saved
        hook.labels = [label_of(type) for type in hook.types]  # type: ignore[attr-defined]
        hook.last = hook.deliveries.order_by("-id").first()  # type: ignore[attr-defined]
    context = {"nav": NAV, "title": _("Webhooks"), "hooks": found, "hooks_max": hooks.HOOKS_MAX}
    return render(request, "billing/hooks.html", context)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires("hooks.manage")
def add(request: MemberRequest) -> HttpResponse:
    """The answer to the POST is the only page that holds the secret; `never_cache` keeps it out of every store."""
    form = HookForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            hook, secret = hooks.create_hook(
                request.membership.organization, url=typed["url"], types=typed["types"], name=typed["name"], by=request.user
            )
        except TokiaError as refusal:
            form.refuse(refusal)
        else:
            return _secret_page(request, hook, secret, is_new=True)
    return _form_page(request, form, hook=None)


@require_http_methods(["GET", "HEAD", "POST"])
@requires("hooks.manage")
def change(request: MemberRequest, hook_id: int) -> HttpResponse:
    hook = _found(hook_id)
    form = HookForm(request.POST) if request.method == "POST" else HookForm.of(hook)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            hooks.change_hook(hook, url=typed["url"], types=typed["types"], name=typed["name"])
        except TokiaError as refusal:
            form.refuse(refusal)
        else:
            messages.success(request, _("Webhook alterado. Vale para as próximas tentativas."))
            return redirect("hook", hook.pk)
    return _form_page(request, form, hook=hook)


def _form_page(request: MemberRequest, form: HookForm, *, hook: Hook | None) -> HttpResponse:
    status = HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK
    chosen = form["types"].value() or []
    context = {"nav": NAV, "title": _("Mudar webhook") if hook else _("Novo webhook"), "form": form, "hook": hook, "chosen": chosen}
    return render(request, "billing/hook_form.html", context, status=status)


def _secret_page(request: MemberRequest, hook: Hook, secret: str, *, is_new: bool) -> HttpResponse:
    title = _("Webhook criado") if is_new else _("Novo segredo")
    context = {"nav": NAV, "title": title, "hook": hook, "secret": secret, "is_new": is_new}
    return render(request, "billing/hook_secret.html", context)


@require_safe
@requires("hooks.manage")
def hook(request: MemberRequest, hook_id: int) -> HttpResponse:
    """One hook and the log of its deliveries."""
    found = _found(hook_id)
    found.disabled_reason = tell_kept(found.disabled_reason)  # as this page's reader reads it; never saved
    before, chosen = request.GET.get("antes", ""), request.GET.get("situacao", "")
    before_id = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    status = STATUSES.get(chosen, "")
    log = hooks.list_deliveries(found, before_id=before_id, status=str(status), limit=PAGE + 1)
    context = {
        "nav": NAV,
        "title": found.name or _("Webhook"),
        "hook": found,
        "labels": [label_of(type) for type in found.types],
        "deliveries": [(delivery, label_of(delivery.type)) for delivery in log[:PAGE]],
        "chosen": chosen if status else "",
        "statuses": [("", _("Todas")), ("fila", _("Na fila")), ("entregues", _("Entregues")), ("falhas", _("Falhas"))],
        "next": f"?antes={log[PAGE - 1].pk}&situacao={chosen}" if len(log) > PAGE else "",
        "previous": "",
        "has_previous_secret": bool(found.previous_ends_at and found.previous_ends_at > clock.now()),
    }
    return render(request, "billing/hook.html", context)


@require_POST
@requires("hooks.manage")
def switch(request: MemberRequest, hook_id: int) -> HttpResponse:
    found = _found(hook_id)
    is_on = request.POST.get("ligado") == "1"
    hooks.change_hook(found, is_active=is_on)
    messages.success(request, _("Webhook ligado. O que estava na fila será enviado.") if is_on else _("Webhook desligado."))
    return redirect("hook", found.pk)


@require_POST
@requires("hooks.manage")
def send_test(request: MemberRequest, hook_id: int) -> HttpResponse:
    found = _found(hook_id)
    try:
        delivery = hooks.send_test(found)
    except TokiaError as refusal:
        messages.error(request, refusal.message)
        return redirect("hook", found.pk)
    return redirect("hook_delivery", found.pk, delivery.pk)


@never_cache
@require_POST
@requires("hooks.manage")
def rotate(request: MemberRequest, hook_id: int) -> HttpResponse:
    found = _found(hook_id)
    return _secret_page(request, found, hooks.rotate_secret(found), is_new=False)


@require_POST
@requires("hooks.manage")
def remove(request: MemberRequest, hook_id: int) -> HttpResponse:
    found = _found(hook_id)
    if request.POST.get("typed", "").strip() != str(found):
        messages.error(request, _("O nome digitado é outro. O webhook continua."))
        return redirect("hook", found.pk)
    hooks.remove_hook(found)
    messages.success(request, _("Webhook removido, com o registro das entregas."))
    return redirect("hooks")


# ── Deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _delivery(hook_id: int, delivery_id: int) -> HookDelivery:
    found = HookDelivery.objects.select_related("hook", "event")
    return get_object_or_404(found, pk=delivery_id, hook_id=hook_id)


def _delivery_context(delivery: HookDelivery) -> dict[str, Any]:
    now = clock.now()
    is_sending = delivery.leased_until is not None and delivery.leased_until > now
    delivery.error = tell_kept(delivery.error)  # as this page's reader reads it; never saved
    is_soon = delivery.status == HookDelivery.Status.DUE and delivery.due_at is not None and delivery.due_at <= now
    return {
        "nav": NAV,
        "title": _("Entrega"),
        "hook": delivery.hook,
        "delivery": delivery,
        "label": label_of(delivery.type),
        "attempts_max": ATTEMPTS_MAX,
        "is_going": delivery.hook.is_active and (is_sending or is_soon),
        "is_sending": is_sending,
    }


@require_safe
@requires("hooks.manage")
def delivery(request: MemberRequest, hook_id: int, delivery_id: int) -> HttpResponse:
    """One message: what was sent, what came back."""
    found = _delivery(hook_id, delivery_id)
    body = json.dumps(json.loads(message_of(found)), ensure_ascii=False, indent=2)
    return render(request, "billing/hook_delivery.html", _delivery_context(found) | {"body": body})


@never_cache
@require_safe
@requires("hooks.manage")
def delivery_status(request: MemberRequest, hook_id: int, delivery_id: int) -> HttpResponse:
    """The poll of a message under way: the box again; 286 once nothing is about to happen."""
    context = _delivery_context(_delivery(hook_id, delivery_id))
    return render(request, "billing/_hook_delivery.html", context, status=200 if context["is_going"] else STOP_POLLING)


@require_POST
@requires("hooks.manage")
def replay(request: MemberRequest, hook_id: int, delivery_id: int) -> HttpResponse:
    found = _delivery(hook_id, delivery_id)
    try:
        hooks.replay(found)
    except TokiaError as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, _("De volta à fila: a mesma mensagem, com o mesmo webhook-id."))
    return redirect("hook_delivery", hook_id, found.pk)
