"""`/status/`: right words from what was measured, for everybody, whatever is away; never a volume, never a customer."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import DatabaseError
from django.test import Client
from pytest_django import Settings

from billing.models import Charge
from billing.money import BRL
from gateway.circuit_reports import CircuitState
from gateway.histogram import BUCKETS, place_of
from gateway.models import Deployment, DeploymentVitals, Provider
from tests.make import make_organization, make_provider, make_route, make_usage, make_wallet
from tokia import clock, status_measure, status_report
from tokia.tasks import measure_status

HOUR, DAY = 3_600, 86_400


@pytest.fixture(autouse=True)
def home(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    settings.TOKIA_HOME = tmp_path
    settings.GATEWAY_URL = "http://127.0.0.1:9"
    cache.delete(status_report.KEY)
    status_report.forget()
    monkeypatch.setattr(status_measure, "_api_state", lambda measured: status_measure.OK)
    yield tmp_path
    cache.delete(status_report.KEY)
    status_report.forget()


def make_deployment(slug: str, route_name: str = "openai/gpt-x", *, priority: int = 1) -> Deployment:
    provider = Provider.objects.filter(slug=slug).first() or make_provider(slug=slug)
    from gateway.models import Route

    if (route := Route.objects.filter(name=route_name).first()) is None:
        return make_route(name=route_name, provider=provider).deployments.get()
    return Deployment.objects.create(route=route, provider=provider, upstream_model="m", priority=priority)


def note(
    deployment: Deployment, *, span: int = 60, ago: dt.timedelta = dt.timedelta(), good: int = 0, bad: int = 0, ms: int = 400
) -> None:
    counts = [0] * BUCKETS
    counts[place_of(ms)] = good
    at = clock.now() - ago
    begins = dt.datetime.fromtimestamp(at.timestamp() // span * span, dt.UTC)
    DeploymentVitals.objects.update_or_create(
        span_seconds=span, begins_at=begins, deployment_id=deployment.pk,
        defaults={"provider_slug": deployment.provider.slug, "route_name": deployment.route.name, "succeeded": good, "failed": bad,
                  "first_token": counts, "total": counts},
    )  # fmt: skip


def seen() -> tuple[str, dict[str, Any]]:
    """The page's text and the JSON, after the task ran."""
    measure_status()
    page = Client().get("/status/")
    assert page.status_code == 200
    return " ".join(page.content.decode().replace("\xa0", " ").split()), Client().get("/status.json").json()


def find(report: dict[str, Any], kind: str, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in report[kind] if item["id"] == id_)
    return found


@pytest.mark.django_db
def test_it_says_that_all_is_well() -> None:
    deployment = make_deployment("openai")
    for span in (60, HOUR, DAY):
        note(deployment, span=span, good=100)
    text, report = seen()
    assert "Todos os sistemas operando" in text
    assert (report["state"], report["headline"]) == ("ok", "Todos os sistemas operando")
    openai = find(report, "providers", "openai")
    assert (openai["state"], openai["day"]["uptime_bps"], openai["month"]["uptime_bps"]) == ("ok", 10_000, 10_000)
    assert abs(openai["day"]["first_token_p50_ms"] - 400) < 60
    assert (len(openai["hours"]), len(openai["days"])) == (24, 30)
    assert find(report, "models", "openai/gpt-x")["day"]["uptime_bps"] == 10_000


@pytest.mark.django_db
def test_it_turns_when_a_provider_dies_and_back_when_it_recovers() -> None:
    dead, alive = make_deployment("openai"), make_deployment("groq", priority=2)
    for deployment in (dead, alive):
        for span in (60, HOUR, DAY):
            note(deployment, span=span, good=100)
    assert seen()[1]["state"] == "ok"
    note(dead, good=90, bad=10)
    text, report = seen()
    assert "Lentidão em Openai" in text and find(report, "providers", "openai")["state"] == "slow"
    note(dead, bad=10)
    text, report = seen()
    assert "Openai fora do ar" in text and ">Fora do ar</span>" in text
    assert find(report, "providers", "groq")["state"] == "ok"
    assert find(report, "models", "openai/gpt-x")["state"] == "ok", "the other provider answers for it"
    note(dead, good=50)
    assert seen()[1]["state"] == "ok"


@pytest.mark.django_db
def test_it_stays_out_while_its_circuits_are_open_and_nobody_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dead, alive = make_deployment("openai"), make_deployment("groq", priority=2)
    for deployment in (dead, alive):
        note(deployment, span=HOUR, good=100)
    circuits = {
        (dead.pk, 1): CircuitState("open", "outage"), (dead.pk, 2): CircuitState("half_open"),
        (alive.pk, 3): CircuitState("closed"), (alive.pk, 4): CircuitState("open"), (987_654, 1): CircuitState("open"),
    }  # fmt: skip
    monkeypatch.setattr(status_measure, "read_circuits", lambda: circuits)
    report = seen()[1]
    assert (find(report, "providers", "openai")["state"], find(report, "providers", "groq")["state"]) == ("down", "ok")
    assert report["headline"] == "Openai fora do ar"


@pytest.mark.django_db
def test_it_tells_slowness_by_the_first_token() -> None:
    deployment = make_deployment("openai")
    note(deployment, span=HOUR, good=1_000, ms=300)
    note(deployment, good=20, ms=4_000)
    text, _ = seen()
    assert "Lentidão em Openai" in text and ">Lento</span>" in text


