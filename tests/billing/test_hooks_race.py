"""Several workers at once, and one that dies: each message at least once, never by two at the same time; each fact told once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core import mail
from django.db import connection
from pytest_django import Settings
from standardwebhooks import Webhook

from accounts.models import Membership, Organization
from billing import alerts, event_mails, tasks
from billing.budgets import set_budget
from billing.events import list_events
from billing.hook_deliveries import LEASE, deliver_due
from billing.hooks import create_hook, send_test
from billing.models import HookDelivery
from billing.money import BRL
from billing.runners import take_slot
from tests.make import make_organization, make_usage, make_user, make_wallet
from tests.receiver import Receiver, receiving
from tokia import clock

pytestmark = pytest.mark.usefixtures("committed_db")
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with receiving() as found:
        settings.OUTBOUND_LOOPBACK = [found.authority]
        yield found
    clock.shift(0)


def at_once(number: int, act: Callable[[], object]) -> None:
    """`act` in as many threads, started together; what one raises, the test raises."""
    barrier, errors = threading.Barrier(number), []

    def run() -> None:
        try:
            barrier.wait(20)
            act()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


def test_workers_at_once_send_each_message_once(receiver: Receiver) -> None:
    for number in range(4):
        hook, _ = create_hook(make_organization(), url=f"{receiver.url}{number}")
        for _ in range(8):
            send_test(hook)
    receiver.pause_seconds = 0.01

    def work() -> None:
        while deliver_due():
            pass

    at_once(4, work)
    ids = Counter(got.headers["webhook-id"] for got in receiver.got)
    assert len(ids) == 32 and set(ids.values()) == {1}
    assert set(HookDelivery.everywhere.values_list("status", "attempts")) == {("delivered", 1)}


@pytest.mark.parametrize("point", ["hook_sent"])
def test_a_worker_killed_after_sending_is_followed_by_another_with_the_same_id(receiver: Receiver, point: str) -> None:
    hook, secret = create_hook(make_organization(), url=receiver.url)
    send_test(hook)
    code = "import django; django.setup(); from billing.hook_deliveries import deliver_due; deliver_due()"
    env = {**os.environ, "CRASHPOINT": point, "OUTBOUND_LOOPBACK": receiver.authority, "DJANGO_SETTINGS_MODULE": "tokia.settings"}
    died = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL and len(receiver.got) == 1
    assert deliver_due() == 0, "leased"
    clock.shift(LEASE.total_seconds() + 1)
    assert deliver_due() == 1
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    for got in receiver.got:
        Webhook(secret).verify(got.body, got.headers)
    delivery = HookDelivery.everywhere.get()
    assert (delivery.status, delivery.attempts) == ("delivered", 2)


def test_so_many_workers_at_a_time_wait_for_others() -> None:
    taken: list[int | None] = []
    everybody = threading.Barrier(4)

    def work() -> None:
        with take_slot("a test", slots=2) as slot:
            taken.append(slot)
            everybody.wait(20)

    at_once(4, work)
    assert sorted(taken, key=str) == [0, 1, None, None]
    with take_slot("a test", slots=2) as slot, take_slot("another", slots=1) as other:
        assert (slot, other) == (0, 0), "given back, and not the other's"


def test_the_tasks_do_their_turns(receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    send_test(hook)
    wallet = make_wallet(brl="100")
    make_usage(wallet=wallet, gross_nanos=90 * BRL)
    Membership.everywhere.create(organization=wallet.organization, user=make_user(email="dona@acme.com.br"), role="owner")
    for task in (tasks.watch, tasks.mail_events, tasks.deliver_hooks, tasks.purge_deliveries):
        task()
    tasks.deliver_hooks(failing=True)
    assert len(receiver.got) == 1 and mail.outbox[0].to == ["dona@acme.com.br"]


def test_watchers_at_once_tell_each_fact_once() -> None:
    wallets = [make_wallet(brl="100") for _ in range(4)]
    for wallet in wallets:
        make_usage(wallet=wallet, gross_nanos=90 * BRL)
        set_budget(wallet.organization, by=None, scope="organization", window="month", limit_nanos=100 * BRL)
    Organization.objects.update(is_suspended=True, suspended_reason="teste")
    at_once(4, alerts.watch)
    for wallet in wallets:
        types = sorted(event.type for event in list_events(wallet.organization))
        assert types == ["budget.threshold", "organization.suspended", "wallet.low_balance"]


def test_mailers_at_once_mail_each_reader_once() -> None:
    from billing.events import tell

    organization = make_organization()
    for number in range(3):
        Membership.everywhere.create(organization=organization, user=make_user(email=f"p{number}@acme.com.br"), role="owner")
    for number in range(5):
        tell(organization, "wallet.empty", reference=f"r{number}", payload={})
    at_once(4, event_mails.send_due)
    assert Counter(message.to[0] for message in mail.outbox) == {f"p{number}@acme.com.br": 5 for number in range(3)}
