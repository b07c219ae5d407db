"""The Celery application and everything that happens by the clock. Tasks live in `<app>/tasks.py`."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import before_task_publish, setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
app = Celery("tokia")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Hours are Brazil's. A task that was missed runs at its next turn: each one looks for rows due, none relies on being called.
app.conf.beat_schedule = {
    "expire holds": {"task": "billing.tasks.expire_holds", "schedule": 10.0},
    "watch balances, budgets and spend": {"task": "billing.tasks.watch", "schedule": 30.0, "options": {"expires": 30.0}},
    "mail what was told": {"task": "billing.tasks.mail_events", "schedule": 10.0, "options": {"expires": 10.0}},
    "call customers' webhooks": {"task": "billing.tasks.deliver_hooks", "schedule": 3.0, "options": {"expires": 3.0}},
    "call customers' webhooks that fail": {
        "task": "billing.tasks.deliver_hooks",
        "schedule": 5.0,
        "options": {"expires": 5.0},
        "kwargs": {"failing": True},
    },
    "purge webhook deliveries": {"task": "billing.tasks.purge_deliveries", "schedule": crontab(minute=55)},
    "sweep charges": {"task": "billing.tasks.sweep_charges", "schedule": 60.0},
    "reconcile with the bank and the books": {"task": "billing.tasks.reconcile", "schedule": crontab(minute="*/5")},
    "read the bank's last eight days": {
        "task": "billing.tasks.sweep_window",
        "schedule": crontab(hour=2, minute=40),
        "kwargs": {"hours": 192},
    },
    "top up low wallets": {"task": "billing.tasks.top_up_low_wallets", "schedule": 10.0, "options": {"expires": 10.0}},
    "sweep cards": {"task": "billing.tasks.sweep_cards", "schedule": 60.0, "options": {"expires": 60.0}},
    "read Stripe's last two days": {"task": "billing.tasks.sweep_card_window", "schedule": crontab(minute="*/10")},
    "compare the books": {"task": "billing.tasks.compare_books", "schedule": crontab(minute="3-58/5")},
    "compare the books of eight days": {
        "task": "billing.tasks.compare_books",
        "schedule": crontab(hour=2, minute=50),
        "kwargs": {"hours": 192},
    },
    "fetch the exchange rate": {"task": "billing.tasks.fetch_exchange_rate", "schedule": crontab(minute=10)},
    "fill the exchange rates and watch the prices": {
        "task": "billing.tasks.fill_exchange_rates",
        "schedule": crontab(hour=3, minute=50),
    },
    "send notices of prices": {"task": "billing.tasks.send_price_notices", "schedule": 60.0, "options": {"expires": 60.0}},
    "tell closed months": {"task": "billing.tasks.tell_closed_months", "schedule": crontab(hour=7, minute=15)},
    "propose costs": {"task": "billing.tasks.propose_costs", "schedule": crontab(hour=4, minute=20)},
    "purge stored responses": {"task": "gateway.tasks.purge_responses", "schedule": crontab(minute=25)},
    "purge files and batches": {"task": "gateway.tasks.purge_files", "schedule": crontab(minute=35)},
    "write copies of data": {"task": "tokia.tasks.write_data_copies", "schedule": 10.0, "options": {"expires": 10.0}},
    "close organizations": {"task": "tokia.tasks.close_due_organizations", "schedule": crontab(minute=22)},
    "close accounts": {"task": "accounts.tasks.close_due_accounts", "schedule": crontab(minute=27)},
    "purge personal data": {"task": "accounts.tasks.purge_personal_data", "schedule": crontab(minute=32)},
    "purge idempotent requests": {"task": "accounts.tasks.purge_idempotent_requests", "schedule": crontab(minute=50)},
    "reap the playground's keys": {"task": "accounts.tasks.reap_session_keys", "schedule": 60.0, "options": {"expires": 60.0}},
    "purge idempotent calls": {"task": "gateway.tasks.purge_idempotent_calls", "schedule": crontab(minute=45)},
    "run batches": {"task": "gateway.tasks.run_batches", "schedule": 3.0, "options": {"expires": 3.0}},
    "try suspected provider keys": {"task": "gateway.tasks.probe_suspects", "schedule": 30.0, "options": {"expires": 30.0}},
    "try refused provider keys": {"task": "gateway.tasks.probe_credentials", "schedule": 300.0, "options": {"expires": 300.0}},
    "read the balances at providers": {"task": "gateway.tasks.read_balances", "schedule": 600.0, "options": {"expires": 600.0}},
    "add up the vitals": {"task": "gateway.tasks.roll_vitals", "schedule": crontab(minute="*/5")},
    "measure the status": {"task": "tokia.tasks.measure_status", "schedule": 30.0, "options": {"expires": 30.0}},
    "give the welcome": {"task": "billing.tasks.grant_welcomes", "schedule": 30.0, "options": {"expires": 30.0}},
    "reward referrals": {"task": "billing.tasks.reward_referrals", "schedule": 60.0, "options": {"expires": 60.0}},
    "tell of promotional money that ends": {"task": "billing.tasks.tell_expiring_promo", "schedule": crontab(minute=15)},
    "count what budgets spent": {"task": "billing.tasks.count_spends", "schedule": 60.0, "options": {"expires": 60.0}},
    "seal the books": {"task": "billing.tasks.seal_entries", "schedule": 60.0, "options": {"expires": 60.0}},
    "check the sealed books": {"task": "billing.tasks.check_seals", "schedule": crontab(hour=3, minute=40)},
    "close months": {"task": "billing.tasks.close_months", "schedule": crontab(minute=50)},
    "make customers' files": {"task": "billing.tasks.run_exports", "schedule": 3.0, "options": {"expires": 3.0}},
    "purge customers' files": {"task": "billing.tasks.purge_exports", "schedule": crontab(minute=5)},
    "draft invoices of months": {"task": "invoices.tasks.draft_months", "schedule": crontab(minute=20)},
    "draft invoices of top-ups": {"task": "invoices.tasks.draft_top_ups", "schedule": 30.0, "options": {"expires": 30.0}},
    "notes of money that went back": {"task": "invoices.tasks.follow_returns", "schedule": crontab(minute="*/10")},
    "check documents against the books": {"task": "invoices.tasks.check_documents", "schedule": crontab(hour=4, minute=10)},
    "issue invoices": {"task": "invoices.tasks.issue_due", "schedule": 5.0, "options": {"expires": 5.0}},
    "take up repaired invoices": {"task": "invoices.tasks.take_up_repaired", "schedule": 60.0, "options": {"expires": 60.0}},
    "deliver invoices": {"task": "invoices.tasks.deliver_due", "schedule": 10.0, "options": {"expires": 10.0}},
    "read the national distribution": {"task": "invoices.tasks.read_distribution", "schedule": crontab(minute="*/10")},
    "check the notes of Focus": {"task": "invoices.tasks.check_focus_notes", "schedule": crontab(hour=4, minute=40)},
    "watch certificates": {"task": "invoices.tasks.watch_certificates", "schedule": crontab(minute=40)},
    "ensure partitions": {"task": "billing.tasks.ensure_partitions", "schedule": crontab(hour=3, minute=5)},
}


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Celery leaves logging alone where this is connected; `tokia.logs` has set it up (scrubbed) with the settings."""


@before_task_publish.connect
def stamp_task(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """When it was sent, so that the admin can tell how long the oldest task waits."""
    if headers is not None:
        headers["sent_at"] = time.time()
