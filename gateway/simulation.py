"""What would happen to a call: planned by `gateway.planning` itself, over today's tables, circuits and vitals. Nothing is sent.

Synchronous, for the admin; the hot path never comes here.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec

from accounts.models import Organization
from billing import exchange
from billing.call_story import CIRCUITS, SKIPPED
from billing.costs import latest_costs
from billing.errors import ExchangeRateStale, PriceMissing
from billing.price_margins import landed_in_nanos, landed_percent
from billing.pricing import PriceList, UnitPrice, Usage, price_usage
from gateway import catalog
from gateway.auto import Facts
from gateway.calls import (
    NO_PREFERENCES,
    CallContext,
    Caller,
    Candidate,
    LatencyBudget,
    Preferences,
    Routing,
    ServedDeployment,
    ServedOwnKey,
)
from gateway.circuit_reports import CircuitState, read_circuits
from gateway.circuit_rules import CLOSED, HALF_OPEN, OPEN
from gateway.models import Credential, CredentialHealth, FailureKind, OwnKey
from gateway.planning import SUFFIXES, plan_call
from gateway.preferences import take_preferences
from gateway.routing import FIT, RESERVE, SLOW, UNKNOWN, fit_of
from gateway.vitals import UNMEASURED, Measured
from gateway.vitals_reports import MINUTE, read_vitals
from gateway.what_if import WhatIf, imagine
from tokia import clock

RECENT = dt.timedelta(minutes=5)
DRAWS = 200  # plans of one question: who is drawn by weight is told in percent
SEED = 7
NOTHING = WhatIf()
SORTED_BY = {"price": "do menor preço ao maior", "latency": "do mais rápido a começar", "throughput": "do mais rápido a escrever"}
FITS = {FIT: "cabe no orçamento de latência", UNKNOWN: "sem medição para o orçamento", SLOW: "mais lento que o orçamento: depois"}
CHARACTERS_PER_TOKEN = 4  # a rough guess is enough to say "does not fit"
KINDS = dict(FailureKind.choices)


@dataclass(frozen=True, slots=True)
class Question:
    """A call as somebody imagines it. `characters`: of its text."""

    model: str
    organization: Organization | None = None
    characters: int = 400
    output_tokens: int = 500
    tools: int = 0
    has_media: bool = False
    has_code: bool = False
    is_portuguese: bool = True
    session: str = ""
    budget_ms: int = 0
    is_strict: bool = False
    sort: str = ""
    denies_training: bool = False
    needs_zero_retention: bool = False
    options: str = ""  # a JSON object of the API's own words: models, provider, latency_budget_ms, quality…

    @property
    def asked(self) -> tuple[str, Preferences]:
        """The model and the preferences, read as a call's are. Raises BadRequest."""
        body = (self.options.strip() or "{}").encode()
        _, given = take_preferences(body, {}, is_chat=True)
        changes: dict[str, Any] = {
            "sort": self.sort, "session": self.session, "denies_training": self.denies_training,
            "needs_zero_retention": self.needs_zero_retention,
            "budget": LatencyBudget(total_ms=self.budget_ms, is_strict=self.is_strict) if self.budget_ms else None,
        }  # fmt: skip
        preferences = msgspec.structs.replace(given, tags=(), **{name: value for name, value in changes.items() if value})
        return self.model, NO_PREFERENCES if preferences == NO_PREFERENCES else preferences


@dataclass(frozen=True, slots=True)
class Expected:
    """One who would be asked. Times in ms; prices in nanos per million tokens; amounts of the imagined call in nanos."""

    deployment_id: int
    credential_id: int
    route_name: str
    provider: str
    upstream_model: str
    credential: str
    condition: str  # after which failures; empty: always
    why: str  # it stands where it stands
    circuit: str
    first_token_p50_ms: int
    first_token_p95_ms: int
    input_nanos: int | None
    output_nanos: int | None
    amount_nanos: int | None  # what the caller would be asked, without its discount by volume
    cost_nanos: int | None  # what it would cost us here, taxes on the dollars included; empty: unknown
    first_percent: int  # of so many calls it is the one that is asked first
    problem: str  # why it would be left out when its request is made; empty: nothing known

    @property
    def who(self) -> tuple[str, int, int]:
        return (self.route_name, self.deployment_id, self.credential_id)

    @property
    def margin_percent(self) -> int | None:
        """Of the amount, rounded down; empty where nothing is asked or the cost is unknown."""
        if self.cost_nanos is None or not self.amount_nanos:
            return None
        return (self.amount_nanos - self.cost_nanos) * 100 // self.amount_nanos


