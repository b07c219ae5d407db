"""The admin over routing: rules that make sense, fallbacks, circuits by hand, and what would happen to a call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from gateway import admin_health
from gateway.circuit_reports import read_circuits
from gateway.histogram import BUCKETS, place_of
from gateway.models import Credential, Deployment, DeploymentVitals, Fallback, OwnKey, Route, RoutingRule, RuleStep
from gateway.secrets import seal
from tests.make import make_organization, make_price, make_provider, make_route
from tokia import clock

pytestmark = pytest.mark.django_db
EXPLAIN = "/admin/gateway/routingrule/explicar/"


@pytest.fixture
def staff(db: None) -> Client:
    user = User.objects.create(email="root@example.com.br", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def routes() -> dict[str, Route]:
    """Two priced models; the first at two providers."""
    first = make_route(name="a/first", provider=make_provider(slug="uno"))
    Deployment.objects.create(route=first, provider=make_provider(slug="duo"), upstream_model="first-too", priority=2)
    second = make_route(name="b/second", provider=make_provider(slug="tres"), capabilities=["json"])
    make_price(route=first)
    make_price(route=second, units={"input": "1", "output": "3"})
    return {"first": first, "second": second}


def rule_form(name: str, steps: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    form: dict[str, Any] = {
        "name": name, "display_name": "Regra", "description": "", "policy": "list", "is_active": "on",
        "steps-TOTAL_FORMS": len(steps), "steps-INITIAL_FORMS": 0, **fields,
    }  # fmt: skip
    for place, step in enumerate(steps):
        form |= {f"steps-{place}-{name}": value for name, value in {"budget_below_ms": "", **step}.items()}
    return form


def add_rule(staff: Client, *steps: dict[str, Any], name: str = "tokia/teste", **fields: Any) -> tuple[int, str]:
    answer = staff.post(reverse("admin:gateway_routingrule_add"), rule_form(name, list(steps), **fields), follow=True)
    return RoutingRule.objects.filter(name=name).count(), answer.content.decode()


def test_it_keeps_a_rule_with_its_steps_and_shows_them_in_order(staff: Client, routes: dict[str, Route]) -> None:
    steps = ({"position": 2, "route": routes["second"].pk}, {"position": 1, "route": routes["first"].pk, "budget_below_ms": 2_000})
    saved, text = add_rule(staff, *steps)
    assert saved == 1 and "será pulado" not in text
    listed = staff.get(reverse("admin:gateway_routingrule_changelist")).content.decode()
    assert "a/first (&lt; 2000 ms) → b/second" in listed


@pytest.mark.parametrize(
    ("steps", "fields", "refusal"),
    [
        ([], {}, "precisa de ao menos um modelo"),
        ([{"position": 1, "budget_below_ms": 0}], {}, "abaixo de 0 ms"),
        ([{"position": 1}, {"position": 1, "other": True}], {}, "mesma ordem"),
        ([{"position": 1}], {"name_": "meu/nome"}, ""),
        ([{"position": 1, "embeds": True}], {}, "não é um modelo de conversa"),
    ],
    ids=["no steps", "never", "same place", "odd name", "embeddings"],
)
def test_it_refuses_a_rule_that_makes_no_sense(
    staff: Client, routes: dict[str, Route], steps: list[dict[str, Any]], fields: dict[str, str], refusal: str
) -> None:
    embeddings = make_route(name="e/embed", surface="embeddings")
    given = [
        {**{name: value for name, value in step.items() if name not in ("other", "embeds")},
         "route": embeddings.pk if step.get("embeds") else routes["second" if step.get("other") else "first"].pk}
        for step in steps
    ]  # fmt: skip
    saved, text = add_rule(staff, *given, name=fields.get("name_", "tokia/teste"))
    assert saved == 0 and refusal in text


def test_it_needs_no_steps_for_the_automatic_policy_nor_for_a_rule_at_rest(staff: Client) -> None:
    assert add_rule(staff, name="tokia/auto-teste", policy="auto")[0] == 1
    assert add_rule(staff, name="tokia/em-repouso", is_active="")[0] == 1


def test_it_warns_of_models_that_would_be_passed_over(staff: Client, routes: dict[str, Route]) -> None:
    unpriced = make_route(name="c/unpriced")
    resting = make_route(name="d/resting", is_active=False)
    Credential.objects.filter(provider__slug="tres").update(is_active=False)
    chosen = [unpriced, resting, routes["second"], routes["first"]]
    saved, text = add_rule(staff, *({"position": place, "route": route.pk} for place, route in enumerate(chosen, 1)))
    assert saved == 1
    for expected in ("c/unpriced está sem preço", "d/resting está inativo", "b/second não tem provedor ativo"):
        assert expected in text
    assert "a/first está" not in text and "a/first não tem" not in text


def route_form(route: Route, fallbacks: list[dict[str, Any]]) -> dict[str, Any]:
    form: dict[str, Any] = {
        "name": route.name, "aliases": "", "display_name": route.display_name, "maker": route.maker, "surface": route.surface,
        "context_tokens": route.context_tokens, "output_tokens_max": 1_000, "output_tokens_default": 500,
        "token_factor_percent": 100, "capabilities": "tools", "is_active": "on", "deployments-TOTAL_FORMS": 0,
        "deployments-INITIAL_FORMS": 0, "fallbacks-TOTAL_FORMS": len(fallbacks), "fallbacks-INITIAL_FORMS": 0,
    }  # fmt: skip
    for place, fallback in enumerate(fallbacks):
        form |= {f"fallbacks-{place}-{name}": value for name, value in fallback.items()}
    return form


def test_it_keeps_fallbacks_with_their_kinds_on_the_models_page(staff: Client, routes: dict[str, Route]) -> None:
    url = reverse("admin:gateway_route_change", args=[routes["first"].pk])
    wanted = {"position": 1, "target": routes["second"].pk, "kinds": ["outage", "context_window"]}
    assert staff.post(url, route_form(routes["first"], [wanted])).status_code == 302
    assert Fallback.objects.get().kinds == ["outage", "context_window"]
    page = staff.get(url).content.decode()
    assert "substitutos" in page.lower() and "Não cabe no contexto" in page
    itself = staff.post(url, route_form(routes["first"], [{"position": 2, "target": routes["first"].pk, "kinds": ["outage"]}]))
    assert itself.status_code == 200 and "substituto de si mesmo" in itself.content.decode()
    other = make_route(name="e/embed", surface="embeddings")
    elsewhere = staff.post(url, route_form(routes["first"], [{"position": 2, "target": other.pk, "kinds": ["outage"]}]))
    assert "atende em outro endereço" in elsewhere.content.decode()
    assert Fallback.objects.count() == 1


# ── Health ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def calm_circuits() -> Iterator[None]:
    """No circuit of an earlier test, nor of this one afterwards."""
    from django.conf import settings
    from redis import Redis

    from gateway import circuit_board

    def clear() -> None:
        Redis.from_url(settings.VALKEY_URL).delete(circuit_board.BOARD, circuit_board.FORCED, circuit_board.COUNTS)

    clear()
    yield
    clear()


def test_it_shows_how_deployments_do_and_opens_and_closes_circuits(
    staff: Client, routes: dict[str, Route], calm_circuits: None
) -> None:
    deployment = Deployment.objects.get(provider__slug="uno")
    counts = [0] * BUCKETS
    counts[place_of(400)] = 9
    DeploymentVitals.objects.create(
        begins_at=clock.now() - dt.timedelta(minutes=1), span_seconds=60, deployment_id=deployment.pk, provider_slug="uno",
        route_name="a/first", succeeded=9, failed=1, first_token=counts, total=counts,
    )  # fmt: skip
    for model, row in (("deployment", deployment), ("provider", deployment.provider)):
        url = reverse(f"admin:gateway_{model}_changelist")
        text = staff.get(url).content.decode().replace("\xa0", " ")
        assert "10% de 10" in text and "Fechado" in text and " ms / " in text, model
        page = staff.get(reverse(f"admin:gateway_{model}_change", args=[row.pk])).content.decode().replace("\xa0", " ")
        assert "10% de 10" in page and "Fechado" in page, model
        opened = staff.post(url, {"action": "open_circuits", "_selected_action": [row.pk]}, follow=True).content.decode()
        assert "Circuitos abertos por 10 minutos: 1." in opened and "Aberto à mão" in opened.replace("\xa0", " ")
        [(circuit, state)] = [(circuit, state) for circuit, state in read_circuits().items() if circuit[0] == deployment.pk]
        assert (state.state, state.forced) == ("open", "open") and 590 < state.forced_seconds_left <= 600
        assert circuit[1] == Credential.objects.get(provider__slug="uno").pk
        closed = staff.post(url, {"action": "close_circuits", "_selected_action": [row.pk]}, follow=True).content.decode()
        assert "Circuitos fechados: 1." in closed
        assert all(state.state == "closed" for state in read_circuits().values())


def test_it_lets_nobody_move_circuits_who_may_only_look(routes: dict[str, Route], calm_circuits: None) -> None:
    user = User.objects.create(email="olha@example.com.br", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_deployment"))
    client = Client()
    client.force_login(user)
    url = reverse("admin:gateway_deployment_changelist")
    assert client.get(url).status_code == 200
    client.post(url, {"action": "open_circuits", "_selected_action": list(Deployment.objects.values_list("pk", flat=True))})
    assert read_circuits() == {}
    assert client.get(EXPLAIN).status_code in (302, 403)


def test_it_says_that_valkey_is_away(staff: Client, routes: dict[str, Route], monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.circuit_reports import CircuitsUnavailable

    def refuse(*_: Any) -> None:
        raise CircuitsUnavailable("O Valkey não respondeu; o circuito ficou como estava.")

    monkeypatch.setattr(admin_health, "force_circuit", refuse)
    url = reverse("admin:gateway_deployment_changelist")
    text = staff.post(url, {"action": "open_circuits", "_selected_action": [Deployment.objects.first().pk]}, follow=True)  # type: ignore[union-attr]
    assert "O Valkey não respondeu" in text.content.decode()


# ── Explain ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def explain(staff: Client, **fields: Any) -> str:
    answer = staff.get(EXPLAIN, {"characters": 400, "output_tokens": 500, "tools": 0, **fields}, follow=True)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().replace("\xa0", " ").split())


def test_it_explains_a_rule_by_the_real_planning(staff: Client, routes: dict[str, Route], calm_circuits: None) -> None:
    rule = RoutingRule.objects.create(name="tokia/teste", display_name="Teste")
    RuleStep.objects.create(rule=rule, position=1, route=routes["first"])
    RuleStep.objects.create(rule=rule, position=2, route=routes["second"])
    text = explain(staff, model="tokia/teste")
    assert text.index("Uno") < text.index("Duo") < text.index("Tres")
    assert 'Escolha por</dt><dd class="font-semibold">tokia/teste' in text
    assert "qualquer falha" in text and "R$ 10,00 / R$ 30,00" in text and "sem medição" in text
    assert "sandbox-" not in text, "no secret of a provider"


def test_it_explains_what_would_be_passed_over(staff: Client, routes: dict[str, Route], calm_circuits: None) -> None:
    text = explain(staff, model="a/first", needs_zero_retention="on")
    assert "A chamada seria recusada: 404" in text
    provider = Deployment.objects.get(provider__slug="duo").provider
    provider.has_zero_retention = True
    provider.save()
    text = explain(staff, model="a/first", needs_zero_retention="on")
    assert "a/first em uno</span>: ele guarda o que recebe" in text and "Duo" in text
    assert "não usa ferramentas: seria pulado" in explain(staff, model="b/second", tools=2)
    assert "não cabe no contexto: seria pulado" in explain(staff, model="b/second", characters=10_000_000)
    assert "404 model_not_found" in explain(staff, model="<script>alert(1)</script>")
    assert "<script>alert" not in explain(staff, model="<script>alert(1)</script>")


def test_it_explains_with_an_organizations_own_keys(staff: Client, routes: dict[str, Route], calm_circuits: None) -> None:
    organization = make_organization()
    OwnKey.everywhere.create(
        organization=organization, provider=Deployment.objects.get(provider__slug="duo").provider, label="nossa", last4="zzzz",
        secret=seal(b"sk-of-the-customer", organization_id=organization.pk), use=OwnKey.Use.FIRST,
    )  # fmt: skip
    text = explain(staff, model="a/first", organization=organization.pk)
    assert "chave própria do cliente" in text and "sk-of-the-customer" not in text
    assert "Não há empresa com este número" in explain(staff, model="a/first", organization=987_654)


def test_it_opens_empty_and_lists_feedback_without_its_words(staff: Client) -> None:
    assert "Simular" in staff.get(EXPLAIN, follow=True).content.decode()
    assert staff.get(reverse("admin:gateway_feedback_changelist")).status_code == 200
