"""The pages of experiments through Django's client: who may do what, what strangers see, what hostile names do."""

from __future__ import annotations

import csv
import io
import re

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import Membership, Role, User
from billing.models import UsageRecord
from billing.pricing import Usage
from gateway import experiments
from gateway.experiments import ArmDraft
from gateway.models import Experiment, ExperimentArm, Feedback, Route
from tests.cast import Cast, make_cast
from tests.make import make_price, make_provider, make_route, make_usage, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
A, B = "acme/big", "acme/small"
HOSTILE = "<script>alert('x')</script>"
FORM = {"name": "Menor?", "model": A, "route-1": A, "weight-1": "70", "route-2": B, "weight-2": "30", "label-2": "novo"}


@pytest.fixture
def cast(db: None) -> Cast:
    cache.clear()
    provider = make_provider(slug="acme")
    for name in (A, B):
        make_price(route=make_route(name=name, provider=provider, upstream_model=name, aliases=[f"alias-{name[5:]}"]))
    return make_cast()


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def make_experiment(cast: Cast, *, name: str = "Menor?", label: str = "novo", is_running: bool = True) -> Experiment:
    experiment = experiments.draft_experiment(
        cast.acme, name=name, model=A, arms=[ArmDraft(A, 70), ArmDraft(B, 30, label)], by=cast.bob
    )
    if is_running:
        experiments.start_experiment(experiment)
    return experiment


def address(experiment: Experiment, act: str = "") -> str:
    return f"/app/experimentos/{experiment.pk}/{act}"


def make_calls(cast: Cast, experiment: Experiment) -> None:
    """Two calls to the first side, one of them liked, and one to the second that failed."""
    wallet = make_wallet(organization=cast.acme)
    first, second = ExperimentArm.everywhere.filter(experiment=experiment).order_by("pk")
    for nanos in (1_234_567_891, 1):
        id_ = clock.new_id()
        make_usage(wallet=wallet, gross_nanos=nanos, id_=id_, experiment_arm_id=first.pk, route_name=A, latency_ms=1_310)
    Feedback.everywhere.create(call_id=id_, organization=cast.acme, score=1)
    make_usage(
        wallet=wallet, gross_nanos=0, experiment_arm_id=second.pk, route_name=B, outcome=UsageRecord.Outcome.FAILED,
        usage=Usage(), usage_source="none",
    )  # fmt: skip


def test_a_developer_walks_from_nothing_to_results(cast: Cast) -> None:
    bob = as_(cast.bob)
    assert "Nenhum experimento ainda" in bob.get("/app/experimentos/").content.decode()
    form = bob.get("/app/experimentos/novo/?modelo=acme/big").content.decode()
    assert 'value="acme/big"' in form and '<option value="alias-big">' in form and form.count('name="route-') == 4
    posted = bob.post("/app/experimentos/novo/", FORM)
    experiment = Experiment.everywhere.get()
    assert posted.status_code == 302 and posted["Location"] == address(experiment)
    assert (experiment.organization, experiment.created_by, experiment.status) == (cast.acme, cast.bob, "draft")
    page = bob.get(address(experiment)).content.decode()
    assert "nada é dividido ainda" in page and "70 de 100" in page and "resultados.csv" not in page
    changed = bob.post(address(experiment, "mudar/"), FORM | {"weight-1": "1", "weight-2": ""})
    assert changed.status_code == 302
    assert list(experiment.arms.order_by("pk").values_list("label", "weight")) == [("A", 1), ("novo", 50)]
    started = bob.post(address(experiment, "iniciar/"), follow=True).content.decode()
    assert "Em até 2 segundos" in started and "Esperando a primeira chamada" in started and "generation/feedback" in started
    make_calls(cast, experiment)
    cache.clear()
    page = bob.get(address(experiment)).content.decode()
    assert 'title="R$\xa01,234567892"' in page  # the total, to the nano
    assert 'title="R$\xa00,617283946"' in page  # its mean
    assert "1,31\xa0s" in page and "66,66%" in page and "ainda não dá para dizer" in page
    ended = bob.post(address(experiment, "encerrar/"), follow=True).content.decode()
    assert "voltam a ser respondidas" in ended and "Encerrado" in ended and "Como chamar" not in ended
    assert 'title="R$\xa01,234567892"' in ended
    assert "Encerrado" in bob.get("/app/experimentos/").content.decode()


