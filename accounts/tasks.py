"""What accounts does by the clock (`tokia/celery.py`)."""

from __future__ import annotations

from celery import shared_task

from accounts import idempotency


@shared_task
def purge_idempotent_requests() -> None:
    idempotency.purge()
