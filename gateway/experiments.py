"""An experiment's life: draft → running → ended. Verbs of customers' experiments and of the platform's own.

While it is a draft everything may change and it may be deleted; starting fixes arms and weights, so that what is measured is what
was set; ending is for ever, and the results stay. A running experiment is in every gateway within two seconds (`gateway.catalog`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from accounts.models import Organization, User
from billing.pricebooks import price_lists
from gateway.models import Experiment, ExperimentArm, Route, RoutingRule
from tokia import clock
from tokia.errors import TokiaError

ARMS_MIN, ARMS_MAX = 2, 4
WEIGHT_MAX = 1_000
RUNNING_MAX = 20  # of one organization: all of them are in every gateway's memory
EXPERIMENTS_MAX = 300  # of one organization, ended ones too
NAME_MAX, LABEL_MAX = 80, 40
ONCE = "experiment_running_once"


class ExperimentRefused(TokiaError):
    """What can't be done with an experiment, in words for whoever tried. `param`: "name", "model", "arms", or an arm's "arm-2"."""

    code = "experiment_refused"
    status = 409


@dataclass(frozen=True, slots=True)
class ArmDraft:
    """One side as a person sets it."""

    route_name: str
    weight: int = 50
    label: str = ""  # empty: by its place, "A" to "D"


def draft_experiment(
    organization: Organization | None, *, name: str, model: str, arms: Sequence[ArmDraft], by: User | None
) -> Experiment:
    """Without an organization: of the platform, for everybody without an experiment of their own. Raises ExperimentRefused."""
    with transaction.atomic():
        if organization is not None:
            Organization.objects.select_for_update().get(pk=organization.pk)  # so that two at once don't pass the limit
            if Experiment.everywhere.filter(organization=organization).count() >= EXPERIMENTS_MAX:
                told = _("A empresa já tem {most} experimentos. Exclua rascunhos antes de criar outro.")
                raise ExperimentRefused(told.format(most=EXPERIMENTS_MAX))
        experiment = Experiment(organization=organization, created_by=by)
        _set(experiment, name=name, model=model, arms=arms)
    return experiment


def change_draft(experiment: Experiment, *, name: str, model: str, arms: Sequence[ArmDraft]) -> None:
    """Everything anew. Raises ExperimentRefused."""
    with transaction.atomic():
        _set(
            _lock(experiment, Experiment.Status.DRAFT, _("Não dá para mudar: o experimento {state}.")),
            name=name,
            model=model,
            arms=arms,
        )
    experiment.refresh_from_db()


def start_experiment(experiment: Experiment) -> None:
    """From now on calls that name its model are split. Raises ExperimentRefused."""
    try:
        with transaction.atomic():
            # One start at a time: two names of one model are no duplicate to the database.
            if experiment.organization_id is not None:
                Organization.objects.select_for_update().get(pk=experiment.organization_id)
            locked = _lock(experiment, Experiment.Status.DRAFT, _("Não dá para iniciar: o experimento {state}."))
            check_model(locked.model)
            arms = list(ExperimentArm.everywhere.filter(experiment=locked).select_related("route"))
            check_arms([ArmDraft(arm.route.name, arm.weight, arm.label) for arm in arms])
            names = _names_of(locked.model)
            running = Experiment.everywhere.filter(organization=locked.organization_id, status=Experiment.Status.RUNNING)
            rival = running.filter(model__in=names).first()
            if rival is not None:
                raise _running_already(rival.name, rival.model)
            if locked.organization_id is not None and running.count() >= RUNNING_MAX:
                told = _("Já há {most} experimentos em andamento. Encerre um antes de iniciar outro.")
                raise ExperimentRefused(told.format(most=RUNNING_MAX))
            locked.status, locked.started_at = Experiment.Status.RUNNING, clock.now()
            locked.save(update_fields=["status", "started_at"])
    except IntegrityError as error:  # somebody started another at the same instant
        if ONCE not in str(error):
            raise
        raise _running_already("", experiment.model) from error
    experiment.refresh_from_db()


def end_experiment(experiment: Experiment) -> None:
    """For ever: calls go where they went before, and the results stay. Raises ExperimentRefused."""
    with transaction.atomic():
        locked = _lock(experiment, Experiment.Status.RUNNING, _("Não dá para encerrar: o experimento {state}."))
        locked.status, locked.ended_at = Experiment.Status.ENDED, clock.now()
        locked.save(update_fields=["status", "ended_at"])
    experiment.refresh_from_db()


def delete_draft(experiment: Experiment) -> None:
    """Raises ExperimentRefused for what has begun: its results are part of the books."""
    with transaction.atomic():
        _lock(experiment, Experiment.Status.DRAFT, _("Não dá para excluir: o experimento {state}.")).delete()


# ── What may be chosen ───────────────────────────────────────────────────────────────────────────────────────────────
def routes_for_arms() -> QuerySet[Route]:
    """Active chat models with a live price that somebody serves."""
    return (
        Route.objects.filter(
            is_active=True, surface=Route.Surface.CHAT, name__in=list(price_lists()), deployments__is_active=True,
            deployments__provider__is_active=True,
        )
        .distinct()
        .order_by("name")
    )  # fmt: skip


def models_to_name() -> list[str]:
    """The names that a call may use and an experiment may split: virtual models, chat models, and their other names."""
    routes = routes_for_arms().values_list("name", "aliases")
    rules = list(RoutingRule.objects.filter(is_active=True).values_list("name", flat=True))
    return rules + [name for name, _aliases in routes] + sorted(alias for _name, aliases in routes for alias in aliases)


# ── Rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _lock(experiment: Experiment, status: str, refusal: str) -> Experiment:
    """The row as it stands, for this transaction. Raises ExperimentRefused where it is in another state (or gone). `refusal`:
    what to say then, with a place for {state}."""
    locked = Experiment.everywhere.select_for_update(of=("self",)).filter(pk=experiment.pk).first()
    if locked is None:
        raise ExperimentRefused(_("Este experimento não existe mais."))
    if locked.status != status:
        states = {"draft": _("ainda é um rascunho"), "running": _("já está em andamento"), "ended": _("já foi encerrado")}
        raise ExperimentRefused(refusal.format(state=states[Experiment.Status(locked.status)]))
    return locked


def _set(experiment: Experiment, *, name: str, model: str, arms: Sequence[ArmDraft]) -> None:
    name, model = name.strip(), model.strip()
    if not name or len(name) > NAME_MAX:
        raise ExperimentRefused(_("Dê um nome de até {most} caracteres.").format(most=NAME_MAX), param="name")
    check_model(model)
    arms = [ArmDraft(arm.route_name.strip(), arm.weight, arm.label.strip() or "ABCD"[place % 4]) for place, arm in enumerate(arms)]
    routes = check_arms(arms)
    experiment.name, experiment.model = name, model
    experiment.save()
    ExperimentArm.everywhere.filter(experiment=experiment).delete()
    ExperimentArm.everywhere.bulk_create(
        ExperimentArm(experiment=experiment, label=arm.label, route=routes[arm.route_name], weight=arm.weight) for arm in arms
    )


def check_model(model: str) -> None:
    """It is a name that a chat call may use. Raises ExperimentRefused."""
    route = Route.objects.filter(Q(name=model) | Q(aliases__contains=[model]), is_active=True).first()
    if route is None and not RoutingRule.objects.filter(name=model, is_active=True).exists():
        told = _("O modelo “{model}” não existe. Use um nome do catálogo.")
        raise ExperimentRefused(told.format(model=model[:100]), param="model")
    if route is not None and route.surface != Route.Surface.CHAT:
        told = _("“{model}” não é um modelo de chat; só chamadas de chat podem ser divididas.")
        raise ExperimentRefused(told.format(model=model), param="model")


def check_arms(arms: Sequence[ArmDraft]) -> dict[str, Route]:
    """Their routes by name. Raises ExperimentRefused."""
    if not ARMS_MIN <= len(arms) <= ARMS_MAX:
        told = _("Um experimento compara de {least} a {most} lados.")
        raise ExperimentRefused(told.format(least=ARMS_MIN, most=ARMS_MAX), param="arms")
    routes = {route.name: route for route in routes_for_arms().filter(name__in=[arm.route_name for arm in arms])}
    for number, arm in enumerate(arms, 1):
        param = f"arm-{number}"
        if arm.route_name not in routes:
            told = _("“{model}” não é um modelo de chat à venda agora.")
            raise ExperimentRefused(told.format(model=arm.route_name[:100]), param=param)
        if not 1 <= arm.weight <= WEIGHT_MAX:
            raise ExperimentRefused(_("O peso vai de 1 a {most}.").format(most=WEIGHT_MAX), param=param)
        if len(arm.label) > LABEL_MAX:
            raise ExperimentRefused(_("O rótulo tem até {most} caracteres.").format(most=LABEL_MAX), param=param)
        others = arms[: number - 1]
        if arm.label.casefold() in {other.label.casefold() for other in others}:
            raise ExperimentRefused(_("Dois lados se chamam “{label}”.").format(label=arm.label), param=param)
        if arm.route_name in {other.route_name for other in others}:
            raise ExperimentRefused(_("Dois lados com o mesmo modelo não comparam nada."), param=param)
    return routes


def _names_of(model: str) -> list[str]:
    """All names of the same model: an experiment on an alias and one on its route would split the same calls twice."""
    route = Route.objects.filter(Q(name=model) | Q(aliases__contains=[model])).first()
    return [model] if route is None else [*{model, route.name, *route.aliases}]


def _running_already(name: str, model: str) -> ExperimentRefused:
    if name:
        told = _("“{name}” já divide as chamadas a {model}. Encerre-o antes de iniciar este.")
    else:
        told = _("Outro experimento já divide as chamadas a {model}. Encerre-o antes de iniciar este.")
    return ExperimentRefused(told.format(name=name, model=model), param="model")
