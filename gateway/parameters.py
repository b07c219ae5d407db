"""Which parameters of a chat completion a model takes: its dialect is asked with a call for each, as a customer's call would.

So what `/v1/models` lists and what is refused or left out have one source, the dialects' own translations. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.abilities import check_abilities
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.openai_hosts import HINTS, habits_of
from gateway.dialects.registry import DIALECTS
from gateway.errors import BadRequest
from gateway.parsing import parse_chat

OUTPUT_TOKENS: Final = 16_000  # room for any thinking
_TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
_SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
# A call for each name: the fields that ask for it, none of them with a value that asks for nothing.
PROBES: Final[dict[str, dict[str, Any]]] = {
    "max_tokens": {"max_tokens": 100}, "max_completion_tokens": {"max_completion_tokens": 100}, "stop": {"stop": ["FIM"]},
    "stream": {"stream": True}, "temperature": {"temperature": 0.5}, "top_p": {"top_p": 0.5}, "top_k": {"top_k": 5},
    "frequency_penalty": {"frequency_penalty": 0.5}, "presence_penalty": {"presence_penalty": 0.5}, "seed": {"seed": 7},
    "n": {"n": 2}, "logprobs": {"logprobs": True}, "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "logit_bias": {"logit_bias": {"1": 1}}, "tools": {"tools": [_TOOL]},
    "tool_choice": {"tools": [_TOOL], "tool_choice": "required"},
    "parallel_tool_calls": {"tools": [_TOOL], "parallel_tool_calls": False},
    "response_format": {"response_format": {"type": "json_object"}},
    "structured_outputs": {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA}}},
    "reasoning_effort": {"reasoning_effort": "low"}, "modalities": {"modalities": ["text", "audio"], "audio": {}},
    "verbosity": {"verbosity": "low"}, "prediction": {"prediction": {"type": "content", "content": "a"}},
    "web_search_options": {"web_search_options": {}}, "service_tier": {"service_tier": "flex"}, "store": {"store": True},
    "metadata": {"metadata": {"a": "b"}}, "user": {"user": "u"}, "safety_identifier": {"safety_identifier": "u"},
    "prompt_cache_key": {"prompt_cache_key": "k"},
}  # fmt: skip
# A host that says nothing to a name is not thereby one that heeds it.
_UNPROVEN: Final = HINTS | {"web_search_options", "modalities"}


def supported_parameters(route: ServedRoute) -> list[str]:
    """Those that some deployment of a chat route takes."""
    hosts = [
        (deployment.dialect, deployment.provider_slug, deployment.upstream_model, deployment.is_strict)
        for deployment in route.deployments
    ]
    return taken_parameters(hosts, capabilities=route.capabilities, is_reasoning=route.is_reasoning)


def taken_parameters(
    hosts: Iterable[tuple[str, str, str, bool]], *, capabilities: tuple[str, ...], is_reasoning: bool
) -> list[str]:
    """The same of hosts: (dialect, provider's slug, model there, whether it refuses what it does not know)."""
    taken: set[str] = set()
    for dialect, slug, upstream_model, is_strict in hosts:
        taken |= _taken(dialect, slug, upstream_model, is_strict, capabilities, is_reasoning)
    return [name for name in PROBES if name in taken]


@lru_cache(maxsize=2_048)
def _taken(
    dialect: str, slug: str, upstream_model: str, is_strict: bool, capabilities: tuple[str, ...], is_reasoning: bool
) -> frozenset[str]:
    deployment = ServedDeployment(
        id=0, provider_slug=slug, provider_name=slug, dialect=dialect, base_url="https://upstream.invalid",
        upstream_model=upstream_model, priority=1, weight=1, secret="none", is_strict=is_strict, is_simulated=False,  # noqa: S106
    )  # fmt: skip
    route = ServedRoute(
        name=upstream_model, display_name="", maker="", surface="chat", description="", context_tokens=OUTPUT_TOKENS,
        output_tokens_max=OUTPUT_TOKENS, output_tokens_default=OUTPUT_TOKENS, token_factor_percent=100, capabilities=capabilities,
        is_reasoning=is_reasoning, created=0, prices=None, deployments=(deployment,),
    )  # fmt: skip
    silent = _UNPROVEN if dialect == "openai" and not habits_of(slug).knows else frozenset[str]()
    return frozenset(name for name, call in _calls().items() if name not in silent and _is_taken(name, call, route, deployment))


def _is_taken(name: str, call: ChatCall, route: ServedRoute, deployment: ServedDeployment) -> bool:
    try:
        request = DIALECTS[deployment.dialect].chat_request(check_abilities(call, route), route, deployment, OUTPUT_TOKENS)
    except BadRequest:
        return False
    return name not in request.dropped


@lru_cache(maxsize=1)
def _calls() -> dict[str, ChatCall]:
    messages = [{"role": "user", "content": "a"}]
    return {
        name: parse_chat(msgspec.json.encode({"model": "m", "messages": messages, **fields})) for name, fields in PROBES.items()
    }
