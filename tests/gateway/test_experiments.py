"""An experiment's verbs: what may be drafted, started, changed, ended and deleted, and what is refused in which words."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, connections

from accounts.models import Organization
from gateway import experiments
from gateway.catalog import load
from gateway.experiments import ArmDraft, ExperimentRefused
from gateway.models import Experiment, ExperimentArm, Provider, Route, RoutingRule
from tests.make import make_organization, make_price, make_provider, make_route

A, B, C = "acme/big", "acme/small", "acme/tiny"


@pytest.fixture
def organization(db: None) -> Organization:
    return make_shop()


def make_shop() -> Organization:
    """An organization, and three chat models on sale."""
    provider = make_provider(slug="acme")
    version = None
    for name in (A, B, C):
        route = make_route(name=name, provider=provider, upstream_model=name, aliases=[f"alias-{name.split('/')[1]}"])
        version = make_price(route=route)
    assert version is not None
    return make_organization()


def draft(
    organization: Organization | None, *, model: str = A, arms: tuple[ArmDraft, ...] = (), name: str = "Menor?"
) -> Experiment:
    return experiments.draft_experiment(
        organization, name=name, model=model, arms=arms or (ArmDraft(A, 50), ArmDraft(B, 50)), by=None
    )


def refusal(organization: Organization | None, **fields: object) -> ExperimentRefused:
    with pytest.raises(ExperimentRefused) as refused:
        draft(organization, **fields)  # type: ignore[arg-type]
    return refused.value


def test_it_drafts_starts_and_ends(organization: Organization) -> None:
    experiment = draft(organization, arms=(ArmDraft(A, 90, " atual "), ArmDraft(B, 10)))
    arms = list(ExperimentArm.everywhere.filter(experiment=experiment).values_list("label", "route__name", "weight"))
    assert arms == [("atual", A, 90), ("B", B, 10)]
    assert (experiment.status, experiment.started_at) == ("draft", None)
    assert load().experiments == {}
    experiments.start_experiment(experiment)
    assert experiment.status == "running" and experiment.started_at is not None
    served = load().experiments
    assert set(served) == {(organization.pk, A), (organization.pk, "alias-big")}  # by every name of the model
    for found in served.values():
        assert [(arm.label, arm.route_name, arm.weight) for arm in found.arms] == arms
    experiments.end_experiment(experiment)
    assert experiment.status == "ended" and experiment.ended_at is not None and experiment.ended_at >= experiment.started_at
    assert load().experiments == {}


@pytest.mark.parametrize("name", [A, "alias-big", "tokia/balanced"])
def test_it_takes_every_name_that_a_call_may_use(organization: Organization, name: str) -> None:
    RoutingRule.objects.create(name="tokia/balanced", display_name="Equilibrado")
    experiments.start_experiment(draft(organization, model=f" {name} "))
    assert name in experiments.models_to_name()


def test_it_names_what_is_wrong_with_a_draft(organization: Organization) -> None:
    make_price(route=make_route(name="acme/vectors", surface=Route.Surface.EMBEDDINGS))
    make_route(name="acme/priceless")
    asleep = make_route(name="acme/asleep", is_active=False)
    make_price(route=asleep)
    dark = make_route(
        name="acme/dark", provider=Provider.objects.create(slug="dark", name="Dark", base_url="http://127.0.0.1:9", is_active=False)
    )
    make_price(route=dark)
    cases: list[tuple[dict[str, object], str | None, str]] = [
        ({"name": "  "}, "name", "nome"),
        ({"name": "x" * 81}, "name", "80"),
        ({"model": "nobody/knows"}, "model", "não existe"),
        ({"model": "acme/asleep"}, "model", "não existe"),
        ({"model": "acme/vectors"}, "model", "chat"),
        ({"arms": (ArmDraft(A),)}, "arms", "2 a 4"),
        ({"arms": tuple(ArmDraft(name) for name in (A, B, C, A, B))}, "arms", "2 a 4"),
        ({"arms": (ArmDraft(A), ArmDraft("nobody/knows"))}, "arm-2", "à venda"),
        ({"arms": (ArmDraft(A), ArmDraft("acme/vectors"))}, "arm-2", "à venda"),
        ({"arms": (ArmDraft(A), ArmDraft("acme/priceless"))}, "arm-2", "à venda"),
        ({"arms": (ArmDraft("acme/asleep"), ArmDraft(A))}, "arm-1", "à venda"),
        ({"arms": (ArmDraft("acme/dark"), ArmDraft(A))}, "arm-1", "à venda"),
        ({"arms": (ArmDraft(A, 0), ArmDraft(B))}, "arm-1", "1 a 1000"),
        ({"arms": (ArmDraft(A), ArmDraft(B, 1_001))}, "arm-2", "1 a 1000"),
        ({"arms": (ArmDraft(A), ArmDraft(B, 50, "x" * 41))}, "arm-2", "40"),
        ({"arms": (ArmDraft(A, 50, "Novo"), ArmDraft(B, 50, " novo"))}, "arm-2", "se chamam"),
        ({"arms": (ArmDraft(A), ArmDraft(B), ArmDraft(A))}, "arm-3", "mesmo modelo"),
    ]
    for fields, param, words in cases:
        refused = refusal(organization, **fields)
        assert (refused.param, refused.status, refused.code) == (param, 409, "experiment_refused"), fields
        assert words in refused.message, refused.message
    assert not Experiment.everywhere.exists()  # a refused draft leaves nothing


def test_it_changes_a_draft_and_nothing_that_began(organization: Organization) -> None:
    experiment = draft(organization)
    experiments.change_draft(experiment, name="Três", model=B, arms=[ArmDraft(B, 1), ArmDraft(A, 2), ArmDraft(C, 3, "novo")])
    assert (experiment.name, experiment.model) == ("Três", B)
    assert [arm.label for arm in experiment.arms.order_by("pk")] == ["A", "B", "novo"]
    with pytest.raises(ExperimentRefused, match="mesmo modelo"):
        experiments.change_draft(experiment, name="Três", model=B, arms=[ArmDraft(B), ArmDraft(B)])
    assert experiment.arms.count() == 3
    experiments.start_experiment(experiment)
    for status in ("já está em andamento", "já foi encerrado"):
        with pytest.raises(ExperimentRefused, match=status):
            experiments.change_draft(experiment, name="Outro", model=A, arms=[ArmDraft(A), ArmDraft(B)])
        with pytest.raises(ExperimentRefused, match=status):
            experiments.delete_draft(experiment)
        with pytest.raises(ExperimentRefused, match=status):
            experiments.start_experiment(experiment)
        if experiment.status == "running":
            experiments.end_experiment(experiment)
    with pytest.raises(ExperimentRefused, match="já foi encerrado"):
        experiments.end_experiment(experiment)
    experiment.refresh_from_db()
    assert (experiment.name, experiment.arms.count()) == ("Três", 3)


def test_it_ends_no_draft_and_deletes_it(organization: Organization) -> None:
    experiment = draft(organization)
    with pytest.raises(ExperimentRefused, match="ainda é um rascunho"):
        experiments.end_experiment(experiment)
    gone = Experiment.everywhere.get(pk=experiment.pk)
    experiments.delete_draft(experiment)
    assert not Experiment.everywhere.exists() and not ExperimentArm.everywhere.exists()
    with pytest.raises(ExperimentRefused, match="não existe mais"):
        experiments.start_experiment(gone)


def test_it_runs_one_per_organization_and_model(organization: Organization) -> None:
    experiments.start_experiment(draft(organization, name="Primeiro"))
    for model in (A, "alias-big"):  # two names of the same calls
        with pytest.raises(ExperimentRefused, match="“Primeiro” já divide"):
            experiments.start_experiment(draft(organization, model=model))
    experiments.start_experiment(draft(organization, model=B))
    experiments.start_experiment(draft(make_organization()))
    experiments.start_experiment(draft(None))  # the platform's own
    with pytest.raises(ExperimentRefused, match="já divide"):
        experiments.start_experiment(draft(None))


def test_it_starts_nothing_that_is_not_on_sale_any_more(organization: Organization) -> None:
    experiment = draft(organization)
    Route.objects.filter(name=B).update(is_active=False)
    with pytest.raises(ExperimentRefused, match="não é um modelo de chat à venda agora") as refused:
        experiments.start_experiment(experiment)
    assert refused.value.param == "arm-2"
    Route.objects.update(is_active=False)
    with pytest.raises(ExperimentRefused, match="não existe"):
        experiments.start_experiment(experiment)


def test_it_keeps_an_organization_within_its_limits(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "RUNNING_MAX", 1)
    monkeypatch.setattr(experiments, "EXPERIMENTS_MAX", 2)
    experiments.start_experiment(draft(organization))
    with pytest.raises(ExperimentRefused, match="em andamento"):
        experiments.start_experiment(draft(organization, model=B))
    assert "já tem 2" in refusal(organization).message


def test_it_moves_the_gateways_snapshot(organization: Organization) -> None:
    def version() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT number FROM accounts_snapshotversion WHERE subject = 'catalog'")
            return int(cursor.fetchone()[0])

    experiment = draft(organization)
    before = version()
    experiments.start_experiment(experiment)
    started = version()
    experiments.end_experiment(experiment)
    assert before < started < version()


def test_it_starts_only_one_of_two_at_the_same_instant(committed_db: None) -> None:
    """Two people press the button, by two names of one model, which no constraint sees."""
    organization = make_shop()
    drafts = [draft(organization), draft(organization, model="alias-big")]
    barrier, told = threading.Barrier(2), list[str]()

    def press(experiment: Experiment) -> None:
        barrier.wait()
        try:
            experiments.start_experiment(experiment)
        except ExperimentRefused as refused:
            told.append(refused.message)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=press, args=(experiment,)) for experiment in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(told) == 1 and "já divide" in told[0]
    assert Experiment.everywhere.filter(status="running").count() == 1
