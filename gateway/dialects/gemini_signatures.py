"""Ids of tool calls, and the thought signatures that ride on them.

From Gemini 3 on a running turn is refused where the first call of a step comes back without its `thoughtSignature`. It leaves in
Google's own form for OpenAI's clients, `extra_content.google.thought_signature`, which most clients drop; so it also rides behind
MARK in the call's id, which every client must return, with a checksum, since some cut long ids. Where both are lost Google's
documented stand-in is sent.
"""

from __future__ import annotations

import re
import secrets
import zlib
from typing import Any

MARK = "__thought__"
STAND_IN = "skip_thought_signature_validator"
CHECKSUM_LENGTH = 8
SIGNATURE_MAX = 32_768  # characters; a longer one rides in extra_content alone
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")  # both alphabets are taken
_BASE64_URL = re.compile(r"[A-Za-z0-9_-]+")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_TO_URL = str.maketrans("+/", "-_")
_FROM_URL = str.maketrans("-_", "+/")


def name_call(upstream_id: str | None, signature: str | None) -> str:
    """The id that the client sees: the upstream's, else a new one, and the signature within it."""
    id_ = upstream_id if upstream_id and MARK not in upstream_id and _ID.fullmatch(upstream_id) else f"call_{secrets.token_hex(12)}"
    if not signature or len(signature) > SIGNATURE_MAX or not _BASE64.fullmatch(signature):
        return id_
    packed = signature.rstrip("=").translate(_TO_URL)
    return f"{id_}{MARK}{_checksum(packed)}{packed}"


def plain_id(id_: str) -> str:
    """Without the signature: what the upstream knows, or nothing it could trip over."""
    return id_.partition(MARK)[0]


def signature_of(id_: str) -> str | None:
    _, mark, rest = id_.partition(MARK)
    checksum, packed = rest[:CHECKSUM_LENGTH], rest[CHECKSUM_LENGTH:]
    if not mark or len(packed) > SIGNATURE_MAX or not _BASE64_URL.fullmatch(packed) or checksum != _checksum(packed):
        return None
    return packed.translate(_FROM_URL) + "=" * (-len(packed) % 4)


def _checksum(packed: str) -> str:
    return f"{zlib.crc32(packed.encode()):08x}"


def extra_content(signature: str) -> dict[str, Any]:
    """Google's form of it in an OpenAI answer."""
    return {"google": {"thought_signature": signature}}


def echoed_signature(said: dict[str, Any]) -> str | None:
    """What a client returned in `extra_content`, of a message, a tool call or a picture."""
    extra = said.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    if not isinstance(signature, str) or not signature:
        return None
    return signature if signature == STAND_IN or _BASE64.fullmatch(signature) else None
