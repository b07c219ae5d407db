"""The playground: a page that calls `/v1` from the browser, under a key of ten minutes that only it may use."""

from __future__ import annotations

import uuid

from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.flags import gated
from accounts.roles import MemberRequest, requires
from accounts.session_keys import open_session_key
from accounts.throttle import take_turn
from billing.models import UsageRecord
from gateway import playground
from gateway.cors import origin_of
from tokia.manners import ApiError

NAV = "playground"
KEYS_PER_MINUTE = 10  # a page asks for one in ten minutes; each makes every gateway read its keys again
PRESETS = (
    ("resumo", gettext_lazy("Resumo")),
    ("extracao", gettext_lazy("Extração JSON")),
    ("classificacao", gettext_lazy("Classificação")),
    ("codigo", gettext_lazy("Código")),
)
TABS = (("curl", "curl"), ("python", "Python"), ("node", "Node"))


@csp_update({"connect-src": [origin_of(settings.GATEWAY_URL).decode()]})  # no other page calls it
@require_safe
@requires("keys.manage")
@gated("playground")
def page(request: MemberRequest) -> HttpResponseBase:
    models = playground.playables(request.membership.organization)
    asked = request.GET.get("modelo", "")
    if call_id := _uuid(request.GET.get("requisicao", "")):
        asked = playground.model_of(call_id) or asked
    context = {
        "nav": NAV,
        "groups": playground.by_maker(models),
        "facts": playground.facts_for_page(models),
        "chosen": playground.first_choice(models, asked),
        "is_asked": bool(asked),
        "is_missing": bool(asked) and asked not in {model.name for model in models},
        "columns": range(2, playground.COLUMNS_MAX + 1),
        "presets": PRESETS,
        "tabs": TABS,
    }
    return render(request, "gateway/playground.html", context)


@require_POST
@never_cache
@requires("keys.manage")
@gated("playground")
def open_key(request: MemberRequest) -> HttpResponseBase:
    """The only answer that ever holds the secret. Nothing keeps it: the page has it in memory, `never_cache` says no-store."""
    try:
        take_turn(f"playground:{request.user.pk}", limit=KEYS_PER_MINUTE)
    except ApiError as error:
        return _refuse(error.message, status=429)
    if request.membership.organization.is_suspended:
        return _refuse(_("A conta desta empresa está suspensa. Fale com o suporte."), status=403)
    if not request.session.session_key:
        return _refuse(_("Sua sessão terminou. Entre de novo."), status=403)
    opened = open_session_key(request.membership, session_key=request.session.session_key)
    return JsonResponse({"key": opened.secret, "expires_at": opened.expires_at.isoformat()})


@require_safe
@never_cache
@requires("keys.manage")
@gated("playground")
def cost(request: MemberRequest, call_id: uuid.UUID) -> HttpResponseBase:
    """What a call came to that was stopped before it could tell. 404 until it is settled."""
    record = UsageRecord.objects.filter(pk=call_id).first()
    if record is None:
        return _refuse(_("Ainda não."), status=404)
    tokens = {"prompt": record.input_tokens + record.cached_input_tokens + record.cache_write_tokens,
              "completion": record.output_tokens + record.reasoning_tokens}  # fmt: skip
    return JsonResponse({"net_nanos": str(record.net_nanos), "tokens": tokens})


def _refuse(message: str, *, status: int) -> HttpResponse:
    return JsonResponse({"error": {"message": message}}, status=status)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
