"""One GET of a public look-up (companies, postal codes): bounded in time and size, redirects not followed.

The address is ours, from settings; what stands behind it is a stranger all the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from typing import Any

import httpx

SECONDS_MAX = 3.0


class LookupAway(Exception):
    """No answer in time, or none that can be read: the person fills the form by hand."""


def fetch_json(url: str, *, bytes_max: int, absent: Collection[int] = (404,)) -> Any:
    """The answer, within SECONDS_MAX and `bytes_max`; None for a status that says there is no such thing. Raises LookupAway."""
    ends_at = time.monotonic() + SECONDS_MAX
    try:
        with (
            httpx.Client(timeout=httpx.Timeout(1.5, read=1.5), trust_env=False) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code in absent:
                return None
            response.raise_for_status()
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if len(body) > bytes_max or time.monotonic() > ends_at:
                    raise LookupAway
        answer = json.loads(body)
    except (httpx.HTTPError, ValueError, RecursionError) as error:
        raise LookupAway from error
    if answer is None:  # `null` is no answer
        raise LookupAway
    return answer
