"""Focus NFe's door: `POST /webhooks/focus/`. A wake-up and no more: the invoice it names is asked for at once, the query decides.

A note that we hold for issued and that was cancelled in Focus's own panel is looked after by a task.

Who may speak: whoever sends the header that was agreed when the hook was registered there (FOCUS_WEBHOOK_SECRET, as the value of
`Authorization`). Anyone else, and everyone where none is set, gets 404 and moves nothing.
"""

from __future__ import annotations

import json
import logging
from hmac import compare_digest

from celery import current_app
from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from invoices.focus import invoice_reference
from invoices.models import Invoice, Issuer
from tokia import clock

log = logging.getLogger("invoices")

BODY_BYTES_MAX = 262_144
WAITING = (Invoice.Status.SENDING, Invoice.Status.UNCERTAIN, Invoice.Status.CANCEL_PENDING)


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    secret, told = settings.FOCUS_WEBHOOK_SECRET, request.headers.get("authorization", "")
    if not secret or not compare_digest(told.encode(), secret.encode()):
        log.warning("a stranger at Focus's door")
        return HttpResponse(status=404)
    raw = request.read(BODY_BYTES_MAX + 1)
    if len(raw) > BODY_BYTES_MAX:
        return HttpResponse(status=413)
    try:
        body = json.loads(raw)
        reference = invoice_reference(str(body["ref"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return HttpResponse("Não é um aviso da Focus.", status=400, content_type="text/plain; charset=utf-8")
    if "\0" in reference:
        return HttpResponse(status=200)
    named = Invoice.everywhere.filter(reference=reference, channel=Issuer.Channel.FOCUS)
    now = clock.now()
    named.filter(Q(due_at__isnull=True) | Q(due_at__gt=now), status__in=WAITING).update(due_at=now)
    issued = named.filter(status=Invoice.Status.ISSUED).values_list("pk", flat=True).first()
    if issued is not None and body.get("status") == "cancelado" and not _is_handed_on(issued):
        return HttpResponse(status=503)  # no row says that it must be asked for: they call again
    return HttpResponse(status=200)  # also for a note that waits for nothing: they would repeat it for a day


def _is_handed_on(invoice_id: int) -> bool:
    """Ask a worker to look whether the note lives."""
    try:
        current_app.send_task("invoices.tasks.check_note", args=[invoice_id], retry=False)
    except Exception:  # whatever the broker's client raises
        log.warning("no broker to look after a note", extra={"invoice": invoice_id})
        return False
    return True
