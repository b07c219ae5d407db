"""The pages of experiments: a list, a form, and the results side by side. They translate; `gateway.experiments` decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import MemberRequest, may, requires
from billing.sheets import comma, plain, sheet
from gateway import experiments
from gateway.experiment_forms import ExperimentForm
from gateway.experiment_results import ArmResult, Results, results_of
from gateway.experiment_verdicts import verdicts
from gateway.experiments import ExperimentRefused
from gateway.models import Experiment

NAV = "experimentos"
BADGES = {
    Experiment.Status.DRAFT: ("neutral", gettext_lazy("Rascunho")),
    Experiment.Status.RUNNING: ("success", gettext_lazy("Em andamento")),
    Experiment.Status.ENDED: ("info", gettext_lazy("Encerrado")),
}
VERDICT_BADGES = {
    "better": ("success", gettext_lazy("Melhor")),
    "worse": ("error", gettext_lazy("Pior")),
    "same": ("neutral", gettext_lazy("Sem diferença clara")),
    "early": ("warning", gettext_lazy("Cedo")),
}


@require_safe
@requires("usage.read")
def listing(request: MemberRequest) -> HttpResponseBase:
    found = list(Experiment.objects.prefetch_related("arms__route").select_related("created_by"))
    for experiment in found:
        experiment.badge = BADGES[Experiment.Status(experiment.status)]  # type: ignore[attr-defined]
    context = {"nav": NAV, "experiments": found, "can_manage": may(request.membership, "experiments.manage")}
    return render(request, "gateway/experiments.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@requires("experiments.manage")
def draft(request: MemberRequest) -> HttpResponseBase:
    form = ExperimentForm(request.POST if request.method == "POST" else None, initial={"model": request.GET.get("modelo", "")})
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            experiment = experiments.draft_experiment(
                request.membership.organization, name=typed["name"], model=typed["model"], arms=form.arms(), by=request.user
            )
        except ExperimentRefused as refusal:
            form.refuse(refusal)
        else:
            return redirect("experiment", experiment.pk)
    return _form_page(request, form, title=_("Novo experimento"))


@require_http_methods(["GET", "HEAD", "POST"])
@requires("experiments.manage")
def change(request: MemberRequest, experiment_id: int) -> HttpResponseBase:
    experiment = get_object_or_404(Experiment.objects, pk=experiment_id)
    form = ExperimentForm(request.POST) if request.method == "POST" else ExperimentForm.of(experiment)
    if experiment.status != Experiment.Status.DRAFT:
        messages.error(request, _("Só um rascunho pode mudar: os lados ficam fixos desde o início."))
        return redirect("experiment", experiment.pk)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            experiments.change_draft(experiment, name=typed["name"], model=typed["model"], arms=form.arms())
        except ExperimentRefused as refusal:
            form.refuse(refusal)
        else:
            return redirect("experiment", experiment.pk)
    return _form_page(request, form, title=_("Mudar o experimento"), experiment=experiment)


def _form_page(request: MemberRequest, form: ExperimentForm, *, title: str, experiment: Experiment | None = None) -> HttpResponse:
    context = {"nav": NAV, "title": title, "form": form, "experiment": experiment}
    return render(request, "gateway/experiment_form.html", context)


@require_safe
@requires("usage.read")
def detail(request: MemberRequest, experiment_id: int) -> HttpResponseBase:
    experiment = get_object_or_404(Experiment.objects.select_related("created_by"), pk=experiment_id)
    results = results_of(experiment)
    arms = list(experiment.arms.select_related("route").order_by("pk"))
    context = {
        "nav": NAV,
        "experiment": experiment,
        "badge": BADGES[Experiment.Status(experiment.status)],
        "arms": arms,
        "weights": sum(arm.weight for arm in arms),
        "results": results,
        "told": [(*VERDICT_BADGES[verdict.kind], verdict) for verdict in verdicts(results.arms)] if results else [],
        "can_manage": may(request.membership, "experiments.manage"),
        "gone": [arm for arm in arms if not arm.route.is_active],
        # Lines of the table that most experiments do without.
        "shows": {
            name: any(getattr(arm, name) for arm in results.arms) if results else False
            for name in ("cached", "own_key", "elsewhere", "cancelled")
        },
    }
    return render(request, "gateway/experiment.html", context)


@require_POST
@requires("experiments.manage")
def start(request: MemberRequest, experiment_id: int) -> HttpResponseBase:
    experiment = get_object_or_404(Experiment.objects, pk=experiment_id)
    told = _("Experimento iniciado. Em até 2 segundos as chamadas são divididas.")
    return _move(request, experiment, experiments.start_experiment, told)


@require_POST
@requires("experiments.manage")
def end(request: MemberRequest, experiment_id: int) -> HttpResponseBase:
    experiment = get_object_or_404(Experiment.objects, pk=experiment_id)
    told = _("Experimento encerrado. Chamadas a {model} voltam a ser respondidas por ele.")
    return _move(request, experiment, experiments.end_experiment, told.format(model=experiment.model))


def _move(request: MemberRequest, experiment: Experiment, move: Callable[[Experiment], object], told: str) -> HttpResponseBase:
    try:
        move(experiment)
    except ExperimentRefused as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, told)
    return redirect("experiment", experiment.pk)


@require_POST
@requires("experiments.manage")
def delete(request: MemberRequest, experiment_id: int) -> HttpResponseBase:
    experiment = get_object_or_404(Experiment.objects, pk=experiment_id)
    try:
        experiments.delete_draft(experiment)
    except ExperimentRefused as refusal:
        messages.error(request, refusal.message)
        return redirect("experiment", experiment.pk)
    messages.success(request, _("Rascunho excluído."))
    return redirect("experiments")


@require_safe
@requires("usage.read")
def results_csv(request: MemberRequest, experiment_id: int) -> HttpResponseBase:
    """One row per side. A file is Portuguese, whoever asks for it."""
    experiment = get_object_or_404(Experiment.objects, pk=experiment_id)
    results = results_of(experiment)
    if results is None:
        messages.error(request, _("Há chamadas demais para somar agora. Tente de novo mais tarde."))
        return redirect("experiment", experiment.pk)
    return sheet(f"experimento-{experiment.pk}", _sheet_rows(results))


def _sheet_rows(results: Results) -> Iterator[list[str]]:
    yield [heading for heading, _value in _columns(results.arms[0])] if results.arms else []
    for arm in results.arms:
        yield [value for _heading, value in _columns(arm)]


def _columns(arm: ArmResult) -> list[tuple[str, str]]:
    def told(value: int | None) -> str:
        return "" if value is None else str(value)

    def percent(bps: int | None) -> str:
        return "" if bps is None else f"{bps // 100},{bps % 100:02d}"

    return [
        ("Lado", plain(arm.label)),
        ("Modelo", plain(arm.route_name)),
        ("Peso (%)", percent(arm.weight_bps)),
        ("Parte das chamadas (%)", percent(arm.share_bps)),
        ("Chamadas", str(arm.calls)),
        ("Do cache", str(arm.cached)),
        ("Com chave própria", str(arm.own_key)),
        ("Por modelo substituto", str(arm.elsewhere)),
        ("Canceladas por você", str(arm.cancelled)),
        ("Custo total (R$)", comma(arm.net_nanos)),
        ("Custo médio por chamada (R$)", "" if arm.mean_nanos is None else comma(arm.mean_nanos)),
        ("Custo por 1.000 chamadas (R$)", "" if arm.per_thousand_nanos is None else comma(arm.per_thousand_nanos)),
        ("1º token p50 (ms)", told(arm.first_token_p50_ms)),
        ("1º token p95 (ms)", told(arm.first_token_p95_ms)),
        ("Duração p50 (ms)", told(arm.latency_p50_ms)),
        ("Duração p95 (ms)", told(arm.latency_p95_ms)),
        ("Erros", str(arm.errors.hits)),
        ("Erros (%)", percent(arm.error_bps)),
        ("Tokens de entrada (média)", told(arm.input_mean)),
        ("Tokens de saída (média)", told(arm.output_mean)),
        ("Avaliações boas", str(arm.feedback.hits)),
        ("Avaliações ruins", str(arm.disliked)),
        ("Avaliações boas (%)", percent(arm.feedback_bps)),
    ]
