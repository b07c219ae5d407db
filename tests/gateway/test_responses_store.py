"""What is kept for a customer: sealed, theirs alone, and gone in time."""

from __future__ import annotations

import base64
import datetime as dt
import os
import uuid
from io import StringIO
from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import Organization, User
from accounts.tenancy import NoTenant, tenant
from gateway.errors import BadRequest, RouteNotFound
from gateway.models import Credential, StoredResponse
from gateway.secrets import SecretUnreadable, decrypt, reseal, seal, unseal
from gateway.surfaces import responses_store
from gateway.surfaces.responses import load_references
from gateway.surfaces.responses_answer import Told
from gateway.tasks import purge_responses
from tests.make import make_organization, make_provider
from tokia import clock
from tokia.celery import app

pytestmark = pytest.mark.django_db
QUESTION, ANSWER = "segredo da pergunta", "segredo da resposta"


def told_of(organization: Organization, *, previous: Told | None = None) -> Told:
    id_ = clock.new_id().hex
    question = {"id": f"msg_{id_}8000", "type": "message", "role": "user", "content": QUESTION}
    answer = {"id": f"msg_{id_}0000", "type": "message", "role": "assistant", "content": ANSWER}
    return Told(
        id=id_, created_at=1, organization_id=organization.pk, shown={}, previous_id=previous.id if previous else None,
        is_stored=True, items=[question], kept=msgspec.json.encode({"id": f"resp_{id_}", "output": [answer]}),
    )  # fmt: skip


def store(organization: Organization, *, previous: Told | None = None) -> Told:
    told = told_of(organization, previous=previous)
    responses_store.store_response(told, route_name="openai/gpt-x")
    return told


def new_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def test_rows_hold_nothing_that_can_be_read() -> None:
    acme, globex = make_organization(), make_organization()
    row = StoredResponse.everywhere.get(pk=uuid.UUID(store(acme).id))
    for content in (bytes(row.body), bytes(row.input_items)):
        assert b"segredo" not in content
        assert b"segredo" not in base64.urlsafe_b64decode(content)
        assert b"segredo" in unseal(content, organization_id=acme.pk)
        with pytest.raises(SecretUnreadable):
            unseal(content, organization_id=globex.pk)


def test_a_row_under_another_organizations_name_stays_closed() -> None:
    acme, globex = make_organization(), make_organization()
    told = store(acme)
    StoredResponse.everywhere.filter(pk=uuid.UUID(told.id)).update(organization=globex)
    with pytest.raises(RouteNotFound):
        responses_store.find_response(f"resp_{told.id}", organization_id=globex.pk)


def test_it_is_found_by_its_own_organization_only() -> None:
    acme, globex = make_organization(), make_organization()
    shown = f"resp_{store(acme).id}"
    assert responses_store.find_response(shown, organization_id=acme.pk).items[0]["content"] == QUESTION
    for verb in (responses_store.find_response, responses_store.delete_response, responses_store.load_conversation):
        with pytest.raises(RouteNotFound):
            verb(shown, organization_id=globex.pk)
    with pytest.raises(NoTenant):
        StoredResponse.objects.count()
    with tenant(globex):
        assert StoredResponse.objects.count() == 0
    assert StoredResponse.everywhere.count() == 1


@pytest.mark.parametrize(
    "shown", ["", "resp_", "resp_x", "msg_" + "0" * 32, "resp_" + "g" * 32, "resp_" + "0" * 31, "resp_" + "0" * 33]
)
def test_no_id_is_a_surprise(shown: str) -> None:
    with pytest.raises(RouteNotFound):
        responses_store.find_response(shown, organization_id=1)


def test_a_conversation_is_read_from_its_beginning() -> None:
    acme, globex = make_organization(), make_organization()
    first = store(acme)
    second = store(acme, previous=first)
    third = store(acme, previous=second)
    store(acme)
    chain = responses_store.load_conversation(f"resp_{third.id}", organization_id=acme.pk)
    assert [kept.id.hex for kept in chain] == [first.id, second.id, third.id]
    responses_store.delete_response(f"resp_{second.id}", organization_id=acme.pk)
    with pytest.raises(RouteNotFound) as refused:
        responses_store.load_conversation(f"resp_{third.id}", organization_id=acme.pk, param="previous_response_id")
    assert second.id in refused.value.message
    assert (refused.value.param, refused.value.code) == ("previous_response_id", "previous_response_not_found")
    stolen = store(globex, previous=first)
    with pytest.raises(RouteNotFound):
        responses_store.load_conversation(f"resp_{stolen.id}", organization_id=globex.pk)


