"""Billing's background work: fetch, call a verb, let the timetable repeat it. The timetable is `tokia/celery.py`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from celery import shared_task

from billing import (
    alerts,
    budgets,
    closing,
    costs,
    discounts,
    event_mails,
    exchange,
    exports,
    holds,
    hook_deliveries,
    ledger,
    price_mails,
    pricebooks,
    promotions,
    rate_watch,
    referrals,
    refunds,
    seals,
)
from billing import reconcile as reconciliation
from billing.cards import automatic
from billing.cards import events as card_events
from billing.cards import sweep as card_sweep
from billing.cards.errors import StripeUnavailable
from billing.models import PixNotice, StripeEvent
from billing.pix import charges, sweep
from billing.pix.errors import PspUnavailable
from billing.runners import take_slot

log = logging.getLogger("billing.tasks")
REPEAT_SECONDS = 30
CHECK_SECONDS = 200.0  # of a night's check; the next one goes on there


@shared_task
def confirm_charge(notice_id: int) -> None:
    """Follow one notice to the bank, hurried by the webhook. The sweep retries what the bank did not answer."""
    notice = PixNotice.objects.filter(pk=notice_id, status=PixNotice.Status.DUE).first()
    if notice is None:
        return
    try:
        charges.confirm_notice(notice)
    except PspUnavailable as silence:
        log.warning("the bank is silent", extra={"notice": notice_id, "detail": str(silence)})


@shared_task
def sweep_charges() -> None:
    """Each minute: notices that are due, charges that may still be paid, refunds under way."""
    sweep.sweep_notices()
    sweep.sweep_charges()
    refunds.sweep_refunds()


@shared_task
def sweep_window(hours: int = 48) -> None:
    """The bank's own list of Pix against our books."""
    try:
        sweep.sweep_window(hours=hours)
    except PspUnavailable as silence:
        log.warning("the bank is silent", extra={"detail": str(silence)})


@shared_task
def reconcile() -> None:
    """Every five minutes: what the bank has and we don't, then the ledger's invariants. Drift is an alarm, never repaired."""
    sweep_window()
    reconciliation.check_ledger()


@shared_task
def compare_books(hours: int = 48) -> None:
    """The bank's and Stripe's lists against our books, both ways; what differs is kept for people."""
    reconciliation.compare_books(hours=hours)


@shared_task
def expire_holds() -> None:
    """Fence silent gateways, expire what they held and what no call can still use, and grants whose time is over."""
    holds.reap_sessions()
    holds.expire_holds()
    ledger.expire_promo()


@shared_task
def grant_welcomes() -> None:
    """The welcome, to organizations that are due."""
    promotions.grant_welcomes()


@shared_task
def reward_referrals() -> None:
    """Both sides' promotional money, where the referred one's top-up stands."""
    referrals.reward_referrals()


@shared_task
def tell_expiring_promo() -> None:
    """Promotional money that ends soon is told once."""
    promotions.tell_expiring()


@shared_task
def watch() -> None:
    """Each half minute: balances, budgets, unusual spend, suspensions. One that fails keeps no other from being looked at."""
    for look in alerts.LOOKS:
        try:
            look()
        except Exception:
            log.exception("an alert could not be looked at", extra={"look": look.__name__})


@shared_task
def mail_events() -> None:
    """What was told and is due by mail, until nothing is or it is time for the next turn. One worker at a time."""
    with take_slot("event mails", slots=1) as slot:
        if slot is not None:
            _repeat(event_mails.send_due)


@shared_task
def deliver_hooks(failing: bool = False) -> None:
    """What customers' addresses are to hear, as long; by one worker for those that answer, and by one for those that don't."""
    with take_slot(f"hook deliveries {failing}", slots=1) as slot:
        if slot is not None:
            _repeat(partial(hook_deliveries.deliver_due, failing=failing))


def _repeat(act: Callable[[], int]) -> None:
    ends_at = time.monotonic() + REPEAT_SECONDS
    while act() and time.monotonic() < ends_at:
        pass


@shared_task
def purge_deliveries() -> None:
    hook_deliveries.purge()


@shared_task
def count_spends() -> None:
    """Budgets' windows as their days have it: calls that were under way when a budget was made count late."""
    budgets.count_all_spends()


@shared_task
def ensure_partitions() -> None:
    """Partitions of usage for this month and the next ones."""
    ledger.call_function("billing_ensure_partitions", 3)


@shared_task(autoretry_for=(exchange.PtaxUnavailable,), retry_backoff=60, max_retries=5)
def fetch_exchange_rate() -> None:
    """Keep the newest PTAX."""
    rate = exchange.fetch_rate()
    log.info("exchange rate", extra={"rate": str(rate.rate), "quoted_at": rate.quoted_at.isoformat()})


@shared_task(autoretry_for=(exchange.PtaxUnavailable,), retry_backoff=300, max_retries=5)
def fill_exchange_rates(days: int = exchange.GAP_DAYS) -> None:
    """Each night: the quotations that the hourly task missed; then the prices in force against the newest of all."""
    kept = exchange.backfill_rates(days=days)
    log.info("exchange rates filled", extra={"new": len(kept)})
    rate_watch.watch_rate()


@shared_task
def send_price_notices() -> None:
    """Each minute: e-mails about new prices that are due."""
    price_mails.send_due_notices()


@shared_task
def tell_closed_months() -> None:
    """Each morning: what the month that is over came to, and what the discount by volume saved."""
    discounts.tell_closed_months()


@shared_task
def propose_costs() -> None:
    """Import the installed snapshot's costs; when they differ from the prices in force, propose a draft. Never publishes."""
    changed = costs.reimport_costs()
    draft = pricebooks.propose_draft()
    log.info("costs imported", extra={"changed": len(changed), "draft": draft.number if draft else None})


@shared_task
def seal_entries() -> None:
    """Each minute: links for what the last hours brought."""
    seals.seal_entries()


@shared_task
def check_seals() -> None:
    """At night: the chain against the books, as far as it goes in a task's time, then links for whatever has none."""
    seals.check_chain(seconds=CHECK_SECONDS)
    seals.seal_entries(everything=True)


@shared_task
def close_months() -> None:
    """Each hour: months that are over and late enough."""
    if closed := closing.close_due_months():
        log.info("months closed", extra={"count": closed})


@shared_task
def run_exports() -> None:
    """Files that customers wait for."""
    exports.run_exports()


@shared_task
def purge_exports() -> None:
    exports.purge_exports()


@shared_task
def follow_stripe_event(event_id: int) -> None:
    """Follow one event to Stripe, hurried by the webhook. The sweep retries what Stripe did not answer."""
    event = StripeEvent.objects.filter(pk=event_id, status=StripeEvent.Status.DUE).first()
    if event is None:
        return
    try:
        card_events.follow_event(event)
    except StripeUnavailable as silence:
        log.warning("Stripe is silent", extra={"event": event_id, "detail": str(silence)})


@shared_task
def top_up_low_wallets() -> None:
    """Every ten seconds: automatic top-ups of wallets below their thresholds."""
    automatic.top_up_low_wallets()


@shared_task
def sweep_cards() -> None:
    """Each minute: Stripe's events that are due, payments and disputes that are open."""
    card_sweep.sweep_events()
    card_sweep.sweep_payments()
    card_sweep.sweep_disputes()


@shared_task
def sweep_card_window(hours: int = 48) -> None:
    """Stripe's own lists of payments, refunds and disputes against our books."""
    try:
        card_sweep.sweep_window(hours=hours)
    except StripeUnavailable as silence:
        log.warning("Stripe is silent", extra={"detail": str(silence)})
