"""Time, in one place: aware UTC instants, Brazil's calendar, and ids that carry their instant.

A fiscal month is a month in America/Sao_Paulo. Tests move the clock with `shift`.
"""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from dataclasses import dataclass
from zoneinfo import ZoneInfo

SAO_PAULO = ZoneInfo("America/Sao_Paulo")

_shift_seconds = 0.0


def shift(seconds: float) -> None:
    """Move this process's clock. Tests only."""
    global _shift_seconds
    _shift_seconds = seconds


def unix_ms() -> int:
    return int((time.time() + _shift_seconds) * 1000)


def now() -> dt.datetime:
    return dt.datetime.fromtimestamp(time.time() + _shift_seconds, dt.UTC)


def today_in_brazil() -> dt.date:
    return now().astimezone(SAO_PAULO).date()


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then random bits. Sorts by time."""
    raw = bytearray(unix_ms().to_bytes(6, "big") + os.urandom(10))
    raw[6] = (raw[6] & 0x0F) | 0x70
    raw[8] = (raw[8] & 0x3F) | 0x80
    return uuid.UUID(bytes=bytes(raw))


def instant_of(id_: uuid.UUID) -> dt.datetime:
    """The instant inside a UUIDv7."""
    return dt.datetime.fromtimestamp((id_.int >> 80) / 1000, dt.UTC)


@dataclass(frozen=True, order=True)
class Month:
    """A fiscal month in America/Sao_Paulo; `first_on` is its first day."""

    first_on: dt.date

    @classmethod
    def of(cls, instant: dt.datetime) -> Month:
        return cls(instant.astimezone(SAO_PAULO).date().replace(day=1))

    @classmethod
    def current(cls) -> Month:
        return cls.of(now())

    def next(self) -> Month:
        return Month((self.first_on.replace(day=28) + dt.timedelta(days=4)).replace(day=1))

    def starts_at(self) -> dt.datetime:
        return dt.datetime.combine(self.first_on, dt.time(), SAO_PAULO).astimezone(dt.UTC)

    def ends_at(self) -> dt.datetime:
        return self.next().starts_at()
