"""How a call went, step by step, in our customers' words: who was asked and why, who was not, and what it came to.

Codes are the gateway's (`gateway.routing.REASONS`, `gateway.errors`, `gateway.circuit`); one that has no words here yet is shown as
it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.utils.translation import gettext, gettext_noop

from billing.models import UsageRecord

# Why somebody was not asked.
SKIPPED = {
    "only": gettext_noop("fora dos provedores que a chamada aceita (provider.only)"),
    "ignore": gettext_noop("excluído pela chamada (provider.ignore)"),
    "data_collection": gettext_noop("os termos dele permitem treinar com os dados"),
    "zdr": gettext_noop("ele guarda o que recebe (sem retenção zero)"),
    "max_price": gettext_noop("mais caro que o máximo da chamada (max_price)"),
    "too_slow": gettext_noop("mais lento que o orçamento de latência"),
    "unmeasured": gettext_noop("sem medição recente, e o orçamento de latência é estrito"),
    "credential": gettext_noop("credencial recusada pelo provedor ou esgotada neste minuto"),
    "own_key_only": gettext_noop("este provedor só é usado com a chave da própria empresa"),
    "key": gettext_noop("a chave de API não pode usar este modelo"),
    "unserved": gettext_noop("sem preço, rota ou credencial neste momento"),
    "unsupported": gettext_noop("não faz o que a chamada pede"),
    "context_window": gettext_noop("a chamada não cabe no contexto"),
    "balance": gettext_noop("o saldo não cobre o custo máximo"),
    "budget": gettext_noop("um orçamento não cobre o custo máximo"),
    "circuit": gettext_noop("circuito aberto, e havia outros"),
    "no_fallbacks": gettext_noop("a chamada não aceita substitutos"),
}
# Why an attempt failed.
FAILURES = {
    "upstream_error": gettext_noop("o provedor respondeu com erro"),
    "provider_unavailable": gettext_noop("o provedor recusou a credencial"),
    "provider_unreachable": gettext_noop("não foi possível conectar"),
    "provider_timeout": gettext_noop("demorou demais"),
    "provider_overloaded": gettext_noop("provedor sobrecarregado"),
    "provider_malformed": gettext_noop("resposta que não se pôde ler"),
    "rate_limit_exceeded": gettext_noop("limite de requisições do provedor"),
    "upstream_cut": gettext_noop("a resposta foi cortada"),
    "context_length_exceeded": gettext_noop("não cabe no contexto do modelo"),
    "content_policy_violation": gettext_noop("recusado pela política de conteúdo"),
    "content_filter": gettext_noop("recusado pela política de conteúdo"),
    "service_restarting": gettext_noop("reinício do gateway"),
}
WIDTH = 1_000
CIRCUITS = {"open": gettext_noop("circuito aberto"), "half_open": gettext_noop("circuito em teste")}
# By what the model was chosen, where it was not simply named; a virtual model is named itself.
RULES = {
    "models": gettext_noop("lista “models” da chamada"),
    "fallback": gettext_noop("substitutos do modelo"),
    "experiment": gettext_noop("experimento"),
    "cache": gettext_noop("cache de respostas"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One attempt."""

    number: int
    provider: str
    upstream_model: str
    route_name: str  # empty: the call's own
    is_good: bool
    failure: str
    status: int  # HTTP; 0: no answer
    ms: int
    first_token_ms: int
    circuit: str
    is_own_key: bool
    is_resent: bool  # over a new connection: the provider may have seen it twice


@dataclass(frozen=True, slots=True)
class Choice:
    """How it was chosen whom to ask."""

    asked: str  # as the caller named the model; empty: by the name of the one that answered
    rule: str
    why: tuple[str, ...]  # `gateway.auto`'s own words
    session: str
    experiment: str
    arm: str

    @property
    def is_plain(self) -> bool:
        return not (self.asked or self.rule or self.why or self.session or self.arm)


@dataclass(frozen=True, slots=True)
class Passed:
    """Who was not asked. `count`: so many deployments alike."""

    name: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a call's time, as a bar of WIDTH: from `x` on, `width` wide."""

    label: str
    kind: str  # "failed", "waiting" (until the first token), "answering"
    ms: int
    x: int
    width: int