@dataclass(frozen=True, slots=True)
class Explanation:
    candidates: list[Expected]
    rule: str
    why: tuple[str, ...]
    experiment: str
    skipped: list[tuple[str, str]]  # who, why
    involved: frozenset[str]  # models


class _Board:
    """`process.circuits`, `process.vitals` and `process.credentials`, as the tables and Valkey tell them now."""

    def __init__(self, served: catalog.Catalog, sick: frozenset[int]) -> None:
        self._sick = sick
        self._circuits = read_circuits()
        rows = {(row.provider_slug, row.route_name): row for row in read_vitals(since=clock.now() - RECENT, span=MINUTE)}
        self._measured: dict[int, Measured] = {}
        for route in served.routes.values():
            for deployment in route.deployments:
                if (row := rows.get((deployment.provider_slug, route.name))) is not None:
                    self._measured[deployment.id] = Measured(
                        row.succeeded, row.failed, row.first_token_p50_ms, row.first_token_p95_ms, row.total_p50_ms,
                        row.total_p95_ms, row.tokens_per_second,
                    )  # fmt: skip
        self._dead = set(CredentialHealth.objects.filter(dead_at__isnull=False).values_list("credential_id", flat=True))

    def state(self, deployment: ServedDeployment) -> str:
        """The worse of the deployment's own circuit and its credential's."""
        if deployment.id in self._sick:
            return OPEN
        found = [
            self._circuits.get(circuit, CircuitState(CLOSED)).state for circuit in (deployment.circuit, (0, deployment.circuit[1]))
        ]
        return max(found, key=(CLOSED, HALF_OPEN, OPEN).index)

    def of(self, deployment_id: int) -> Measured:
        return self._measured.get(deployment_id, UNMEASURED)

    def may_use(self, deployment: ServedDeployment) -> bool:
        return deployment.credential_id not in self._dead


