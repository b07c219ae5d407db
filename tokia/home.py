"""Pages that span apps, and what every page knows."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def page_context(request: HttpRequest) -> dict[str, Any]:
    return {}


def admin_environment(request: HttpRequest) -> list[str]:
    return ["Demonstração", "warning"]
