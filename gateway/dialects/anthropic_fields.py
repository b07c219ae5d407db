"""What Messages can't say of a chat completion: refused by name, or left out where it changes no meaning, and named too. Pure."""

from __future__ import annotations

from typing import Any

from gateway.calls import ChatCall
from gateway.dialects.base import refuse

SAID = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "temperature", "top_p", "top_k",
        "stop", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "thinking", "user",
        "safety_identifier", "drop_params", "n", "functions",
    }
)  # fmt: skip
HINTS = frozenset(
    {
        "seed", "prediction", "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "store",
        "metadata", "verbosity", "cache_control",
    }
)  # fmt: skip
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,), "presence_penalty": (0,), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},),
    "modalities": (["text"],), "function_call": ("auto", "none"), "temperature": (1,), "top_p": (1,),
}  # fmt: skip


def name_unsaid(call: ChatCall, body: dict[str, Any]) -> tuple[str, ...]:
    """The names of what `body` does not say of `call`. Raises BadRequest for what changes the meaning."""
    dropped: list[str] = []
    for name, value in call.decoded.items():
        if name in SAID or value is None or value in NEUTRAL.get(name, ()):
            continue
        if name in HINTS:
            dropped.append(name)
        else:
            refuse(call, name, dropped)
    for name in ("temperature", "top_p", "top_k"):  # models that take none, and thinking
        asked = call.decoded.get(name)
        if asked is not None and asked != body.get(name) and asked not in NEUTRAL.get(name, ()):
            dropped.append(name)
    stop = call.decoded.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if any(isinstance(text, str) and text and not text.strip() for text in stops):  # blank ones are no stop sequences there
        refuse(call, "stop", dropped)
    if any(message.name is not None and message.role != "tool" for message in call.messages):
        dropped.append("messages[].name")
    is_thinking = body.get("thinking", {}).get("type") in ("enabled", "adaptive") or "effort" in body.get("output_config", {})
    if call.decoded.get("reasoning_effort") not in (None, "none") and not is_thinking:
        dropped.append("reasoning_effort")  # a forced tool, a loop whose thinking was lost, or too few tokens for it
    return tuple(dropped)
