"""Messages to hooks: claimed, sent, and what came of it.

A message is sent at least once: a worker that dies between sending and writing it down leaves a lease that ends, and the message
goes again under the same `webhook-id`. Two workers never send one at the same time (the lease is taken with SKIP LOCKED). The
sequence is not promised: a message that failed comes after younger ones.

    due ─ claim → leased ─ 2xx → delivered
                     ├─ else, tries left → due, at the next of RETRY_SECONDS
                     └─ else → failed             (a replay makes it due again, from the first try)

An address that took nothing for DISABLED_AFTER, or says 410 Gone, is turned off, and its organization is told.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import random
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext_noop

from billing.events import tell
from billing.hook_secrets import headers_for
from billing.kept_texts import HOOK_ANSWERED, HOOK_FAILED
from billing.models import Hook, HookDelivery
from tokia import clock
from tokia.crashpoints import crashpoint
from tokia.outbound import ANSWER_BYTES_MAX, Answer, Outgoing, send_all
from tokia.sealing import SecretUnreadable

log = logging.getLogger("billing.hooks")

MINUTE, HOUR = 60, 3_600
# After the first try and each one more; with the first, ten in about three days.
RETRY_SECONDS = (5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
JITTER_PERCENT = 20  # a receiver that was down is not asked by everybody at the same second
ATTEMPTS_MAX = len(RETRY_SECONDS) + 1
LEASE = dt.timedelta(seconds=60)  # well beyond what a call may take (`tokia.outbound.TOTAL_SECONDS`)
BATCH = 16
PER_HOOK = 4  # of a batch: a slow receiver holds up few others
DISABLED_AFTER = dt.timedelta(days=5)
GONE = 410
UNREADABLE = gettext_noop("O segredo deste webhook não pode ser lido. Gire o segredo.")
KEPT = dt.timedelta(days=30)
_CLAIM = """
WITH due AS (
  SELECT d.id, row_number() OVER (PARTITION BY d.hook_id ORDER BY d.due_at, d.id) AS place
  FROM billing_hookdelivery d JOIN billing_hook h ON h.id = d.hook_id AND h.is_active
    AND (%(failing)s::boolean IS NULL OR %(failing)s = (h.failing_since IS NOT NULL))
  WHERE d.status = 'due' AND d.due_at <= %(now)s AND (d.leased_until IS NULL OR d.leased_until <= %(now)s)
), taken AS (
  SELECT d.id FROM billing_hookdelivery d
  WHERE d.id IN (SELECT id FROM due WHERE place <= %(per_hook)s ORDER BY place, id LIMIT %(batch)s)
    AND d.status = 'due' AND d.due_at <= %(now)s AND (d.leased_until IS NULL OR d.leased_until <= %(now)s)
  FOR UPDATE SKIP LOCKED
)
UPDATE billing_hookdelivery d SET leased_until = %(until)s, attempts = d.attempts + 1, sent_at = %(now)s
FROM taken WHERE d.id = taken.id RETURNING d.id
"""


def deliver_due(*, failing: bool | None = None) -> int:
    """Claim a batch of what is due, send it, write down what came of it. How many were claimed.

    `failing`: only for hooks that took nothing of late, or only for the others, so that who lets us wait holds up nobody else.
    """
    claimed = claim(failing=failing)
    calls: list[tuple[HookDelivery, Outgoing]] = []
    for delivery in claimed:
        try:
            calls.append((delivery, outgoing(delivery)))
        except SecretUnreadable:
            record(
                delivery,
                Answer(status=None, excerpt="", error=UNREADABLE, elapsed_ms=0),
            )
    for (delivery, _), answer in zip(calls, send_all([call for _, call in calls]), strict=True):
        crashpoint("hook_sent")
        record(delivery, answer)
    return len(claimed)


def claim(*, failing: bool | None = None) -> list[HookDelivery]:
    """Due messages that this worker alone has for LEASE, a few per hook; the try that begins is counted."""
    now = clock.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "until": now + LEASE, "batch": BATCH, "per_hook": PER_HOOK, "failing": failing})
        ids = [row[0] for row in cursor.fetchall()]
    return list(HookDelivery.everywhere.filter(pk__in=ids).select_related("hook", "event").order_by("id"))


def message_of(delivery: HookDelivery) -> bytes:
    """The body: the same bytes at every try and replay."""
    at = delivery.event.created_at if delivery.event else delivery.created_at
    data: dict[str, Any] = delivery.event.payload if delivery.event else {"hook_id": delivery.hook_id}
    message = {"type": delivery.type, "timestamp": at.astimezone(dt.UTC).isoformat(timespec="milliseconds"), "data": data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), sort_keys=False).encode()


def outgoing(delivery: HookDelivery) -> Outgoing:
    """One signed call. Raises SecretUnreadable."""
    body = message_of(delivery)
    headers = headers_for(delivery.hook, message_id=f"msg_{delivery.message_id.hex}", body=body)
    return Outgoing(url=delivery.hook.url, body=body, headers={"content-type": "application/json", **headers})


def record(delivery: HookDelivery, answer: Answer) -> None:
    """Write down a try's answer, unless another worker has taken the message since; see the states above."""
    now = clock.now()
    changes: dict[str, Any] = {
        "leased_until": None, "status_code": answer.status, "error": _error_of(answer), "answer": answer.excerpt[:ANSWER_BYTES_MAX],
        "elapsed_ms": answer.elapsed_ms,
    }  # fmt: skip
    if answer.is_taken:
        changes |= {"status": HookDelivery.Status.DELIVERED, "delivered_at": now, "due_at": None}
    elif delivery.attempts >= ATTEMPTS_MAX or answer.status == GONE:
        changes |= {"status": HookDelivery.Status.FAILED, "due_at": None}
    else:
        changes["due_at"] = now + _pause_after(delivery.attempts)
    with transaction.atomic():
        mine = HookDelivery.everywhere.filter(pk=delivery.pk, attempts=delivery.attempts, leased_until=delivery.leased_until)
        if not mine.update(**changes):
            return
        _judge(delivery.hook_id, answer, now=now)


