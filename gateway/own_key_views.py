"""The pages of customers' own provider keys. They translate; `gateway.own_keys` decides."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import MemberRequest, may, requires
from gateway import own_keys
from gateway.models import OwnKey, OwnKeyHealth
from gateway.own_key_forms import USES, OwnKeyForm
from gateway.own_keys import OwnKeyRefused
from gateway.provider_accounts import REFUSED, TAKEN, can_be_tried

NAV = "chaves-de-provedores"


@require_safe
@requires("own_keys.read")
def listing(request: MemberRequest) -> HttpResponse:
    keys = list(OwnKey.objects.select_related("provider", "created_by"))
    health = {row.pk: row for row in OwnKeyHealth.objects.all()}
    for key in keys:
        key.shown_health = health.get(key.pk)  # type: ignore[attr-defined]
        key.can_be_tried = can_be_tried(key.provider)  # type: ignore[attr-defined]
        key.use_label = _(key.get_use_display())  # type: ignore[attr-defined]
        key.use_text = USES[OwnKey.Use(key.use)]  # type: ignore[attr-defined]
        if key.shown_health:  # type: ignore[attr-defined]
            key.shown_health.reason = own_keys.in_words(key.shown_health.refused_reason)  # type: ignore[attr-defined]
    context = {
        "nav": NAV,
        "keys": keys,
        "uses": [(value, _(label)) for value, label in OwnKey.Use.choices],  # the hot path imports the model: Portuguese there
        "fee": own_keys.read_fee(),
        "can_manage": may(request.membership, "own_keys.manage"),
    }
    return render(request, "gateway/own_keys.html", context)


@sensitive_post_parameters("secret")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires("own_keys.manage")
def add(request: MemberRequest) -> HttpResponse:
    form = OwnKeyForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            key = own_keys.store_own_key(
                request.membership.organization, user=request.user, provider=typed["provider"], label=typed["label"],
                secret=typed["secret"], use=typed["use"],
            )  # fmt: skip
        except OwnKeyRefused as refusal:
            form.refuse(refusal)
        else:
            if OwnKeyHealth.objects.filter(pk=key.pk, checked_at=None).exists():
                told = _("Chave guardada, mas {provider} não respondeu: ela será usada mesmo assim.")
                messages.warning(request, told.format(provider=key.provider.name))
            else:
                told = _("{provider} aceitou a chave. Ela vale para as próximas chamadas em até 2 segundos.")
                messages.success(request, told.format(provider=key.provider.name))
            return redirect("own_keys")
    status = HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK
    return render(request, "gateway/own_key_form.html", {"nav": NAV, "form": form, "fee": own_keys.read_fee()}, status=status)


@require_POST
@requires("own_keys.manage")
def change_use(request: MemberRequest, own_key_id: int) -> HttpResponse:
    key = get_object_or_404(OwnKey.objects.select_related("provider"), pk=own_key_id)
    use = request.POST.get("use", "")
    if use not in OwnKey.Use.values:
        messages.error(request, _("Escolha um uso da lista."))
    else:
        own_keys.change_use(key, use=use)
        told = _("{provider}: {use}. Vale em até 2 segundos.")
        messages.success(request, told.format(provider=key.provider.name, use=_(key.get_use_display()).lower()))
    return redirect("own_keys")


@require_POST
@requires("own_keys.manage")
def check(request: MemberRequest, own_key_id: int) -> HttpResponse:
    key = get_object_or_404(OwnKey.objects.select_related("provider", "organization"), pk=own_key_id)
    try:
        probe = own_keys.check_own_key(key)
    except OwnKeyRefused as refusal:
        messages.error(request, refusal.message)
        return redirect("own_keys")
    if probe.verdict == TAKEN:
        messages.success(request, _("{provider} aceita a chave.").format(provider=key.provider.name))
    elif probe.verdict == REFUSED:
        told = _("{provider} recusou a chave: {reason}.")
        messages.error(request, told.format(provider=key.provider.name, reason=own_keys.in_words(probe.reason)))
    else:
        told = _("{provider} não respondeu agora. Tente de novo em instantes.")
        messages.warning(request, told.format(provider=key.provider.name))
    return redirect("own_keys")


@require_POST
@requires("own_keys.manage")
def remove(request: MemberRequest, own_key_id: int) -> HttpResponse:
    key = get_object_or_404(OwnKey.objects.select_related("provider"), pk=own_key_id)
    if request.POST.get("typed", "").strip() != key.provider.name:
        messages.error(request, _("O nome digitado é outro. A chave continua guardada."))
    else:
        own_keys.remove_own_key(key)
        told = _("Chave de {provider} removida. Ela deixa de ser usada em até 2 segundos.")
        messages.success(request, told.format(provider=key.provider.name))
    return redirect("own_keys")
