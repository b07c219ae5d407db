"""`Idempotency-Key`: a POST of `/v1` that is retried is run once and paid once, whatever dies in between.

The row is claimed before anything is held, and the answer stands in it before the settlement commits. From then on the ledger says
what became of the call: its usage record is the only proof that it was paid.

What a retry finds, and what it gets:
- nothing, a refusal, or an end that was not charged: it runs, as a call of its own;
- another body under the same key: 422;
- a call under way: 409, to be tried again in a moment;
- a whole answer: that answer, byte for byte, under its own call's id;
- a call whose process died before it answered: it runs, unless the answer had been written down: then it is told, and the call that
  nobody was charged for stays free;
- an answer that was charged and could not be kept (too large, or broken off on the way): 409 with what it came to; no second bill.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import zlib
from typing import TYPE_CHECKING

import msgspec
from django.conf import settings

from billing.pricing import Usage
from gateway.calls import Caller, Reply
from gateway.dialects.base import openai_usage
from gateway.errors import BadRequest, ClientGone, Conflict, GatewayError, SessionLost, ledger_unavailable
from gateway.idempotency_store import DONE, DRAFTED, Found, IdempotencyStore, Name, keep_done
from gateway.keeping import ANSWER_BYTES_MAX, Answered, Kept
from gateway.lanes import Settled
from gateway.multipart import is_form
from gateway.pricetag import MARKS, cost_header, with_cost
from gateway.secrets import SecretUnreadable, seal, unseal
from tokia.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.exchange import Exchange
    from gateway.process import GatewayProcess

log = logging.getLogger(__name__)
KEY_BYTES_MAX = 255
RETRY_SECONDS = 1
IN_THREAD_BYTES = 65_536  # what is larger is hashed and sealed beside the event loop
REPLAYED = (b"x-tokia-idempotent-replay", b"true")
_decode_kept = msgspec.msgpack.Decoder(Kept).decode


def read_key(raw: bytes) -> bytes:
    """Raises BadRequest."""
    if not 1 <= len(raw) <= KEY_BYTES_MAX or not all(0x20 <= byte <= 0x7E for byte in raw):
        raise BadRequest(
            f"O cabeçalho 'Idempotency-Key' tem de 1 a {KEY_BYTES_MAX} caracteres ASCII visíveis.",
            f"The header 'Idempotency-Key' has 1 to {KEY_BYTES_MAX} printable ASCII characters.",
            param="Idempotency-Key", code="invalid_idempotency_key",
        )  # fmt: skip
    return raw


class OneCall:
    """A request under its key."""

    def __init__(self, process: GatewayProcess, exchange: Exchange, caller: Caller, key: bytes, *, is_admitted: bool) -> None:
        self._process, self._exchange, self._caller = process, exchange, caller
        self._store: IdempotencyStore = process.idempotency
        digest = hashlib.sha256(b"%d:%b" % (caller.api_key_id, key)).digest()
        self._name = Name(caller.organization_id, digest)
        self._is_admitted = is_admitted  # the rate limit was asked already
        self._is_claimed = False
        self._is_done = False  # the answer stands, or will when a transaction commits
        self._call_id = exchange.context.id

    # ── Before the call ──────────────────────────────────────────────────────────────────────────────────────────────
    async def claim(self, body: bytes) -> None:
        """The call is ours to run, or: raises Answered, Conflict (409, 422), RateLimited, Unavailable."""
        process, caller, context = self._process, self._caller, self._exchange.context
        session_id = process.meter.session.id
        if not session_id:
            raise ledger_unavailable()
        if not self._is_admitted and process.limits.is_spent(caller):
            await process.limits.admit(caller, context.headers)
        fingerprint = await self._fingerprint(body)
        self._is_claimed = await self._store.claim(
            self._name, fingerprint=fingerprint, call_id=self._call_id, session_id=session_id
        )
        while not self._is_claimed:
            found = await self._store.find(self._name)
            if found is None:  # given up meanwhile
                self._is_claimed = await self._store.claim(
                    self._name, fingerprint=fingerprint, call_id=self._call_id, session_id=session_id
                )
            elif found.call_id == self._call_id:  # a claim whose answer was lost
                self._is_claimed = True
            else:
                await self._meet(found, fingerprint, session_id)
        crashpoint("after_claim")

    async def _meet(self, found: Found, fingerprint: bytes, session_id: int) -> None:
        """Somebody else's row: take it over, or raise what it says."""
        if not found.is_expired:
            if found.fingerprint != fingerprint:
                raise _reused()
            reply = self._replay(found)
            if reply is not None:
                if not self._is_admitted:
                    await self._process.limits.admit(self._caller, self._exchange.context.headers)
                raise Answered(reply)
        taken = await self._store.take_over(
            self._name, fingerprint=fingerprint, call_id=self._call_id, session_id=session_id, before=found.call_id
        )
        self._is_claimed = taken

    async def _fingerprint(self, body: bytes) -> bytes:
        """SHA-256 of method, path, query, a form's media type (its boundary, which names the parts, is in the body), and body."""
        scope, content_type = self._exchange.scope, self._exchange.headers.get(b"content-type", b"")
        kind = b"form" if is_form(content_type) else b""
        head = b"%b\n%b\n%b\n%b\n" % (scope["method"].encode(), scope["path"].encode(), scope["query_string"], kind)
        if len(body) > IN_THREAD_BYTES:
            return await asyncio.to_thread(_digest, head, body)
        return _digest(head, body)

    def _replay(self, found: Found) -> Reply | None:
        """What the row and the ledger say; None: run it. Raises Conflict."""
        was_paid = found.gross_nanos > 0
        if found.status == DONE:
            return self._tell(found, Settled(0, 0))
        if found.outcome == "completed":
            if found.status == DRAFTED and found.body:
                return self._tell(found, Settled(found.gross_nanos, found.net_nanos))
            if was_paid:
                raise self._refuse(_too_large(found) if found.status == DRAFTED else _interrupted(found), again=False)
            return None
        if found.outcome:
            if was_paid:
                raise self._refuse(_interrupted(found), again=False)
            return None
        if found.is_alive:
            raise self._refuse(_in_progress(), again=True)
        if (
            found.status == DRAFTED and found.body
        ):  # its process died on the way to the ledger, or its settlement waits in the spool
            return self._tell(found, None)
        return None

    def _tell(self, found: Found, settled: Settled | None) -> Reply:
        """The answer as it was. Raises Conflict where it can't be opened."""
        try:
            kept = _open(found.body, self._name.organization_id)
        except (SecretUnreadable, msgspec.DecodeError):
            log.error("the answer of call %s can't be opened: was a key of ENCRYPTION_KEYS dropped too early?", found.call_id)
            raise self._refuse(_interrupted(found), again=False) from None
        if settled is None:
            settled = Settled(kept.gross_nanos, kept.gross_nanos, is_estimate=True)
        context = self._exchange.context
        context.id = kept.call_id
        context.headers[:] = [(name, kept.call_id.encode() if name == b"request-id" else value) for name, value in context.headers]
        more = [REPLAYED]
        if found.status == DRAFTED and all(name != b"x-tokia-cost-brl" for name, _ in kept.headers):
            more.append(cost_header(settled))
        return kept.reply(settled, more=more)

    def _refuse(self, error: GatewayError, *, again: bool) -> GatewayError:
        self._exchange.context.headers.append((b"x-should-retry", b"true" if again else b"false"))
        return error

    # ── After it ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def keep(self, kept: Kept, *, is_whole: bool) -> None:
        """Before the settlement. Raises Unavailable (nothing was delivered yet), SessionLost (a retry has the row by now)."""
        body = await self._seal(kept) if is_whole else b""
        if not self._store.take_room(self._name.organization_id, len(body)):
            body = b""
        try:
            is_ours = await self._store.keep(self._name, call_id=self._call_id, status=DRAFTED, status_code=kept.status, body=body)
        except GatewayError:
            if not kept.is_stream:
                raise
            log.warning("the answer of call %s was delivered and could not be kept", self._call_id)
            return
        if not is_ours:
            raise SessionLost
        crashpoint("after_draft")

    async def keep_free(self, reply: Reply) -> None:
        """An answer that costs nothing, as it leaves: what is not kept now runs again."""
        if not self._is_claimed or self._is_done:
            return
        kept = Kept(self._call_id, reply.status, list(reply.headers), reply.body, is_stream=False, marks=MARKS)
        await self._keep_done(kept)

    async def keep_hit(self, reply: Reply) -> Reply:
        """An answer from the cache; given back to be sent."""
        is_stream, body = reply.frames is not None, reply.body
        if reply.frames is not None:
            body = b"".join([frame async for frame in reply.frames])
        kept = Kept(self._call_id, reply.status, list(reply.headers), body, is_stream=is_stream, marks=MARKS)
        await self._keep_done(kept)
        return kept.reply(Settled(0, 0))

    async def _keep_done(self, kept: Kept) -> None:
        try:
            await self._store.keep(
                self._name, call_id=self._call_id, status=DONE, status_code=kept.status, body=await self._seal(kept)
            )
        except GatewayError:
            log.warning("the free answer of call %s could not be kept", self._call_id)

    def keep_in_transaction(self, reply: Reply) -> None:
        kept = Kept(self._call_id, reply.status, list(reply.headers), reply.body, is_stream=False, marks=MARKS)
        sealed = _seal(kept, self._name.organization_id)
        self._is_done = True
        keep_done(self._name, call_id=self._call_id, status_code=reply.status, body=sealed)

    async def release(self, error: BaseException) -> None:
        """The call ended without an answer to keep, free of charge: its key may be used again."""
        if not self._is_claimed:
            return
        releasing = self._store.take(asyncio.create_task(self._release()))
        if isinstance(error, Exception) and not isinstance(error, ClientGone):
            await asyncio.shield(releasing)  # before the refusal leaves: a retry that follows it finds no row

    async def _release(self) -> None:
        try:
            await self._store.release(self._name, call_id=self._call_id)
        except GatewayError:
            log.warning("the key of call %s stays taken", self._call_id)

    async def _seal(self, kept: Kept) -> bytes:
        organization_id = self._name.organization_id
        if len(kept.body) > IN_THREAD_BYTES:
            return await asyncio.to_thread(_seal, kept, organization_id)
        return _seal(kept, organization_id)


