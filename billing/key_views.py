"""The pages of keys: what each may do, what it spent, what it may spend. They translate; verbs decide."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from django.contrib import messages
from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.errors import AccountsError
from accounts.forms import KeyChangeForm
from accounts.key_pauses import pause_key, resume_key
from accounts.keys import change_key, check_key, mint_key, revoke_key, rotate_key
from accounts.models import ApiKey
from accounts.roles import MemberRequest, may, requires
from accounts.scopes import CALL
from accounts.throttle import take_turn
from billing.budgets import BudgetState, set_budget, states_of
from billing.key_forms import NewKeyForm
from billing.key_trials import Trial, try_key
from billing.models import Budget
from billing.spending import Spent, spent_by_key
from tokia import clock
from tokia.errors import TokiaError
from tokia.manners import ApiError

TRIALS_PER_MINUTE = 10  # by person


@dataclass(frozen=True, slots=True)
class KeyRow:
    key: ApiKey
    spent: Spent
    budgets: list[BudgetState]

    @property
    def manages(self) -> bool:
        return set(self.key.scopes) != {CALL}

    @property
    def is_expired(self) -> bool:
        return self.key.expires_at is not None and self.key.expires_at <= clock.now()

    @property
    def state(self) -> tuple[str, str]:
        """The badge: its kind and its words."""
        if self.key.status == ApiKey.Status.REVOKED:
            return "neutral", _("Revogada")
        if self.key.paused_at:
            return "warning", _("Pausada")
        if self.is_expired:
            return "warning", _("Expirada")
        if self.key.project and self.key.project.archived_at:
            return "neutral", _("Projeto arquivado")
        if any(state.budget.is_hard and state.is_spent for state in self.budgets):
            return "error", _("Limite atingido")
        return "success", _("Ativa")


def rows_of(keys: list[ApiKey]) -> list[KeyRow]:
    """Keys with what they spent and may spend, in the order given."""
    budgets: dict[int, list[BudgetState]] = defaultdict(list)
    ours = Budget.objects.filter(scope=Budget.Scope.KEY, is_active=True, subject_id__in=[key.pk for key in keys])
    for state in states_of(ours.order_by("pk")):
        budgets[state.budget.subject_id].append(state)
    spent = spent_by_key()
    return [KeyRow(key, spent.get(key.pk, Spent()), budgets[key.pk]) for key in keys]


def _keys_of(request: MemberRequest) -> Q:
    made = Q(kind=ApiKey.Kind.MADE)
    return made if may(request.membership, "keys.manage_all") else made & Q(created_by=request.user)


@requires("keys.manage")
@require_safe
def keys(request: MemberRequest) -> HttpResponse:
    mine = ApiKey.objects.filter(_keys_of(request)).select_related("created_by", "project").order_by("status", "-id")
    context = {"nav": "chaves", "title": _("Chaves"), "rows": rows_of(list(mine)), "today": clock.today_in_brazil()}
    return render(request, "billing/keys.html", context)


@requires("keys.manage")
@require_http_methods(["GET", "POST"])
@never_cache
def create_key(request: MemberRequest) -> HttpResponse:
    """The answer to the POST is the only page that ever holds the secret; `never_cache` keeps it out of every store."""
    initial = {"project": request.GET.get("projeto", "")}
    form = NewKeyForm(request.POST or None, by=request.membership, initial=initial)
    context: dict[str, object] = {"nav": "chaves", "title": _("Nova chave"), "form": form}
    if request.method == "POST" and form.is_valid():
        try:
            key, secret = _mint(request, form)
        except TokiaError as error:
            form.add_error(None, error.message)
        else:
            told = {
                "key": key,
                "secret": secret,
                "title": _("Chave criada"),
                "heading": _("Chave “{name}” criada").format(name=key.name),
            }
            return render(request, "billing/key_created.html", context | told)
    context["chosen"] = request.POST.getlist("allowed_routes")
    return render(request, "billing/create_key.html", context)


@transaction.atomic
def _mint(request: MemberRequest, form: NewKeyForm) -> tuple[ApiKey, str]:
    """The key and its budget, or neither."""
    ours, typed = request.membership.organization, form.cleaned_data
    key, secret = mint_key(
        ours,
        user=request.user,
        name=typed["name"],
        project=typed["project"],
        scopes=typed["scopes"],
        expires_at=form.expires_at(),
        allowed_routes=typed["allowed_routes"],
        requests_per_minute=typed["requests_per_minute"],
        tokens_per_minute=typed["tokens_per_minute"],
        concurrent_calls=typed["concurrent_calls"],
        stores_responses=typed["stores_responses"],
        cache_seconds=typed["cache_seconds"],
    )
    if typed["spend_limit"] is not None:
        set_budget(
            ours, by=request.user, scope=Budget.Scope.KEY, subject_id=key.pk, window=typed["limit_window"],
            limit_nanos=typed["spend_limit"],
        )  # fmt: skip
    return key, secret


@requires("keys.manage")
@require_http_methods(["GET", "POST"])
def change(request: MemberRequest, key_id: int) -> HttpResponse:
    live = ApiKey.objects.filter(_keys_of(request), status=ApiKey.Status.ACTIVE).select_related("organization", "project")
    key = get_object_or_404(live, pk=key_id)
    form = KeyChangeForm(request.POST or None, by=request.membership, key=key)
    if request.method == "POST" and form.is_valid():
        try:
            if change_key(key, **form.changes()):
                messages.success(request, _("Chave “{name}” alterada. Vale nas chamadas em até 2 segundos.").format(name=key.name))
            else:
                messages.error(request, _("A chave “{name}” foi revogada.").format(name=key.name))
            return redirect("keys")
        except AccountsError as error:
            form.add_error(None, error.message)
    chosen = request.POST.getlist("allowed_routes") if request.method == "POST" else key.allowed_routes
    [row] = rows_of([key])
    context = {
        "nav": "chaves", "title": _("Mudar a chave"), "form": form, "key": key, "chosen": chosen, "row": row,
        # Unticked by nobody's hand, the last model that is no longer sold would open the key to all.
        "kept_routes": key.allowed_routes,
        "can_budget": may(request.membership, "budgets.manage"),
    }  # fmt: skip
    return render(request, "billing/create_key.html", context)


@requires("keys.manage")
@require_POST
@never_cache
def rotate(request: MemberRequest, key_id: int) -> HttpResponse:
    """A new secret for the same key, shown once like a new key's."""
    key = get_object_or_404(ApiKey.objects.filter(_keys_of(request)), pk=key_id)
    if request.POST.get("typed", "").strip() != key.name:
        messages.error(request, _("O nome digitado é outro. O segredo continua o mesmo."))
        return redirect("keys")
    try:
        secret = rotate_key(key, by=request.user)
    except AccountsError as error:
        messages.error(request, error.message)
        return redirect("keys")
    heading = _("Novo segredo da chave “{name}”").format(name=key.name)
    context = {"nav": "chaves", "key": key, "secret": secret, "title": _("Segredo trocado"), "heading": heading}
    return render(request, "billing/key_created.html", context)


