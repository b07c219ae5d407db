"""The providers' published types as a second opinion on a request: optional, read once, in the background.

The `openai` and `anthropic` packages are development dependencies; without them only our own rules check a request.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tokia.sandbox import llm_cohere_types, llm_gemini_types

TYPES_BY_DIALECT = {
    "openai": ("openai.types.chat.completion_create_params", "CompletionCreateParams"),
    "anthropic": ("anthropic.types.message_create_params", "MessageCreateParams"),
}


class PublishedTypes:
    """`load` in a thread at the start; until it is done nothing is refused here."""

    def __init__(self) -> None:
        self._adapters: dict[tuple[str, bool], TypeAdapter[Any]] = {}

    def load(self) -> None:
        if os.environ.get("SANDBOX_LLM_TYPES", "1") == "0":
            return
        llm_cohere_types.load()
        llm_gemini_types.load()
        for dialect, (module_name, class_name) in TYPES_BY_DIALECT.items():
            try:
                module = importlib.import_module(module_name)
            except ImportError:
                continue
            for is_stream, suffix in ((False, "NonStreaming"), (True, "Streaming")):
                self._adapters[dialect, is_stream] = TypeAdapter(getattr(module, class_name + suffix))

    def loaded(self) -> list[str]:
        """The dialects whose types are there."""
        return sorted({dialect for dialect, _ in self._adapters})

    def find_slip(self, body: dict[str, Any], *, dialect: str) -> tuple[str, str] | None:
        """`(path, message)` of the first thing that the published types do not allow; None when they allow it all."""
        adapter = self._adapters.get((dialect, body.get("stream") is True))
        if adapter is None:
            return None
        known = {name: value for name, value in body.items() if value is not None}
        try:
            _drain(adapter.validate_python(known))
        except ValidationError as error:
            # A union reports every branch that failed; the deepest path is the branch that was meant.
            slip = max(error.errors(include_url=False, include_context=False), key=lambda item: len(item["loc"]))
            return _path_of(slip["loc"]), slip["msg"]
        return None


def _drain(value: Any) -> None:
    """Iterables in the types are validated lazily: walk them."""
    if isinstance(value, dict):
        for item in value.values():
            _drain(item)
    elif not isinstance(value, str | bytes | int | float | None):
        for item in value:
            _drain(item)


def _path_of(location: tuple[int | str, ...]) -> str:
    """Field names and indexes only: `messages[0].content`, without the names of union branches."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.replace("_", "").islower():
            path += f".{part}" if path else part
    return path
