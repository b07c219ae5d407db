"""Whom the corpus is put to: for every dialect a model of each kind, and what becomes of a case there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from gateway.abilities import check_abilities
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.base import UpstreamRequest
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError
from gateway.parsing import parse_chat
from tests.corpus.cases import Case

OUTPUT_TOKENS = 4_000
OUTPUT_TOKENS_MAX = 16_000
CAPABILITIES = ("tools", "vision", "audio", "files", "json", "reasoning", "audio_output", "prompt_cache")


@dataclass(frozen=True, slots=True)
class Target:
    """A provider. `models` by kind of case; "plain" stands for what is not named."""

    name: str
    dialect: str
    path: str  # of the base URL
    models: dict[str, str]
    blind: tuple[str, ...] = ()  # capabilities that its plain model lacks
    thinking: tuple[str, ...] = ("thinks",)  # kinds whose model always reasons
    is_strict: bool = False
    secret: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def model(self, case: Case) -> str:
        return self.models.get(case.kind, self.models["plain"])

    def deployment(self, case: Case, base: str) -> ServedDeployment:
        return ServedDeployment(
            id=1, provider_slug=self.name, provider_name=self.name, dialect=self.dialect, base_url=base + self.path,
            upstream_model=self.model(case), priority=1, weight=1, secret=self.secret or f"sandbox-{self.name}",
            is_strict=self.is_strict, is_simulated=True,
        )  # fmt: skip

    def route(self, case: Case) -> ServedRoute:
        lacks = () if case.kind != "plain" and case.kind in self.models else self.blind
        can = tuple(name for name in CAPABILITIES if name not in lacks)
        return ServedRoute(
            name="tokia/corpus", display_name="Corpus", maker="Tokia", surface="chat", description="", context_tokens=200_000,
            output_tokens_max=OUTPUT_TOKENS_MAX, output_tokens_default=OUTPUT_TOKENS, token_factor_percent=100, capabilities=can,
            is_reasoning=case.kind in self.thinking, created=0, prices=None, deployments=(),
        )  # fmt: skip

    def request(self, case: Case, body: bytes, *, base: str = "https://upstream.example") -> tuple[ChatCall, UpstreamRequest]:
        """As the walk of a call does it. Raises GatewayError where the case is refused."""
        route = self.route(case)
        call = check_abilities(parse_chat(body), route)
        output_tokens = min(call.output_tokens_asked or route.output_tokens_default, route.output_tokens_max)
        return call, DIALECTS[self.dialect].chat_request(call, route, self.deployment(case, base), output_tokens)


TARGETS = (
    Target(
        "openai", "openai", "/v1", {"plain": "gpt-4o", "thinks": "gpt-5.4", "hears": "gpt-4o-audio-preview"},
        blind=("reasoning",), is_strict=True,
    ),
    Target(
        "azure", "azure", "/openai/v1", {"plain": "gpt-4o", "thinks": "gpt-5.4", "hears": "gpt-4o-audio-preview"},
        blind=("reasoning",), is_strict=True,
    ),
    Target("mistral", "openai", "/v1", {"plain": "mistral-large-2512"}, thinking=(), is_strict=True),
    Target("anthropic", "anthropic", "", {"plain": "claude-haiku-4-5", "thinks": "claude-sonnet-5-5"}, thinking=(), is_strict=True),
    Target("google", "gemini", "/v1beta", {"plain": "gemini-2.5-flash", "thinks": "gemini-3.8-flash"}, thinking=()),
    Target(
        "cohere", "cohere", "",
        {"plain": "command-a-03-2025", "thinks": "command-a-reasoning-08-2025", "sees": "command-a-vision-07-2025"},
        blind=("vision", "reasoning"),
    ),
    Target(
        "bedrock", "bedrock", "",
        {"plain": "us.anthropic.claude-haiku-4-5-20251001-v1:0", "thinks": "us.anthropic.claude-opus-4-8-v1:0",
         "hears": "mistral.voxtral-mini-3b-2507"},
        thinking=(), secret="sandbox-bedrock",
    ),
)  # fmt: skip


def tell(target: Target, case: Case) -> dict[str, Any]:
    """What goes up, or why nothing does: what a golden file holds."""
    try:
        call, request = target.request(case, case.body)
    except GatewayError as error:
        return {"refused": {"status": error.status, "code": error.code, "param": error.param, "message": error.english}}
    told: dict[str, Any] = {"model": target.model(case)}
    if dropped := [*call.dropped, *request.dropped]:
        told["dropped"] = dropped
    return told | {"body": json.loads(request.body)}


def show(told: dict[str, Any]) -> str:
    """In ASCII, so that what is invisible can be read, and two lines are the same only where their bytes are."""
    return json.dumps(told, indent=1, ensure_ascii=True, allow_nan=True) + "\n"
