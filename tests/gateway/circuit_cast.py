"""Who plays in the circuits' tests: a clock, deployments, and what they may fail with."""

from __future__ import annotations

from typing import Any

from gateway.calls import ServedDeployment
from gateway.dialects.base import error_of_status, malformed, timed_out
from gateway.errors import UpstreamError
from gateway.relay import cut


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def make_deployment(id_: int = 1, credential_id: int = 1, **fields: Any) -> ServedDeployment:
    return ServedDeployment(
        id=id_, provider_slug="acme", provider_name="Acme", dialect="openai", base_url="", upstream_model="m", priority=1, weight=1,
        secret="", is_strict=False, is_simulated=False, credential_id=credential_id, **fields,
    )  # fmt: skip


ERRORS: dict[str, UpstreamError] = {
    "timeout": timed_out(),
    "500": error_of_status(500, message=""),
    "503": error_of_status(503, message=""),
    "malformed": malformed(),
    "cut": cut(),
    "unreachable": UpstreamError("x", "x", code="provider_unreachable"),
    "400": error_of_status(400, message="bad"),
    "422": error_of_status(422, message="bad"),
    "context": error_of_status(400, message="prompt is too long"),
    "policy": UpstreamError("x", "x", code="content_policy_violation", is_retryable=False),
    "429": error_of_status(429, message="", retry_after="9"),
    "401": error_of_status(401, message=""),
    "402": error_of_status(402, message=""),
    "403": error_of_status(403, message=""),
}
OUTAGES = ("timeout", "500", "503", "malformed", "cut", "unreachable")
