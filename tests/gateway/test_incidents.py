"""Incidents: opened, told and resolved by staff; read on `/status/` and in the app, where nothing of staff is shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from gateway import incidents
from gateway.incidents import IncidentRefused
from gateway.models import Incident, IncidentUpdate
from tests.accounts.test_impersonation import make_staff
from tests.cast import PASSWORD, make_cast
from tokia import clock, status_measure, status_report

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A report of our own; nobody's gateway is asked."""
    settings.TOKIA_HOME = tmp_path
    monkeypatch.setattr(status_measure, "_api_state", lambda measured: status_measure.OK)
    cache.delete(status_report.KEY)
    status_report.forget()
    yield
    cache.delete(status_report.KEY)
    status_report.forget()


def make_incident(**fields: Any) -> Incident:
    given = {"title": "Anthropic com lentidão", "impact": "slow", "text": "Estamos olhando.", "by": "sofia@tokia.com.br", **fields}
    return incidents.open_incident(**given)


def shown() -> str:
    status_report.take_report()
    return Client().get("/status/").content.decode()


def test_it_is_told_on_the_status_page_and_in_the_app_until_it_is_resolved() -> None:
    cast = make_cast()
    client = Client()
    client.force_login(cast.alice)
    incident = make_incident(affects="modelos da Anthropic")
    page = shown()
    assert "Anthropic com lentidão" in page and "Investigando" in page and "Estamos olhando." in page
    assert "sofia@tokia.com.br" not in page
    assert "Todos os sistemas operando" not in page
    assert "Anthropic com lentidão, desde" in client.get("/app/").content.decode()
    incidents.update_incident(incident, status="monitoring", text="Voltou; seguimos olhando.", by="sofia@tokia.com.br")
    page = shown()
    assert page.index("Voltou; seguimos olhando.") < page.index("Estamos olhando."), "the newest first"
    incidents.update_incident(incident, status="resolved", text="Normal desde 15:02.", by="sofia@tokia.com.br")
    page = shown()
    assert "Resolvido" in page and "Normal desde 15:02." in page and "Todos os sistemas operando" in page
    assert "Anthropic com lentidão" not in client.get("/app/").content.decode()


def test_a_maintenance_alarms_nobody_before_it_begins() -> None:
    now = clock.now()
    make_incident(
        title="Troca de banco",
        impact="maintenance",
        starts_at=now + dt.timedelta(days=1),
        ends_at=now + dt.timedelta(days=1, hours=2),
    )
    page = shown()
    assert "Troca de banco" in page and "Programada" in page and "Todos os sistemas operando" in page


def test_it_refuses_what_makes_no_sense() -> None:
    now = clock.now()
    with pytest.raises(IncidentRefused):
        make_incident(ends_at=now + dt.timedelta(hours=1))
    with pytest.raises(IncidentRefused):
        make_incident(starts_at=now + dt.timedelta(hours=1))
    with pytest.raises(IncidentRefused):
        make_incident(impact="maintenance", ends_at=now - dt.timedelta(hours=1))
    incident = make_incident()
    incidents.update_incident(incident, status="resolved", text="Pronto.", by="x")
    with pytest.raises(IncidentRefused):
        incidents.update_incident(incident, status="monitoring", text="De novo?", by="x")
    assert IncidentUpdate.objects.count() == 2


def test_it_tells_resolved_ones_for_two_weeks() -> None:
    incident = make_incident()
    incidents.update_incident(incident, status="resolved", text="Pronto.", by="x")
    assert len(incidents.told()) == 1
    Incident.objects.filter(pk=incident.pk).update(resolved_at=clock.now() - dt.timedelta(days=15))
    assert incidents.told() == []


def test_staff_open_tell_and_resolve_in_the_admin() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root@tokia.com.br", PASSWORD))
    form = {"title": "PIX lento", "impact": "slow", "affects": "", "text": "O banco demora.", "starts_at": "", "ends_at": ""}
    assert client.get("/admin/gateway/incident/abrir/").status_code == 200
    response = client.post("/admin/gateway/incident/abrir/", form)
    incident = Incident.objects.get()
    assert response["Location"] == f"/admin/gateway/incident/{incident.pk}/change/"
    assert "PIX lento" in client.get("/admin/gateway/incident/").content.decode()
    base = f"/admin/gateway/incident/{incident.pk}"
    assert client.post(f"{base}/atualizar/", {"status": "identified", "text": "É do banco."}).status_code == 302
    assert client.post(f"{base}/resolver/", {"text": "Normal."}).status_code == 302
    incident.refresh_from_db()
    assert incident.status == "resolved" and [update.text for update in incident.updates.order_by("id")] == [
        "O banco demora.", "É do banco.", "Normal.",
    ]  # fmt: skip
    assert client.post(f"{base}/atualizar/", {"status": "monitoring", "text": "x"}).status_code == 403
    assert client.post(f"{base}/delete/", {"post": "yes"}).status_code == 403


def test_who_may_only_look_opens_nothing() -> None:
    client = Client()
    client.force_login(make_staff("gateway.view_incident"))
    incident = make_incident()
    assert client.get("/admin/gateway/incident/").status_code == 200
    assert client.post("/admin/gateway/incident/abrir/", {"title": "x", "impact": "slow", "text": "x"}).status_code == 403
    assert client.post(f"/admin/gateway/incident/{incident.pk}/resolver/", {"text": "x"}).status_code == 403
    assert Incident.objects.count() == 1 and IncidentUpdate.objects.count() == 1
