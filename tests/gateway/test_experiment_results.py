"""What an experiment's sides came to: exact against a set made by hand, and the sentences that the numbers allow."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable
from dataclasses import replace

import pytest
from django.core.cache import cache
from django.db import connection

from accounts.models import Organization
from billing.models import UsageRecord, Wallet
from billing.pricing import Usage
from gateway import experiment_results, experiments
from gateway.experiment_results import ArmResult, Results, read_results, results_of
from gateway.experiment_verdicts import verdicts
from gateway.experiments import ArmDraft
from gateway.models import Experiment, ExperimentArm, Feedback
from gateway.significance import Rate, Sample
from tests.make import make_organization, make_price, make_provider, make_route, make_usage, make_wallet
from tokia import clock

A, B = "acme/big", "acme/small"
Outcome, Source = UsageRecord.Outcome, UsageRecord.UsageSource


class Scene:
    """An experiment that runs, its wallet, and its two arms."""

    def __init__(self) -> None:
        provider = make_provider(slug="acme")
        for name in (A, B):
            make_price(route=make_route(name=name, provider=provider, upstream_model=name))
        self.organization = make_organization()
        self.wallet = make_wallet(organization=self.organization)
        self.experiment = make_running(self.organization)
        self.a, self.b = ExperimentArm.everywhere.filter(experiment=self.experiment).order_by("pk")

    def call(self, arm: ExperimentArm, nanos: int, *, score: int = 0, wallet: Wallet | None = None, **fields: object) -> None:
        id_ = clock.new_id()
        wallet = wallet or self.wallet
        given = {"route_name": arm.route.name, "usage": Usage(input_tokens=100, output_tokens=50), **fields}
        make_usage(wallet=wallet, gross_nanos=nanos, id_=id_, experiment_arm_id=arm.pk, **given)
        if score:
            Feedback.everywhere.create(call_id=id_, organization=wallet.organization, score=score)

    def read(self) -> tuple[ArmResult, ArmResult]:
        results = read_results(self.experiment)
        assert results is not None
        one, other = results.arms
        return one, other


def make_running(organization: Organization | None, *, model: str = A) -> Experiment:
    experiment = experiments.draft_experiment(
        organization, name="Menor?", model=model, arms=[ArmDraft(A, 3), ArmDraft(B, 1)], by=None
    )
    experiments.start_experiment(experiment)
    return experiment


@pytest.fixture
def scene(db: None) -> Scene:
    cache.clear()
    return Scene()


def test_it_adds_up_a_set_made_by_hand(scene: Scene) -> None:
    for nanos, ms, first in ((1_000_000_001, 100, 10), (3_000_000_000, 200, 20), (2_000_000_001, 400, 30)):
        scene.call(scene.a, nanos, latency_ms=ms, first_token_ms=first, is_stream=True, score=1)
    scene.call(scene.a, 500, outcome=Outcome.CUT, latency_ms=9_000, usage=Usage(output_tokens=1), score=-1)
    scene.call(scene.a, 70, outcome=Outcome.CANCELLED, latency_ms=8_000)
    scene.call(scene.a, 0, outcome=Outcome.FAILED, usage=Usage(), usage_source=Source.NONE, latency_ms=7_000, status_code=502)
    scene.call(scene.a, 0, usage=Usage(), usage_source=Source.CACHE, latency_ms=1, score=-1)
    scene.call(scene.a, 11, is_own_key=True, latency_ms=300)
    scene.call(scene.a, 900, route_name=B, latency_ms=500)  # A failed, and its substitute answered
    for _ in range(3):
        scene.call(scene.b, 1_000_000_000, latency_ms=50)
    one, other = scene.read()
    assert (one.label, one.route_name, one.weight_bps, one.share_bps) == ("A", A, 7_500, 7_500)
    assert (other.label, other.route_name, other.weight_bps, other.share_bps) == ("B", B, 2_500, 2_500)
    assert (one.calls, other.calls) == (9, 3)
    assert one.net_nanos == 6_000_000_002 + 500 + 70 + 11 + 900
    assert (one.cached, one.own_key, one.elsewhere, one.cancelled) == (1, 1, 1, 1)
    assert one.errors == Rate(2, 8) and one.error_bps == 2_500
    # Delivered at our prices: three, the cut, the cancelled, the substitute's.
    paid = [1_000_000_001, 3_000_000_000, 2_000_000_001, 500, 70, 900]
    assert (one.cost.n, one.paid_nanos, one.mean_nanos) == (6, sum(paid), sum(paid) // 6)
    assert one.per_thousand_nanos == sum(paid) * 1_000 // 6
    assert one.cost.variance == pytest.approx(statistics.variance(paid))
    # Finished by a model: three, the own key's, the substitute's.
    times = [100, 200, 400, 300, 500]
    assert (one.latency.n, one.latency.mean) == (5, 300)
    assert one.latency.variance == pytest.approx(statistics.variance(times))
    assert (one.latency_p50_ms, one.latency_p95_ms) == (300, 480)
    assert (one.first_token.n, one.first_token.mean, one.first_token_p50_ms, one.first_token_p95_ms) == (3, 20, 20, 29)
    assert (one.input_mean, one.output_mean) == (100, 50)
    assert one.feedback == Rate(3, 4) and (one.feedback_bps, one.disliked) == (7_500, 1)
    assert (other.errors, other.feedback, other.feedback_bps) == (Rate(0, 3), Rate(0, 0), None)
    assert (other.first_token.n, other.first_token_p50_ms, other.mean_nanos) == (0, None, 1_000_000_000)


def test_its_totals_are_the_ledgers(scene: Scene) -> None:
    for nanos in (1, 12_345_678_901, 333_333_333, 0):
        scene.call(scene.a, nanos)
        scene.call(scene.b, nanos * 2)
    results = read_results(scene.experiment)
    assert results is not None
    before = scene.wallet.posted_nanos
    scene.wallet.refresh_from_db()
    assert results.net_nanos == before - scene.wallet.posted_nanos > 0
    assert results.calls == 8


def test_it_counts_its_own_organizations_calls_and_times(scene: Scene) -> None:
    stranger = make_wallet()
    scene.call(scene.a, 100)
    scene.call(scene.a, 999, wallet=stranger, score=1)
    make_usage(wallet=scene.wallet, gross_nanos=7, route_name=A)  # without a side
    clock.shift(-3 * 86_400)  # before it began
    try:
        scene.call(scene.a, 5)
    finally:
        clock.shift(0)
    one, other = scene.read()
    assert (one.calls, one.net_nanos, one.feedback.n, other.calls) == (1, 100, 0, 0)


def test_the_platforms_own_adds_up_everybodys(scene: Scene) -> None:
    scene.experiment = make_running(None)
    arm = ExperimentArm.everywhere.filter(experiment=scene.experiment).order_by("pk")[0]
    scene.call(arm, 100)
    scene.call(arm, 23, wallet=make_wallet(), score=1)
    one, _ = scene.read()
    assert (one.calls, one.net_nanos, one.feedback) == (2, 123, Rate(1, 1))


def test_it_has_sides_before_it_has_calls(scene: Scene) -> None:
    assert [(arm.label, arm.calls, arm.share_bps, arm.mean_nanos) for arm in scene.read()] == [
        ("A", 0, None, None),
        ("B", 0, None, None),
    ]
    draft = experiments.draft_experiment(scene.organization, name="Depois", model=B, arms=[ArmDraft(A), ArmDraft(B)], by=None)
    results = read_results(draft)
    assert results is not None and results.calls == 0 and len(results.arms) == 2


def test_it_keeps_what_it_found_for_a_while(scene: Scene) -> None:
    def calls() -> int:
        results = results_of(scene.experiment)
        assert results is not None
        return results.calls

    assert calls() == 0
    scene.call(scene.a, 100)
    assert calls() == 0
    cache.clear()
    assert calls() == 1
    experiments.end_experiment(scene.experiment)  # what ended is read anew: its last calls are in
    scene.call(scene.a, 100)
    assert calls() == 2


def test_it_gives_up_where_adding_up_takes_too_long(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.call(scene.a, 100)
    monkeypatch.setattr(experiment_results, "STATEMENT_SECONDS", 1)
    query = experiment_results._QUERY.replace("count(*) AS calls", "count(pg_sleep(3)) AS calls")
    with monkeypatch.context() as patch:
        patch.setattr(experiment_results, "_QUERY", query)
        assert results_of(scene.experiment) is None
    with connection.cursor() as cursor:  # what the page asks next is not timed
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)
    results = results_of(scene.experiment)
    assert results is not None and results.calls == 1


def test_it_asks_once_and_by_the_index_of_sides(scene: Scene) -> None:
    scene.call(scene.a, 100)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN " + experiment_results._QUERY,
            {
                "arms": [scene.a.pk, scene.b.pk],
                "organization": scene.organization.pk,
                "first": experiment_results._first_id_at(clock.now() - dt.timedelta(minutes=1)),
                "last": experiment_results._first_id_at(clock.now()),
            },
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "experiment_arm_id_id_idx" in plan or "usage_by_arm" in plan, plan


# ── Sentences ────────────────────────────────────────────────────────────────────────────────────────────────────────
def side(label: str, **figures: object) -> ArmResult:
    nothing = ArmResult(
        id=0, label=label, route_name="acme/x", weight_bps=5_000, share_bps=5_000, calls=400, net_nanos=0, cached=0, own_key=0,
        elsewhere=0, cancelled=0, errors=Rate(0, 400), feedback=Rate(0, 0), cost=Sample(400, 1e6, 1e10), paid_nanos=0,
        latency=Sample(400, 900.0, 90_000.0), latency_p50_ms=900, latency_p95_ms=1_500, first_token=Sample(0, 0.0, 0.0),
        first_token_p50_ms=None, first_token_p95_ms=None, input_tokens=0, output_tokens=0,
    )  # fmt: skip
    return replace(nothing, **figures)  # type: ignore[arg-type]


def told(arms: Iterable[ArmResult]) -> dict[str, tuple[str, str]]:
    return {verdict.figure: (verdict.kind, verdict.text) for verdict in verdicts(list(arms))}


def test_it_says_what_is_more_than_chance() -> None:
    cheap = side(
        "B", cost=Sample(400, 0.62e6, 1e10), latency=Sample(400, 1_800.0, 90_000.0), errors=Rate(40, 400), feedback=Rate(90, 100),
        first_token=Sample(200, 90.0, 100.0),
    )  # fmt: skip
    base = side("A", feedback=Rate(60, 100), errors=Rate(8, 400), first_token=Sample(200, 100.0, 100.0))
    found = told([base, cheap])
    assert found == {
        "Custo": ("better", "B custa 38% menos por chamada que A; a diferença é maior que o acaso explicaria."),
        "1º token": ("better", "B começa a responder 10% antes que A; a diferença é maior que o acaso explicaria."),
        "Duração": ("worse", "B leva 100% mais tempo que A; a diferença é maior que o acaso explicaria."),
        "Erros": (
            "worse",
            "B erra mais que A, mais do que o acaso explicaria: B erra entre 7,4% e 13%, A entre 1% e 3,9%.",
        ),
        "Avaliações": (
            "better",
            "B agrada mais que A, além do que o acaso explicaria: B agrada entre 83% e 94%, A entre 50% e 69%.",
        ),
    }


def test_it_says_that_it_is_too_early() -> None:
    few = {"cost": Sample(12, 0.1e6, 1e3), "latency": Sample(12, 10.0, 1.0), "errors": Rate(12, 12), "feedback": Rate(5, 5)}
    found = told([side("A", feedback=Rate(90, 100)), side("B", **few)])
    assert {kind for kind, _ in found.values()} == {"early"}
    assert found["Custo"][1] == ("B e A: ainda não dá para dizer, poucas chamadas medidas (12 de pelo menos 50 em cada lado).")
    assert "poucas avaliações (5 de pelo menos 30" in found["Avaliações"][1]
    # Enough calls, but hardly an error on either side.
    assert told([side("A", errors=Rate(0, 400)), side("B", errors=Rate(3, 400))])["Erros"][0] == "early"


def test_it_calls_no_noise_a_difference() -> None:
    found = told([side("A", errors=Rate(20, 400)), side("B", cost=Sample(400, 1.01e6, 1e10), errors=Rate(26, 400))])
    assert found["Custo"] == ("same", "B e A: a diferença cabe no acaso.")
    assert found["Erros"][0] == "same" and "B erra entre" in found["Erros"][1]
    assert found["Duração"][0] == "same"
    assert "Avaliações" not in found and "1º token" not in found  # nobody gave any, nobody streamed


def test_it_compares_every_side_with_the_first_and_asks_more_of_many() -> None:
    near = side("B", cost=Sample(400, 1.0195e6, 1e10))  # p ≈ 0.006: enough for one comparison, not for three
    assert told([side("A"), near])["Custo"][0] == "worse"
    found = verdicts([side("A"), near, side("C"), side("D")])
    assert [verdict.text[:1] for verdict in found if verdict.figure == "Custo"] == ["B", "C", "D"]
    assert {verdict.kind for verdict in found if verdict.figure == "Custo"} == {"same"}


def test_it_says_nothing_of_nobody() -> None:
    assert verdicts([]) == [] and verdicts([side("A")]) == []
    assert verdicts([side("A", calls=0), side("B", calls=0)]) == []
    free = told([side("A", cost=Sample(400, 0.0, 0.0)), side("B")])["Custo"]
    assert free == ("worse", "B custa por chamada, A não.")


def test_results_add_up_their_sides() -> None:
    results = Results((side("A", calls=2, net_nanos=5), side("B", calls=1, net_nanos=6)), clock.now())
    assert (results.calls, results.net_nanos) == (3, 11)
