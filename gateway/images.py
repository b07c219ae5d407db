"""The parents of pictures: `/v1/images/generations` and `/v1/images/edits`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from billing.pricing import Usage
from gateway.calls import CallContext, Caller, Reply, ServedDeployment
from gateway.chat import JSON_TYPE, STREAM_HEADERS
from gateway.dialects.base import UpstreamRequest
from gateway.dialects.media import MediaAnswer
from gateway.dialects.openai_images import shape_usage
from gateway.dialects.registry import PAINTERS
from gateway.errors import UpstreamError
from gateway.exchange import Exchange as CallerExchange
from gateway.images_call import ImagesCall, bound_of, counted_of, parse_edit_form, parse_edit_json, parse_generation
from gateway.lanes import Settled
from gateway.media import (
    Basis,
    ask,
    begin_events,
    dialect_of,
    headers_of,
    open_call,
    plan_attempts,
    read_whole,
    relay,
    settle_whole,
)
from gateway.media_events import EventsReader
from gateway.multipart import is_form
from gateway.pricetag import cost_header, with_cost
from gateway.uploads import read_form, received
from gateway.upstream import Exchange

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

SURFACE = "images"
UNITS = (("image",), ("input", "image_output"))
ANSWER_BYTES_MAX = 96 * 1_048_576  # ten large pictures in base64


async def make_images(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    return await _make(process, context, caller, parse_generation(body))


async def edit_images(process: GatewayProcess, exchange: CallerExchange, caller: Caller, rest: str) -> Reply:
    """The same, of pictures that come in a form, or as data: in JSON."""
    is_json = not is_form(exchange.headers.get(b"content-type", b""))
    limit = settings.GATEWAY_BODY_BYTES_MAX if is_json else settings.GATEWAY_UPLOAD_BYTES_MAX
    async with received(exchange, caller, limit=limit) as body:
        call = parse_edit_json(body) if is_json else parse_edit_form(read_form(exchange, body))
        return await _make(process, exchange.context, caller, call)


class _Request:
    """One call's requests."""

    def __init__(self, call: ImagesCall) -> None:
        self._call = call

    def compose(self, deployment: ServedDeployment) -> UpstreamRequest:
        return dialect_of(PAINTERS, deployment).images_request(self._call, deployment)

    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
        return dialect_of(PAINTERS, deployment).read_error(status, retry_after, body, deployment)


async def _make(process: GatewayProcess, context: CallContext, caller: Caller, call: ImagesCall) -> Reply:
    opened = await open_call(process, context, caller, call, served_by=SURFACE, name=SURFACE, units=UNITS)
    request = _Request(call)
    plan = plan_attempts(opened, request)
    basis = Basis(opened.prices, bound_of(call, opened.route), counted_of(call))
    if not call.is_stream:

        async def take(exchange: Exchange) -> MediaAnswer:
            assert opened.deployment is not None
            return await read_whole(exchange, dialect_of(PAINTERS, opened.deployment).read_images, limit=ANSWER_BYTES_MAX)

        answer = await ask(process, opened, request, plan, basis, take)

        def write(settled: Settled, usage: Usage, source: str) -> Reply:
            raw = answer.tally.usage_raw if source == "upstream" and answer.tally.usage_raw is not None else shape_usage(usage)
            body = answer.with_usage(with_cost(raw, settled))
            return Reply(200, headers_of(opened, JSON_TYPE, cost_header(settled)), body=body)

        return await settle_whole(process, opened, basis, answer.tally, write)

    async def begin(exchange: Exchange) -> tuple[Exchange, EventsReader, bytes]:
        assert opened.deployment is not None
        reader = EventsReader(dialect_of(PAINTERS, opened.deployment).open_images(call), shape_usage)
        return exchange, reader, await begin_events(exchange, reader)

    exchange, reader, first = await ask(process, opened, request, plan, basis, begin)
    return Reply(200, headers_of(opened, *STREAM_HEADERS), frames=relay(process, opened, exchange, reader, basis, first))
