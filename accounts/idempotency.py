"""`Idempotency-Key` on what creates: the same key with the same body is answered again, with another body refused.

The answer is kept sealed for IDEMPOTENCY_TTL_HOURS, because a new API key's answer holds its secret; of the header only a digest.
Two ways. "atomic": the work and its answer are one transaction, so that one of two at once waits and then tells the other's answer.
"steps": for work that commits on its way (a charge is saved before the bank is told) and is safe to go on with; the second of two
at once is refused with 409, and one whose process died may be asked again after STALE_SECONDS.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.authentication import ApiCaller
from accounts.models import IdempotentRequest
from tokia import clock
from tokia.manners import ApiError
from tokia.sealing import SecretUnreadable, seal, unseal

KEY_CHARACTERS_MAX = 255
STALE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, and whether it was told before."""

    answer: Any
    is_replay: bool


def once(caller: ApiCaller, key: str, *, operation: str, body: dict[str, Any], is_atomic: bool, work: Callable[[], Any]) -> Told:
    """What `work` gives, once per caller and key. It gives JSON. An exception of it leaves the key free.

    Raises ApiError: 400 for an odd key, 422 for another operation or body under it, 409 while the first still runs.
    """
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX or not key.isprintable():
        text = f"Idempotency-Key tem de 1 a {KEY_CHARACTERS_MAX} caracteres visíveis."
        raise ApiError(400, text, param="Idempotency-Key")
    asked = _Asked(caller, key, digest=_digest(json.dumps([operation, body], sort_keys=True, default=str)))
    return _in_one_transaction(asked, work) if is_atomic else _in_steps(asked, work)


@dataclass(frozen=True, slots=True)
class _Asked:
    caller: ApiCaller
    key: str
    digest: bytes

    def begin(self) -> tuple[IdempotentRequest, bool]:
        return IdempotentRequest.everywhere.get_or_create(
            organization=self.caller.organization, caller=self.caller.name, key_digest=_digest(self.key),
            defaults={"body_digest": self.digest, "started_at": clock.now()},
        )  # fmt: skip

    def read(self, row: IdempotentRequest) -> Any:
        """The answer told before; None while there is none."""
        if bytes(row.body_digest) != self.digest:
            raise ApiError(422, "Esta Idempotency-Key já foi usada com outra requisição.")
        if row.answer is None:
            return None
        try:
            return json.loads(unseal(bytes(row.answer), organization_id=row.organization_id))
        except SecretUnreadable as error:
            raise ApiError(409, "Esta requisição já foi atendida e a resposta não está mais disponível.") from error

    def keep(self, row: IdempotentRequest, answer: Any) -> None:
        sealed = seal(json.dumps(answer).encode(), organization_id=row.organization_id)
        IdempotentRequest.everywhere.filter(pk=row.pk).update(answer=sealed, answered_at=clock.now())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@transaction.atomic
def _in_one_transaction(asked: _Asked, work: Callable[[], Any]) -> Told:
    row, is_new = asked.begin()
    if not is_new and (answer := asked.read(row)) is not None:
        return Told(answer, is_replay=True)
    answer = work()
    asked.keep(row, answer)
    return Told(answer, is_replay=False)


def _in_steps(asked: _Asked, work: Callable[[], Any]) -> Told:
    row, is_new = asked.begin()
    if not is_new:
        answer = asked.read(row)
        if answer is not None:
            return Told(answer, is_replay=True)
        stale_at = clock.now() - dt.timedelta(seconds=STALE_SECONDS)
        waiting = IdempotentRequest.everywhere.filter(pk=row.pk, answered_at=None, started_at__lt=stale_at)
        if not waiting.update(started_at=clock.now()):
            raise ApiError(409, "A primeira requisição com esta Idempotency-Key ainda está em andamento.", retry_after=2)
    try:
        answer = work()
    except Exception:
        IdempotentRequest.everywhere.filter(pk=row.pk, answered_at=None).delete()
        raise
    asked.keep(row, answer)
    return Told(answer, is_replay=False)


def purge() -> int:
    """Forget answers older than IDEMPOTENCY_TTL_HOURS; how many."""
    old = clock.now() - dt.timedelta(hours=settings.IDEMPOTENCY_TTL_HOURS)
    return IdempotentRequest.everywhere.filter(started_at__lt=old).delete()[0]
