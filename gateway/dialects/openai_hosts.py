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
# What a chat completion of OpenAI may hold: of the rest, whoever wants it is told to leave out what a strict host would refuse.
OPENAI_FIELDS = frozenset(
    {
        "messages", "model", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "metadata", "modalities", "moderation", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
        "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature",
        "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
    }
)  # fmt: skip
MISTRAL_FIELDS = frozenset(
    {
        "messages", "model", "frequency_penalty", "guardrails", "max_completion_tokens", "max_tokens", "metadata", "n",
        "parallel_tool_calls", "prediction", "presence_penalty", "prompt_mode", "random_seed", "reasoning_effort",
        "response_format", "safe_prompt", "seed", "stop", "stream", "stream_options", "temperature", "tool_choice", "tools",
        "top_p",
    }
)  # fmt: skip
# Other makers' words for what changes the answer: a strict host would name them as unknown, after the money is held.
FOREIGN = frozenset({"thinking", "extra_body", "chat_template_kwargs", "min_p", "repetition_penalty", "documents"})
# What models that reason refuse of OpenAI's own, unless told not to think: only 1 is taken, and none at all.
FIXED_WHILE_THINKING = frozenset({"temperature", "top_p"})
LACKED_WHILE_THINKING = frozenset({"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"})
# A value that asks for nothing.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},), "tools": ([],), "functions": ([],),
    "stop": ([], ""), "function_call": ("none", "auto"), "modalities": (["text"],), "frequency_penalty": (0,),
    "presence_penalty": (0,), "temperature": (1,), "top_p": (1,), "extra_body": ({},), "min_p": (0,), "repetition_penalty": (1,),
    "documents": ([],),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostHabits:
    """`lacks`: what the host refuses, or ignores although it changes the answer: refused by us, by name, before money is held.
    `refuses_hints`: hints that it refuses: left out, and named."""

    takes_stream_options: bool = True  # without them its streams end with the usage by themselves
    takes_max_completion_tokens: bool = False
    takes_developer: bool = False  # knows the role; else it is told "system"
    takes_names: bool = True  # messages[].name
    takes_refusals: bool = True  # messages[].refusal, and audio and function_call; else a refusal is told as text
    samples_while_thinking: bool = True
    knows: frozenset[str] = frozenset()  # the fields of a body, all others it refuses; empty: it takes any
    stops_max: int = 0  # more sequences than these are refused; 0: any number
    tool_id_length: int = 0  # ids of tool calls have exactly so many base62 characters; 0: any
    seed_name: str = "seed"
    lacks: frozenset[str] = frozenset()
    refuses_hints: frozenset[str] = frozenset()
    # What lets the model go on with an assistant's last message: members of that message, and of the body.
    prefill_message: Mapping[str, bool] = field(default_factory=dict)
    prefill_body: Mapping[str, bool] = field(default_factory=dict)


OPENAI = HostHabits(
    takes_max_completion_tokens=True, takes_developer=True, stops_max=4, samples_while_thinking=False, lacks=FOREIGN,
    knows=OPENAI_FIELDS,
)  # fmt: skip
HABITS: Mapping[str, HostHabits] = {
    "openai": OPENAI,
    "azure": OPENAI,
    "deepseek": HostHabits(lacks=frozenset({"n", "logit_bias"})),
    "deepseek-beta": HostHabits(lacks=frozenset({"n", "logit_bias"}), prefill_message={"prefix": True}),
    "fireworks": HostHabits(),
    "groq": HostHabits(
        takes_max_completion_tokens=True, takes_names=False, stops_max=4,
        lacks=frozenset({"n", "logprobs", "top_logprobs", "logit_bias"}),
    ),
    "mistral": HostHabits(
        takes_stream_options=False, takes_names=False, takes_refusals=False, tool_id_length=9, seed_name="random_seed",
        prefill_message={"prefix": True}, knows=MISTRAL_FIELDS,
        lacks=FOREIGN
        | {"logprobs", "top_logprobs", "logit_bias", "functions", "function_call", "modalities", "audio", "web_search_options"},
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
