"""The base of every error that a customer may see.

Each app draws its own tree in its `errors.py`. An error carries the decision: the HTTP status, the stable code, and
whether the same call may succeed later.
"""

from __future__ import annotations


class TokiaError(Exception):
    """An expected refusal. `message` is Portuguese, for the customer; `code` is stable, for programs."""

    code: str = "internal_error"
    status: int = 500
    retryable: bool = False

    def __init__(self, message: str, *, param: str | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
