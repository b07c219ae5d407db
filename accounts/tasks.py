"""What accounts does by the clock (`tokia/celery.py`)."""

from __future__ import annotations

from celery import shared_task

from accounts import closing, data_copies, idempotency, session_keys


@shared_task
def purge_idempotent_requests() -> None:
    idempotency.purge()


@shared_task
def reap_session_keys() -> None:
    """Every minute: playground keys whose time, session or permission is over."""
    session_keys.reap_session_keys()


@shared_task
def close_due_accounts() -> None:
    """Every hour: people who asked to be forgotten, and whose days are over."""
    closing.close_due_accounts()


@shared_task
def purge_personal_data() -> None:
    """Every hour: copies whose time is over, and what the audit log keeps no longer."""
    data_copies.purge()
    closing.redact_audit()
