"""What walks through a call: frozen snapshots of who calls and what serves, the parsed call, and its answer.

What is made once per call is a msgspec.Struct, which costs a tenth of a frozen dataclass to make.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from billing.pricing import PriceList
from billing.windows import Cover
from tokia.errors import TokiaError

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ServedOwnKey:
    """A customer's own key at a provider (`OwnKey`)."""

    id: int
    provider_slug: str
    secret: str = field(repr=False)
    use: str  # "first", "only", "failover"


class Limit(NamedTuple):
    """How much a key, or all keys of an organization together, may use."""

    unit: str  # "requests" or "tokens" of a minute; "calls" at the same time
    scope: str  # "key", "organization"
    subject_id: int
    most: int


@dataclass(frozen=True, slots=True)
class Caller:
    """An API key, its organization and its wallet, as they were at the last snapshot."""

    api_key_id: int
    organization_id: int
    wallet_id: int
    label: str
    allowed_routes: frozenset[str]  # empty: all
    requests_per_minute: int  # that bind it, as it is told; `rates` are what is counted
    expires_at: float | None  # Unix seconds
    is_revoked: bool
    is_suspended: bool
    stores_responses: bool = False  # what `store` means in /v1/responses where it is not said
    cache_seconds: int = 0  # equal calls are answered from the organization's cache for so long; 0: only those that ask for it
    own_keys: tuple[ServedOwnKey, ...] = ()  # the organization's own at providers
    may_call: bool = True  # any address of `/v1`; where not, `is_paused` or `is_session` may say why
    is_session: bool = False  # the key of a page of ours (`accounts.session_keys`): one address (`gateway.cors`)
    project_id: int | None = None
    is_archived: bool = False  # its project is
    is_paused: bool = False  # until somebody resumes it
    margin_bps: int = 0  # on every price, in hundredths of a percent
    covers: tuple[Cover, ...] = ()  # the budgets that all of its calls are taken from
    tag_covers: tuple[Cover, ...] = ()  # those of its organization that calls with a tag are taken from
    rates: tuple[Limit, ...] = ()  # of requests and of tokens
    seats: tuple[Limit, ...] = ()  # of calls at the same time

    def budgets_of(self, tags: tuple[str, ...]) -> tuple[Cover, ...]:
        """Those that a call with these tags is taken from."""
        if not tags or not self.tag_covers:
            return self.covers
        return (*self.covers, *(cover for cover in self.tag_covers if cover.tag in tags))

    def may_use(self, route_name: str) -> bool:
        return not self.allowed_routes or route_name in self.allowed_routes


@dataclass(frozen=True, slots=True)
class ServedDeployment:
    """One copy of a route at a provider, with a credential to use. A deployment with three credentials is here three times."""

    id: int
    provider_slug: str
    provider_name: str
    dialect: str
    base_url: str
    upstream_model: str
    priority: int
    weight: int
    secret: str = field(repr=False)
    is_strict: bool
    is_simulated: bool
    credential_id: int = 0  # of `Credential`; of a customer's own key the negative of `OwnKey.pk`
    trains_on_data: bool = False
    has_zero_retention: bool = False
    first_token_ms_max: int = 0  # 0: GATEWAY_FIRST_TOKEN_MS
    requests_per_minute: int = 0  # of the credential; 0: no limit known
    tokens_per_minute: int = 0

    @property
    def is_own_key(self) -> bool:
        """The caller's organization pays this provider itself."""
        return self.credential_id < 0

    @property
    def circuit(self) -> tuple[int, int]:
        """What a circuit breaker is of."""
        return (self.id, self.credential_id)


@dataclass(frozen=True, slots=True)
class ServedFallback:
    """Another model that may answer after failures of these kinds (`FailureKind`)."""

    route_name: str
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class ServedStep:
    route_name: str
    budget_below_ms: int | None


@dataclass(frozen=True, slots=True)
class ServedRule:
    """A virtual model. `policy`: "list", "auto"."""

    name: str
    display_name: str
    description: str
    policy: str
    steps: tuple[ServedStep, ...]
    created: int  # Unix seconds


@dataclass(frozen=True, slots=True)
class ServedArm:
    id: int
    label: str
    route_name: str
    weight: int


@dataclass(frozen=True, slots=True)
class ServedExperiment:
    id: int
    name: str
    arms: tuple[ServedArm, ...]


