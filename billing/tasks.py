"""Billing's background work: fetch, call a verb, let the timetable repeat. The timetable is `tokia/celery.py`."""

from __future__ import annotations

import logging

from celery import shared_task

from billing import costs, exchange, pricebooks

log = logging.getLogger("billing.tasks")


@shared_task(autoretry_for=(exchange.PtaxUnavailable,), retry_backoff=60, max_retries=5)
def fetch_exchange_rate() -> None:
    """Keep the newest PTAX."""
    rate = exchange.fetch_rate()
    log.info("exchange rate", extra={"rate": str(rate.rate), "quoted_at": rate.quoted_at.isoformat()})


@shared_task
def propose_costs() -> None:
    """Import the installed snapshot's costs; when they differ from the prices in force, propose a draft. Never publishes."""
    changed = costs.reimport_costs()
    draft = pricebooks.propose_draft()
    log.info("costs imported", extra={"changed": len(changed), "draft": draft.number if draft else None})