def explain_route(question: Question, what_if: WhatIf = NOTHING) -> Explanation:
    """Who would be asked, in which sequence, and why. Raises BadRequest, RouteNotFound, Forbidden, Unavailable as the call would be
    told."""
    served = imagine(catalog.load(), what_if)
    board = _Board(served, what_if.sick)
    rng = random.Random(SEED)  # noqa: S311 - the same question has the same answer
    process: Any = SimpleNamespace(
        snapshots=SimpleNamespace(catalog=served), circuits=board, vitals=board, credentials=board, rng=rng,
    )  # fmt: skip
    model, preferences = question.asked
    route = served.by_alias.get(model)
    caller = _caller_of(question.organization)

    def plan() -> tuple[list[Candidate], Routing]:
        return plan_call(
            process, CallContext(id="", started_ns=0, preferences=preferences), caller, model=model,
            surface=route.surface if route else "chat", describe=lambda: _facts(question),
        )  # fmt: skip

    plans = [plan() for _ in range(DRAWS)]
    firsts = Counter(found[0].deployment.circuit for found, _ in plans)
    candidates, routing = next(planned for planned in plans if planned[0][0].deployment.circuit == firsts.most_common(1)[0][0])
    suffix = model.rpartition(":")[2]
    if routing.asked == model and suffix in SUFFIXES:  # the planning took it for what it is
        preferences = msgspec.structs.replace(preferences, sort=SUFFIXES[suffix])
    seen = _Seen(question, preferences, board, dict(Credential.objects.values_list("pk", "label")), _landed_costs(), firsts)
    involved = {candidate.route.name for candidate in candidates} | {skipped.route for skipped in routing.skipped}
    return Explanation(
        candidates=[_expect(candidate, seen) for candidate in candidates], rule=routing.rule, why=tuple(routing.why),
        skipped=_tell_skipped(routing), experiment=f"{routing.experiment}: {routing.arm}" if routing.arm else "",
        involved=frozenset(involved | ({route.name} if route else set())),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    """What every candidate is told by."""

    question: Question
    preferences: Preferences
    board: _Board
    labels: Mapping[int, str]  # of credentials
    landed: Mapping[tuple[str, str], PriceList]  # by provider and upstream model: what its units cost us
    firsts: Counter[tuple[int, int]]


def _facts(question: Question) -> Facts:
    return Facts(
        characters=question.characters, tools=question.tools, has_media=question.has_media, has_code=question.has_code,
        is_portuguese=question.is_portuguese,
    )  # fmt: skip


def _caller_of(organization: Organization | None) -> Caller:
    """Its secrets stay sealed: nothing is sent."""
    own_keys: tuple[ServedOwnKey, ...] = ()
    if organization is not None:
        rows = OwnKey.everywhere.filter(organization=organization, is_active=True, provider__is_active=True)
        own_keys = tuple(ServedOwnKey(row.pk, row.provider.slug, "", row.use) for row in rows.select_related("provider"))
    return Caller(
        api_key_id=0, organization_id=organization.pk if organization else 0, wallet_id=0, label="", allowed_routes=frozenset(),
        requests_per_minute=0, expires_at=None, is_revoked=False, is_suspended=False, own_keys=own_keys,
        margin_bps=organization.limit_profile.margin_bps if organization and organization.limit_profile else 0,
    )  # fmt: skip


def _expect(candidate: Candidate, seen: _Seen) -> Expected:
    route, deployment = candidate.route, candidate.deployment
    measured, state = seen.board.of(deployment.id), seen.board.state(deployment)
    kinds, prices = candidate.kinds, candidate.prices
    usage = Usage(input_tokens=-(-seen.question.characters // CHARACTERS_PER_TOKEN), output_tokens=seen.question.output_tokens)
    if route.surface != "chat":
        usage = Usage(input_tokens=usage.input_tokens)
    landed = seen.landed.get((deployment.provider_slug, deployment.upstream_model))
    cost = None if landed is None else _price(landed, usage)
    return Expected(
        deployment_id=deployment.id, credential_id=deployment.credential_id, route_name=route.name,
        provider=deployment.provider_name, upstream_model=deployment.upstream_model,
        credential="chave própria do cliente" if deployment.is_own_key else seen.labels.get(deployment.credential_id, ""),
        condition="" if kinds is None else ", ".join(sorted(KINDS.get(kind, kind) for kind in kinds)) or "qualquer falha",
        why=_why(candidate, seen), circuit=CIRCUITS.get(state, "fechado") if state != CLOSED else "fechado",
        first_token_p50_ms=measured.first_token_p50_ms, first_token_p95_ms=measured.first_token_p95_ms,
        input_nanos=_per_million(prices, "input"), output_nanos=_per_million(prices, "output"),
        amount_nanos=_price(prices, usage), cost_nanos=0 if deployment.is_own_key else cost,
        first_percent=seen.firsts[deployment.circuit] * 100 // DRAWS, problem=_problem_of(candidate, seen.question),
    )  # fmt: skip


def _why(candidate: Candidate, seen: _Seen) -> str:
    """What `routing.arrange` sorted it by, in words, the heaviest first."""
    deployment, preferences = candidate.deployment, seen.preferences
    times = seen.board.of(deployment.id)
    told = []
    if seen.board.state(deployment) == OPEN:
        told.append("circuito aberto: depois dos outros")
    if deployment.is_own_key:
        told.append("chave própria, como reserva" if deployment.priority >= RESERVE else "chave própria primeiro")
    if preferences.preferred:
        is_named = deployment.provider_slug in preferences.preferred
        told.append("na ordem que a chamada pede" if is_named else "fora da ordem que a chamada pede")
    if preferences.sort:
        told.append(SORTED_BY[preferences.sort])
    if preferences.budget is not None:
        told.append(FITS[fit_of(times, preferences.budget)])
    told.append(f"prioridade {deployment.priority % RESERVE}, peso {deployment.weight}")
    return "; ".join(told)


def _price(prices: PriceList, usage: Usage) -> int | None:
    try:
        return price_usage(prices, usage)
    except PriceMissing:
        return None


def _landed_costs() -> dict[tuple[str, str], PriceList]:
    """What each provider's models cost us today. Empty without an exchange rate: then no cost is known."""
    try:
        rate = exchange.current_rate().rate
    except ExchangeRateStale:
        return {}
    percent = landed_percent(clock.today_in_brazil())
    return {
        who: PriceList(
            0, "", {unit: UnitPrice(landed_in_nanos(cost.usd, rate, percent), 0, cost.per_units) for unit, cost in units.items()}
        )
        for who, units in latest_costs().items()
    }


def _problem_of(candidate: Candidate, question: Question) -> str:
    """What `gateway.abilities` and the context would say of the imagined call."""
    route = candidate.route
    if route.surface != "chat":
        return ""
    if question.tools and "tools" not in route.capabilities:
        return "não usa ferramentas"
    if question.has_media and not {"vision", "audio", "files"} & set(route.capabilities):
        return "não lê imagens"
    if question.characters // CHARACTERS_PER_TOKEN + question.output_tokens > route.context_tokens:
        return "não cabe no contexto"
    return ""


def _per_million(prices: PriceList, unit: str) -> int | None:
    price = prices.units.get(unit)
    return None if price is None else price.amount_nanos * 1_000_000 // price.per_units


def _tell_skipped(routing: Routing) -> list[tuple[str, str]]:
    told = [(" em ".join(filter(None, (skipped.route, skipped.provider))), skipped.reason) for skipped in routing.skipped]
    return [(who, SKIPPED.get(reason, reason)) for who, reason in dict.fromkeys(told)]
