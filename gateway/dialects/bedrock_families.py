"""What each maker's models take on Bedrock beyond Converse's common ground, as rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

_THREE: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_CLAUDE_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:-(\d{1,2}))?(?![\d])")


@dataclass(frozen=True, slots=True)
class Family:
    """`effort` and `top_k` are places in additionalModelRequestFields, dotted; empty: the models take none."""

    caches: bool = False  # takes cache points in system and messages
    caches_tools: bool = False  # and among the tools (Nova refuses them there)
    caches_an_hour: bool = False  # takes a time to live
    takes_thinking: bool = False  # Claude's thinking, with signatures
    never_thinks: bool = False  # a Claude of before 3.7
    is_new: bool = False  # Claude 4.7 and later: no sampling parameters, thinking is adaptive
    effort: str = ""
    efforts: Mapping[str, str] = field(default_factory=dict)
    top_k: str = ""

    def say_effort(self, level: str) -> dict[str, Any]:
        if self.effort == "reasoningConfig.maxReasoningEffort":
            return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}}
        return {self.effort: level}

    def say_top_k(self, top_k: Any) -> dict[str, Any]:
        outer, _, inner = self.top_k.partition(".")
        return {outer: {inner: top_k}} if inner else {outer: top_k}


CLAUDE = Family(caches=True, caches_tools=True, caches_an_hour=True, takes_thinking=True, top_k="top_k")
# With a high effort Nova 2 takes no maxTokens, and ours always says how much was paid for.
NOVA_2 = Family(
    caches=True, top_k="inferenceConfig.topK", effort="reasoningConfig.maxReasoningEffort",
    efforts={**_THREE, "high": "medium", "xhigh": "medium", "max": "medium"},
)  # fmt: skip
FAMILIES: tuple[tuple[re.Pattern[str], Family], ...] = (
    (re.compile(r"anthropic\.claude"), CLAUDE),
    (re.compile(r"amazon\.nova-2"), NOVA_2),
    (re.compile(r"amazon\.nova"), Family(caches=True, top_k="inferenceConfig.topK")),
    (re.compile(r"openai\.gpt"), Family(effort="reasoning_effort", efforts=_THREE)),
    (re.compile(r"mistral\."), Family(top_k="top_k")),
    (re.compile(r"cohere\."), Family(top_k="k")),
)
PLAIN = Family()


def family_of(upstream_model: str) -> Family:
    """By the model's id, an inference profile's id or an ARN with one in it; a profile of one's own is only the common ground."""
    family = next((family for pattern, family in FAMILIES if pattern.search(upstream_model)), PLAIN)
    if family is not CLAUDE:
        return family
    found = _CLAUDE_VERSION.search(upstream_model)
    version = (int(found[1]), int(found[2] or 0)) if found else (3, 0)
    return replace(family, is_new=version >= (4, 7), never_thinks=version < (3, 7))