def test_a_conversation_has_an_end(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    acme = make_organization()
    last = store(acme)
    for _ in range(3):
        last = store(acme, previous=last)
    monkeypatch.setattr(responses_store, "TURNS_MAX", 3)
    with pytest.raises(BadRequest) as refused:
        responses_store.load_conversation(f"resp_{last.id}", organization_id=acme.pk)
    assert refused.value.code == "context_length_exceeded"
    monkeypatch.setattr(responses_store, "TURNS_MAX", 1_000)
    assert len(responses_store.load_conversation(f"resp_{last.id}", organization_id=acme.pk)) == 4
    settings.GATEWAY_BODY_BYTES_MAX = 500
    with pytest.raises(BadRequest):
        responses_store.load_conversation(f"resp_{last.id}", organization_id=acme.pk)


def test_references_bring_in_no_more_than_a_conversation(settings: Settings) -> None:
    acme = make_organization()
    references = [(place, f"msg_{store(acme).id}8000") for place in range(3)]
    assert len(load_references(references, acme.pk)) == 3
    settings.GATEWAY_BODY_BYTES_MAX = 500
    with pytest.raises(BadRequest) as refused:
        load_references(references, acme.pk)
    assert (refused.value.param, refused.value.code) == ("input[1].id", "context_length_exceeded")
    with pytest.raises(RouteNotFound):
        load_references(references, make_organization().pk)


def test_a_ring_of_responses_ends(settings: Settings) -> None:
    acme = make_organization()
    told = store(acme)
    StoredResponse.everywhere.filter(pk=uuid.UUID(told.id)).update(previous_id=uuid.UUID(told.id))
    with pytest.raises(BadRequest):
        responses_store.load_conversation(f"resp_{told.id}", organization_id=acme.pk)


def test_it_goes_when_we_said(settings: Settings) -> None:
    settings.RESPONSES_TTL_DAYS = 30
    acme = make_organization()
    old, fresh = store(acme), store(acme)
    row = StoredResponse.everywhere.get(pk=uuid.UUID(old.id))
    assert row.expires_at - row.created_at == dt.timedelta(days=30)
    purge_responses()
    assert StoredResponse.everywhere.count() == 2
    StoredResponse.everywhere.filter(pk=row.pk).update(expires_at=clock.now())
    with pytest.raises(RouteNotFound):  # before the purge came by
        responses_store.find_response(f"resp_{old.id}", organization_id=acme.pk)
    purge_responses()
    assert [row.pk.hex for row in StoredResponse.everywhere.all()] == [fresh.id]


def test_it_purges_many_in_batches(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(responses_store, "PURGE_BATCH", 2)
    settings.RESPONSES_TTL_DAYS = 0
    acme = make_organization()
    for _ in range(5):
        store(acme)
    assert responses_store.purge_responses() == 5


def test_the_purge_stands_in_the_timetable() -> None:
    tasks = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert "gateway.tasks.purge_responses" in tasks
    app.loader.import_default_modules()
    assert "gateway.tasks.purge_responses" in app.tasks


def test_keys_rotate(settings: Settings) -> None:
    old, new = new_key(), new_key()
    settings.ENCRYPTION_KEYS = [old]
    acme = make_organization()
    told = store(acme)
    provider = make_provider()
    settings.ENCRYPTION_KEYS = [new, old]
    assert responses_store.find_response(f"resp_{told.id}", organization_id=acme.pk)
    out = StringIO()
    call_command("reseal", stdout=out)
    assert "1 respostas" in out.getvalue()
    settings.ENCRYPTION_KEYS = [new]
    assert responses_store.find_response(f"resp_{told.id}", organization_id=acme.pk).items[0]["content"] == QUESTION
    assert decrypt(bytes(Credential.objects.get(provider=provider).secret)).startswith("sandbox-")
    settings.ENCRYPTION_KEYS = [new_key()]
    with pytest.raises(RouteNotFound):
        responses_store.find_response(f"resp_{told.id}", organization_id=acme.pk)


def test_seals_differ_by_organization_and_can_not_be_bent() -> None:
    token = seal(b"x", organization_id=1)
    assert unseal(reseal(token, organization_id=1), organization_id=1) == b"x"
    bent = bytearray(token)
    bent[20] ^= 1
    for wrong, organization_id in ((token, 11), (bytes(bent), 1), (b"", 1), (b"\xff", 1)):
        with pytest.raises(SecretUnreadable):
            unseal(wrong, organization_id=organization_id)
    with pytest.raises(SecretUnreadable):
        reseal(token, organization_id=2)


def test_the_admin_shows_that_it_is_there_and_nothing_of_it() -> None:
    acme = make_organization(name="Acme Ltda")
    told = store(acme)
    client = Client()
    client.force_login(User.objects.create(email="root@example.com.br", is_staff=True, is_superuser=True))
    changelist = reverse("admin:gateway_storedresponse_changelist")
    change = reverse("admin:gateway_storedresponse_change", args=[told.id])
    for url in (changelist, f"{changelist}?q=Acme", change):
        page: Any = client.get(url)
        assert page.status_code == 200, url
        text = page.content.decode()
        assert "segredo" not in text
        assert "gAAAA" not in text
        assert "Acme Ltda" in text
    assert client.post(change, {"route_name": "x"}).status_code == 403
    assert client.get(reverse("admin:gateway_storedresponse_add")).status_code == 403
