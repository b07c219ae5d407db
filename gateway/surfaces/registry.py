"""Which module answers at which address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from gateway.surfaces import chat, messages
from gateway.surfaces.base import Surface

CHAT = cast(Surface, chat)
SURFACES: Mapping[str, Surface] = {"/v1/chat/completions": CHAT, "/v1/messages": messages.SURFACE}