@dataclass(frozen=True, slots=True)
class ServedRoute:
    """A route that is active, priced and has at least one deployment. `prices` None: it is known, but has no live price."""

    name: str
    display_name: str
    maker: str
    surface: str
    description: str
    context_tokens: int
    output_tokens_max: int
    output_tokens_default: int
    token_factor_percent: int
    capabilities: tuple[str, ...]
    is_reasoning: bool
    created: int  # Unix seconds
    prices: PriceList | None
    deployments: tuple[ServedDeployment, ...]
    fallbacks: tuple[ServedFallback, ...] = ()
    own_key_prices: PriceList | None = None  # the platform fee, where a customer's own key serves


class ImageUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class Part(msgspec.Struct):
    """One part of a message's content; fields that we do not price stay in the raw body."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: dict[str, msgspec.Raw] | None = None
    file: dict[str, msgspec.Raw] | None = None
    refusal: str | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, msgspec.Raw]] | None = None
    reasoning_content: str | None = None


class ChatCall(msgspec.Struct, frozen=True):
    """A chat completion as it was asked for. `fields` are the body's top-level members, byte for byte."""

    model: str
    fields: Mapping[str, msgspec.Raw]
    decoded: Mapping[str, Any]  # the same, as Python objects
    messages: list[Message]
    body_bytes: int
    is_stream: bool
    wants_usage: bool  # asked for the usage chunk
    output_tokens_asked: int | None
    choices: int  # n
    drops_unsupported: bool = False  # leave out what a model can't take, rather than refuse the call
    dropped: tuple[str, ...] = ()  # what the surface left out for that
    native: Mapping[str, msgspec.Raw] | None = None  # the body in the words of the surface it came by, where that is not chat
    refusal: TokiaError | None = None  # why it can't be said as a chat completion; only a native dialect can carry it
    told: Any = None  # what the surface has to remember until the answer


class EmbeddingsCall(msgspec.Struct, frozen=True):
    model: str
    fields: Mapping[str, msgspec.Raw]
    texts: list[str]
    token_count: int  # of inputs that came as token arrays
    inputs: int
    body_bytes: int
    wants_base64: bool


class Attempt(msgspec.Struct, omit_defaults=True):
    """One try at one deployment, kept on the usage record."""

    provider: str
    model: str  # the provider's name of it
    status: int = 0  # HTTP, of the upstream; 0: no answer came
    error: str = ""
    ms: int = 0
    route: str = ""  # where the plan spans several models; else it is the one that the record names
    circuit: str = ""  # its state when it was asked, where that is not closed
    first_token_ms: int = 0
    is_own_key: bool = False
    is_resent: bool = False  # over a new connection, as the kept one ended at once: the provider may have seen it twice


class Skipped(msgspec.Struct, omit_defaults=True):
    """A deployment or a model that was not asked, and why: a word of `gateway.routing.REASONS`."""

    reason: str
    route: str = ""
    provider: str = ""


class Routing(msgspec.Struct, omit_defaults=True):
    """How a call was routed, kept on the usage record where there is anything to say."""

    asked: str = ""  # the model as the caller named it, where that is not the name of the route
    rule: str = ""  # the virtual model, or "models", "fallback", "experiment"
    why: tuple[str, ...] = ()  # words of the rule or of `gateway.auto`, for people
    skipped: tuple[Skipped, ...] = ()
    session: str = ""
    experiment: str = ""
    arm: str = ""
    arm_id: int = 0

    @property
    def is_plain(self) -> bool:
        return not (self.asked or self.rule or self.why or self.skipped or self.session or self.arm)


class Candidate(msgspec.Struct, frozen=True):
    """Somebody who may be asked: a model at one of its deployments, with one credential."""

    route: ServedRoute
    deployment: ServedDeployment
    kinds: frozenset[str] | None = None  # only after a failure of one of these kinds; empty: whatever failed

    @property
    def prices(self) -> PriceList:
        """Raises AssertionError for a route without prices, which no plan holds."""
        prices = self.route.own_key_prices if self.deployment.is_own_key else self.route.prices
        assert prices is not None
        return prices