def _seal(kept: Kept, organization_id: int) -> bytes:
    """Compressed first: what is sealed can't be any more, and a stream's frames are alike."""
    return seal(zlib.compress(msgspec.msgpack.encode(kept), 1), organization_id=organization_id)


def _open(sealed: bytes, organization_id: int) -> Kept:
    """Raises SecretUnreadable, msgspec.DecodeError."""
    return _decode_kept(zlib.decompress(unseal(sealed, organization_id=organization_id)))


def _digest(head: bytes, body: bytes) -> bytes:
    digest = hashlib.sha256(head)
    digest.update(body)
    return digest.digest()


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _reused() -> GatewayError:
    return GatewayError(
        "Esta 'Idempotency-Key' já foi usada com outro pedido. Use uma chave nova para um pedido novo.",
        "This Idempotency-Key was used with another request. Use a new key for a new request.",
        param="Idempotency-Key", code="idempotency_key_reused", status=422,
    )  # fmt: skip


def _in_progress() -> Conflict:
    return Conflict(
        "Uma chamada com esta 'Idempotency-Key' ainda está em execução. Tente de novo em instantes.",
        "A call with this Idempotency-Key is still running. Try again in a moment.",
        param="Idempotency-Key", code="idempotency_in_progress", retry_after_seconds=RETRY_SECONDS,
    )  # fmt: skip


