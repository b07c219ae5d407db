"""The parents of `/v1/audio/transcriptions` and `/v1/audio/translations`. A sound is in memory until the upstream has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from billing.pricing import Usage
from gateway.calls import CallContext, Caller, Reply, ServedDeployment
from gateway.chat import JSON_TYPE, STREAM_HEADERS
from gateway.dialects.base import UpstreamRequest
from gateway.dialects.media import TranscriptionAnswer
from gateway.dialects.openai_transcriptions import shape_usage
from gateway.dialects.registry import LISTENERS
from gateway.errors import UpstreamError
from gateway.exchange import Exchange as CallerExchange
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
from gateway.pricetag import cost_header, with_cost
from gateway.tokens import count_text
from gateway.transcription_call import (
    FIELDS_BYTES_MAX,
    FILE_BYTES_MAX,
    TranscriptionCall,
    bound_of,
    check_route,
    counted_of,
    is_by_second,
    parse_transcription,
)
from gateway.uploads import read_form, received
from gateway.upstream import Exchange

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

SURFACE = "transcriptions"
UNITS = (("audio_second",), ("input", "audio_input", "output"))
ANSWER_BYTES_MAX = 16 * 1_048_576
TEXT_TYPE = (b"content-type", b"text/plain; charset=utf-8")


async def transcribe(process: GatewayProcess, exchange: CallerExchange, caller: Caller, rest: str) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    async with received(exchange, caller, limit=FILE_BYTES_MAX + FIELDS_BYTES_MAX) as body:
        call = parse_transcription(read_form(exchange, body), is_translation=False)
        return await _listen(process, exchange.context, caller, call)


async def translate(process: GatewayProcess, exchange: CallerExchange, caller: Caller, rest: str) -> Reply:
    """The same, into English."""
    async with received(exchange, caller, limit=FILE_BYTES_MAX + FIELDS_BYTES_MAX) as body:
        call = parse_transcription(read_form(exchange, body), is_translation=True)
        return await _listen(process, exchange.context, caller, call)


class _Request:
    """One call's requests."""

    def __init__(self, call: TranscriptionCall, *, by_second: bool) -> None:
        self._call = call
        self._by_second = by_second

    def compose(self, deployment: ServedDeployment) -> UpstreamRequest:
        return dialect_of(LISTENERS, deployment).transcription_request(self._call, deployment, by_second=self._by_second)

    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
        return dialect_of(LISTENERS, deployment).read_error(status, retry_after, body, deployment)


async def _listen(process: GatewayProcess, context: CallContext, caller: Caller, call: TranscriptionCall) -> Reply:
    name = "translations" if call.is_translation else SURFACE
    opened = await open_call(process, context, caller, call, served_by=SURFACE, name=name, units=UNITS)
    check_route(call, opened.route)
    request = _Request(call, by_second=is_by_second(opened.prices))
    plan = plan_attempts(opened, request)
    prompt_tokens = count_text(call.prompt)
    counted = counted_of(prompt_tokens=prompt_tokens, seconds=call.length.seconds, text="")
    basis = Basis(opened.prices, bound_of(call, opened.route), counted)
    if call.is_stream:

        async def begin(exchange: Exchange) -> tuple[Exchange, EventsReader, bytes]:
            assert opened.deployment is not None
            events = dialect_of(LISTENERS, opened.deployment).open_transcription(call)
            reader = EventsReader(events, shape_usage)
            return exchange, reader, await begin_events(exchange, reader)

        exchange, reader, first = await ask(process, opened, request, plan, basis, begin)
        return Reply(200, headers_of(opened, *STREAM_HEADERS), frames=relay(process, opened, exchange, reader, basis, first))

    async def take(exchange: Exchange) -> TranscriptionAnswer:
        deployment = opened.deployment
        assert deployment is not None
        dialect = dialect_of(LISTENERS, deployment)
        return await read_whole(exchange, lambda body: dialect.read_transcription(call, body, deployment), limit=ANSWER_BYTES_MAX)

    answer = await ask(process, opened, request, plan, basis, take)
    basis = basis._replace(counted=counted_of(prompt_tokens=prompt_tokens, seconds=call.length.seconds, text=answer.text))

    def write(settled: Settled, usage: Usage, source: str) -> Reply:
        raw = answer.tally.usage_raw if source == "upstream" and answer.tally.usage_raw is not None else shape_usage(usage)
        kind = TEXT_TYPE if call.format in ("text", "srt", "vtt") else JSON_TYPE
        return Reply(200, headers_of(opened, kind, cost_header(settled)), body=answer.with_usage(with_cost(raw, settled)))

    return await settle_whole(process, opened, basis, answer.tally, write)