@pytest.mark.django_db
def test_it_counts_a_models_time_by_its_best_provider() -> None:
    one, other = make_deployment("openai"), make_deployment("groq", priority=2)
    for hours in (1, 2):
        note(one, span=HOUR, ago=dt.timedelta(hours=hours), good=50, bad=50)
    note(other, span=HOUR, ago=dt.timedelta(hours=1), good=10)
    report = seen()[1]
    assert find(report, "models", "openai/gpt-x")["day"]["uptime_bps"] == 7_500
    assert find(report, "providers", "openai")["day"]["uptime_bps"] == 5_000
    bars = [bar["uptime_bps"] for bar in find(report, "providers", "openai")["hours"]]
    assert bars.count(5_000) == 2 and bars.count(None) == 22


@pytest.mark.django_db
def test_it_names_no_customer_and_no_volume_and_hides_what_nobody_asked() -> None:
    organization = make_organization(name="Segredo Comércio Ltda")
    make_usage(wallet=make_wallet(organization=organization), gross_nanos=BRL, overhead_us=840)
    deployment = make_deployment("openai")
    note(deployment, span=HOUR, good=73_219, bad=4_811)
    make_deployment("groq", "meta/llama-idle")
    text, report = seen()
    told = json.dumps(report)
    for secret in ("Segredo", "73219", "73.219", "4811", "4.811", "78030"):
        assert secret not in text and secret not in told, secret
    assert [item["id"] for item in report["providers"]] == ["openai"]
    assert "meta/llama-idle" in report["unmeasured"] and "Sem medição (2)" in text
    assert report["gateway"]["overhead_p50_ms"] == 0.84 and "0,84 ms" in text


@pytest.mark.django_db
def test_it_tells_pix_by_the_last_charges() -> None:
    wallet = make_wallet()

    def state() -> str:
        return str(find(status_measure.measure(), "components", "pix")["state"])

    assert state() == "unknown"
    for error, expected in (("", "ok"), ("recusada", "slow"), ("recusada", "slow")):
        Charge.everywhere.create(
            id=clock.new_id(), wallet=wallet, txid=f"tk{clock.new_id().hex}", amount_nanos=BRL, created_at=clock.now(),
            expires_at=clock.now(), bank_error=error, status=Charge.Status.PENDING,
        )  # fmt: skip
        assert state() == expected


@pytest.mark.django_db
def test_it_asks_the_database_nothing_for_a_view(django_assert_num_queries: Any) -> None:
    note(make_deployment("openai"), span=HOUR, good=1)
    measure_status()
    client = Client()
    client.cookies["sessionid"] = "somebody's"
    for path in ("/status/", "/status.json"):
        status_report.forget()
        with django_assert_num_queries(0):
            answer = client.get(path)
        assert answer["Cache-Control"] == "public, max-age=30"
        assert not answer.cookies
        assert ("Cookie" in answer.get("Vary", "")) is (path == "/status/"), "whose language is a cookie, and nothing else of it"
        assert "csrf" not in answer.content.decode().lower()


def test_it_stands_without_database_and_valkey(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No database at all in this test: a query would fail it."""

    def away() -> dict[str, Any]:
        raise DatabaseError

    assert "Ainda sem medição" in Client().get("/status/").content.decode()
    old = {"measured_at": (clock.now() - dt.timedelta(minutes=1)).isoformat(), "components": [], "providers": [], "models": []}
    cache.set(status_report.KEY, json.dumps(old))
    assert "Todos os sistemas operando" in Client().get("/status/").content.decode()
    assert json.loads((home / "status.json").read_text()) == old, "kept for the time without Valkey"
    cache.delete(status_report.KEY)
    status_report.forget()
    assert "Todos os sistemas operando" in Client().get("/status/").content.decode()
    monkeypatch.setattr(status_report, "measure", away)
    report = status_report.take_report()
    assert (find(report, "components", "api")["state"], report["providers"]) == ("down", [])
    assert "API e Painel fora do ar" in Client().get("/status/").content.decode()


def test_it_says_that_it_is_late(home: Path) -> None:
    old = {"measured_at": (clock.now() - dt.timedelta(hours=1)).isoformat(), "components": [], "providers": [], "models": []}
    (home / "status.json").write_text(json.dumps(old))
    text = Client().get("/status/").content.decode()
    assert "Medição atrasada" in text and "Todos os sistemas operando" not in text
    (home / "status.json").write_text("{broken")
    status_report.forget()
    assert Client().get("/status/").status_code == 200


@pytest.mark.django_db
def test_it_escapes_names() -> None:
    deployment = make_deployment("openai")
    Provider.objects.filter(slug="openai").update(name="<script>alert(1)</script>")
    note(deployment, span=HOUR, good=1)
    assert "<script>alert" not in seen()[0]


@pytest.mark.django_db
def test_it_shows_what_is_not_added_up_yet() -> None:
    """Hours and days are added up every few minutes; a new provider's first minutes show at once."""
    one, other = make_deployment("openai"), make_deployment("groq", priority=2)
    note(one, good=3, bad=1)
    note(one, good=1, ago=dt.timedelta(minutes=1))
    note(other, span=HOUR, good=10)
    note(other, good=1, bad=1)
    report = seen()[1]
    openai, groq = (find(report, "providers", slug) for slug in ("openai", "groq"))
    assert openai["hours"][-1]["uptime_bps"] in (8_000, 7_500), "the minute before may belong to the hour before"
    assert openai["days"][-1]["uptime_bps"] is not None or clock.now().hour == 0
    assert openai["day"]["uptime_bps"] == 8_000
    assert groq["hours"][-1]["uptime_bps"] == 10_000, "what was added up is not counted twice"
