"""What `/v1/models` says that a model takes is what its dialect does not refuse."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.calls import ServedDeployment, ServedRoute
from gateway.parameters import PROBES, supported_parameters
from tests.make import CAPABILITIES

CATALOG = tomllib.loads((Path(__file__).resolve().parents[2] / "gateway" / "catalog.toml").read_text())
KNOWN = {*CAPABILITIES, "timestamps", "translation", "streaming"}


def route_of(
    dialect: str, slug: str, model: str, *, can: tuple[str, ...] = CAPABILITIES, is_reasoning: bool = False, is_strict: bool = False
) -> ServedRoute:
    deployment = ServedDeployment(
        id=1, provider_slug=slug, provider_name=slug, dialect=dialect, base_url="", upstream_model=model, priority=1, weight=1,
        secret="s", is_strict=is_strict, is_simulated=False,
    )  # fmt: skip
    return ServedRoute(
        name="a/b", display_name="", maker="", surface="chat", description="", context_tokens=1, output_tokens_max=1,
        output_tokens_default=1, token_factor_percent=100, capabilities=can, is_reasoning=is_reasoning, created=0, prices=None,
        deployments=(deployment,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("route", "taken", "refused"),
    [
        (route_of("openai", "openai", "gpt-4o", is_strict=True), {"logprobs", "logit_bias", "n", "seed", "temperature"}, {"top_k"}),
        (route_of("openai", "openai", "gpt-5", is_strict=True, is_reasoning=True), {"reasoning_effort", "seed"},
         {"temperature", "top_p", "logprobs", "presence_penalty"}),
        (route_of("openai", "mistral", "m", is_strict=True), {"seed", "n", "tools", "structured_outputs"},
         {"logprobs", "user", "store"}),
        (route_of("openai", "groq", "m"), {"temperature", "tools"}, {"n", "logprobs", "store", "web_search_options"}),
        (route_of("anthropic", "anthropic", "claude-haiku-4-5"), {"top_k", "parallel_tool_calls", "reasoning_effort", "user"},
         {"seed", "n", "logprobs", "frequency_penalty", "web_search_options"}),
        (route_of("anthropic", "anthropic", "claude-opus-5-5"), {"reasoning_effort", "stop"}, {"temperature", "top_p", "top_k"}),
        (route_of("gemini", "google", "gemini-2.5-flash"), {"seed", "n", "logprobs", "top_k"}, {"logit_bias", "presence_penalty"}),
        (route_of("cohere", "cohere", "command-a-03-2025"), {"seed", "logprobs", "frequency_penalty"},
         {"n", "parallel_tool_calls"}),
        (route_of("bedrock", "bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"), {"top_k", "tools"}, {"seed", "n"}),
        (route_of("anthropic", "anthropic", "claude-haiku-4-5", can=()), {"stop", "max_tokens", "stream"},
         {"tools", "tool_choice", "parallel_tool_calls", "response_format", "structured_outputs", "reasoning_effort"}),
    ],
)  # fmt: skip
def test_it_lists_what_is_taken_and_nothing_that_is_refused(route: ServedRoute, taken: set[str], refused: set[str]) -> None:
    listed = supported_parameters(route)
    assert taken <= set(listed)
    assert not refused & set(listed)
    assert listed == [name for name in PROBES if name in listed]


def test_it_sells_no_capability_that_nobody_knows_and_no_chat_model_whose_dialect_can_not_be_asked() -> None:
    dialects = {provider["slug"]: provider for provider in CATALOG["providers"]}
    for line in CATALOG["routes"]:
        assert set(line.get("capabilities", [])) <= KNOWN, line["name"]
        if line.get("surface", "chat") != "chat":
            continue
        provider = dialects[line["provider"]]
        route = route_of(
            provider["dialect"], line["provider"], line["upstream_model"], can=tuple(line["capabilities"]),
            is_reasoning=line.get("is_reasoning", False), is_strict=provider.get("is_strict", False),
        )  # fmt: skip
        listed = supported_parameters(route)
        assert {"max_tokens", "stream"} <= set(listed), line["name"]
        assert ("tools" in listed) == ("tools" in line["capabilities"]), line["name"]
        assert ("reasoning_effort" in listed) == ("reasoning" in line["capabilities"]), line["name"]
