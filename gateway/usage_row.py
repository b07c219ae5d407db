"""A settlement as `billing_settle_batch` reads it. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from billing.pricing import MEDIA, Usage

if TYPE_CHECKING:
    from gateway.metering import OpenCall

INT_MAX = 2_147_483_647


def write_row(
    call: OpenCall,
    usage: Usage,
    gross: int,
    cost: int,
    *,
    outcome: str,
    status: int,
    error_code: str,
    source: str = "none",
    finish_reason: str = "",
    upstream_id: str = "",
) -> bytes:
    """The settlement as `billing_settle_batch` reads it: the columns of UsageRecord."""
    context, deployment, now_ns = call.context, call.deployment, time.monotonic_ns()
    row: dict[str, Any] = {
        "id": context.id,
        "wallet_id": call.caller.wallet_id,
        "organization_id": call.caller.organization_id,
        "api_key_id": call.caller.api_key_id,
        "surface": call.surface or call.route.surface,
        "is_stream": call.is_stream,
        "route_name": call.route.name,
        "provider_name": deployment.provider_slug if deployment else "",
        "upstream_model": deployment.upstream_model if deployment else "",
        "upstream_id": _plain(upstream_id),
        "price_version_id": call.prices.version_id,
        "input_tokens": min(usage.input_tokens, INT_MAX),
        "cached_input_tokens": min(usage.cached_input_tokens, INT_MAX),
        "cache_write_tokens": min(usage.cache_write_tokens, INT_MAX),
        "output_tokens": min(usage.output_tokens, INT_MAX),
        "reasoning_tokens": min(usage.reasoning_tokens, INT_MAX),
        "requests": usage.requests,
        "gross_nanos": gross,
        "cost_nanos": cost,
        "outcome": outcome,
        "status_code": status,
        "error_code": error_code,
        "finish_reason": _plain(finish_reason),
        "usage_source": source,
        "attempts": call.attempts,
        "first_token_ms": call.first_token_ns // 1_000_000 if call.first_token_ns else None,
        "latency_ms": (now_ns - context.started_ns) // 1_000_000,
        "overhead_us": min(call.overhead_us_at(now_ns), INT_MAX),
    }
    if not call.routing.is_plain:
        row["routing"] = call.routing
    if call.arm_id:
        row["experiment_arm_id"] = call.arm_id
    caller = call.caller
    if caller.project_id is not None:
        row["project_id"] = caller.project_id
    if context.tags:
        row["tags"] = context.tags
    if caller.margin_bps:
        row["margin_bps"] = caller.margin_bps
    if deployment is not None and deployment.is_own_key:
        row["is_own_key"], row["cost_nanos"] = True, 0  # its owner pays the provider
    if not usage.is_text:
        row |= {name: min(quantity, INT_MAX) for name, _ in MEDIA if (quantity := getattr(usage, name))}
    return msgspec.json.encode(row)


def _plain(text: str) -> str:
    """Text from outside, as a PostgreSQL column can keep it."""
    return text.replace("\x00", "")[:120] if "\x00" in text or len(text) > 120 else text
