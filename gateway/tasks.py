"""The gateway's background work: batches are run, and what customers asked us to keep goes when we said it would.

Timetable: `tokia/celery.py`.
"""

from __future__ import annotations

import logging

from celery import shared_task

from gateway import batch_run, batch_store, credential_probes, file_store, idempotency_store, vitals_store
from gateway.surfaces import responses_store

log = logging.getLogger("gateway.tasks")


@shared_task
def purge_responses() -> None:
    """Every hour: stored responses whose time is over."""
    purged = responses_store.purge_responses()
    if purged:
        log.info("purged stored responses", extra={"count": purged})


@shared_task
def purge_files() -> None:
    """Every hour: files and batches whose time is over."""
    files, batches = file_store.purge_files(), batch_store.purge_batches()
    if files or batches:
        log.info("purged files and batches", extra={"files": files, "batches": batches})


@shared_task
def purge_idempotent_calls() -> None:
    """Every hour: answers kept for a retry, whose time is over."""
    purged = idempotency_store.purge_idempotent_calls()
    if purged:
        log.info("purged idempotent calls", extra={"count": purged})


@shared_task(time_limit=1_800, acks_late=False, reject_on_worker_lost=False)
def run_batches() -> None:
    """Every few seconds: a turn at the batches. What a turn leaves, or a dead worker, the next one takes up."""
    delivered = batch_run.run_batches()
    if delivered:
        log.info("answered batch lines", extra={"count": delivered})


@shared_task(time_limit=600)
def probe_suspects() -> None:
    """Every half minute: keys of ours that a provider forbade, perhaps for one model only."""
    credential_probes.probe_credentials(only_suspects=True)


@shared_task(time_limit=600)
def probe_credentials() -> None:
    """Every five minutes: keys of ours that were refused; those that their provider takes again are used again."""
    credential_probes.probe_credentials()


@shared_task(time_limit=600)
def read_balances() -> None:
    """Every ten minutes: what is left at the providers that tell."""
    credential_probes.read_balances()


@shared_task
def roll_vitals() -> None:
    """Every few minutes: what was measured by the minute is added up by the hour and by the day; what is too old goes."""
    vitals_store.roll_vitals()
    purged = vitals_store.purge_vitals()
    if purged:
        log.info("purged vitals", extra={"count": purged})
