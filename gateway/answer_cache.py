"""Equal calls answered from memory: an organization's own answers, sealed under its key, in Valkey, for as long as was asked.

Opt-in: by `X-Tokia-Cache: true` (or OpenRouter's `X-OpenRouter-Cache`), or by the API key's option; `false` switches it off for a
call. A hit asks nobody, holds nothing and costs nothing; it is written down like any call, and says so. What can be lost is lost
here: Valkey late, away or full is a miss, never an error.

Two calls are equal where address, the headers that shape an answer, and the body are: its members in any order, without those that
change nothing (`IDLE`). A whole answer and a stream are two entries. Never kept: what is stored or continued (`store`,
`previous_response_id`), what broke off, what is larger than BODY_BYTES_MAX or ENTRY_BYTES_MAX.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from billing.pricing import Usage
from gateway.calls import Caller, Headers, Reply, Routing, ServedRoute
from gateway.errors import BadRequest, SessionLost, ledger_unavailable
from gateway.keeping import CACHE, OPENROUTER_CACHE, Kept
from gateway.lanes import Settled
from gateway.metering import OpenCall
from gateway.preferences import note_preferences, take_preferences
from gateway.pricetag import cost_header
from gateway.secrets import SecretUnreadable, mark, seal, unseal
from tokia import clock

if TYPE_CHECKING:
    from gateway.exchange import Exchange
    from gateway.process import GatewayProcess

log = logging.getLogger(__name__)
ENTRY_BYTES_MAX = 1_048_576  # of an answer
BODY_BYTES_MAX = 1_048_576  # of a call: comparing a longer one costs more than it is likely to save
TTL_SECONDS, TTL_SECONDS_MAX = 300, 86_400
BREAKER_SECONDS = 2.0
IN_THREAD_BYTES = 65_536  # what is larger is sealed and opened beside the event loop
RESPONSES = "/v1/responses"
PATHS = frozenset({
    "/v1/chat/completions", "/v1/completions", RESPONSES, "/v1/messages", "/v1/embeddings", "/v1/rerank", "/v2/rerank",
    "/v1/v2/rerank", "/v1/images/generations", "/v1/audio/speech", "/v1/moderations",
})  # fmt: skip
# Members that no answer depends on, and header of a request that it does, beside the members of the body.
IDLE = ("user", "metadata", "tags", "session_id", "safety_identifier", "prompt_cache_key")
SHAPING = (b"anthropic-version", b"anthropic-beta", b"x-tokia-drop-params", b"x-tokia-latency-budget-ms", b"x-tokia-strict-latency")
# Of the call that was answered, not of the one that is told again.
SPENT = frozenset({b"x-tokia-overhead-ms", b"x-tokia-attempts", b"openai-processing-ms"})
# KEYS: the entry, the organization's bytes of the day; ARGV: value, its seconds, the most bytes of a day. All entries together take
# half of the memory at most: the rest is for what must not fail.
STORE = """
local size = string.len(ARGV[1])
local memory = redis.call('INFO', 'memory')
local used, most = tonumber(string.match(memory, 'used_memory:(%d+)')), tonumber(string.match(memory, 'maxmemory:(%d+)'))
if most > 0 and used + size > most / 2 then return 0 end
if redis.call('INCRBY', KEYS[2], size) > tonumber(ARGV[3]) then return 0 end
redis.call('EXPIRE', KEYS[2], 86400)
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""
T = TypeVar("T")
_decode_kept = msgspec.msgpack.Decoder(Kept).decode