def test_it_says_where_the_form_is_wrong_and_keeps_what_was_typed(cast: Cast) -> None:
    bob = as_(cast.bob)
    cases: list[tuple[dict[str, str], str]] = [
        ({"name": ""}, "obrigatório"),
        ({"model": "nobody/knows"}, "não existe"),
        ({"route-2": ""}, "Escolha um modelo."),
        ({"route-2": "nobody/knows"}, "nobody/knows"),
        ({"route-2": A}, "mesmo modelo"),
        ({"label-2": "a"}, "se chamam"),
        ({"weight-1": "0"}, "1"),
        ({"weight-1": "muito"}, "número"),
    ]
    for fields, words in cases:
        answer = bob.post("/app/experimentos/novo/", FORM | fields)
        page = answer.content.decode()
        assert answer.status_code == 200 and words in page, fields
        assert 'role="alert"' in page and ('value="70"' in page or "weight-1" in fields), fields
    # A refusal stands beside its row, also where a row between was left empty.
    page = bob.post("/app/experimentos/novo/", FORM | {"route-4": A}).content.decode()
    assert page.index("mesmo modelo") > page.index('name="route-4"')
    assert not Experiment.everywhere.exists()


def test_it_refuses_a_second_one_on_the_same_model_in_words(cast: Cast) -> None:
    make_experiment(cast, name="Primeiro")
    second = make_experiment(cast, is_running=False)
    page = as_(cast.bob).post(address(second, "iniciar/"), follow=True).content.decode()
    assert "“Primeiro” já divide as chamadas a acme/big" in page
    second.refresh_from_db()
    assert second.status == "draft"


def test_it_changes_and_deletes_only_drafts(cast: Cast) -> None:
    bob = as_(cast.bob)
    running = make_experiment(cast)
    for act in ("mudar/", "excluir/"):
        page = bob.post(address(running, act), FORM, follow=True).content.decode()
        assert "Menor?" in page and ("fixos desde o início" in page or "já está em andamento" in page)
    assert bob.get(address(running, "mudar/")).status_code == 302
    draft = make_experiment(cast, is_running=False)
    assert bob.post(address(draft, "excluir/"))["Location"] == "/app/experimentos/"
    assert list(Experiment.everywhere.all()) == [running]


@pytest.mark.parametrize("role", list(Role))
def test_each_role_sees_the_results_and_only_builders_act(cast: Cast, role: Role) -> None:
    running, draft = make_experiment(cast), make_experiment(cast, is_running=False)
    Membership.everywhere.filter(user=cast.bob).update(role=role)
    bob, may_act = as_(cast.bob), role != Role.FINANCE
    make_calls(cast, running)
    for experiment, button in ((running, "Encerrar experimento"), (draft, "Iniciar")):
        page = bob.get(address(experiment))
        assert page.status_code == 200 and (button in page.content.decode()) is may_act
    assert ("/app/experimentos/novo/" in bob.get("/app/experimentos/").content.decode()) is may_act
    assert bob.get(address(running, "resultados.csv")).status_code == 200
    assert bob.get("/app/experimentos/novo/").status_code == (200 if may_act else 403)
    assert bob.post("/app/experimentos/novo/", FORM).status_code == (302 if may_act else 403)
    for experiment, act in ((draft, "mudar/"), (draft, "excluir/"), (running, "encerrar/")):
        assert bob.post(address(experiment, act), FORM).status_code == (302 if may_act else 403), act
        assert bob.get(address(experiment, act)).status_code in (403, 404, 405) or act == "mudar/"
    running.refresh_from_db()
    assert running.status == ("ended" if may_act else "running")


