"""The parent of `/v1/moderations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from billing.pricing import Usage
from gateway.calls import CallContext, Caller, Reply, ServedDeployment
from gateway.chat import JSON_TYPE
from gateway.dialects.base import UpstreamRequest
from gateway.dialects.media import MediaAnswer
from gateway.dialects.registry import MODERATORS
from gateway.errors import UpstreamError
from gateway.lanes import Settled
from gateway.media import Basis, ask, dialect_of, headers_of, open_call, plan_attempts, read_whole, settle_whole
from gateway.moderation_call import ModerationCall, bound_of, counted_of, parse_moderation
from gateway.pricetag import cost_header
from gateway.upstream import Exchange

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

SURFACE = "moderations"
UNITS = (("request",), ("input",))
ANSWER_BYTES_MAX = 4 * 1_048_576


async def moderate(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    call = parse_moderation(body)
    opened = await open_call(process, context, caller, call, served_by=SURFACE, name=SURFACE, units=UNITS)
    request = _Request(call)
    plan = plan_attempts(opened, request)
    basis = Basis(opened.prices, bound_of(call, opened.route), counted_of(call))

    async def take(exchange: Exchange) -> MediaAnswer:
        assert opened.deployment is not None
        dialect = dialect_of(MODERATORS, opened.deployment)
        return await read_whole(exchange, lambda answer: dialect.read_moderation(call, answer), limit=ANSWER_BYTES_MAX)

    answer = await ask(process, opened, request, plan, basis, take)

    def write(settled: Settled, usage: Usage, source: str) -> Reply:
        return Reply(200, headers_of(opened, JSON_TYPE, cost_header(settled)), body=answer.with_usage(b""))

    return await settle_whole(process, opened, basis, answer.tally, write)


class _Request:
    """One call's requests."""

    def __init__(self, call: ModerationCall) -> None:
        self._call = call

    def compose(self, deployment: ServedDeployment) -> UpstreamRequest:
        return dialect_of(MODERATORS, deployment).moderation_request(self._call, deployment)

    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
        return dialect_of(MODERATORS, deployment).read_error(status, retry_after, body, deployment)
