"""usageMetadata → our buckets. Every chunk of a stream tells the totals so far: what came last counts, name by name."""

from __future__ import annotations

import msgspec

from billing.pricing import Usage
from gateway.dialects.base import Tally, bucket_usage, openai_usage


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
        for name in _Usage.__struct_fields__:
            value = getattr(said, name)
            if value is not None:
                setattr(self._said, name, value)

    def fill(self, tally: Tally) -> None:
        """Tokens of tools that the model used by itself are part of the prompt; thoughts are part of the completion."""
        said = self._said
        if said.prompt_token_count is None:
            tally.is_suspect = tally.is_suspect or self._is_suspect
            return
        thoughts = said.thoughts_token_count or 0
        parts = (said.tool_use_prompt_token_count or 0, said.cached_content_token_count or 0, said.candidates_token_count or 0)
        usage, is_suspect = bucket_usage(
            prompt=said.prompt_token_count + max(0, parts[0]),
            cached=parts[1],
            cache_write=0,
            completion=parts[2] + max(0, thoughts),
            reasoning=thoughts,
        )
        tally.usage = self._with_media(usage)
        tally.is_suspect = tally.is_suspect or self._is_suspect or is_suspect or min(said.prompt_token_count, *parts) < 0
        tally.usage_raw = openai_usage(tally.usage)

    def _with_media(self, usage: Usage) -> Usage:
        """Sound and pictures in buckets of their own; what of them was cached stays with the cached."""
        said = self._said
        if said.prompt_tokens_details is None and said.candidates_tokens_details is None:
            return usage
        cached = said.cache_tokens_details
        audio_in = _count(said.prompt_tokens_details, "AUDIO") - _count(cached, "AUDIO")
        image_in = _count(said.prompt_tokens_details, "IMAGE") - _count(cached, "IMAGE")
        audio_in = min(max(0, audio_in), usage.input_tokens)
        image_in = min(max(0, image_in), usage.input_tokens - audio_in)
        audio_out = min(_count(said.candidates_tokens_details, "AUDIO"), usage.output_tokens)
        image_out = min(_count(said.candidates_tokens_details, "IMAGE"), usage.output_tokens - audio_out)
        if not (audio_in or image_in or audio_out or image_out):
            return usage
        return Usage(
            input_tokens=usage.input_tokens - audio_in - image_in,
            cached_input_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens - audio_out - image_out,
            reasoning_tokens=usage.reasoning_tokens,
            audio_input_tokens=audio_in,
            image_input_tokens=image_in,
            audio_output_tokens=audio_out,
            image_output_tokens=image_out,
        )


def _count(details: list[_Modality] | None, modality: str) -> int:
    return sum(max(0, detail.token_count) for detail in details or () if detail.modality == modality)
