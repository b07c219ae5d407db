"""Sends the notices of new prices: one e-mail per organization and version, in Portuguese, with old and new prices and the date.

`PriceNotice` rows are the queue. A row is locked while its mail is handed over, so two workers never send the same; a worker that
dies between the hand-over and the commit sends it again with the same Message-ID, which mail programs show once.
"""

from __future__ import annotations

import datetime as dt
import logging
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string

from billing.alert_choices import readers_of
from billing.models import PriceNotice, PriceVersion
from billing.price_notices import USED_WITHIN_DAYS
from billing.reais import tell_reais
from tokia import clock

RETRY_MINUTES = (1, 5, 15, 60, 240)  # then every four hours
log = logging.getLogger("billing.price_mails")


def send_due_notices(*, limit: int = 200) -> int:
    """How many were sent. What can't be handed over is tried again later."""
    sent = 0
    for _ in range(limit):
        done = _send_next()
        if done is None:
            break
        sent += done
    return sent


def _send_next() -> int | None:
    """1 or 0 for a row that was sent or not; None where none is due."""
    with transaction.atomic():
        due = PriceNotice.everywhere.select_for_update(of=("self",), skip_locked=True).filter(due_at__lte=clock.now())
        notice = due.select_related("version__exchange_rate", "organization").order_by("due_at", "id").first()
        if notice is None:
            return None
        readers = readers_of(notice.organization, kind="prices")
        notice.attempts += 1
        try:
            if readers:
                message_of(notice, readers).send()
                notice.sent_at = clock.now()
        except OSError as error:  # SMTP's errors are
            pause = RETRY_MINUTES[min(notice.attempts, len(RETRY_MINUTES)) - 1]
            notice.due_at, notice.error = clock.now() + dt.timedelta(minutes=pause), str(error)[:200]
            log.warning("a price notice was not taken", extra={"notice": notice.pk, "detail": str(error)})
        else:
            notice.due_at, notice.error = None, "" if readers else "Ninguém para avisar."
            notice.sent_to = ", ".join(readers)[:1000]
        notice.save()
        return int(notice.sent_at is not None)


def message_of(notice: PriceNotice, readers: list[str]) -> EmailMultiAlternatives:
    version = notice.version
    context = {
        "organization": notice.organization, "version": version, "rows": [tell_change(change) for change in notice.changes],
        "is_dearer": any(change["kind"] in ("up", "gone") for change in notice.changes), "days": USED_WITHIN_DAYS,
        "in_force": version.effective_at is not None and version.effective_at <= clock.now(),
        "prices_url": f"{settings.WEB_URL}/precos/",
    }  # fmt: skip
    message = EmailMultiAlternatives(
        subject=subject_of(version),
        body=render_to_string("billing/email/price_notice.txt", context),
        to=readers,
        headers={"Message-ID": f"<price-notice-{notice.pk}@{parseaddr(settings.DEFAULT_FROM_EMAIL)[1].partition('@')[2]}>"},
    )
    message.attach_alternative(render_to_string("billing/email/price_notice.html", context), "text/html")
    return message


def subject_of(version: PriceVersion) -> str:
    if version.effective_at is None or version.effective_at <= clock.now():
        return "Tokia: mudança de preços"
    return f"Tokia: preços novos a partir de {version.effective_at.astimezone(clock.SAO_PAULO):%d/%m/%Y}"


def tell_change(change: dict[str, Any]) -> dict[str, str]:
    """A line of `PriceNotice.changes` in words: route, label, old and new."""
    return {
        "route": change["route"], "label": change["label"], "old": _told(change["old"], change["old_per"]),
        "new": _told(change["new"], change["new_per"]) if change["kind"] != "gone" else "deixa de ser vendido",
    }  # fmt: skip


def _told(brl: str | None, per: str) -> str:
    if brl is None:
        return "—"
    return f"{tell_reais(brl)}{per}"
