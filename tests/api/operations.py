"""Every operation of `/api/v1`, read from the addresses that are served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from accounts.operations import Operation, Resource

PREFIX = "api/v1/"
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Served:
    """`route` as Django writes it, without a slash before it."""

    route: str
    method: str
    operation: Operation

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def has_ids(self) -> bool:
        return "<" in self.route

    def path(self, values: dict[str, Any]) -> str:
        path = "/" + self.route
        for name, value in values.items():
            for converter in ("int", "str", "uuid", "path"):
                path = path.replace(f"<{converter}:{name}>", str(value))
        assert "<" not in path, f"{path}: say in tests/api/world.py what this id is"
        return path


def operations() -> list[Served]:
    return list(_walk(get_resolver().url_patterns, ""))


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[Served]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route)
        elif route.startswith(PREFIX):
            view = getattr(pattern.callback, "view_class", None)
            for method in METHODS if view is not None and issubclass(view, Resource) else ():
                handler = getattr(view, method, None)
                if handler is not None:
                    yield Served(route, method, handler.operation)