def _too_large(found: Found) -> Conflict:
    most, day = ANSWER_BYTES_MAX // 1_048_576, settings.IDEMPOTENCY_BYTES_MAX // 1_048_576
    error = Conflict(
        f"A chamada {found.call_id} terminou e foi cobrada, mas sua resposta não coube no que se guarda para repetir:"
        f" {most} MiB por resposta, {day} MiB por dia.",
        f"Call {found.call_id} was completed and charged, but its answer did not fit what is kept for retries:"
        f" {most} MiB per answer, {day} MiB per day.",
        param="Idempotency-Key", code="idempotency_answer_too_large",
    )  # fmt: skip
    error.usage_raw = _usage_of(found)
    return error


def _interrupted(found: Found) -> Conflict:
    error = Conflict(
        f"A chamada {found.call_id} foi interrompida depois de cobrada em parte, e sua resposta não está guardada inteira. Para"
        " repetir o pedido, use outra 'Idempotency-Key'.",
        f"Call {found.call_id} was interrupted after part of it was charged, and its answer is not kept whole. To repeat the"
        " request, use another Idempotency-Key.",
        param="Idempotency-Key", code="idempotency_call_interrupted",
    )  # fmt: skip
    error.usage_raw = _usage_of(found)
    return error


def _usage_of(found: Found) -> bytes:
    usage = Usage(
        input_tokens=found.input_tokens, cached_input_tokens=found.cached_input_tokens,
        cache_write_tokens=found.cache_write_tokens, output_tokens=found.output_tokens, reasoning_tokens=found.reasoning_tokens,
    )  # fmt: skip
    return with_cost(openai_usage(usage), Settled(found.gross_nanos, found.net_nanos))
