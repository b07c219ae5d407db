"""Where the hosts that speak OpenAI's Chat Completions differ in what they take: one row each.

A row is found by its provider's slug; a slug may go on behind a hyphen ("vllm-sp", "ollama-gpu2" have the habits of "vllm" and
"ollama"), and one that is not here is taken for a plain compatible host. How they differ in what they give is read off the answers
(`openai_shapes`), whoever gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

# What changes no meaning: hosts that know no such field may refuse it.
HINTS = frozenset(
    {
        "user", "safety_identifier", "store", "metadata", "service_tier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "verbosity", "prediction",
    }
)  # fmt: skip
# A value that asks for nothing.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},), "tools": ([],), "functions": ([],),
    "stop": ([], ""), "function_call": ("none", "auto"), "modalities": (["text"],),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostHabits:
    """`lacks`: what the host refuses, or ignores although it changes the answer: refused by us, by name, before money is held.
    `refuses_hints`: hints that it refuses: left out, and named."""

    takes_stream_options: bool = True  # without them its streams end with the usage by themselves
    takes_max_completion_tokens: bool = False
    takes_developer: bool = False  # knows the role; else it is told "system"
    takes_names: bool = True  # messages[].name
    stops_max: int = 0  # more sequences than these are refused; 0: any number
    tool_id_length: int = 0  # ids of tool calls have exactly so many base62 characters; 0: any
    seed_name: str = "seed"
    lacks: frozenset[str] = frozenset()
    refuses_hints: frozenset[str] = frozenset()
    # What lets the model go on with an assistant's last message: members of that message, and of the body.
    prefill_message: Mapping[str, bool] = field(default_factory=dict)
    prefill_body: Mapping[str, bool] = field(default_factory=dict)


HABITS: Mapping[str, HostHabits] = {
    "openai": HostHabits(takes_max_completion_tokens=True, takes_developer=True, stops_max=4),
    "azure": HostHabits(takes_max_completion_tokens=True, takes_developer=True, stops_max=4),
    "deepseek": HostHabits(lacks=frozenset({"n", "logit_bias"})),
    "deepseek-beta": HostHabits(lacks=frozenset({"n", "logit_bias"}), prefill_message={"prefix": True}),
    "fireworks": HostHabits(),
    "groq": HostHabits(
        takes_max_completion_tokens=True, takes_names=False, stops_max=4,
        lacks=frozenset({"n", "logprobs", "top_logprobs", "logit_bias"}),
    ),
    "mistral": HostHabits(
        takes_stream_options=False, takes_names=False, tool_id_length=9, seed_name="random_seed", prefill_message={"prefix": True},
        lacks=frozenset(
            {"logprobs", "top_logprobs", "logit_bias", "functions", "function_call", "modalities", "audio", "web_search_options"}
        ),
        refuses_hints=HINTS - {"metadata", "prediction"},
    ),
    "ollama": HostHabits(lacks=frozenset({"n", "logit_bias"})),
    "perplexity": HostHabits(
        takes_stream_options=False, takes_names=False,
        lacks=frozenset({"n", "logprobs", "top_logprobs", "logit_bias", "tools", "functions", "stop"}),
        # The last two say nothing without tools.
        refuses_hints=frozenset({"seed", "service_tier", "parallel_tool_calls", "tool_choice"}),
    ),
    "together": HostHabits(),
    "vllm": HostHabits(prefill_body={"continue_final_message": True, "add_generation_prompt": False}),
    "xai": HostHabits(takes_max_completion_tokens=True, lacks=frozenset({"logit_bias"})),
}  # fmt: skip
COMMON = HostHabits()


@lru_cache(maxsize=1_024)
def habits_of(slug: str) -> HostHabits:
    """The row of the longest name that the slug is, or begins with before a hyphen."""
    name = slug
    while name not in HABITS and "-" in name:
        name = name.rpartition("-")[0]
    return HABITS.get(name, COMMON)