class AnswerCache:
    """What this process reaches of it."""

    def __init__(self) -> None:
        self._valkey: Redis | None = None
        self._closed_until = 0.0  # the breaker: monotonic

    async def start(self) -> None:
        seconds = settings.GATEWAY_VALKEY_TIMEOUT_MS / 1000
        self._valkey = Redis.from_url(
            settings.VALKEY_URL, socket_timeout=seconds * 5, socket_connect_timeout=seconds * 5, max_connections=16, retry=None
        )

    async def stop(self) -> None:
        if self._valkey is not None:
            await self._valkey.aclose()

    async def get(self, name: str) -> bytes | None:
        """None where there is none, or where nobody can tell in time."""
        valkey = self._valkey
        found = None if valkey is None else await self._try(lambda: valkey.get(name))
        return found if isinstance(found, bytes) else None

    async def put(self, name: str, value: bytes, *, organization_id: int, seconds: int) -> None:
        valkey = self._valkey
        if valkey is not None:
            spent = f"tokia:answers:{organization_id}:{clock.today_in_brazil():%Y%j}"
            most = str(settings.ANSWER_CACHE_BYTES_MAX)
            await self._try(lambda: valkey.eval(STORE, 2, name, spent, value, str(seconds), most))

    async def _try(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        if time.monotonic() < self._closed_until:
            return None
        try:
            async with asyncio.timeout(settings.GATEWAY_VALKEY_TIMEOUT_MS / 1000):
                return await ask()
        except (RedisError, OSError, TimeoutError) as error:
            self._closed_until = time.monotonic() + BREAKER_SECONDS
            log.warning("valkey is late or away; answers are not cached: %s", type(error).__name__)
            return None


def open_turn(process: GatewayProcess, exchange: Exchange, caller: Caller, *, path: str) -> CacheTurn | None:
    """What the request's headers and its key ask for; None: nothing is cached. Raises BadRequest."""
    headers = exchange.headers
    prefix = OPENROUTER_CACHE if OPENROUTER_CACHE in headers and CACHE not in headers else CACHE
    wanted = _read_flag(headers, prefix)
    ttl = _read_ttl(headers, prefix + b"-ttl")
    is_cleared = _read_flag(headers, prefix + b"-clear") or False
    if wanted is False or (wanted is None and not caller.cache_seconds) or path not in PATHS:
        return None
    seconds = ttl or (TTL_SECONDS if wanted and not caller.cache_seconds else min(caller.cache_seconds, TTL_SECONDS_MAX))
    return CacheTurn(process, exchange, caller, path, prefix=prefix, seconds=seconds, is_cleared=is_cleared)


class CacheTurn:
    """One call that may be answered from the cache, or fill it."""

    def __init__(
        self,
        process: GatewayProcess,
        exchange: Exchange,
        caller: Caller,
        path: str,
        *,
        prefix: bytes,
        seconds: int,
        is_cleared: bool,
    ) -> None:
        self._process, self._exchange, self._caller, self._path = process, exchange, caller, path
        self._prefix = prefix
        self._seconds = seconds
        self._is_cleared = is_cleared
        self._name = ""  # empty: this call is never cached

    async def find(self, body: bytes) -> Reply | None:
        """The answer of an equal call, already written down. Raises RateLimited, Unavailable."""
        caller, context = self._caller, self._exchange.context
        material = self._material(body)
        if material is None:
            self._say(b"BYPASS")
            return None
        digest = mark(material, organization_id=caller.organization_id)
        self._name = f"tokia:answer:{caller.organization_id}:{digest.hex()}"
        kept = None if self._is_cleared else await self._read()
        route = self._process.snapshots.catalog.routes.get(kept.route_name) if kept is not None else None
        if kept is None or route is None or route.prices is None or not caller.may_use(route.name):
            self._say(b"MISS")  # a model that is not served, or not to this caller, says so itself
            return None
        note_preferences(context, take_preferences(body, self._exchange.headers, is_chat=True)[1])  # its tags, for its record
        await self._process.limits.admit(caller, context.headers)
        await self._record(kept, route)
        age = max(0, int(clock.unix_ms() / 1_000 - kept.kept_at))
        self._say(b"HIT", age=age)
        return _reply(kept, started_ns=context.started_ns)

    async def store(self, kept: Kept) -> None:
        """An answer that was settled."""
        if not self._name or len(kept.body) > ENTRY_BYTES_MAX or kept.finish_reason == "error":
            return
        entry = msgspec.structs.replace(kept, kept_at=clock.unix_ms() / 1_000)
        organization_id = self._caller.organization_id
        if len(kept.body) > IN_THREAD_BYTES:
            sealed = await asyncio.to_thread(_seal, entry, organization_id)
        else:
            sealed = _seal(entry, organization_id)
        await self._process.answers.put(self._name, sealed, organization_id=organization_id, seconds=self._seconds)

    def _material(self, body: bytes) -> bytes | None:
        """What makes two calls equal. None: a call that is not to be cached, or none at all."""
        if len(body) > BODY_BYTES_MAX:
            return None
        try:
            members: Any = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(members, dict) or members.get("store") is True:
            return None
        if self._path == RESPONSES:  # it repeats its request, metadata and all
            stores = self._caller.stores_responses and members.get("store") is not False
            if stores or members.get("previous_response_id") or b"item_reference" in body:
                return None
        else:
            for name in IDLE:
                members.pop(name, None)
        headers = self._exchange.headers
        shaping = b"\n".join(headers.get(name, b"") for name in SHAPING)
        try:
            told = msgspec.json.encode(members, order="deterministic")
        except RecursionError:
            return None
        return b"%b\n%b\n%b" % (self._path.encode(), shaping, told)

    async def _read(self) -> Kept | None:
        value = await self._process.answers.get(self._name)
        if value is None:
            return None
        organization_id = self._caller.organization_id
        try:
            if len(value) > IN_THREAD_BYTES:
                kept = await asyncio.to_thread(_open, value, organization_id)
            else:
                kept = _open(value, organization_id)
        except (SecretUnreadable, msgspec.MsgspecError):  # of another edition, or tampered with: as if it were not there
            return None
        return kept if clock.unix_ms() / 1_000 - kept.kept_at < self._seconds else None

    async def _record(self, kept: Kept, route: ServedRoute) -> None:
        """A usage record at zero, without a hold. Raises Unavailable."""
        assert route.prices is not None
        meter = self._process.meter
        opened = OpenCall(
            context=self._exchange.context, caller=self._caller, route=route, prices=route.prices, is_stream=kept.is_stream,
            output_tokens=0, surface=kept.surface, session_id=meter.session.id, routing=Routing(rule="cache"), attempts=[],
        )  # fmt: skip
        try:
            await meter.settle_for(opened, Usage(requests=0), outcome="completed", source="cache", finish_reason=kept.finish_reason)
        except SessionLost:
            raise ledger_unavailable() from None

    def _say(self, word: bytes, *, age: int | None = None) -> None:
        headers = self._exchange.context.headers
        headers.append((CACHE, word))
        if age is not None:
            headers += [(CACHE + b"-age", b"%d" % age), (CACHE + b"-ttl", b"%d" % max(0, self._seconds - age))]
        if self._prefix == OPENROUTER_CACHE and word != b"BYPASS":
            headers.append((OPENROUTER_CACHE + b"-status", word))


def _reply(kept: Kept, *, started_ns: int) -> Reply:
    """The answer again, for nothing."""
    free = Settled(0, 0)
    overhead_us = (time.monotonic_ns() - started_ns) // 1_000
    more: Headers = [(b"x-tokia-attempts", b"0"), (b"x-tokia-overhead-ms", b"%.3f" % (overhead_us / 1_000))]
    if kept.is_stream or all(name != b"x-tokia-cost-brl" for name, _ in kept.headers):
        more.append(cost_header(free))
    kept.headers = [(name, value) for name, value in kept.headers if name not in SPENT]
    return kept.reply(free, note=b',"cached":true', more=more)


def _seal(kept: Kept, organization_id: int) -> bytes:
    return seal(msgspec.msgpack.encode(kept), organization_id=organization_id)


def _open(value: bytes, organization_id: int) -> Kept:
    return _decode_kept(unseal(value, organization_id=organization_id))


# ── Headers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_flag(headers: dict[bytes, bytes], name: bytes) -> bool | None:
    said = headers.get(name)
    if said is None:
        return None
    word = said.strip().lower()
    if word not in (b"true", b"false"):
        raise _invalid(name, "true ou false", "true or false")
    return word == b"true"


def _read_ttl(headers: dict[bytes, bytes], name: bytes) -> int:
    """Seconds; 0 where it is not said."""
    said = headers.get(name)
    if said is None:
        return 0
    word = said.strip()
    if not word.isdigit() or len(word) > 6 or not 1 <= int(word) <= TTL_SECONDS_MAX:
        raise _invalid(name, f"um inteiro de 1 a {TTL_SECONDS_MAX}", f"an integer from 1 to {TTL_SECONDS_MAX}")
    return int(word)


def _invalid(name: bytes, expected: str, english: str) -> BadRequest:
    shown = name.decode()
    return BadRequest(
        f"Valor inválido no cabeçalho '{shown}': esperado {expected}.",
        f"Invalid value for the header '{shown}': expected {english}.", param=shown,
    )  # fmt: skip
