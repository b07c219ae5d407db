"""What each generation of Gemini takes, read from the model's name. Pure.

Sources: Google's pages on thinking, thought signatures and file inputs, and the "what's new" pages of 3.5, 3.8 and 4; what the API
refuses although the reference lists it (penalties from 2.5 on, several candidates and log probabilities from 3 on) is from the
issue trackers of its SDKs. A name that can't be read counts as the newest generation.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

_NAME = re.compile(r"(?:models/)?gemini-(\d+)(?:\.(\d+))?-([a-z0-9-]+)")
_NEWEST = (99, 0)
CANDIDATES_MAX = 8


class Abilities(msgspec.Struct, frozen=True):
    """`levels`: from least to most; empty where thinking has a budget in tokens, or there is none."""

    levels: tuple[str, ...] = ()
    budget_min: int = 0
    budget_max: int = 0  # 0: it does not think by budget
    can_rest: bool = False  # thinking can be turned off
    takes_sampling: bool = True
    takes_penalties: bool = False
    takes_logprobs: bool = True
    takes_prefill: bool = True
    takes_web_urls: bool = True  # it fetches public https addresses itself
    takes_json_schema: bool = True  # parametersJsonSchema, responseJsonSchema
    takes_tools_with_json: bool = False
    takes_media_results: bool = False  # pictures and documents in a function's response
    candidates_max: int = CANDIDATES_MAX
    needs_signatures: bool = False
    gives_pictures: bool = False


@lru_cache(maxsize=256)
def abilities_of(upstream_model: str) -> Abilities:
    found = _NAME.match(upstream_model)
    version = (int(found[1]), int(found[2] or 0)) if found else _NEWEST
    kind = found[3] if found else ""
    gives_pictures = "-image" in upstream_model
    if version < (2, 5):
        return Abilities(
            takes_penalties=True, takes_web_urls=False, takes_json_schema=False, can_rest=True, gives_pictures=gives_pictures
        )
    if version < (3, 0):
        if gives_pictures:
            return Abilities(can_rest=True, takes_logprobs=False, gives_pictures=True)
        if kind.startswith("pro"):
            return Abilities(budget_min=128, budget_max=32_768)
        return Abilities(budget_min=512 if "lite" in kind else 1, budget_max=24_576, can_rest=True)
    is_strict = version >= (3, 6) or (version == (3, 5) and "lite" in kind)
    return Abilities(
        levels=_levels(version, kind),
        takes_sampling=not is_strict,
        takes_logprobs=False,
        takes_prefill=not is_strict,
        takes_tools_with_json=True,
        takes_media_results=True,
        candidates_max=1,
        needs_signatures=True,
        gives_pictures=gives_pictures,
    )


def _levels(version: tuple[int, int], kind: str) -> tuple[str, ...]:
    if kind.startswith("pro") and version == (3, 0):
        return ("LOW", "HIGH")
    if "flash" in kind and (version < (3, 8) or "lite" in kind):
        return ("MINIMAL", "LOW", "MEDIUM", "HIGH")
    return ("LOW", "MEDIUM", "HIGH")