class LatencyBudget(msgspec.Struct, frozen=True):
    """Of our own measured times. `is_strict`: whoever is slower, or not measured, is not asked; else it is asked later."""

    total_ms: int = 0  # 0: whatever
    first_token_ms: int = 0
    percentile: int = 50  # or 95
    is_strict: bool = False


class Preferences(msgspec.Struct, frozen=True):
    """What a call says of its routing, in OpenRouter's words (`gateway.preferences` reads them and takes them out of the body)."""

    models: tuple[str, ...] = ()  # fallbacks, in order, after `model`
    preferred: tuple[str, ...] = ()  # provider slugs, in the order in which to ask (`provider.order`)
    only: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    sort: str = ""  # "price", "throughput", "latency"
    tokens_per_second_min: int = 0  # whoever is slower is asked later
    max_price: Mapping[str, int] = {}  # nanos per `per_units` of the unit: input, output, request, image
    allows_fallbacks: bool = True
    requires_parameters: bool = False
    denies_training: bool = False  # data_collection: "deny"
    needs_zero_retention: bool = False
    budget: LatencyBudget | None = None
    quality: str = ""  # "premium", "balanced", "fast", "free"
    session: str = ""
    tags: tuple[str, ...] = ()  # of usage and budgets; they say nothing of routing


NO_PREFERENCES = Preferences()


class Ticket(msgspec.Struct, eq=False):
    """What a call that was let in has of its limits, until it is over (`gateway.limits`)."""

    tokens_taken: int  # of the minute, by estimate
    buckets: list[Any]  # of tokens that they were taken from
    call_id: str
    seats: tuple[Limit, ...] = ()
    tokens_used: int = 0  # what the call came to


class Reply(msgspec.Struct):
    """A whole answer, or the frames of a stream. Whoever sends `frames` closes them, sent or not."""

    status: int
    headers: Headers
    body: bytes = b""
    frames: AsyncIterator[bytes] | None = None
    direct: AsyncIterator[bytes] | None = None  # the same frames, where their relay may push into `CallContext.sink`


class AnswerKeeper(Protocol):
    """Keeps a call's answer beyond the call (`gateway.keeping.Keeper`)."""

    settled: Any  # gateway.lanes.Settled, from when the answer is paid for

    async def keep(self, draft: Reply, opened: Any, *, gross_nanos: int, finish_reason: str) -> None: ...

    def keep_in_transaction(self, reply: Reply) -> None: ...


class CallContext(msgspec.Struct, eq=False):
    """What the edge knows of one request: identity, clock, and whether the caller is still there."""

    id: str  # a UUIDv7: of the request, the hold and the usage record
    started_ns: int  # monotonic
    is_english: bool = False
    task: asyncio.Task[Any] | None = None  # that serves it
    is_interruptible: bool = False  # it waits for the upstream, so `interrupt` may wake it
    is_gone: bool = False  # the caller hung up
    is_draining: bool = False  # the process ends: the rest of the answer can't be waited for
    waits_since: float = 0.0  # monotonic: it reads the body or writes to the caller; 0: neither
    is_reading: bool = False  # it reads the body
    is_late: bool = False  # the body, or the caller's reading, took too long
    on_stream: Callable[[], None] | None = None  # told when the answer will be a stream
    watch: Callable[[], None] | None = None  # begins to watch the caller
    is_watched: bool = False
    sink: Callable[[bytes], bool] | None = None  # takes frames at once, or not at all: then they are yielded
    asked: Mapping[bytes, bytes] = {}  # the request's own headers
    headers: Headers = []  # rate limit headers, for answers and refusals alike
    preferences: Preferences = NO_PREFERENCES
    tags: tuple[str, ...] = ()
    ticket: Ticket | None = None  # where tokens or calls at the same time are limited
    upstream_headers: Mapping[bytes, bytes] = {}  # of the last answer that an upstream gave
    attempts: int = 0  # that were made for it; what a refusal tells of them
    resends: int = 0  # requests that were sent again over a new connection
    keeper: AnswerKeeper | None = None  # where the answer is kept

    def let_go(self) -> None:
        """The request is over: nothing here points back at who served it, so that no cycle waits for the collector."""
        self.task = self.on_stream = self.watch = self.keeper = None

    def interrupt(self) -> None:
        """Wake the call where it waits for the upstream; elsewhere it sees the flags by itself."""
        if self.is_interruptible and self.task is not None:
            self.task.cancel()
