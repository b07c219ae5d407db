"""Which module speaks which dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from gateway.dialects import anthropic, openai
from gateway.dialects.base import Dialect

DIALECTS: Mapping[str, Dialect] = {"openai": cast(Dialect, openai), "anthropic": cast(Dialect, anthropic)}
