"""usageMetadata → our buckets. Every chunk of a stream tells the totals so far: what came last counts, name by name."""

from __future__ import annotations

import msgspec

from gateway.dialects.base import Tally, bucket_usage


class _Modality(msgspec.Struct):
    modality: str = ""
    token_count: int = msgspec.field(default=0, name="tokenCount")


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


_decode_usage = msgspec.json.Decoder(_Usage).decode


class UsageMerger:
    def __init__(self) -> None:
        self._said = _Usage()
        self._is_suspect = False

    def take(self, raw: msgspec.Raw) -> None:
        text = bytes(raw)
        if text == b"null":
            return
        try:
            said = _decode_usage(text)
        except (msgspec.DecodeError, RecursionError):
            self._is_suspect = True
            return
        last, self._said = self._said, said
        for name in _Usage.__struct_fields__:
            if getattr(said, name) is None:
                setattr(said, name, getattr(last, name))

    def fill(self, tally: Tally) -> None:
        """Tokens of tools that the model used by itself are part of the prompt; thoughts are part of the completion.

        `usage_raw` stays empty: what the caller is shown is written once, at the end.
        """
        said = self._said
        if said.prompt_token_count is None:
            tally.is_suspect = tally.is_suspect or self._is_suspect
            return
        thoughts = said.thoughts_token_count or 0
        tools, candidates = said.tool_use_prompt_token_count or 0, said.candidates_token_count or 0
        cached = said.cache_tokens_details
        usage, is_suspect = bucket_usage(
            prompt=said.prompt_token_count + max(0, tools),
            cached=said.cached_content_token_count or 0,
            cache_write=0,
            completion=candidates + max(0, thoughts),
            reasoning=thoughts,
            audio_input=max(0, _count(said.prompt_tokens_details, "AUDIO") - _count(cached, "AUDIO")),
            image_input=max(0, _count(said.prompt_tokens_details, "IMAGE") - _count(cached, "IMAGE")),
            audio_output=_count(said.candidates_tokens_details, "AUDIO"),
            image_output=_count(said.candidates_tokens_details, "IMAGE"),
        )
        is_negative = min(said.prompt_token_count, tools, candidates) < 0
        tally.usage = usage
        tally.is_suspect = tally.is_suspect or self._is_suspect or is_suspect or is_negative


def _count(details: list[_Modality] | None, modality: str) -> int:
    return sum(max(0, detail.token_count) for detail in details or () if detail.modality == modality)
