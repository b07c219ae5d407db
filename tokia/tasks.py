"""What the roof does by the clock. Timetable: `tokia/celery.py`."""

from __future__ import annotations

from celery import shared_task

from tokia import closures, data_files
from tokia.status_report import take_report


@shared_task(time_limit=50, acks_late=False, reject_on_worker_lost=False)
def measure_status() -> None:
    """Every half minute: what `/status/` tells."""
    take_report()


@shared_task
def write_data_copies() -> None:
    """Every ten seconds: the copies of data that people asked for."""
    data_files.make_waiting()


@shared_task
def close_due_organizations() -> None:
    """Every hour: what was asked to be closed, and whose days are over."""
    closures.close_due()
