"""What the roof does by the clock. Timetable: `tokia/celery.py`."""

from __future__ import annotations

from celery import shared_task

from tokia.status_report import take_report


@shared_task(time_limit=50, acks_late=False, reject_on_worker_lost=False)
def measure_status() -> None:
    """Every half minute: what `/status/` tells."""
    take_report()
