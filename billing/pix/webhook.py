"""The bank's door: `POST /webhooks/pix/<secret>/pix`. A notice is stored and answered 200 at once; a task asks the bank.

Who may speak: whoever knows the secret of the address and, where PSP_WEBHOOK_VERIFY_HEADER names one, comes through a proxy
that checked the bank's certificate (the proxy must strip that header from outside). Anyone else gets 404 and leaves no row.
A notice that we can't place is no error: the bank would repeat it for weeks.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, NoReturn

from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing.pix.received import AMOUNT, END_TO_END_ID, TXID, listed
from tokia import clock

log = logging.getLogger("billing.pix")

BODY_BYTES_MAX = 65_536
PIX_MAX = 200

_STORE = """
    INSERT INTO billing_pixnotice
        (digest, end_to_end_id, txid, payload, status, deliveries, failures, last_error, received_at, due_at, done_at)
    VALUES (%(digest)s, %(end_to_end_id)s, %(txid)s, %(payload)s, %(status)s, 1, 0, %(error)s, %(now)s, %(now)s, %(done_at)s)
    ON CONFLICT (digest) DO UPDATE SET deliveries = billing_pixnotice.deliveries + 1
    RETURNING id, deliveries = 1
"""


@csrf_exempt
@require_POST
def receive(request: HttpRequest, secret: str) -> HttpResponse:
    if not compare_digest(secret.encode(), settings.PSP_WEBHOOK_SECRET.encode()) or not _is_verified(request):
        log.warning("a stranger at the PIX door")
        return HttpResponse(status=404)
    raw = request.read(BODY_BYTES_MAX + 1)
    if len(raw) > BODY_BYTES_MAX:
        return HttpResponse(status=413)
    try:
        told = _parse(raw)
    except (ValueError, RecursionError):
        return HttpResponse("Não é um aviso de PIX.", status=400, content_type="text/plain; charset=utf-8")
    # In the order of their digests: two deliveries of the same Pix in another order can't wait for each other.
    with transaction.atomic():
        for pix in sorted(told, key=digest_of):
            _store(pix)
    return HttpResponse(status=200)


def digest_of(pix: Mapping[str, Any]) -> bytes:
    """SHA-256 over what a Pix means: keys that the API does not know change nothing."""
    known = {name: pix.get(name) for name in ("endToEndId", "txid", "valor", "horario")}
    refunds = sorted([str(refund.get("id")), str(refund.get("status"))] for refund in listed(pix.get("devolucoes")))
    return hashlib.sha256(json.dumps([known, refunds], sort_keys=True, separators=(",", ":")).encode()).digest()


def is_pix(pix: Mapping[str, Any]) -> bool:
    """Whether it has what a notice needs."""
    end_to_end_id, amount, txid = pix.get("endToEndId"), pix.get("valor"), pix.get("txid")
    return (
        isinstance(end_to_end_id, str)
        and END_TO_END_ID.fullmatch(end_to_end_id) is not None
        and isinstance(amount, str)
        and AMOUNT.fullmatch(amount) is not None
        and isinstance(pix.get("horario"), str)
        and (not txid or (isinstance(txid, str) and TXID.fullmatch(txid) is not None))
    )


def _is_verified(request: HttpRequest) -> bool:
    header = settings.PSP_WEBHOOK_VERIFY_HEADER
    return not header or request.headers.get(header) == "SUCCESS"


def _parse(raw: bytes) -> list[dict[str, Any]]:
    """The Pix of one call. Raises ValueError unless it is a JSON object with at least one sound Pix."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    if b"\\u0000" in raw:
        raise ValueError("PostgreSQL keeps no NUL")
    body = json.loads(raw, parse_float=str, parse_constant=refuse)
    told = body.get("pix") if isinstance(body, dict) else None
    if not isinstance(told, list) or len(told) > PIX_MAX or not any(isinstance(pix, dict) and is_pix(pix) for pix in told):
        raise ValueError("no Pix")
    return [pix for pix in told if isinstance(pix, dict)]


def _store(pix: dict[str, Any]) -> None:
    """One row per Pix and content; an unsound one among sound ones is kept for a person and followed by nobody."""
    is_sound, now = is_pix(pix), clock.now()
    with connection.cursor() as cursor:
        cursor.execute(
            _STORE,
            {
                "digest": digest_of(pix),
                "end_to_end_id": pix["endToEndId"] if is_sound else "",
                "txid": (pix.get("txid") or "") if is_sound else "",
                "payload": json.dumps(pix),
                "status": "due" if is_sound else "done",
                "error": "" if is_sound else "Malformado: não é um Pix",
                "now": now,
                "done_at": None if is_sound else now,
            },
        )
        notice_id, is_new = cursor.fetchone()
    if is_new and is_sound:
        transaction.on_commit(lambda: _hurry(notice_id))


def _hurry(notice_id: int) -> None:
    """Ask a worker now, beside the answer: a broker that is down keeps its client busy for seconds, and the bank waits for 200."""
    threading.Thread(target=_publish, args=[notice_id], daemon=True).start()


def _publish(notice_id: int) -> None:
    """Without the broker the sweep finds the row within a minute."""
    try:
        current_app.send_task("billing.tasks.confirm_charge", args=[notice_id], retry=False)
    except Exception:  # whatever the broker's client raises
        log.warning("no broker to hurry a notice", extra={"notice": notice_id})
