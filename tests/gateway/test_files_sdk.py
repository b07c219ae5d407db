"""`/v1/files` by OpenAI's SDK: kept because its owner asked, sealed, theirs alone, and gone in time."""

from __future__ import annotations

import base64
import datetime as dt
import os
import socket
from collections.abc import Iterator
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.core.management import call_command
from openai import NotFoundError, OpenAI
from pytest_django import Settings

from accounts.tenancy import NoTenant
from gateway import file_store
from gateway.batch_store import open_details
from gateway.errors import BodyTooLarge, RouteNotFound
from gateway.models import Batch, FileChunk, StoredFile
from gateway.secrets import SecretUnreadable, unseal
from gateway.tasks import purge_files
from tests.gateway.batch_cast import client_of, row_id
from tests.gateway.world import Tenant, World
from tests.make import make_organization
from tokia import clock
from tokia.celery import app

SECRET = b"segredo do cliente\n"


@pytest.fixture(autouse=True)
def _empty(world: World) -> Iterator[None]:
    yield
    StoredFile.everywhere.all().delete()


@pytest.fixture
def client(world: World, tenant: Tenant) -> OpenAI:
    return client_of(world, tenant)


def test_a_file_is_kept_read_listed_and_deleted(client: OpenAI) -> None:
    content = os.urandom(2_500_000)  # more than two chunks, and no text
    made = client.files.create(file=("relatório.bin", content), purpose="user_data")
    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", len(content), "relatório.bin", "user_data")
    assert made.expires_at is not None and made.expires_at - made.created_at == 30 * 86_400
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).content == content
    assert [file.id for file in client.files.list()] == [made.id]
    assert client.files.delete(made.id).deleted
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(NotFoundError) as refused:
            ask(made.id)
        assert refused.value.code == "file_not_found"
    assert not FileChunk.everywhere.exists()


def test_a_list_goes_page_by_page(client: OpenAI) -> None:
    made = [client.files.create(file=(f"{number}.jsonl", b"{}"), purpose="batch").id for number in range(5)]
    other = client.files.create(file=("x.txt", b"x"), purpose="user_data").id
    assert [file.id for file in client.files.list()] == [other, *reversed(made)]
    assert [file.id for file in client.files.list(purpose="batch", order="asc", limit=2)] == made  # the SDK turns the pages
    page = client.files.list(limit=2, order="asc", after=made[1])
    assert ([file.id for file in page.data], page.has_more) == (made[2:4], True)
    for query in ("limit=0", "limit=x", "limit=10001", "order=up", "purpose=none", f"limit={'9' * 5000}", "&".join(["a=1"] * 50)):
        answer = client._client.get(f"/files?{query}", headers=client.auth_headers)
        assert answer.status_code == 400, (query, answer.text)
    with pytest.raises(NotFoundError):
        client.files.list(after="file-nope")


def test_a_stranger_finds_nothing(world: World, client: OpenAI) -> None:
    made = client.files.create(file=("a.jsonl", SECRET), purpose="batch")
    stranger = client_of(world, world.tenant())
    for ask in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
        with pytest.raises(NotFoundError):
            ask(made.id)
    assert list(stranger.files.list()) == []
    assert client.files.content(made.id).content == SECRET


def test_rows_hold_nothing_that_can_be_read(tenant: Tenant, client: OpenAI) -> None:
    made = client.files.create(file=("segredo.jsonl", SECRET * 100), purpose="batch")
    row = StoredFile.everywhere.get(pk=row_id(made.id))
    chunk = FileChunk.everywhere.get(file=row)
    globex = make_organization()
    for sealed in (bytes(row.name), bytes(chunk.body)):
        assert b"segredo" not in sealed and b"segredo" not in base64.urlsafe_b64decode(sealed)
        assert b"segredo" in unseal(sealed, organization_id=row.organization_id)
        with pytest.raises(SecretUnreadable):
            unseal(sealed, organization_id=globex.pk)
    StoredFile.everywhere.filter(pk=row.pk).update(organization=globex)  # under another's name it stays closed
    row.refresh_from_db()
    with pytest.raises(RouteNotFound):
        file_store.read_chunk(row, 0)
    with pytest.raises(NoTenant):
        StoredFile.objects.count()
    with pytest.raises(NoTenant):
        FileChunk.objects.count()


def test_it_is_gone_in_time(client: OpenAI) -> None:
    short = client.files.create(file=("a.jsonl", b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3_600})
    long = client.files.create(file=("b.jsonl", b"{}"), purpose="batch")
    assert short.expires_at is not None and short.expires_at - short.created_at == 3_600
    StoredFile.everywhere.filter(pk=row_id(short.id)).update(expires_at=clock.now())
    with pytest.raises(NotFoundError):  # before it is purged, too
        client.files.retrieve(short.id)
    assert [file.id for file in client.files.list()] == [long.id]
    assert FileChunk.everywhere.count() == 2
    purge_files()
    assert (StoredFile.everywhere.count(), FileChunk.everywhere.count()) == (1, 1)
    clock.shift(30 * 86_400)
    try:
        purge_files()
    finally:
        clock.shift(0)
    assert (StoredFile.everywhere.count(), FileChunk.everywhere.count()) == (0, 0)


