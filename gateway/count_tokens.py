"""`/v1/messages/count_tokens`: how many tokens a message would have, estimated here. Free: nothing is held, asked or recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.calls import CallContext, Caller, Reply
from gateway.planning import route_named
from gateway.surfaces.messages import Messages
from gateway.tokens import estimate_chat_input

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

JSON_TYPE = (b"content-type", b"application/json")


async def count_tokens(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    """Raises GatewayError."""
    call = Messages(context).read_count(body)
    route = route_named(process, caller, call.model, surface="chat")
    await process.limits.admit(caller, context.headers)
    tokens = min(estimate_chat_input(call, factor_percent=route.token_factor_percent), route.context_tokens)
    return Reply(200, [JSON_TYPE], b'{"input_tokens":%d}' % tokens)
