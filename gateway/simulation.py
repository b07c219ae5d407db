"""What would happen to a call: planned by `gateway.planning` itself, over today's tables, circuits and vitals. Nothing is sent.

Synchronous, for the admin; the hot path never comes here.
"""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from accounts.models import Organization
from billing.call_story import CIRCUITS, SKIPPED
from billing.pricing import PriceList
from gateway import catalog
from gateway.auto import Facts
from gateway.calls import (
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
from gateway.planning import plan_call
from gateway.vitals import UNMEASURED, Measured
from gateway.vitals_reports import MINUTE, read_vitals
from tokia import clock

RECENT = dt.timedelta(minutes=5)
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

    @property
    def preferences(self) -> Preferences:
        budget = LatencyBudget(total_ms=self.budget_ms, is_strict=self.is_strict) if self.budget_ms else None
        return Preferences(
            sort=self.sort, budget=budget, session=self.session, denies_training=self.denies_training,
            needs_zero_retention=self.needs_zero_retention,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expected:
    """One who would be asked. Times in ms; prices in nanos per million tokens."""

    route_name: str
    provider: str
    upstream_model: str
    credential: str
    condition: str  # after which failures; empty: always
    circuit: str
    first_token_p50_ms: int
    first_token_p95_ms: int
    input_nanos: int | None
    output_nanos: int | None
    problem: str  # why it would be left out when its request is made; empty: nothing known


@dataclass(frozen=True, slots=True)
class Explanation:
    candidates: list[Expected]
    rule: str
    why: tuple[str, ...]
    experiment: str
    skipped: list[tuple[str, str]]  # who, why


class _Board:
    """`process.circuits`, `process.vitals` and `process.credentials`, as the tables and Valkey tell them now."""

    def __init__(self, served: catalog.Catalog) -> None:
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
        found = [
            self._circuits.get(circuit, CircuitState(CLOSED)).state for circuit in (deployment.circuit, (0, deployment.circuit[1]))
        ]
        return max(found, key=(CLOSED, HALF_OPEN, OPEN).index)

    def of(self, deployment_id: int) -> Measured:
        return self._measured.get(deployment_id, UNMEASURED)

    def may_use(self, deployment: ServedDeployment) -> bool:
        return deployment.credential_id not in self._dead


def explain_route(question: Question) -> Explanation:
    """Who would be asked, in which sequence, and why. Raises RouteNotFound, Forbidden, Unavailable as the call would be told."""
    served = catalog.load()
    board = _Board(served)
    process: Any = SimpleNamespace(
        snapshots=SimpleNamespace(catalog=served), circuits=board, vitals=board, credentials=board, rng=random.Random(),  # noqa: S311
    )  # fmt: skip
    route = served.by_alias.get(question.model)
    context = CallContext(id="", started_ns=0, preferences=question.preferences)
    candidates, routing = plan_call(
        process, context, _caller_of(question.organization), model=question.model, surface=route.surface if route else "chat",
        describe=lambda: _facts(question),
    )  # fmt: skip
    labels = dict(Credential.objects.values_list("pk", "label"))
    return Explanation(
        candidates=[_expect(candidate, question, board, labels) for candidate in candidates],
        rule=routing.rule, why=tuple(routing.why), skipped=_tell_skipped(routing),
        experiment=f"{routing.experiment}: {routing.arm}" if routing.arm else "",
    )  # fmt: skip


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


def _expect(candidate: Candidate, question: Question, board: _Board, labels: dict[int, str]) -> Expected:
    route, deployment = candidate.route, candidate.deployment
    measured, state = board.of(deployment.id), board.state(deployment)
    kinds = candidate.kinds
    prices = candidate.prices
    return Expected(
        route_name=route.name, provider=deployment.provider_name, upstream_model=deployment.upstream_model,
        credential="chave própria do cliente" if deployment.is_own_key else labels.get(deployment.credential_id, ""),
        condition="" if kinds is None else ", ".join(sorted(KINDS.get(kind, kind) for kind in kinds)) or "qualquer falha",
        circuit=CIRCUITS.get(state, "fechado") if state != CLOSED else "fechado", first_token_p50_ms=measured.first_token_p50_ms,
        first_token_p95_ms=measured.first_token_p95_ms, input_nanos=_per_million(prices, "input"),
        output_nanos=_per_million(prices, "output"), problem=_problem_of(candidate, question),
    )  # fmt: skip


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
