"""The pools of our keys at providers: how much each may still be asked, and which of them its provider refuses.

Told of each call; asked before each. Neither waits for anything: what is shared is read and written in the background.

A key that its provider refuses (401, 402, a quota that is used up) is out at once in this process; the database is told, and the
other processes read it within SYNC_SECONDS. A 403 may be about one model, so it only makes the key suspect: the worker tries it
(`gateway.credential_health`), while the circuit of the deployment keeps calls away.

A key's minute (`Credential.requests_per_minute`, `tokens_per_minute`) is shared through Valkey: a process takes slices ahead of
what it spends, and while one is under way it may spend ahead of it, all processes together at most OVERDRAFT_PERCENT of the limit.
Valkey late or away: limit ÷ GATEWAY_PROCESSES for this minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway import credential_health
from gateway.calls import ServedDeployment
from gateway.ending import end_tasks
from gateway.errors import UpstreamError
from gateway.threads import DatabaseThreads

log = logging.getLogger(__name__)
WINDOW_SECONDS = 60
SYNC_SECONDS = 0.5
SLICES = 50
OVERDRAFT_PERCENT = 5
BREAKER_SECONDS = 2.0
LIMITS_SECONDS = 10.0  # between two looks at the headers of a credential's answers
OWN_KEY_SECONDS = 30.0  # between two notes that a customer's own key was refused
SPENT_CODES = frozenset({"401", "402", "429"})  # of the key as a whole, whatever it was asked for
CALL_TOKENS_FIRST = 1_000  # what a call is taken to use before any has ended
# KEYS[1] the credential's minute; ARGV: limit, what was spent ahead, slice. Gives what was granted beyond what was spent ahead.
TAKE = """
local taken = tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[2])
local grant = math.max(0, math.min(tonumber(ARGV[3]), tonumber(ARGV[1]) - taken))
redis.call('SET', KEYS[1], taken + grant, 'EX', 120)
return grant
"""
_LEFT = {
    "requests_left": (b"x-ratelimit-remaining-requests", b"anthropic-ratelimit-requests-remaining", b"x-ratelimit-remaining"),
    "requests_limit": (b"x-ratelimit-limit-requests", b"anthropic-ratelimit-requests-limit", b"x-ratelimit-limit"),
    "tokens_left": (b"x-ratelimit-remaining-tokens", b"anthropic-ratelimit-tokens-remaining", b"x-tokenlimit-remaining"),
    "tokens_limit": (b"x-ratelimit-limit-tokens", b"anthropic-ratelimit-tokens-limit", b"x-tokenlimit-limit"),
}


@dataclass(slots=True)
class Budget:
    """One credential's minute of requests or of tokens, in this process."""

    minute: int = -1
    granted: int = 0
    spent: int = 0
    is_used_up: bool = False  # all processes together: nobody is granted more this minute
    is_asking: bool = False

    def begin(self, minute: int) -> None:
        self.minute, self.granted, self.spent, self.is_used_up = minute, 0, 0, False

    def has_left(self, limit: int, processes: int) -> bool:
        left = self.granted - self.spent
        if left > 0 or self.is_used_up:
            return left > 0
        return left + (limit * OVERDRAFT_PERCENT // (100 * processes) or not self.granted) > 0


class Credentials:
    """The credentials of this process."""

    def __init__(self) -> None:
        self._processes = max(1, settings.GATEWAY_PROCESSES)
        self._dead: frozenset[int] = frozenset()
        self._refused: dict[int, str] = {}  # not yet told to the database
        self._own_refused: set[int] = set()  # customers' own keys, since they last worked here
        self._limits: dict[int, dict[str, int]] = {}  # the same
        self._look_after: dict[int, float] = {}  # monotonic, by credential
        self._budgets: dict[tuple[str, int], Budget] = {}
        self._call_tokens: dict[int, float] = {}  # mean of a call, by credential
        self._takes: set[asyncio.Task[None]] = set()
        self._valkey: Redis | None = None
        self._away_until = 0.0  # monotonic
        self._threads = DatabaseThreads("credentials", count=1)
        self._hurry = asyncio.Event()
        self._sync: asyncio.Task[None] | None = None

    async def start(self) -> None:
        timeout = settings.GATEWAY_VALKEY_TIMEOUT_MS / 1000
        self._valkey = Redis.from_url(
            settings.VALKEY_URL, socket_timeout=timeout * 5, socket_connect_timeout=timeout * 5, max_connections=4, retry=None
        )
        self._sync = asyncio.create_task(self._keep_in_step(), name="credentials")

    async def stop(self) -> None:
        await end_tasks([*self._takes, *([self._sync] if self._sync else [])])
        await self._threads.stop()
        if self._valkey is not None:
            await self._valkey.aclose()

    # ── Asked before a call ──────────────────────────────────────────────────────────────────────────────────────────
    def may_use(self, deployment: ServedDeployment) -> bool:
        """Whether its credential is alive and has something left of its minute."""
        if deployment.credential_id in self._dead:
            return False
        if not deployment.requests_per_minute and not deployment.tokens_per_minute:
            return True
        return self._has_left(deployment)

    def spend(self, deployment: ServedDeployment, tokens: int = 0) -> bool:
        """One request is about to be sent. False, and nothing is spent, where the credential's minute is used up. `tokens`: in and
        out; 0: as many as its calls use in the mean."""
        requests_max, tokens_max = deployment.requests_per_minute, deployment.tokens_per_minute
        if not requests_max and not tokens_max:
            return True
        if not self._has_left(deployment):
            return False
        if requests_max:
            self._spend("requests", deployment, 1, requests_max)
        if tokens_max:
            self._spend("tokens", deployment, tokens or self._mean_tokens(deployment), tokens_max)
        return True

    def _mean_tokens(self, deployment: ServedDeployment) -> int:
        return int(self._call_tokens.get(deployment.credential_id, min(CALL_TOKENS_FIRST, deployment.tokens_per_minute // 10)))

    def _has_left(self, deployment: ServedDeployment) -> bool:
        for kind, limit in (("requests", deployment.requests_per_minute), ("tokens", deployment.tokens_per_minute)):
            if limit:
                budget = self._budget(kind, deployment.credential_id)
                if not budget.has_left(limit, self._processes):
                    self._ask_more(kind, deployment.credential_id, budget, limit)
                    return False
        return True

    def _budget(self, kind: str, credential_id: int) -> Budget:
        budget = self._budgets.get((kind, credential_id))
        if budget is None:
            budget = self._budgets[kind, credential_id] = Budget()
        minute = int(time.time() // WINDOW_SECONDS)
        if budget.minute != minute:
            budget.begin(minute)
        return budget

    def _spend(self, kind: str, deployment: ServedDeployment, quantity: int, limit: int) -> None:
        budget = self._budget(kind, deployment.credential_id)
        budget.spent += quantity
        if budget.granted - budget.spent < limit // (2 * SLICES):
            self._ask_more(kind, deployment.credential_id, budget, limit)

    def _ask_more(self, kind: str, credential_id: int, budget: Budget, limit: int) -> None:
        """A slice, in the background."""
        if budget.is_asking or budget.is_used_up:
            return
        budget.is_asking = True
        task = asyncio.get_running_loop().create_task(self._take(f"{kind}:{credential_id}", budget, limit))
        self._takes.add(task)
        task.add_done_callback(self._takes.discard)

    async def _take(self, name: str, budget: Budget, limit: int) -> None:
        minute, ahead = budget.minute, max(0, budget.spent - budget.granted)
        granted: int | None = None
        try:
            if self._valkey is not None and time.monotonic() >= self._away_until:
                async with asyncio.timeout(settings.GATEWAY_VALKEY_TIMEOUT_MS / 1000):
                    granted = int(
                        await self._valkey.eval(
                            TAKE, 1, f"tokia:pool:{name}:{minute}", str(limit), str(ahead), str(max(1, limit // SLICES))
                        )
                    )
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = time.monotonic() + BREAKER_SECONDS
            log.warning("valkey is late or away; the limits of credentials are local: %s", type(error).__name__)
        finally:
            budget.is_asking = False
        if budget.minute != minute:
            return
        if granted is None:
            budget.granted = max(budget.granted, limit // self._processes, 1)
            budget.is_used_up = True
        else:
            budget.granted += ahead + granted
            budget.is_used_up = granted == 0

    # ── Told of what came ────────────────────────────────────────────────────────────────────────────────────────────
    def note_tokens(self, deployment: ServedDeployment, tokens: int) -> None:
        """What a call that ended used, in and out, instead of what it was taken to use."""
        if not deployment.tokens_per_minute:
            return
        mean = self._mean_tokens(deployment)
        self._spend("tokens", deployment, tokens - mean, deployment.tokens_per_minute)
        if tokens:  # a call that failed says nothing of the others
            self._call_tokens[deployment.credential_id] = mean + (tokens - mean) / 16 if mean else float(tokens)

    def note_refused(self, credential_id: int, code: str) -> None:
        """Its provider refused the key itself: `code` is the HTTP status. Negative ids are customers' own keys: these only
        their owners are told of, since nobody else's calls depend on them."""
        now = time.monotonic()
        if credential_id < 0:
            if now < self._look_after.get(credential_id, 0.0):
                return
            self._look_after[credential_id] = now + OWN_KEY_SECONDS
            self._own_refused.add(credential_id)
        elif credential_id in self._dead:
            return
        elif code in SPENT_CODES:
            self._dead |= {credential_id}
            log.error("credential refused by its provider: rotated out", extra={"credential": credential_id, "status": code})
        self._refused[credential_id] = code
        self._hurry.set()

    def note_answer(self, credential_id: int, headers: Mapping[bytes, bytes]) -> None:
        """Its provider took the key. A customer's own that was refused before is known to work again."""
        if credential_id in self._own_refused:
            self._own_refused.discard(credential_id)
            self._look_after.pop(credential_id, None)
            self._refused[credential_id] = credential_health.TAKEN_AGAIN
            self._hurry.set()
        self.note_limits(credential_id, headers)

    def note_limits(self, credential_id: int, headers: Mapping[bytes, bytes]) -> None:
        """What the headers of an answer say of what is left at the provider; looked at once in LIMITS_SECONDS."""
        now = time.monotonic()
        if credential_id <= 0 or now < self._look_after.get(credential_id, 0.0):
            return
        self._look_after[credential_id] = now + LIMITS_SECONDS
        if found := read_limits(headers):
            self._limits[credential_id] = found

    async def _keep_in_step(self) -> None:
        """Tell the database what was noted, and read which keys are dead for everybody."""
        is_away = False
        while True:
            refused, self._refused = self._refused, {}
            limits, self._limits = self._limits, {}
            try:
                dead = await self._threads.run(partial(credential_health.sync, refused, limits))
            except Exception as error:  # whatever keeps the database from answering
                self._refused, self._limits = refused | self._refused, limits | self._limits
                if not is_away:
                    log.warning("health of credentials not kept: %s", type(error).__name__)
                is_away = True
                await asyncio.sleep(SYNC_SECONDS)
                continue
            is_away = False
            self._dead = dead | {id_ for id_, code in self._refused.items() if id_ > 0 and code in SPENT_CODES}
            self._hurry.clear()
            if not self._refused:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SYNC_SECONDS):
                        await self._hurry.wait()


def read_limits(headers: Mapping[bytes, bytes]) -> dict[str, int]:
    """Empty where the provider tells nothing."""
    found = {}
    for name, spellings in _LEFT.items():
        for spelling in spellings:
            value = headers.get(spelling)
            if value is not None and value.isdigit() and len(value) < 16:
                found[name] = int(value)
                break
    return found


def minute_used_up() -> UpstreamError:
    """Every credential that could serve has spent its minute. Kind "rate_limit"."""
    seconds = WINDOW_SECONDS - time.time() % WINDOW_SECONDS
    return UpstreamError(
        "O provedor deste modelo está no limite de requisições. Tente de novo em instantes.",
        "This model's provider is at its rate limit. Try again in a moment.",
        status=429, code="rate_limit_exceeded", type_="rate_limit_error", retry_after_seconds=float(int(seconds) + 1),
    )  # fmt: skip


def own_key_refused(deployment: ServedDeployment, error: UpstreamError) -> UpstreamError:
    """It is the customer who can do something about it. Kind "credential", as that of `error`."""
    reason = credential_health.tell_reason(str(error.upstream_status))
    return UpstreamError(
        f"A chave própria da sua empresa no provedor {deployment.provider_name} foi recusada ({reason}). Confira em Chaves de"
        " provedores, no painel.",
        f"Your organization's own key at {deployment.provider_name} was refused. Check it on the dashboard's provider keys page.",
        status=403, code="own_key_refused", is_retryable=False, upstream_status=error.upstream_status,
    )  # fmt: skip
