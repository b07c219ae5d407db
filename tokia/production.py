"""What a production's settings must be: it refuses to start with any others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEEDED = (
    "SECRET_KEY", "ENCRYPTION_KEYS", "PSP_BASE_URL", "PSP_CLIENT_ID", "PSP_CERT_FILE", "PSP_PIX_KEY", "PSP_WEBHOOK_SECRET",
    "EMAIL_URL",
)  # fmt: skip


def find_refusal(found: Mapping[str, Any]) -> str:
    """The first thing that is missing or unsafe, in words; empty where all is well. Pure."""
    missing = [name for name in NEEDED if not found[name]]
    if missing:
        return f"Production needs: {', '.join(missing)}."
    has_stripe = bool(found["STRIPE_SECRET_KEY"])
    refusals = (
        (not found["STAFF_NEEDS_MFA"], "STAFF_NEEDS_MFA stays on in production: the administration moves money."),
        (
            any(bool(found[f"{name}_CLIENT_ID"]) != bool(found[f"{name}_CLIENT_SECRET"]) for name in ("GOOGLE", "GITHUB")),
            "GOOGLE_CLIENT_ID and GITHUB_CLIENT_ID each go with their secret.",
        ),
        (
            any(found[name] for name in ("DEBUG", "SANDBOX_URL", "CRASHPOINT", "OUTBOUND_LOOPBACK")),
            "DEBUG, SANDBOX_URL, CRASHPOINT and OUTBOUND_LOOPBACK have no place in production.",
        ),
        (
            len(found["SECRET_KEY"]) < 50 or len(found["PSP_WEBHOOK_SECRET"]) < 32,
            "SECRET_KEY needs 50 characters or more, PSP_WEBHOOK_SECRET 32.",
        ),
        (0 < len(found["FOCUS_WEBHOOK_SECRET"]) < 32, "FOCUS_WEBHOOK_SECRET needs 32 characters or more."),
        (
            has_stripe and (not found["STRIPE_SECRET_KEY"].startswith(("sk_live_", "rk_live_")) or found["STRIPE_API_URL"]),
            "STRIPE_SECRET_KEY is a live key in production, and STRIPE_API_URL is empty: Stripe's own.",
        ),
        (
            has_stripe and not (found["STRIPE_WEBHOOK_SECRETS"] and all(len(one) >= 32 for one in found["STRIPE_WEBHOOK_SECRETS"])),
            "STRIPE_WEBHOOK_SECRETS: each of 32 characters or more, as Stripe gives them.",
        ),
        (
            not all(_is_safe(found[name]) for name in ("WEB_URL", "GATEWAY_URL", "PSP_BASE_URL", "PSP_TOKEN_URL")),
            "WEB_URL, GATEWAY_URL and the bank's addresses are https in production.",
        ),
        (
            not all(_is_safe(found[name]) for name in ("SEFIN_URL", "ADN_URL", "PARAM_URL", "FOCUS_URL", "CEP_URL") if found[name]),
            "SEFIN_URL, ADN_URL, PARAM_URL, FOCUS_URL and CEP_URL are https in production, or empty.",
        ),
    )
    return next((sentence for is_wrong, sentence in refusals if is_wrong), "")


def _is_safe(url: str) -> bool:
    return url.startswith("https://")
