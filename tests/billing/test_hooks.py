"""Signed outgoing webhooks over a real HTTP receiver, checked by Standard Webhooks' own library."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core import mail
from django.core.management import call_command
from pytest_django import Settings
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from accounts.models import Organization
from billing import hook_deliveries, hooks
from billing.events import tell
from billing.hook_deliveries import ATTEMPTS_MAX, DISABLED_AFTER, KEPT, LEASE, RETRY_SECONDS, deliver_due, purge
from billing.hook_secrets import ROTATION
from billing.hooks import HookRefused, TooManyHooks, change_hook, create_hook, list_deliveries, replay, rotate_secret, send_test
from billing.models import Event, Hook, HookDelivery
from tests.make import make_organization
from tests.receiver import Got, Receiver, receiving
from tokia import clock
from tokia.outbound import AddressRefused, Answer

pytestmark = pytest.mark.django_db
MINUTE = 60


@pytest.fixture(autouse=True)
def clock_as_it_is() -> Iterator[None]:
    yield
    clock.shift(0)


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with receiving() as found:
        settings.OUTBOUND_LOOPBACK = [found.authority]
        yield found


def told(organization: Organization, type: str = "wallet.top_up", **payload: Any) -> Event:
    event = tell(organization, type, reference=f"{type}:{clock.new_id()}", payload=payload)
    assert event is not None
    return event


def checked(got: Got, secret: str) -> dict[str, Any]:
    """The message, where the signature holds."""
    message: dict[str, Any] = Webhook(secret).verify(got.body, got.headers)
    return message


def only() -> HookDelivery:
    return HookDelivery.everywhere.get()


# ── Hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_secret_is_told_once_and_kept_sealed() -> None:
    organization = make_organization()
    hook, secret = create_hook(
        organization, url="https://hooks.acme.com.br/x", name=" ERP ", types=["wallet.empty", "wallet.top_up"]
    )
    assert secret.startswith("whsec_") and len(secret) > 40
    fresh = Hook.everywhere.get(pk=hook.pk)
    assert secret.encode() not in bytes(fresh.secret) and fresh.name == "ERP" and fresh.types == ["wallet.empty", "wallet.top_up"]
    assert create_hook(organization, url="https://hooks.acme.com.br/x")[1] != secret


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "https://10.0.0.1/", "https://169.254.169.254/", "https://localhost/", "ftp://acme.com.br/", ""]
)
def test_an_address_that_we_do_not_call_is_refused_when_it_is_written(url: str) -> None:
    organization = make_organization()
    with pytest.raises(AddressRefused):
        create_hook(organization, url=url)
    hook, _ = create_hook(organization, url="https://acme.com.br/")
    with pytest.raises(AddressRefused):
        change_hook(hook, url=url)


def test_what_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    organization = make_organization()
    with pytest.raises(HookRefused):
        create_hook(organization, url="https://acme.com.br/", types=["wallet.full"])
    with pytest.raises(HookRefused):
        create_hook(organization, url="https://acme.com.br/", name="a" * 61)
    monkeypatch.setattr(hooks, "HOOKS_MAX", 1)
    hook, _ = create_hook(organization, url="https://acme.com.br/")
    with pytest.raises(TooManyHooks):
        create_hook(organization, url="https://acme.com.br/")
    create_hook(make_organization(), url="https://acme.com.br/")
    change_hook(hook, is_active=False)
    with pytest.raises(HookRefused):
        send_test(hook)


# ── A message ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_message_is_signed_as_the_standard_says(receiver: Receiver) -> None:
    organization = make_organization()
    _, secret = create_hook(organization, url=receiver.url)
    event = told(organization, amount="150.00", note="ação ✓")
    assert deliver_due() == 1
    [got] = receiver.got
    message = checked(got, secret)
    assert message["type"] == "wallet.top_up" and message["data"] == {"amount": "150.00", "note": "ação ✓"}
    assert dt.datetime.fromisoformat(message["timestamp"]) == event.created_at.replace(
        microsecond=event.created_at.microsecond // 1000 * 1000
    )
    assert got.headers["content-type"] == "application/json" and got.headers["user-agent"] == "Tokia-Webhooks/1"
    delivery = only()
    assert got.headers["webhook-id"] == f"msg_{delivery.message_id.hex}"
    assert (delivery.status, delivery.status_code, delivery.attempts, delivery.error) == ("delivered", 204, 1, "")
    assert delivery.delivered_at and delivery.due_at is None and delivery.leased_until is None and delivery.elapsed_ms is not None
    assert deliver_due() == 0


def test_a_changed_body_or_another_secret_is_noticed(receiver: Receiver) -> None:
    organization = make_organization()
    _, secret = create_hook(organization, url=receiver.url)
    told(organization, amount="1.00")
    deliver_due()
    [got] = receiver.got
    with pytest.raises(WebhookVerificationError):
        checked(Got(got.path, got.headers, got.body.replace(b"1.00", b"9.00")), secret)
    with pytest.raises(WebhookVerificationError):
        checked(got, create_hook(organization, url=receiver.url)[1])
    with pytest.raises(WebhookVerificationError):
        checked(Got(got.path, got.headers | {"webhook-id": "msg_other"}, got.body), secret)


def test_only_what_was_asked_for_goes_to_active_hooks_of_the_organization(receiver: Receiver) -> None:
    organization, other = make_organization(), make_organization()
    everything, _ = create_hook(organization, url=f"{receiver.url}all")
    some, _ = create_hook(organization, url=f"{receiver.url}some", types=["wallet.empty"])
    off, _ = create_hook(organization, url=f"{receiver.url}off")
    change_hook(off, is_active=False)
    create_hook(other, url=f"{receiver.url}other")
    told(organization, "wallet.top_up")
    told(organization, "wallet.empty")
    while deliver_due():
        pass
    assert sorted(got.path for got in receiver.got) == ["/hooks/all", "/hooks/all", "/hooks/some"]
    assert HookDelivery.everywhere.filter(hook=everything).count() == 2 and HookDelivery.everywhere.filter(hook=some).count() == 1


def test_a_fact_told_again_is_delivered_once() -> None:
    organization = make_organization()
    create_hook(organization, url="https://acme.com.br/")
    for _ in range(3):
        tell(organization, "wallet.empty", reference="once", payload={})
    assert HookDelivery.everywhere.count() == 1


def test_a_test_is_a_ping(receiver: Receiver) -> None:
    hook, secret = create_hook(make_organization(), url=receiver.url)
    send_test(hook)
    deliver_due()
    message = checked(receiver.got[0], secret)
    assert (message["type"], message["data"]) == ("ping", {"hook_id": hook.pk})


def test_for_a_day_both_secrets_sign(receiver: Receiver) -> None:
    hook, first = create_hook(make_organization(), url=receiver.url)
    second = rotate_secret(hook)
    send_test(hook)
    deliver_due()
    [got] = receiver.got
    assert len(got.headers["webhook-signature"].split(" ")) == 2
    assert checked(got, first) == checked(got, second)
    Hook.everywhere.update(previous_ends_at=clock.now() - dt.timedelta(seconds=1))
    send_test(hook)
    deliver_due()
    checked(receiver.got[1], second)
    with pytest.raises(WebhookVerificationError):
        checked(receiver.got[1], first)
    assert dt.timedelta(hours=24) == ROTATION


# ── When it is not taken ─────────────────────────────────────────────────────────────────────────────────────────────
def test_it_is_tried_again_later_and_later_then_given_up(receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    send_test(hook)
    receiver.answers = [(500, {}, b"ocupado")] * ATTEMPTS_MAX
    shifted = 0.0
    for attempt in range(1, ATTEMPTS_MAX + 1):
        assert deliver_due() == 1 and deliver_due() == 0
        delivery = only()
        assert (delivery.attempts, delivery.status_code, delivery.answer) == (attempt, 500, "ocupado")
        if delivery.due_at is not None:
            pause = (delivery.due_at - clock.now()).total_seconds()
            assert 0.79 * RETRY_SECONDS[attempt - 1] - 2 < pause < 1.21 * RETRY_SECONDS[attempt - 1]
            shifted += pause + 0.1
            clock.shift(shifted)
    assert (only().status, only().due_at) == ("failed", None)
    assert "respondeu 500" in only().error
    ids = {got.headers["webhook-id"] for got in receiver.got}
    bodies = {got.body for got in receiver.got}
    times = {got.headers["webhook-timestamp"] for got in receiver.got}
    assert len(receiver.got) == 10 == len(times) and len(ids) == 1 == len(bodies)


@pytest.mark.parametrize("status", [300, 301, 302, 400, 404, 429, 503])
def test_only_2xx_counts_as_taken(receiver: Receiver, status: int) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    send_test(hook)
    receiver.answers = [(status, {"location": "http://127.0.0.1:1/"}, b"")]
    deliver_due()
    assert (only().status, only().status_code, len(receiver.got)) == ("due", status, 1)


def test_an_address_that_became_an_inner_one_is_not_called(settings: Settings, receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    settings.OUTBOUND_LOOPBACK = []
    send_test(hook)
    deliver_due()
    assert only().status == "due" and "porta 443" in only().error and receiver.got == []
    change_hook(hook, is_active=True)
    Hook.everywhere.update(url="https://127.0.0.1/hooks/")
    replay(only())
    deliver_due()
    assert "rede interna" in only().error and receiver.got == []


def test_a_secret_that_can_not_be_read_is_told(receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    Hook.everywhere.update(secret=b"gAAAAAB-not-ours")
    send_test(hook)
    assert deliver_due() == 1
    assert "Gire o segredo" in only().error and receiver.got == []


def test_new_keys_of_ours_change_no_signature(receiver: Receiver, settings: Settings) -> None:
    hook, first = create_hook(make_organization(), url=receiver.url)
    second = rotate_secret(hook)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.ENCRYPTION_KEYS]
    call_command("reseal")
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    send_test(hook)
    deliver_due()
    assert checked(receiver.got[0], first) == checked(receiver.got[0], second)


def test_a_replay_is_the_same_message(receiver: Receiver) -> None:
    organization = make_organization()
    _, secret = create_hook(organization, url=receiver.url)
    told(organization, amount="1.00")
    deliver_due()
    assert replay(only()).status == "due"
    deliver_due()
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    assert checked(second, secret)["data"] == {"amount": "1.00"}
    assert (only().status, only().attempts) == ("delivered", 1)


def test_a_replay_leaves_alone_what_is_under_way(receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    send_test(hook)
    [claimed] = hook_deliveries.claim()
    replay(only())
    assert only().attempts == 1 and only().leased_until == claimed.leased_until and deliver_due() == 0


def test_a_worker_that_was_too_slow_writes_nothing(receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    send_test(hook)
    [slow] = hook_deliveries.claim()
    clock.shift(LEASE.total_seconds() + 1)
    assert deliver_due() == 1
    hook_deliveries.record(slow, Answer(status=500, excerpt="late", error="", elapsed_ms=1))
    assert (only().status, only().attempts, only().answer) == ("delivered", 2, "")


def test_a_hook_that_is_off_waits_and_goes_on(receiver: Receiver) -> None:
    organization = make_organization()
    hook, _ = create_hook(organization, url=receiver.url)
    told(organization)
    change_hook(hook, is_active=False)
    assert deliver_due() == 0
    change_hook(hook, is_active=True)
    assert deliver_due() == 1 and only().status == "delivered"


def test_one_slow_hook_has_only_a_part_of_a_batch(receiver: Receiver) -> None:
    organization = make_organization()
    slow, _ = create_hook(organization, url=f"{receiver.url}slow")
    for _ in range(10):
        send_test(slow)
    quick, _ = create_hook(organization, url=f"{receiver.url}quick")
    send_test(quick)
    claimed = hook_deliveries.claim()
    assert [delivery.hook_id for delivery in claimed].count(slow.pk) == hook_deliveries.PER_HOOK
    assert quick.pk in {delivery.hook_id for delivery in claimed}


def test_who_lets_us_wait_holds_up_nobody_else(receiver: Receiver) -> None:
    failing, _ = create_hook(make_organization(), url=f"{receiver.url}failing")
    well, _ = create_hook(make_organization(), url=f"{receiver.url}well")
    Hook.everywhere.filter(pk=failing.pk).update(failing_since=clock.now())
    send_test(failing)
    send_test(well)
    assert deliver_due(failing=False) == 1 and deliver_due(failing=False) == 0
    assert deliver_due(failing=True) == 1 and deliver_due() == 0
    assert [got.path for got in receiver.got] == ["/hooks/well", "/hooks/failing"]


# ── Health ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_days_of_failures_turn_a_hook_off_and_tell_it(receiver: Receiver) -> None:
    from accounts.models import Membership
    from tests.make import make_user

    organization = make_organization()
    Membership.everywhere.create(organization=organization, user=make_user(email="dona@acme.com.br"), role="owner")
    hook, _ = create_hook(organization, url=receiver.url, name="ERP")
    receiver.answers = [(500, {}, b"")] * 20
    send_test(hook)
    deliver_due()
    assert Hook.everywhere.get().failing_since is not None
    clock.shift(DISABLED_AFTER.total_seconds() - 5)
    send_test(hook)
    deliver_due()
    assert Hook.everywhere.get().is_active
    clock.shift(DISABLED_AFTER.total_seconds() + 5)
    send_test(hook)
    deliver_due()
    hook.refresh_from_db()
    assert not hook.is_active and hook.disabled_at and "5 dias" in hook.disabled_reason
    event = Event.everywhere.get(type="hook.disabled")
    assert event.payload["url"] == receiver.url
    assert not HookDelivery.everywhere.filter(event=event).exists(), "a hook that is off hears no more"
    from billing.event_mails import send_due

    send_due()
    assert "ERP" in mail.outbox[0].body and mail.outbox[0].subject == "Tokia: webhook desligado"
    again = change_hook(Hook.everywhere.get(), is_active=True)
    assert (again.is_active, again.failing_since, again.disabled_at, again.disabled_reason) == (True, None, None, "")


def test_a_success_forgets_the_failures(receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    receiver.answers = [(500, {}, b"")]
    send_test(hook)
    deliver_due()
    send_test(hook)
    deliver_due()
    assert Hook.everywhere.get().failing_since is None


def test_gone_turns_a_hook_off_at_once(receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    receiver.answers = [(410, {}, b"")]
    send_test(hook)
    deliver_due()
    assert not Hook.everywhere.get().is_active and only().status == "failed"


def test_old_deliveries_are_forgotten() -> None:
    hook, _ = create_hook(make_organization(), url="https://acme.com.br/")
    send_test(hook)
    HookDelivery.everywhere.update(created_at=clock.now() - KEPT - dt.timedelta(seconds=1))
    send_test(hook)
    assert purge() == 1 and len(list_deliveries(hook)) == 1


def test_a_log_has_pages_and_a_filter(receiver: Receiver) -> None:
    hook, _ = create_hook(make_organization(), url=receiver.url)
    for _ in range(5):
        send_test(hook)
    HookDelivery.everywhere.filter(pk=list_deliveries(hook)[0].pk).update(status="failed")
    first = list_deliveries(hook, limit=2)
    assert [delivery.pk for delivery in list_deliveries(hook, before_id=first[-1].pk, limit=2)] == [
        first[-1].pk - 1,
        first[-1].pk - 2,
    ]
    assert len(list_deliveries(hook, status="failed")) == 1


def test_a_body_is_json_without_spaces() -> None:
    organization = make_organization()
    create_hook(organization, url="https://acme.com.br/")
    told(organization, b=1, a=[1, 2])
    body = hook_deliveries.message_of(only())
    assert b" " not in body and json.loads(body)["data"] == {"a": [1, 2], "b": 1}