def _error_of(answer: Answer) -> str:
    if answer.is_taken or answer.error:
        return answer.error[:200]
    if answer.status is not None and 300 <= answer.status < 400:
        return gettext_noop("O endereço respondeu com um redirecionamento, que não seguimos. Cadastre o endereço final.")
    return HOOK_ANSWERED.format(status=answer.status)


def _pause_after(attempts: int) -> dt.timedelta:
    seconds = RETRY_SECONDS[min(max(attempts, 1), len(RETRY_SECONDS)) - 1]
    return dt.timedelta(seconds=seconds * (100 + random.uniform(-JITTER_PERCENT, JITTER_PERCENT)) / 100)  # noqa: S311 - no secret


def _judge(hook_id: int, answer: Answer, *, now: dt.datetime) -> None:
    """The hook's health after a try. A hook that was turned off, or is gone, is left alone."""
    hook = Hook.everywhere.select_for_update().select_related("organization").filter(pk=hook_id, is_active=True).first()
    if hook is None:
        return
    if answer.is_taken:
        if hook.failing_since is not None:
            Hook.everywhere.filter(pk=hook.pk).update(failing_since=None)
        return
    if answer.status == GONE:
        _disable(hook, reason=gettext_noop("o endereço respondeu 410 (não existe mais)"), now=now)
    elif hook.failing_since is None:
        Hook.everywhere.filter(pk=hook.pk).update(failing_since=now)
    elif now - hook.failing_since >= DISABLED_AFTER:
        _disable(hook, reason=HOOK_FAILED.format(count=DISABLED_AFTER.days), now=now)


def _disable(hook: Hook, *, reason: str, now: dt.datetime) -> None:
    Hook.everywhere.filter(pk=hook.pk).update(is_active=False, disabled_at=now, disabled_reason=reason)
    payload = {"hook_id": hook.pk, "name": hook.name, "url": hook.url, "reason": reason}
    tell(hook.organization, "hook.disabled", reference=f"hook-disabled:{hook.pk}:{now.isoformat()}", payload=payload)
    log.warning("a hook was turned off", extra={"hook": hook.pk, "reason": reason})


def purge() -> int:
    """Forget messages that are over and older than KEPT, and those that wait so long for a hook that is off."""
    deleted, _ = HookDelivery.everywhere.filter(created_at__lt=clock.now() - KEPT).delete()
    return deleted
