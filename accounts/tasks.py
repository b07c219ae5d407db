"""What accounts does by the clock (`tokia/celery.py`)."""

from __future__ import annotations

from celery import shared_task

from accounts import idempotency, session_keys


@shared_task
def purge_idempotent_requests() -> None:
    idempotency.purge()


@shared_task
def reap_session_keys() -> None:
    """Every minute: playground keys whose time, session or permission is over."""
    session_keys.reap_session_keys()
