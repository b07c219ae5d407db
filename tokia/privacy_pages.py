"""Privacy of a person and of an organization: what is kept, a copy of it, and how to leave. They translate; verbs decide."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from allauth.account.decorators import reauthentication_required
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import closing, data_copies
from accounts.models import ApiKey, DataCopy, Membership, Role, User
from accounts.roles import MemberRequest, requires
from tokia import closures
from tokia.errors import TokiaError


# ── A person ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@login_required
@require_safe
@never_cache
def own_privacy(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    context = {
        "title": _("Privacidade"),
        "tab": "privacidade",
        "copies": data_copies.copies_of(user, organization=None),
        "owned_alone": [item for item in closing.owned_alone(user) if item.closing_asked_at is None],
        "closing_days": settings.CLOSING_DAYS,
        "copy_days": settings.DATA_COPY_DAYS,
        "address_days": settings.AUDIT_ADDRESS_DAYS,
    }
    return render(request, "account/privacy.html", context)


@require_POST
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def ask_for_own_copy(request: HttpRequest) -> HttpResponse:
    data_copies.ask_for_own(cast(User, request.user))
    messages.success(request, _("Estamos preparando a cópia. Ela aparece aqui em instantes."))
    return redirect("own_privacy")


@login_required
@require_safe
@never_cache
def download_copy(request: HttpRequest, copy_id: UUID) -> HttpResponse:
    """Only for whoever asked for it, and, of an organization, while they still own it."""
    copy = get_object_or_404(DataCopy.everywhere, pk=copy_id, user=request.user)
    if copy.organization_id is not None:
        owned = Membership.everywhere.filter(user=copy.user, organization_id=copy.organization_id, role=Role.OWNER)
        if not owned.exists():
            raise Http404
    content = data_copies.open_file(copy)
    if content is None:
        raise Http404
    name = "tokia-empresa" if copy.organization_id else "tokia-meus-dados"
    response = HttpResponse(content, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{name}-{copy.created_at:%Y-%m-%d}.zip"'
    return response


@require_POST
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def close_account(request: HttpRequest) -> HttpResponse:
    try:
        closing.ask_to_close(cast(User, request.user), typed=request.POST.get("typed", ""))
    except TokiaError as error:
        messages.error(request, error.message)
    else:
        told = _("Pedido recebido. Sua conta some em {days} dias; até lá você pode desistir.")
        messages.success(request, told.format(days=settings.CLOSING_DAYS))
    return redirect("own_privacy")


@require_POST
@login_required
def keep_account(request: HttpRequest) -> HttpResponse:
    if closing.cancel_closing(cast(User, request.user)):
        messages.success(request, _("Sua conta continua. Nada foi excluído."))
    return redirect("own_privacy")


# ── An organization ──────────────────────────────────────────────────────────────────────────────────────────────────
@requires("organization.manage")
@require_safe
@never_cache
def organization_privacy(request: MemberRequest) -> HttpResponse:
    ours = request.membership.organization
    keys = ApiKey.objects.filter(status=ApiKey.Status.ACTIVE)
    context = {
        "nav": "configuracoes",
        "title": _("Privacidade"),
        "is_owner": request.membership.role == Role.OWNER,
        "copies": data_copies.copies_of(request.user, organization=ours),
        "storing_keys": keys.filter(stores_responses=True).order_by("name"),
        "caching_keys": keys.exclude(cache_seconds=None).order_by("name"),
        "responses_days": settings.RESPONSES_TTL_DAYS,
        "files_days": settings.FILES_TTL_DAYS,
        "idempotency_hours": settings.IDEMPOTENCY_TTL_HOURS,
        "closing_days": settings.CLOSING_DAYS,
        "copy_days": settings.DATA_COPY_DAYS,
        "balance_nanos": closures.balance_of(ours),
    }
    return render(request, "accounts/privacy.html", context)


@require_POST
@requires("organization.manage")
def ask_for_organization_copy(request: MemberRequest) -> HttpResponse:
    return cast(HttpResponse, _ask_for_organization_copy(request))


@reauthentication_required  # type: ignore[untyped-decorator]
def _ask_for_organization_copy(request: MemberRequest) -> HttpResponse:
    try:
        data_copies.ask_for_organization(request.membership)
    except TokiaError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, _("Estamos preparando a cópia. Ela aparece aqui em instantes."))
    return redirect("organization_privacy")


@require_POST
@requires("organization.manage")
def close_organization(request: MemberRequest) -> HttpResponse:
    return cast(HttpResponse, _close_organization(request))


@reauthentication_required  # type: ignore[untyped-decorator]
def _close_organization(request: MemberRequest) -> HttpResponse:
    try:
        closures.ask_to_close(request.membership, typed=request.POST.get("typed", ""), gives_up="gives_up" in request.POST)
    except TokiaError as error:
        messages.error(request, error.message)
    else:
        told = _("As chaves pararam. A empresa encerra em {days} dias; até lá um Dono pode desistir.")
        messages.success(request, told.format(days=settings.CLOSING_DAYS))
    return redirect("organization_privacy")


@require_POST
@requires("organization.manage")
def keep_organization(request: MemberRequest) -> HttpResponse:
    try:
        if closures.cancel(request.membership):
            messages.success(request, _("A empresa continua, e as chaves voltaram a funcionar."))
    except TokiaError as error:
        messages.error(request, error.message)
    return redirect("organization_privacy")