def test_the_purge_is_in_the_timetable() -> None:
    schedule = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert {"gateway.tasks.purge_files", "gateway.tasks.run_batches"} <= schedule


def test_everything_can_be_sealed_anew(client: OpenAI, settings: Settings) -> None:
    made = client.files.create(file=("a.jsonl", SECRET), purpose="batch")
    batch = client.batches.create(input_file_id=made.id, endpoint="/v1/responses", completion_window="24h", metadata={"de": "x"})
    old = list(settings.ENCRYPTION_KEYS)
    settings.ENCRYPTION_KEYS = [base64.urlsafe_b64encode(os.urandom(32)).decode(), *old]
    call_command("reseal", verbosity=0, stdout=StringIO())
    file = StoredFile.everywhere.get(pk=row_id(made.id))
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    assert file_store.read_chunk(file, 0) == SECRET
    assert file_store.show_file(file)["filename"] == "a.jsonl"
    row = Batch.everywhere.get(pk=row_id(batch.id))
    assert open_details(row).metadata == {"de": "x"}
    row.delete()


def test_an_organization_keeps_so_much(settings: Settings, world: World) -> None:
    organization = make_organization()
    settings.FILES_BYTES_MAX = 10
    file_store.store_file(organization_id=organization.pk, purpose="batch", name="a", pieces=[b"12345"])
    with pytest.raises(BodyTooLarge):
        file_store.store_file(organization_id=organization.pk, purpose="batch", name="b", pieces=[b"123456"])
    assert StoredFile.everywhere.filter(organization=organization).count() == 1
    file_store.store_file(organization_id=organization.pk, purpose="batch_output", name="c", pieces=[b"123456"])  # it is paid for


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"files": {"file": ("a", b"x")}}, "purpose"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "fine-tune"}}, "purpose"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "batch_output"}}, "purpose"),
        ({"files": {"other": ("a", b"x")}, "data": {"purpose": "batch"}}, "file"),
        ({"files": {"file": ("a", b"")}, "data": {"purpose": "batch"}}, "file"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "batch", "expires_after[anchor]": "now"}}, "expires_after.anchor"),
        (
            {"files": {"file": ("a", b"x")}, "data": {"purpose": "batch", "expires_after[anchor]": "created_at"}},
            "expires_after.seconds",
        ),
        (
            {
                "files": {"file": ("a", b"x")},
                "data": {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
            },
            "expires_after.seconds",
        ),
    ],
)
def test_a_form_that_says_too_little_is_refused_by_name(world: World, tenant: Tenant, form: dict[str, Any], param: str) -> None:
    answer = httpx.post(f"{world.gateway.url}/v1/files", headers=tenant.headers, **form)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert not StoredFile.everywhere.exists()


def test_a_gigabyte_is_refused_before_it_comes(world: World, tenant: Tenant) -> None:
    address = urlsplit(world.gateway.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
        head = (
            f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenant.secret}\r\n"
            "content-type: multipart/form-data; boundary=x\r\ncontent-length: 1073741824\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(1_000).split(b"\r\n")[0]  # not a byte of it was sent


def test_addresses_and_methods_that_are_not_there(world: World, tenant: Tenant) -> None:
    cases = {
        ("PUT", "/v1/files"): 405, ("POST", "/v1/files/file-1"): 405, ("DELETE", "/v1/files/file-1/content"): 405,
        ("GET", "/v1/files/file-1/other"): 404, ("GET", "/v1/files/../keys"): 404, ("GET", "/v1/files/file-" + "g" * 32): 404,
        ("GET", "/v1/files/file-" + "0" * 32): 404, ("DELETE", "/v1/files/" + "x" * 3000): 404, ("POST", "/v1/files"): 415,
        ("PATCH", "/v1/batches"): 405, ("DELETE", "/v1/batches/batch_1"): 405, ("GET", "/v1/batches/batch_1/cancel"): 405,
        ("GET", "/v1/batches/batch_" + "0" * 32): 404, ("POST", "/v1/batches/batch_" + "0" * 32 + "/cancel"): 404,
        ("GET", "/v1/batches/x/y"): 404, ("POST", "/v1/batches"): 400,
    }  # fmt: skip
    for (method, path), status in cases.items():
        answer = httpx.request(method, world.gateway.url + path, headers=tenant.headers)
        assert answer.status_code == status, (method, path, answer.text)
        assert httpx.request(method, world.gateway.url + path).status_code in (401, 404)


def test_lines_are_read_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Chunks:
        rows = (b"one\ntw", b"o\n\n", b"three", b"four\r\nlong-long-long-line", b"-and-on\nend")

    file: Any = Chunks()
    monkeypatch.setattr(file_store, "read_chunk", lambda file, number: file.rows[number] if number < len(file.rows) else None)
    lines = list(file_store.read_lines(file, longest=12))
    assert lines == [b"one", b"two", b"", b"threefour\r", b"long-long-lon", b"end"]


def test_nobody_keeps_a_file_for_longer(world: World) -> None:
    organization = make_organization()
    file = file_store.store_file(organization_id=organization.pk, purpose="batch", name="a", pieces=[b"x"], seconds=10**9)
    assert file.expires_at - file.created_at == dt.timedelta(days=30)
