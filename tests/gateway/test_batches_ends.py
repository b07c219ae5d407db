"""How batches end, whose they are, and for how long they are kept; by OpenAI's SDK, against real processes."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from openai import APIStatusError, ConflictError, NotFoundError, OpenAI

from accounts.keys import revoke_key
from accounts.models import Organization, User
from billing import budgets
from billing.models import Budget, BudgetSpend, Hold, UsageRecord
from billing.money import BRL
from billing.pricing import Usage
from gateway.batch_run import run_batches
from gateway.batch_store import find_batch, purge_batches
from gateway.models import Batch, BatchLine, StoredFile
from gateway.secrets import unseal
from tests.gateway.batch_cast import client_of, jsonl, line_of, order, read_output, row_id
from tests.gateway.world import Tenant, World
from tokia import clock

pytestmark = pytest.mark.timeout(150)
MARK = "segredo-do-cliente"


@pytest.fixture(autouse=True)
def _empty(world: World) -> Iterator[None]:
    world.sandbox.post("/llm/__reset")
    yield
    clock.shift(0)
    Batch.everywhere.all().delete()
    StoredFile.everywhere.all().delete()
    assert not Hold.everywhere.exists()


@pytest.fixture
def client(world: World, tenant: Tenant) -> OpenAI:
    return client_of(world, tenant)


@pytest.fixture(scope="module")
def model(world: World) -> str:
    return world.route("openai", "gpt-4o-mini", name="openai/lote").name


def usage_of(record: UsageRecord) -> Usage:
    return Usage(**{name: getattr(record, name) for name in Usage.__struct_fields__})


def counts_of(batch: Any) -> tuple[int, int, int]:
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def row_of(batch: Any) -> Batch:
    return Batch.everywhere.get(pk=row_id(batch.id))


# ── Ends before the end ──────────────────────────────────────────────────────────────────────────────────────────────
def half_done(world: World, client: OpenAI, model: str) -> Any:
    """One line is done, the other waits."""
    world.sandbox.post("/llm/__reset")
    batch = order(client, jsonl(line_of(1, model), line_of(2, model)))
    run_batches(seconds=0)  # checks
    BatchLine.everywhere.filter(number=2).update(due_at=clock.now() + dt.timedelta(hours=1))
    assert run_batches() == 1
    return batch


def test_a_cancelled_batch_delivers_what_was_done(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    batch = half_done(world, client, model)
    assert client.batches.cancel(batch.id).status == "cancelling"
    assert client.batches.cancel(batch.id).status == "cancelling"  # again
    assert run_batches() == 0
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, counts_of(batch), batch.error_file_id) == ("cancelled", (2, 1, 0), None)
    assert batch.cancelling_at and batch.cancelled_at
    assert [line["custom_id"] for line in read_output(client, batch.output_file_id)] == ["linha-1"]
    assert len(tenant.records()) == 1
    with pytest.raises(ConflictError):
        client.batches.cancel(batch.id)


def test_a_batch_is_cancelled_before_it_was_looked_at(client: OpenAI, model: str) -> None:
    batch = order(client, jsonl(line_of(1, model)))
    assert client.batches.cancel(batch.id).status == "cancelling"
    assert run_batches() == 0
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("cancelled", None, None)


def test_an_expired_batch_delivers_what_was_done_and_names_the_rest(
    world: World, tenant: Tenant, client: OpenAI, model: str
) -> None:
    batch = half_done(world, client, model)
    Batch.everywhere.update(expires_at=clock.now())
    assert run_batches() == 0
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, counts_of(batch)) == ("expired", (2, 1, 1)) and batch.expired_at
    assert [line["custom_id"] for line in read_output(client, batch.output_file_id)] == ["linha-1"]
    [line] = read_output(client, batch.error_file_id)
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("linha-2", None, "batch_expired")
    assert len(tenant.records()) == 1


def test_a_batch_whose_file_was_never_checked_expires(client: OpenAI, model: str) -> None:
    batch = order(client, jsonl(line_of(1, model)))
    Batch.everywhere.update(expires_at=clock.now())
    run_batches()
    assert client.batches.retrieve(batch.id).status == "expired"


def test_a_revoked_key_spends_nothing_more(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    batch = half_done(world, client, model)
    BatchLine.everywhere.update(due_at=clock.now())
    revoke_key(tenant.key)
    assert run_batches() == 0
    row = row_of(batch)
    assert (row.status, row.completed) == ("cancelled", 1)
    assert len(tenant.records()) == 1


def test_a_suspended_organizations_batches_wait(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    batch = half_done(world, client, model)
    BatchLine.everywhere.update(due_at=clock.now())
    Organization.objects.filter(pk=tenant.key.organization_id).update(is_suspended=True)
    assert run_batches() == 0
    assert row_of(batch).status == "in_progress"
    Organization.objects.filter(pk=tenant.key.organization_id).update(is_suspended=False)
    assert run_batches() == 1
    assert row_of(batch).status == "completed"


def test_a_key_calls_only_its_own_models(world: World, model: str) -> None:
    bound = world.tenant(allowed_routes=["outro/modelo"])
    client = client_of(world, bound)
    batch = order(client, jsonl(line_of(1, model)))
    run_batches()
    batch = client.batches.retrieve(batch.id)
    assert batch.errors and batch.errors.data and batch.errors.data[0].code == "model_not_allowed"


# ── Whose it is, and for how long ────────────────────────────────────────────────────────────────────────────────────
def test_a_stranger_finds_no_batch(world: World, client: OpenAI, model: str) -> None:
    batch = order(client, jsonl(line_of(1, model)))
    run_batches()
    output = client.batches.retrieve(batch.id).output_file_id or ""
    stranger = client_of(world, world.tenant())
    asks: list[Any] = [
        lambda: stranger.batches.retrieve(batch.id), lambda: stranger.batches.cancel(batch.id),
        lambda: stranger.files.content(output), lambda: stranger.batches.list(after="batch_x"),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(NotFoundError):
            ask()
    assert list(stranger.batches.list()) == []
    with OpenAI(api_key="sk-tokia-x", base_url=f"{world.gateway.url}/v1", max_retries=0) as nobody, pytest.raises(APIStatusError):
        nobody.batches.list()


def test_a_list_of_batches_goes_page_by_page(client: OpenAI) -> None:
    made = [order(client, b"{}").id for _ in range(5)]
    assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1]
    page = client.batches.list(limit=2, after=made[2])
    assert ([batch.id for batch in page.data], page.has_more) == ([made[1], made[0]], False)


def test_rows_hold_nothing_that_can_be_read(tenant: Tenant, client: OpenAI, model: str) -> None:
    line = {**line_of(1, model, messages=[{"role": "user", "content": MARK}]), "custom_id": MARK}
    bad = order(client, jsonl({**line, "body": {**line["body"], "model": MARK}}), metadata={MARK: MARK})
    run_batches()
    batch = order(client, jsonl(line), metadata={MARK: MARK})
    run_batches(seconds=0)
    BatchLine.everywhere.update(status="done", answer=b"")  # as if under way
    stored = [bytes(row.request) for row in BatchLine.everywhere.all()] + [bytes(row.details) for row in Batch.everywhere.all()]
    assert len(stored) == 3
    for sealed in stored:
        assert MARK.encode() not in sealed and MARK.encode() not in base64.urlsafe_b64decode(sealed)
        assert MARK.encode() in unseal(sealed, organization_id=tenant.key.organization_id)
    BatchLine.everywhere.update(status="pending")
    run_batches()
    assert client.batches.retrieve(batch.id).status == "completed"
    assert client.batches.retrieve(bad.id).errors is not None
    for row in BatchLine.everywhere.all():  # once it has ended, everything is in its files
        assert (bytes(row.request), bytes(row.answer)) == (b"", b"")


def test_batches_are_purged_in_time(client: OpenAI, tenant: Tenant, model: str) -> None:
    batch = order(client, jsonl(line_of(1, model)), output_expires_after={"anchor": "created_at", "seconds": 3_600})
    run_batches()
    output = client.files.retrieve(client.batches.retrieve(batch.id).output_file_id or "")
    assert (output.expires_at or 0) - output.created_at == 3_600
    clock.shift(30 * 86_400 - 60)
    assert purge_batches() == 0
    assert find_batch(batch.id, organization_id=tenant.key.organization_id)
    clock.shift(30 * 86_400 + 60)
    assert purge_batches() == 1
    assert not Batch.everywhere.exists() and not BatchLine.everywhere.exists()
    assert len(tenant.records()) == 1  # what was paid stays in the books


def test_staff_see_how_far_a_batch_is_and_nothing_of_what_it_says(client: OpenAI, model: str) -> None:
    line = {**line_of(1, model, messages=[{"role": "user", "content": MARK}]), "custom_id": MARK}
    batch = order(client, jsonl(line), metadata={MARK: MARK})
    run_batches()
    user = User.objects.create_superuser(f"{batch.id}@example.com.br", "correct horse battery staple")
    staff = Client()
    staff.force_login(user)
    pages = [reverse("admin:gateway_batch_changelist"), reverse("admin:gateway_storedfile_changelist")]
    pages += [reverse("admin:gateway_batch_change", args=[row_id(batch.id)])]
    pages += [reverse("admin:gateway_storedfile_change", args=[file.pk]) for file in StoredFile.everywhere.all()]
    assert len(pages) == 5
    for page in pages:
        answer = staff.get(page)
        assert answer.status_code == 200, page
        assert MARK not in answer.content.decode() and "gAAAA" not in answer.content.decode(), page
    for page in pages[2:]:
        assert staff.post(page, {"status": "failed"}).status_code == 403, page


def test_a_batch_waits_for_a_budget_and_its_lines_are_of_their_tags(
    world: World, tenant: Tenant, client: OpenAI, model: str
) -> None:
    world.sandbox.post("/llm/__reset")
    organization = tenant.wallet.organization
    budget = budgets.set_budget(organization, by=None, scope="tag", tag="noite", window="month", limit_nanos=BRL)
    Budget.everywhere.filter(pk=budget.pk).update(limit_nanos=1)
    batch = order(client, jsonl(line_of(1, model, tags=["noite", "b"]), line_of(2, model)))
    run_batches(seconds=0)  # checks
    run_batches()
    row = row_of(batch)
    assert (row.status, row.paused_until is not None) == ("in_progress", True)
    assert all(record.tags is None for record in tenant.records())
    budgets.change_budget(budget, limit_nanos=BRL, is_hard=True, alert_percents=[])
    Batch.everywhere.update(paused_until=None)
    run_batches()
    assert row_of(batch).status == "completed"
    assert sorted(record.tags or [] for record in tenant.records()) == [[], ["noite", "b"]]
    [tagged] = [record for record in tenant.records() if record.tags]
    [window] = BudgetSpend.everywhere.filter(budget=budget)
    assert (window.spent_nanos, window.held_nanos) == (tagged.net_nanos, 0) and tagged.net_nanos > 0
