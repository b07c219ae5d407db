"""Which module answers at which address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from gateway.surfaces import chat, completions, messages, responses
from gateway.surfaces.base import Surface

CHAT = cast(Surface, chat)
SURFACES: Mapping[str, Surface] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": cast(Surface, completions),
    "/v1/messages": messages.SURFACE,
    "/v1/responses": cast(Surface, responses),
}
