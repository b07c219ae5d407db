"""Requests per minute of the management API, by caller: a key, a person, or an address that nobody signed in from.

Counted in Valkey, for all processes; while it is away each process counts for itself.
"""

from __future__ import annotations

import ipaddress
import math
import time
from dataclasses import dataclass

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest

from tokia.manners import ApiError

WINDOW_SECONDS = 60
CALLERS_MAX = 10_000
_local: dict[str, tuple[int, int]] = {}  # caller → its minute, what it asked in it


@dataclass(frozen=True, slots=True)
class Turn:
    """One request that may go on, and where its caller stands."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_seconds}s",
        }


def peer_of(request: HttpRequest) -> str:
    """Where a request comes from, past TRUSTED_PROXIES proxies of ours. As told: it need not be an address."""
    found = str(request.META.get("REMOTE_ADDR", ""))
    if settings.TRUSTED_PROXIES:
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
        found = hops[-settings.TRUSTED_PROXIES] if len(hops) >= settings.TRUSTED_PROXIES and all(hops) else found
    return found


def address_of(request: HttpRequest) -> str:
    """A stranger's name: where they call from; of IPv6 the /64, which is one line."""
    try:
        address = ipaddress.ip_address(peer_of(request))
    except ValueError:
        return "address:unknown"
    return f"address:{ipaddress.ip_network((address, 64), strict=False) if address.version == 6 else address}"


def take_turn(caller: str, *, limit: int) -> Turn:
    """Raises ApiError 429 once a caller asked more than `limit` times in this minute of the clock."""
    now = time.time()
    minute = int(now // WINDOW_SECONDS)
    asked: int | None = cache.count(f"api:{caller}:{minute}", seconds=2 * WINDOW_SECONDS)  # type: ignore[attr-defined]
    if asked is None:
        asked = _count_here(caller, minute)
    reset = math.ceil((minute + 1) * WINDOW_SECONDS - now)
    if asked > limit:
        raise ApiError(429, f"São {limit} requisições por minuto. Tente de novo em {reset} segundos.", retry_after=reset)
    return Turn(limit, limit - asked, reset)


def _count_here(caller: str, minute: int) -> int:
    if len(_local) >= CALLERS_MAX:
        for other in [other for other, (then, _) in _local.items() if then != minute] or list(_local):
            _local.pop(other, None)
    then, asked = _local.get(caller, (minute, 0))
    asked = asked + 1 if then == minute else 1
    _local[caller] = (minute, asked)
    return asked
