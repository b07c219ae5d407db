"""The parent of a message: the walk of `chat`, by a surface that knows this call's headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.calls import CallContext, Caller, Reply
from gateway.chat import complete_chat
from gateway.errors import GatewayError
from gateway.surfaces.messages import Messages

if TYPE_CHECKING:
    from gateway.process import GatewayProcess


async def complete_message(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    surface = Messages(context)
    try:
        return await complete_chat(process, context, caller, body, surface=surface)
    except GatewayError as error:
        raise surface.reword(error) from None
