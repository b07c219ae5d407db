"""Focus NFe's door: `POST /webhooks/focus/`. A wake-up and no more: the invoice it names is asked for at once, the query decides.

Who may speak: whoever sends the header that was agreed when the hook was registered there (FOCUS_WEBHOOK_SECRET, as the value of
`Authorization`). Anyone else, and everyone where none is set, gets 404 and moves nothing.
"""

from __future__ import annotations

import json
import logging
from hmac import compare_digest

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
    if "\0" not in reference:
        now = clock.now()
        waits = Q(due_at__isnull=True) | Q(due_at__gt=now)
        Invoice.everywhere.filter(waits, reference=reference, channel=Issuer.Channel.FOCUS, status__in=WAITING).update(due_at=now)
    return HttpResponse(status=200)  # also for a note that waits for nothing: they would repeat it for a day
