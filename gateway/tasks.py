"""The gateway's background work: what customers asked us to keep goes when we said it would. Timetable: `tokia/celery.py`."""

from __future__ import annotations

import logging

from celery import shared_task

from gateway.surfaces import responses_store

log = logging.getLogger("gateway.tasks")


@shared_task
def purge_responses() -> None:
    """Every hour: stored responses whose time is over."""
    purged = responses_store.purge_responses()
    if purged:
        log.info("purged stored responses", extra={"count": purged})