def test_a_stranger_finds_nothing(cast: Cast) -> None:
    running, draft = make_experiment(cast, name="segredo"), make_experiment(cast, name="segredo", is_running=False)
    platform = experiments.draft_experiment(None, name="segredo", model=B, arms=[ArmDraft(A), ArmDraft(B)], by=None)
    experiments.start_experiment(platform)
    charlie = as_(cast.charlie)
    assert "segredo" not in charlie.get("/app/experimentos/").content.decode()
    for experiment in (running, draft, platform):
        for act in ("", "mudar/", "resultados.csv"):
            assert charlie.get(address(experiment, act)).status_code == 404, act
        for act in ("mudar/", "iniciar/", "encerrar/", "excluir/"):
            assert charlie.post(address(experiment, act), FORM).status_code == 404, act
    assert [found.status for found in Experiment.everywhere.order_by("pk")] == ["running", "draft", "running"]
    # The platform's own is not Acme's either, however many of Acme's calls it splits.
    assert as_(cast.alice).get(address(platform)).status_code == 404


def test_hostile_names_stay_text(cast: Cast) -> None:
    experiment = make_experiment(cast, name=HOSTILE, label=HOSTILE[:40])
    make_calls(cast, experiment)
    bob = as_(cast.bob)
    for url in ("/app/experimentos/", address(experiment), "/app/experimentos/novo/?modelo=" + HOSTILE):
        page = bob.get(url).content.decode()
        assert "<script>alert" not in page and "&lt;script&gt;alert" in page, url
    page = bob.post("/app/experimentos/novo/", FORM | {"name": HOSTILE, "model": HOSTILE, "label-1": HOSTILE[:40]}).content.decode()
    assert "<script>alert" not in page
    draft = make_experiment(cast, name=HOSTILE, is_running=False)
    for url in (address(draft), address(draft, "mudar/")):
        assert "<script>alert" not in bob.get(url).content.decode()


def test_it_writes_a_sheet_that_adds_up_and_runs_nothing(cast: Cast) -> None:
    experiment = make_experiment(cast, label="=1+1")
    make_calls(cast, experiment)
    answer = as_(cast.bob).get(address(experiment, "resultados.csv"))
    assert answer["Content-Disposition"] == f'attachment; filename="experimento-{experiment.pk}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode().lstrip("\ufeff")), delimiter=";"))
    assert [row["Lado"] for row in rows] == ["A", "'=1+1"]
    assert [row["Custo total (R$)"] for row in rows] == ["1,234567892", "0,000000000"]
    assert [row["Chamadas"] for row in rows] == ["2", "1"]
    assert (rows[0]["Custo médio por chamada (R$)"], rows[1]["Custo médio por chamada (R$)"]) == ("0,617283946", "")
    assert (rows[0]["Avaliações boas"], rows[1]["Erros (%)"], rows[0]["Duração p50 (ms)"]) == ("1", "100,00", "1310")
    assert None not in rows[0] and None not in rows[1]


def test_it_warns_of_a_model_that_left_and_of_too_many_calls(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = make_experiment(cast)
    bob = as_(cast.bob)
    Route.objects.filter(name=B).update(is_active=False)
    assert "saiu do catálogo" in bob.get(address(experiment)).content.decode()
    monkeypatch.setattr("gateway.experiment_views.results_of", lambda experiment: None)
    page = bob.get(address(experiment)).content.decode()
    assert "Chamadas demais para somar agora" in page and "Encerrar experimento" in page
    assert bob.get(address(experiment, "resultados.csv"))["Location"] == address(experiment)


def test_its_pages_speak_portuguese(cast: Cast) -> None:
    experiment = make_experiment(cast)
    make_calls(cast, experiment)
    bob = as_(cast.bob)
    for url in ("/app/experimentos/", "/app/experimentos/novo/", address(experiment)):
        text = re.sub(r"<[^>]+>|model:|session_id|generation", " ", bob.get(url).content.decode())
        assert not re.search(r"\b(required|optional|experiment|weight|running|draft|save)\b", text, re.IGNORECASE), url
