"""The parent of `/v1/batches`: create, list, retrieve, cancel. The work is the worker's (`batch_run`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import transaction

from gateway import batch_store
from gateway.batch_store import ENDPOINTS, show_batches
from gateway.calls import CallContext, Caller, Reply
from gateway.errors import unknown_address
from gateway.file_store import invalid
from gateway.files import EXPIRES_SECONDS, allow, check_seconds, list_page, read_limit, read_query, tell
from gateway.models import Batch
from gateway.parsing import parse_body

if TYPE_CHECKING:
    from gateway.exchange import Exchange
    from gateway.process import GatewayProcess

BODY_BYTES_MAX = 65_536
PAGE, PAGE_MAX = 20, 100
METADATA_MAX, KEY_CHARACTERS_MAX, VALUE_CHARACTERS_MAX = 16, 64, 512


class ExpiresAfter(msgspec.Struct):
    anchor: str
    seconds: int


class BatchBody(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None


_decode = msgspec.json.Decoder(BatchBody).decode


async def serve_batch(process: GatewayProcess, exchange: Exchange, caller: Caller, rest: str) -> Reply:
    """`/v1/batches`, `/v1/batches/{id}`, `…/cancel`. Raises GatewayError, ClientGone."""
    await process.limits.admit(caller, exchange.context.headers)
    method: str = exchange.scope["method"]
    id_, _, tail = rest.partition("/")
    organization_id = caller.organization_id
    if not rest and method == "POST":
        body = await exchange.read_body(limit=BODY_BYTES_MAX)
        return await create_batch(process, exchange.context, caller, body)
    if not rest:
        allow(method, "GET")
        return await list_batches(process, caller, read_query(exchange.scope["query_string"]))
    if not id_ or tail not in ("", "cancel"):
        raise unknown_address(f"/v1/batches/{rest}")
    if tail:
        allow(method, "POST")
        await exchange.read_body(limit=BODY_BYTES_MAX)
        return await _tell_one(process, partial(batch_store.cancel_batch, id_, organization_id=organization_id))
    allow(method, "GET")
    return await _tell_one(process, partial(batch_store.find_batch, id_, organization_id=organization_id))


async def create_batch(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    typed, fields, _ = parse_body(body, _decode)
    for name in fields:
        if name not in BatchBody.__struct_fields__:
            raise invalid(name[:60], "não é um campo de um lote", "not a field of a batch")
    if typed.endpoint not in ENDPOINTS:
        expected = ", ".join(ENDPOINTS)
        raise invalid("endpoint", f"esperado um destes: {expected}", f"expected one of: {expected}")
    if typed.completion_window != "24h":
        raise invalid("completion_window", "esperado '24h'", "expected '24h'")
    check_metadata(typed.metadata or {})
    after = typed.output_expires_after
    if after is not None:
        if after.anchor != "created_at":
            raise invalid("output_expires_after.anchor", "esperado 'created_at'", "expected 'created_at'")
        if not EXPIRES_SECONDS[0] <= after.seconds <= EXPIRES_SECONDS[1]:
            raise check_seconds("output_expires_after.seconds")
    open_ = partial(
        batch_store.open_batch, caller, input_file_id=typed.input_file_id, endpoint=typed.endpoint, metadata=typed.metadata,
        output_seconds=after.seconds if after else None, is_english=context.is_english,
    )  # fmt: skip
    keeper = context.keeper

    def tell_new() -> Reply:
        """The batch and what its key is told again: both, or neither."""
        with transaction.atomic():
            reply = tell(show_batches([open_()])[0])
            if keeper is not None:
                keeper.keep_in_transaction(reply)
            return reply

    return await process.files.serve(tell_new)


def check_metadata(metadata: dict[str, str]) -> None:
    """Raises BadRequest."""
    if len(metadata) > METADATA_MAX:
        raise invalid("metadata", f"no máximo {METADATA_MAX} pares", f"at most {METADATA_MAX} pairs")
    for key, value in metadata.items():
        if len(key) > KEY_CHARACTERS_MAX or len(value) > VALUE_CHARACTERS_MAX:
            raise invalid(
                "metadata", f"chaves de até {KEY_CHARACTERS_MAX} e valores de até {VALUE_CHARACTERS_MAX} caracteres",
                f"keys of up to {KEY_CHARACTERS_MAX} and values of up to {VALUE_CHARACTERS_MAX} characters",
            )  # fmt: skip


async def list_batches(process: GatewayProcess, caller: Caller, query: dict[str, str]) -> Reply:
    limit = read_limit(query, page=PAGE, most=PAGE_MAX)

    def show() -> dict[str, Any]:
        batches, has_more = batch_store.list_batches(
            organization_id=caller.organization_id, after=query.get("after", ""), limit=limit
        )
        return list_page(show_batches(batches), has_more=has_more)

    return tell(await process.files.serve(show))


async def _tell_one(process: GatewayProcess, find: partial[Batch]) -> Reply:
    return tell((await process.files.serve(lambda: show_batches([find()])))[0])
