"""The parent of `/v1/files`: upload, list, read, download, delete. Kept only because the caller uploaded it (`file_store`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from django.conf import settings
from django.db import transaction

from gateway import file_store
from gateway.calls import Caller, Reply
from gateway.errors import AnswerBroken, BadRequest, GatewayError, unknown_address, wrong_method
from gateway.file_store import CHUNK_BYTES, invalid, show_file
from gateway.models import StoredFile
from gateway.multipart import Form
from gateway.uploads import read_form, received

if TYPE_CHECKING:
    from gateway.exchange import Exchange
    from gateway.process import GatewayProcess

FIELDS_BYTES_MAX = 65_536  # of a form, beside its file
STORE_SECONDS = 60.0
PAGE, PAGE_MAX = 10_000, 10_000
PURPOSES = (StoredFile.Purpose.BATCH.value, StoredFile.Purpose.USER_DATA.value)
EXPIRES_SECONDS = (3_600, 2_592_000)
QUERY_FIELDS_MAX = 20
JSON_TYPE = (b"content-type", b"application/json")
CONTENT_TYPE = (b"content-type", b"application/octet-stream")


async def serve_file(process: GatewayProcess, exchange: Exchange, caller: Caller, rest: str) -> Reply:
    """`/v1/files`, `/v1/files/{id}`, `…/content`. Raises GatewayError, ClientGone."""
    await process.limits.admit(caller, exchange.context.headers)
    method: str = exchange.scope["method"]
    id_, _, tail = rest.partition("/")
    if not rest:
        if method == "POST":
            return await upload_file(process, exchange, caller)
        allow(method, "GET")
        return await list_files(process, caller, read_query(exchange.scope["query_string"]))
    if tail not in ("", "content") or not id_:
        raise unknown_address(f"/v1/files/{rest}")
    if not tail and method == "DELETE":
        await process.files.serve(partial(file_store.delete_file, id_, organization_id=caller.organization_id))
        return tell({"id": id_, "object": "file", "deleted": True})
    allow(method, "GET")
    file = await process.files.serve(partial(file_store.find_file, id_, organization_id=caller.organization_id))
    if not tail:
        return tell(show_file(file))
    headers = [CONTENT_TYPE, (b"content-length", b"%d" % file.bytes)]
    return Reply(200, headers, frames=read_content(process, file))


async def upload_file(process: GatewayProcess, exchange: Exchange, caller: Caller) -> Reply:
    async with received(exchange, caller, limit=settings.FILE_BYTES_MAX + FIELDS_BYTES_MAX) as body:
        form = read_form(exchange, body)
        purpose = form.text("purpose")
        if purpose not in PURPOSES:
            expected = ", ".join(PURPOSES)
            raise invalid("purpose", f"esperado um destes: {expected}", f"expected one of: {expected}")
        seconds = _read_expiry(form)
        file = next((file for file in form.files if file.field == "file"), None)
        if file is None:
            raise BadRequest("Falta o arquivo ('file').", "Missing required parameter: 'file'.", param="file",
                             code="missing_required_parameter")  # fmt: skip
        if len(file.data) > settings.FILE_BYTES_MAX or len(file.data) == 0:
            most = settings.FILE_BYTES_MAX // 1_048_576
            raise invalid("file", f"um arquivo tem de 1 byte a {most} MiB", f"a file has 1 byte to {most} MiB")
        store = partial(
            file_store.store_file, organization_id=caller.organization_id, purpose=purpose, name=file.name or "file",
            pieces=_pieces(file.data), seconds=seconds,
        )  # fmt: skip
        keeper = exchange.context.keeper

        def tell_new() -> Reply:
            """The file and what its key is told again: both, or neither."""
            with transaction.atomic():
                reply = tell(show_file(store()))
                if keeper is not None:
                    keeper.keep_in_transaction(reply)
                return reply

        return await process.files.serve(tell_new, seconds=STORE_SECONDS)


def _pieces(data: memoryview) -> Iterator[memoryview]:
    for place in range(0, len(data), CHUNK_BYTES):
        yield data[place : place + CHUNK_BYTES]


def _read_expiry(form: Form) -> int | None:
    """`expires_after[anchor]`, `expires_after[seconds]`. Raises BadRequest."""
    anchor, seconds = form.text("expires_after[anchor]"), form.text("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise invalid("expires_after.anchor", "esperado 'created_at'", "expected 'created_at'")
    if seconds is None or not seconds.isdecimal() or len(seconds) > 10:
        raise check_seconds("expires_after.seconds")
    if not EXPIRES_SECONDS[0] <= int(seconds) <= EXPIRES_SECONDS[1]:
        raise check_seconds("expires_after.seconds")
    return int(seconds)


def check_seconds(param: str) -> BadRequest:
    least, most = EXPIRES_SECONDS
    return invalid(param, f"esperado um inteiro de {least} a {most}", f"expected an integer from {least} to {most}")


async def list_files(process: GatewayProcess, caller: Caller, query: dict[str, str]) -> Reply:
    purpose = query.get("purpose", "")
    if purpose and purpose not in StoredFile.Purpose.values:
        expected = ", ".join(StoredFile.Purpose.values)
        raise invalid("purpose", f"esperado um destes: {expected}", f"expected one of: {expected}")
    if (order := query.get("order") or "desc") not in ("asc", "desc"):
        raise invalid("order", "esperado 'asc' ou 'desc'", "expected 'asc' or 'desc'")
    find = partial(
        file_store.list_files, organization_id=caller.organization_id, after=query.get("after", ""),
        limit=read_limit(query, page=PAGE, most=PAGE_MAX), is_oldest_first=order == "asc", purpose=purpose,
    )  # fmt: skip

    def show() -> dict[str, Any]:
        files, has_more = find()
        return list_page([show_file(file) for file in files], has_more=has_more)

    return tell(await process.files.serve(show))


async def read_content(process: GatewayProcess, file: StoredFile) -> AsyncIterator[bytes]:
    """Chunk by chunk. A file that is deleted meanwhile breaks off: its length was promised."""
    left, number = file.bytes, 0
    while left > 0:
        try:
            chunk = await process.files.serve(partial(file_store.read_chunk, file, number))
        except GatewayError:
            raise AnswerBroken from None
        if chunk is None:
            raise AnswerBroken
        left -= len(chunk)
        number += 1
        yield chunk


# ── Shared with batches ──────────────────────────────────────────────────────────────────────────────────────────────
def read_query(raw: bytes) -> dict[str, str]:
    try:
        found = parse_qs(raw.decode("latin-1"), max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        raise invalid("query", "menos parâmetros", "fewer parameters") from None
    return {name: values[-1] for name, values in found.items()}


def read_limit(query: dict[str, str], *, page: int, most: int) -> int:
    asked = query.get("limit") or str(page)
    if not asked.isdecimal() or len(asked) > 6 or not 1 <= int(asked) <= most:
        raise invalid("limit", f"esperado um inteiro de 1 a {most}", f"expected an integer from 1 to {most}")
    return int(asked)


def list_page(items: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }


def allow(method: str, allowed: str) -> None:
    if method != allowed:
        raise wrong_method(method)


def tell(told: dict[str, Any]) -> Reply:
    return Reply(200, [JSON_TYPE], msgspec.json.encode(told))