@requires("keys.manage")
@require_POST
def revoke(request: MemberRequest, key_id: int) -> HttpResponse:
    key = get_object_or_404(ApiKey.objects.filter(_keys_of(request)), pk=key_id)
    if request.POST.get("typed", "").strip() != key.name:
        messages.error(request, _("O nome digitado é outro. A chave continua ativa."))
    else:
        revoke_key(key)
        messages.success(request, _("Chave “{name}” revogada. As chamadas com ela param em até 2 segundos.").format(name=key.name))
    return redirect("keys")


@requires("keys.manage")
@require_POST
def pause(request: MemberRequest, key_id: int) -> HttpResponse:
    """Stop a key or let it serve again, as the form says."""
    key = get_object_or_404(ApiKey.objects.filter(_keys_of(request)), pk=key_id)
    is_paused = request.POST.get("pausar") == "1"
    if not (pause_key(key) if is_paused else resume_key(key)):
        messages.error(request, _("A chave “{name}” foi revogada.").format(name=key.name))
    elif is_paused:
        messages.success(request, _("Chave “{name}” pausada. As chamadas com ela param em até 2 segundos.").format(name=key.name))
    else:
        messages.success(request, _("Chave “{name}” reativada. Ela volta a valer em até 2 segundos.").format(name=key.name))
    return redirect("keys")


@sensitive_post_parameters("chave")
@requires("keys.manage")
@require_POST
@never_cache
def try_now(request: MemberRequest) -> HttpResponse:
    """ "Testar agora": the page that shows a secret hands it back for one small call. It is kept nowhere, and told to nobody."""
    secret = request.POST.get("chave", "")
    digest = check_key(secret)
    get_object_or_404(ApiKey.objects.filter(_keys_of(request)), key_hash=digest or b"")
    model = request.POST.get("modelo", "")[:100]
    try:
        take_turn(f"key-trial:{request.user.pk}", limit=TRIALS_PER_MINUTE)
    except ApiError as error:
        trial = Trial(model, 429, failure=error.message)
    else:
        trial = try_key(secret, model=model)
    context = {"nav": "chaves", "trial": trial, "can_top_up": may(request.membership, "billing.top_up")}
    part = render(request, "billing/_key_trial.html" if request.headers.get("HX-Request") else "billing/key_trial.html", context)
    if trial.is_good:
        part["HX-Trigger"] = "saldo-mudou"
    return part
