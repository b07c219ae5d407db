"""Django's cache on Valkey, for rate limits of the sign-in pages; the pages go on when Valkey is away.

A read then finds nothing, a write is lost, and a lock (`add`) is granted: limits that only live in the cache don't limit
until it is back. Those that must hold are counted in PostgreSQL too (`accounts.models.PasswordFailure`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 5.0
T = TypeVar("T")


class ForgivingCache(RedisCache):
    """After a failure Valkey is left alone for five seconds, so that a page pays its time-out once and not per look-up."""

    _away_until = 0.0

    def _try(self, ask: Callable[[], T], otherwise: T) -> T:
        if time.monotonic() < ForgivingCache._away_until:
            return otherwise
        try:
            return ask()
        except (RedisError, OSError) as error:
            ForgivingCache._away_until = time.monotonic() + _RETRY_SECONDS
            _log.warning("Valkey does not answer; pages go on without it: %s", type(error).__name__)
            return otherwise

    def add(self, key: Any, value: Any, timeout: Any = None, version: int | None = None) -> bool:
        return self._try(lambda: super(ForgivingCache, self).add(key, value, timeout, version), True)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._try(lambda: super(ForgivingCache, self).get(key, default, version), default)

    def set(self, key: Any, value: Any, timeout: Any = None, version: int | None = None) -> None:
        self._try(lambda: super(ForgivingCache, self).set(key, value, timeout, version), None)

    def touch(self, key: Any, timeout: Any = None, version: int | None = None) -> bool:
        return self._try(lambda: super(ForgivingCache, self).touch(key, timeout, version), False)

    def delete(self, key: Any, version: int | None = None) -> bool:
        return self._try(lambda: super(ForgivingCache, self).delete(key, version), False)

    def count(self, key: str, *, seconds: int) -> int | None:
        """How often this was asked for the key within its window, this time included; None where Valkey does not answer."""
        name = self.make_and_validate_key(key)

        def ask() -> int:
            with self._cache.get_client(name, write=True).pipeline() as pipeline:
                pipeline.incr(name)
                pipeline.expire(name, seconds, nx=True)
                return int(pipeline.execute()[0])

        return self._try(ask, None)

    def ping(self) -> bool:
        """Whether Valkey answers now; asks it even while it is being left alone."""
        try:
            return bool(self._cache.get_client().ping())
        except (RedisError, OSError):
            return False
