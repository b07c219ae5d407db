"""Pages of budgets: what they show, what each role may do, what they refuse."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.projects import create_project
from billing import budgets, holds
from billing.models import Budget, BudgetSpend
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.make import make_call, make_key, make_session, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def as_(client: Client, person: object) -> Client:
    client.force_login(person)  # type: ignore[arg-type]
    return client


def text(client: Client, url: str) -> str:
    return client.get(url).content.decode().replace("\xa0", " ")


def test_it_shows_what_is_spent_reserved_and_left_and_when_it_renews(client: Client, cast: Cast) -> None:
    wallet, session = make_wallet(organization=cast.acme, brl="100"), make_session()
    site = create_project(cast.acme, by=cast.alice, name="Site")
    budget = budgets.set_budget(
        cast.acme,
        by=cast.alice,
        scope="project",
        subject_id=site.pk,
        window="month",
        limit_nanos=20 * BRL,
        alert_percents=[50, 80, 100],
    )
    for amount, is_over in ((5, True), (3, False)):
        call = clock.new_id()
        holds.place_hold(session, call_id=call, wallet=wallet, amount_nanos=amount * BRL, budgets=[budget.pk])
        if is_over:
            holds.settle([make_call(wallet=wallet, gross_nanos=4 * BRL, id_=call, project_id=site.pk)])
    page = text(as_(client, cast.alice), "/app/orcamentos/")
    for part in (
        "Site",
        "R$ 4,00",
        "de R$ 20,00 por mês",
        "R$ 3,00",
        "R$ 13,00",
        "20%",
        "Recusa chamadas",
        "Avisa em 50%, 80% e 100%.",
    ):
        assert part in page, part
    [state] = budgets.states_of([budget])
    assert f"{state.renews_on:%d/%m/%Y}" in page
    budgets.change_budget(budget, limit_nanos=4 * BRL, is_hard=True, alert_percents=[])
    page = text(client, "/app/orcamentos/")
    assert "Atingido: recusando chamadas" in page and "Sem avisos." in page
    assert "Limite" not in text(client, "/app/chaves/")  # a project's, not a key's


def test_it_makes_one_of_each_scope(client: Client, cast: Cast) -> None:
    make_wallet(organization=cast.acme)
    site = create_project(cast.acme, by=cast.alice, name="Site")
    key, _ = make_key(organization=cast.acme, user=cast.bob)
    as_(client, cast.carol)  # finance may
    data = {"limit": "1.234,56", "window": "week", "is_hard": "soft", "alerts": "50; 100%"}
    for scope, extra in (
        ("organization", {}), ("project", {"subject": site.pk}), ("member", {"subject": cast.bob.pk}), ("key", {"subject": key.pk}),
        ("tag", {"tag": "relatorios"}),
    ):  # fmt: skip
        page = client.post(f"/app/orcamentos/novo/?de={scope}", {**data, **extra}, follow=True).content.decode()
        assert "Orçamento criado" in page, scope
    made = Budget.everywhere.filter(organization=cast.acme).order_by("pk")
    assert [(budget.scope, budget.subject_id, budget.tag) for budget in made] == [
        ("organization", 0, ""), ("project", site.pk, ""), ("member", cast.bob.pk, ""), ("key", key.pk, ""),
        ("tag", 0, "relatorios"),
    ]  # fmt: skip
    assert {(b.limit_nanos, b.window, b.is_hard, tuple(b.alert_percents), b.created_by) for b in made} == {
        (1_234_560_000_000, "week", False, (50, 100), cast.carol)
    }
    page = text(client, "/app/orcamentos/")
    assert all(name in page for name in ("Empresa inteira", "Site", "Bob", key.name, "relatorios")) and page.count("Só avisa") == 5


def test_it_refuses_what_cannot_be(client: Client, cast: Cast) -> None:
    foreign, _ = make_key(organization=cast.globex, user=cast.charlie)
    as_(client, cast.alice)
    fine = {"limit": "10", "window": "month", "is_hard": "hard", "alerts": "80, 100"}
    client.post("/app/orcamentos/novo/", fine)
    for query, wrong in (
        ("", fine), ("?de=key", {**fine, "subject": foreign.pk}), ("?de=project", fine), ("?de=tag", {**fine, "tag": " "}),
        ("?de=tag", {**fine, "tag": "relatórios"}),
        ("?de=tag", {**fine, "tag": "x", "limit": "0"}), ("?de=tag", {**fine, "tag": "x", "limit": "-5"}),
        ("?de=tag", {**fine, "tag": "x", "limit": "muito"}), ("?de=tag", {**fine, "tag": "x", "limit": "10.000.000,01"}),
        ("?de=tag", {**fine, "tag": "x", "alerts": "0"}), ("?de=tag", {**fine, "tag": "x", "alerts": "oitenta"}),
        ("?de=tag", {**fine, "tag": "x", "alerts": "1 2 3 4 5 6"}), ("?de=tag", {**fine, "tag": "x", "window": "year"}),
    ):  # fmt: skip
        answer = client.post(f"/app/orcamentos/novo/{query}", wrong)
        assert answer.status_code == 200 and 'role="alert"' in answer.content.decode(), (query, wrong)
    assert Budget.everywhere.count() == 1
    assert "Já existe um orçamento" in client.post("/app/orcamentos/novo/", fine).content.decode()


def test_it_changes_and_ends_a_budget(client: Client, cast: Cast) -> None:
    make_wallet(organization=cast.acme)
    budget = budgets.set_budget(cast.acme, by=None, scope="organization", window="month", limit_nanos=10 * BRL)
    as_(client, cast.carol)
    url = f"/app/orcamentos/{budget.pk}/mudar/"
    page = text(client, url)
    assert 'value="10,00"' in page and 'value="80, 100"' in page and "Renova em" in page
    assert "alterado" in client.post(url, {"limit": "25,50", "is_hard": "soft", "alerts": ""}, follow=True).content.decode()
    budget.refresh_from_db()
    assert (budget.limit_nanos, budget.is_hard, budget.alert_percents) == (25_500_000_000, False, [])
    assert client.post(url, {"limit": "", "is_hard": "hard"}).status_code == 200
    assert client.get(f"/app/orcamentos/{budget.pk}/encerrar/").status_code == 405
    client.post(f"/app/orcamentos/{budget.pk}/encerrar/")
    budget.refresh_from_db()
    assert not budget.is_active and client.get(url).status_code == 404
    assert "Nenhum orçamento" in text(client, "/app/orcamentos/")


def test_a_developer_sees_and_changes_nothing(client: Client, cast: Cast) -> None:
    budget = budgets.set_budget(cast.acme, by=None, scope="organization", window="month", limit_nanos=10 * BRL)
    as_(client, cast.bob)
    page = text(client, "/app/orcamentos/")
    assert "R$ 10,00" in page and "Mudar" not in page and "Criar orçamento" not in page and "Encerrar" not in page
    for url in ("/app/orcamentos/novo/", f"/app/orcamentos/{budget.pk}/mudar/", f"/app/orcamentos/{budget.pk}/encerrar/"):
        assert client.post(url, {"limit": "1"}).status_code == 403
    budget.refresh_from_db()
    assert budget.is_active and budget.limit_nanos == 10 * BRL


def test_a_higher_limit_tells_again_only_what_is_reached_again(cast: Cast) -> None:
    make_wallet(organization=cast.acme)
    budget = budgets.set_budget(cast.acme, by=None, scope="organization", window="month", limit_nanos=10 * BRL)
    BudgetSpend.everywhere.filter(budget=budget).update(alerted_percent=100)
    budgets.change_budget(budget, limit_nanos=20 * BRL, is_hard=True, alert_percents=[80])
    assert BudgetSpend.everywhere.get(budget=budget).alerted_percent == 0


def test_the_page_of_five_hundred_asks_few_questions(client: Client, cast: Cast, django_assert_max_num_queries: object) -> None:
    for number in range(30):
        Budget.everywhere.create(organization=cast.acme, scope="tag", tag=f"t{number}", window="day", limit_nanos=BRL)
    as_(client, cast.alice)
    with django_assert_max_num_queries(16):  # type: ignore[operator]
        assert client.get("/app/orcamentos/").content.decode().count("Etiqueta") >= 30
