"""The sandbox's own token and what a prompt cache remembers of it.

A token is up to six word characters, or up to three punctuation marks, with the white space before it; white space at
the very end is one token. So "Bom dia, mundo!" is 5 tokens: `Bom`, ` dia`, `,`, ` mundo`, `!`. Tokens joined give the text
back. No provider counts so; it is simple, always the same, and near a real tokenizer's counts for Portuguese.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

TOKEN = re.compile(r"\s*(?:\w{1,6}|[^\w\s]{1,3})|\s+\Z")
MESSAGE_TOKENS = 3  # what a message costs beside its text, and once more for the answer's beginning
IMAGE_TOKENS = 85
CACHE_MIN_TOKENS = 1024
CACHE_STEP_TOKENS = 128
CACHE_ENTRIES_MAX = 20_000


def split_tokens(text: str) -> list[str]:
    """The tokens of a text, in order."""
    return TOKEN.findall(text)


def count_tokens(text: str) -> int:
    return len(TOKEN.findall(text))


@dataclass
class Usage:
    """What one call used. Prompt includes cached and written tokens; completion includes reasoning."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    searches: int = 0
    audio_input_tokens: int = 0  # of the prompt
    image_input_tokens: int = 0
    image_output_tokens: int = 0  # of the completion
    audio_output_tokens: int = 0
    images: int = 0
    audio_seconds: int = 0
    characters: int = 0


@dataclass
class PromptCache:
    """Prefixes of prompts seen before, by provider and model. Entries leave when the cache is full, not with time."""

    _seen: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def match_prefix(self, *, scope: str, tokens: Sequence[str]) -> int:
        """Automatic caching: the longest known prefix in steps of 128 tokens from 1,024; remembers this prompt."""
        if len(tokens) < CACHE_MIN_TOKENS:
            return 0
        ends = range(CACHE_MIN_TOKENS, len(tokens) + 1, CACHE_STEP_TOKENS)
        return self._match(scope=scope, tokens=tokens, ends=ends)[0]

    def match_breakpoints(self, *, scope: str, tokens: Sequence[str], ends: Sequence[int]) -> tuple[int, int]:
        """Explicit caching: `(read, written)` tokens for breakpoints at `ends`; those below 1,024 tokens do not count."""
        usable = [end for end in ends if end >= CACHE_MIN_TOKENS]
        if not usable:
            return 0, 0
        read, last = self._match(scope=scope, tokens=tokens, ends=usable)
        return read, last - read

    def _match(self, *, scope: str, tokens: Sequence[str], ends: Iterable[int]) -> tuple[int, int]:
        digest = hashlib.sha256(scope.encode())
        start = longest = last = 0
        for end in ends:
            digest.update("\x00".join(tokens[start:end]).encode("utf-8", "surrogatepass"))
            start = last = end
            key = digest.digest()
            if key in self._seen:
                longest = end
                self._seen.move_to_end(key)
            else:
                self._seen[key] = None
        while len(self._seen) > CACHE_ENTRIES_MAX:
            self._seen.popitem(last=False)
        return longest, last

    def clear(self) -> None:
        self._seen.clear()