def spans_of(record: UsageRecord) -> list[Span]:
    """Attempts one after the other, the one that answered in two: until its first token, and from there to the end. Empty where
    nobody was asked."""
    stretches: list[tuple[str, str, int]] = []
    for attempt in attempts_of(record):
        told, before = partial(_tell_stretch, f"{attempt.number}. {attempt.provider}"), sum(ms for _, _, ms in stretches)
        if not attempt.is_good:
            stretches.append((told(gettext("{name}: falhou")), "failed", attempt.ms))
        elif not attempt.first_token_ms or attempt.first_token_ms > attempt.ms:
            stretches.append((told(gettext("{name}: resposta")), "answering", max(attempt.ms, record.latency_ms - before)))
        else:
            stretches.append((told(gettext("{name}: até o 1º token")), "waiting", attempt.first_token_ms))
            rest = max(attempt.ms - attempt.first_token_ms, record.latency_ms - before - attempt.first_token_ms)
            stretches.append((told(gettext("{name}: do 1º token ao fim")), "answering", rest))
    whole = sum(ms for _, _, ms in stretches) or 1
    spans, before = [], 0
    for label, kind, ms in stretches:
        x = before * WIDTH // whole
        spans.append(Span(label, kind, ms, x, max(4, (before + ms) * WIDTH // whole - x)))
        before += ms
    return spans


def _tell_stretch(name: str, shape: str) -> str:
    return shape.format(name=name)


def attempts_of(record: UsageRecord) -> list[Asked]:
    return [_read_attempt(number, attempt, record) for number, attempt in enumerate(record.attempts or [], 1)]


def _read_attempt(number: int, attempt: dict[str, Any], record: UsageRecord) -> Asked:
    error, route = str(attempt.get("error") or ""), str(attempt.get("route") or "")
    return Asked(
        number=number, provider=str(attempt.get("provider") or ""), upstream_model=str(attempt.get("model") or ""),
        route_name=route if route != record.route_name or len(record.attempts) > 1 else "", is_good=not error,
        failure=_word(FAILURES, error), status=int(attempt.get("status") or 0), ms=int(attempt.get("ms") or 0),
        first_token_ms=int(attempt.get("first_token_ms") or 0), circuit=_word(CIRCUITS, attempt.get("circuit")),
        is_own_key=bool(attempt.get("is_own_key")), is_resent=bool(attempt.get("is_resent")),
    )  # fmt: skip


def choice_of(record: UsageRecord) -> Choice:
    routing: dict[str, Any] = record.routing or {}
    return Choice(
        asked=str(routing.get("asked") or ""), rule=_word(RULES, routing.get("rule")),
        why=tuple(str(word) for word in routing.get("why") or ()), session=str(routing.get("session") or ""),
        experiment=str(routing.get("experiment") or ""), arm=str(routing.get("arm") or ""),
    )  # fmt: skip


def passed_over(record: UsageRecord) -> list[Passed]:
    """Those who were not asked, alike ones together, in the sequence in which they were passed over."""
    counts: Counter[tuple[str, str]] = Counter()
    for skipped in (record.routing or {}).get("skipped") or ():
        route, provider = str(skipped.get("route") or ""), str(skipped.get("provider") or "")
        name = gettext("{model} em {provider}").format(model=route, provider=provider) if route and provider else route or provider
        counts[name, _word(SKIPPED, skipped.get("reason"))] += 1
    return [Passed(name, reason, count) for (name, reason), count in counts.items()]


def marks_of(record: UsageRecord) -> list[tuple[str, str]]:
    """What a list says beside the outcome: kind and words of each badge."""
    marks = []
    if len(record.attempts or ()) > 1:
        marks.append(("info", gettext("Nova tentativa")))
    if record.usage_source == UsageRecord.UsageSource.CACHE:
        marks.append(("success", gettext("Cache")))
    if record.is_own_key:
        marks.append(("neutral", gettext("Chave própria")))
    return marks


def _word(words: dict[str, str], code: object) -> str:
    known = words.get(str(code)) if code else None
    return gettext(known) if known else str(code or "")
