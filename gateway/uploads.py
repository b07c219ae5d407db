"""Bodies with files: read whole into memory, bounded one by one and all together, and never written anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.conf import settings

from gateway.calls import Caller
from gateway.errors import BadRequest, wrong_method
from gateway.exchange import Exchange
from gateway.metering import overloaded
from gateway.multipart import Form, is_form, parse_form
from tokia.crashpoints import crashpoint

_in_memory: dict[int, int] = {}  # bytes of this process's uploads, by organization


@asynccontextmanager
async def received(exchange: Exchange, caller: Caller, *, limit: int) -> AsyncIterator[bytes]:
    """The body of a POST, for as long as it is needed. Raises GatewayError (405, 413, 415, 503), ClientGone.

    One organization takes half of the room at most, so that its slow uploads leave place for the others'.
    """
    if exchange.scope["method"] != "POST":
        raise wrong_method(exchange.scope["method"])
    length = exchange.headers.get(b"content-length", b"")
    size = min(int(length), limit) if length.isdigit() and len(length) < 20 else limit
    room: int = settings.GATEWAY_UPLOADS_BYTES_MAX
    taken = _in_memory.get(caller.organization_id, 0) + size
    if sum(_in_memory.values()) + size > room or taken > max(room // 2, limit):
        exchange.context.is_reading = True  # the body is left unread
        raise overloaded()
    _in_memory[caller.organization_id] = taken
    try:
        body = await exchange.read_body(limit=limit)
        crashpoint("recv")
        exchange.expect_long()
        yield body
    finally:
        _in_memory[caller.organization_id] -= size
        if not _in_memory[caller.organization_id]:
            del _in_memory[caller.organization_id]


def read_form(exchange: Exchange, body: bytes) -> Form:
    """Raises BadRequest: it is no form (415), or a bad one."""
    content_type = exchange.headers.get(b"content-type", b"")
    if not is_form(content_type):
        raise BadRequest(
            "Envie multipart/form-data, com o arquivo no campo próprio.", "Send multipart/form-data, with the file in its field.",
            code="unsupported_media_type", status=415,
        )  # fmt: skip
    return parse_form(body, content_type)
