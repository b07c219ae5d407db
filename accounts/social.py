"""Which social providers are there to sign in with: those whose client is configured."""

from __future__ import annotations

from django.conf import settings

PROVIDERS = {"google": "Google", "github": "GitHub"}


def is_configured(provider: str) -> bool:
    return bool(settings.SOCIALACCOUNT_PROVIDERS.get(provider, {}).get("APPS"))


def providers_configured() -> list[tuple[str, str]]:
    return [(name, label) for name, label in PROVIDERS.items() if is_configured(name)]
