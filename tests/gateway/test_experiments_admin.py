"""The platform's own experiments in the admin, and customers' as staff may see them."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import Organization, User
from gateway import experiments
from gateway.experiments import ArmDraft
from gateway.models import Experiment, ExperimentArm, Route
from tests.make import make_organization, make_price, make_provider, make_route, make_usage, make_wallet

A, B = "acme/big", "acme/small"
LIST = "admin:gateway_experiment_changelist"


@pytest.fixture
def staff(db: None) -> Client:
    cache.clear()
    provider = make_provider(slug="acme")
    for name in (A, B):
        make_price(route=make_route(name=name, provider=provider, upstream_model=name))
    user = User.objects.create(email="root@example.com.br", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    return client


def form(*arms: tuple[str, str, str], **fields: str) -> dict[str, str]:
    data = {"name": "Todos no menor?", "model": A, "arms-TOTAL_FORMS": str(len(arms)), "arms-INITIAL_FORMS": "0", **fields}
    for number, (label, name, weight) in enumerate(arms):
        route = Route.objects.get(name=name)
        data |= {f"arms-{number}-label": label, f"arms-{number}-route": str(route.pk), f"arms-{number}-weight": weight}
    return data


def change(experiment: Experiment) -> str:
    return reverse("admin:gateway_experiment_change", args=[experiment.pk])


def act(experiment: Experiment, name: str) -> str:
    return f"/admin/gateway/experiment/{experiment.pk}/{name}/"


def draft_of(organization: Organization | None) -> Experiment:
    return experiments.draft_experiment(organization, name="Deles", model=A, arms=[ArmDraft(A), ArmDraft(B)], by=None)


def test_staff_draft_start_watch_and_end_one_for_everybody(staff: Client) -> None:
    posted = staff.post(reverse("admin:gateway_experiment_add"), form(("Atual", A, "90"), ("Menor", B, "10")))
    assert posted.status_code == 302, posted.content.decode()
    experiment = Experiment.everywhere.get()
    assert (experiment.organization, experiment.status) == (None, "draft")
    assert experiment.created_by is not None and experiment.created_by.email == "root@example.com.br"
    listed = staff.get(reverse(LIST) + "?q=menor").content.decode()
    assert "Plataforma" in listed and "Menor: acme/small (10)" in listed
    confirm = staff.get(act(experiment, "iniciar")).content.decode()
    assert "Atual: acme/big (90)" in confirm
    experiment.refresh_from_db()
    assert experiment.status == "draft"  # looking starts nothing
    assert staff.post(act(experiment, "iniciar")).status_code == 302
    experiment.refresh_from_db()
    assert experiment.status == "running"
    for arm in ExperimentArm.everywhere.filter(experiment=experiment):
        make_usage(wallet=make_wallet(), gross_nanos=1_234_567_891, experiment_arm_id=arm.pk, route_name=arm.route.name)
    page = staff.get(change(experiment)).content.decode()
    assert 'title="R$\xa01,234567891"' in page and "ainda não dá para dizer" in page
    assert 'name="name"' not in page and 'name="arms-0-weight"' not in page  # fixed
    assert staff.post(act(experiment, "encerrar")).status_code == 302
    experiment.refresh_from_db()
    assert experiment.status == "ended"
    assert staff.post(act(experiment, "encerrar")).status_code == 403


def test_it_refuses_what_the_verbs_refuse(staff: Client) -> None:
    add = reverse("admin:gateway_experiment_add")
    make_price(route=make_route(name="acme/vectors", surface=Route.Surface.EMBEDDINGS))
    cases = [
        (form(("A", A, "50")), "de 2 a 4 lados"),
        (form(("A", A, "50"), ("B", A, "50")), "mesmo modelo"),
        (form(("A", A, "50"), ("B", "acme/vectors", "50")), "não é um modelo de chat"),
        (form(("A", A, "50"), ("B", B, "1001")), "1 a 1000"),
        (form(("A", A, "50"), ("B", B, "50"), model="nobody/knows"), "não existe"),
    ]
    for data, words in cases:
        answer = staff.post(add, data)
        assert answer.status_code == 200 and words in answer.content.decode(), words
    assert not Experiment.everywhere.exists()


def test_staff_see_customers_experiments_and_may_only_end_them(staff: Client) -> None:
    experiment = draft_of(make_organization(name="Acme"))
    page = staff.get(change(experiment)).content.decode()
    assert "Acme" in page and 'name="name"' not in page
    assert staff.post(change(experiment), form(("A", A, "1"), ("B", B, "1"), name="Nosso")).status_code == 403
    assert "/iniciar/" not in page and "/encerrar/" not in page
    assert staff.post(act(experiment, "iniciar")).status_code == 403  # only its company starts it
    delete = reverse("admin:gateway_experiment_delete", args=[experiment.pk])
    assert staff.post(delete, {"post": "yes"}).status_code == 403
    experiments.start_experiment(experiment)
    assert staff.post(act(experiment, "encerrar")).status_code == 302
    experiment.refresh_from_db()
    assert (experiment.name, experiment.status) == ("Deles", "ended")


def test_a_draft_of_the_platform_may_go(staff: Client) -> None:
    experiment = draft_of(None)
    delete = reverse("admin:gateway_experiment_delete", args=[experiment.pk])
    assert staff.post(delete, {"post": "yes"}).status_code == 302
    assert not Experiment.everywhere.exists()


def test_whoever_only_looks_starts_and_ends_nothing(staff: Client) -> None:
    from django.contrib.auth.models import Permission

    experiment = draft_of(None)
    looker = User.objects.create(email="look@example.com.br", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_experiment"))
    client = Client()
    client.force_login(looker)
    assert client.get(change(experiment)).status_code == 200
    for name in ("iniciar", "encerrar"):
        assert client.post(act(experiment, name)).status_code == 403
    experiment.refresh_from_db()
    assert experiment.status == "draft"
