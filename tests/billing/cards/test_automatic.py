"""Automatic top-ups: once however many see the low balance, within the caps, backing off, ending, and never while suspended."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import re
import signal
import subprocess
import sys

import pytest
from django.core import signing
from django.db import connections
from django.test import Client
from pytest_django import Settings

from accounts.suspension import reactivate, suspend
from billing.cards import auto_top_ups, automatic, holders, payments, sweep
from billing.cards.errors import AutoTopUpRefused, CardRefused
from billing.event_texts import tell_event
from billing.models import AutoTopUp, CardPayment, Event, Wallet
from billing.money import BRL
from tests.billing.cards.conftest import ROOT, StripeSide, in_threads, save_card
from tests.make import make_usage, make_wallet
from tokia import clock

Status = CardPayment.Status


def switch_on(
    wallet: Wallet, *, token: str = "pm_card_visa", threshold: int = 50, amount: int = 200, day: int = 600, month: int = 900
) -> AutoTopUp:
    return auto_top_ups.set_up(
        wallet, card=save_card(wallet.organization, token), threshold_nanos=threshold * BRL, amount_nanos=amount * BRL,
        day_max_nanos=day * BRL, month_max_nanos=month * BRL, by="alice@acme.com.br",
    )  # fmt: skip


def balance(wallet: Wallet) -> int:
    wallet.refresh_from_db()
    return wallet.available_nanos


def types(wallet: Wallet) -> list[str]:
    return list(Event.everywhere.filter(organization=wallet.organization).order_by("id").values_list("type", flat=True))


def test_twenty_triggers_at_once_charge_once(stripe_side: StripeSide, committed_db: None) -> None:
    """In four processes of five threads each."""
    wallet = make_wallet(brl="10.00")
    switch_on(wallet)
    connections.close_all()
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=in_threads, args=[lambda: automatic.top_up_if_low(wallet.pk)], kwargs={"times": 5}) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert CardPayment.everywhere.get().status == Status.PAID
    assert len(stripe_side.all("payment_intent")) == 1 and balance(wallet) == 210 * BRL
    assert automatic.top_up_low_wallets() == 0


def test_twenty_triggers_beside_one_in_flight_charge_nothing(
    stripe_side: StripeSide, committed_db: None, settings: Settings
) -> None:
    """Stripe's answer is lost: until it is known what became of it, nobody charges again."""
    settings.STRIPE_TIMEOUT_SECONDS = 0.3
    wallet = make_wallet(brl="10.00")
    switch_on(wallet)
    stripe_side.post("faults", create=[{"kind": "timeout", "ms": 600}])
    assert automatic.top_up_low_wallets() == 1
    assert CardPayment.everywhere.get().status == Status.OPENING and balance(wallet) == 10 * BRL
    assert in_threads(lambda: automatic.top_up_if_low(wallet.pk), times=20) == [None] * 20
    CardPayment.everywhere.update(asked_at=None)
    sweep.sweep_payments()
    assert len(stripe_side.all("payment_intent")) == 1 and balance(wallet) == 210 * BRL
    assert types(wallet) == ["wallet.top_up", "auto_top_up.done"]


def test_a_worker_killed_between_the_charge_and_the_credit_charges_once(
    stripe_side: StripeSide, committed_db: None, settings: Settings
) -> None:
    wallet = make_wallet(brl="10.00")
    switch_on(wallet)
    killed = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", f"from billing.cards import automatic as a; a.top_up_if_low({wallet.pk})"],
        cwd=ROOT, env={**os.environ, "CRASHPOINT": "card_payment_asked", "STRIPE_API_URL": settings.STRIPE_API_URL},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-500:]
    assert [intent["status"] for intent in stripe_side.all("payment_intent")] == ["succeeded"]
    payment = CardPayment.everywhere.get()
    assert (payment.status, payment.intent_id, balance(wallet)) == (Status.OPENING, None, 10 * BRL)
    assert automatic.top_up_low_wallets() == 0, "one in flight"
    CardPayment.everywhere.update(asked_at=None)
    assert sweep.sweep_payments() == 1 and balance(wallet) == 210 * BRL
    assert len(stripe_side.all("payment_intent")) == 1


def test_it_tops_up_when_usage_goes_below_the_threshold_and_says_so(wallet: Wallet, stripe_side: StripeSide) -> None:
    switch_on(wallet)
    assert automatic.top_up_low_wallets() == 1 and balance(wallet) == 200 * BRL
    assert automatic.top_up_low_wallets() == 0
    make_usage(wallet=wallet, gross_nanos=149 * BRL)
    assert automatic.due_wallets() == []
    make_usage(wallet=wallet, gross_nanos=2 * BRL)
    assert automatic.top_up_low_wallets() == 1 and balance(wallet) > 200 * BRL
    told = tell_event(Event.everywhere.filter(type="auto_top_up.done").first())  # type: ignore[arg-type]
    assert (
        "R$\xa0200,00" in told.title
        and "Visa •••• 4242" in told.text
        and told.url.startswith("/app/recarregar/automatica/desligar/")
    )


def test_the_caps_of_a_day_and_of_a_month_hold(wallet: Wallet, stripe_side: StripeSide) -> None:
    switch_on(wallet, threshold=1_000, amount=200, day=400, month=500)
    assert [automatic.top_up_low_wallets() for _ in range(3)] == [1, 1, 0]
    assert balance(wallet) == 400 * BRL
    assert types(wallet).count("auto_top_up.capped") == 1
    automatic.top_up_low_wallets()
    assert types(wallet).count("auto_top_up.capped") == 1, "once a day"
    today = clock.now()
    yesterday = today - dt.timedelta(days=1)
    CardPayment.everywhere.update(created_at=yesterday)
    if (yesterday - dt.timedelta(hours=3)).month == (today - dt.timedelta(hours=3)).month:
        assert automatic.top_up_low_wallets() == 0, "400 this month and 200 more are beyond 500"
        assert Event.everywhere.filter(type="auto_top_up.capped", payload__cap="month").count() == 1
    CardPayment.everywhere.update(created_at=today - dt.timedelta(days=40))
    assert automatic.top_up_low_wallets() == 1


def test_it_waits_longer_after_each_decline_and_gives_up(wallet: Wallet, stripe_side: StripeSide) -> None:
    auto = switch_on(wallet, token="pm_card_chargeCustomerFail")
    for failures, seconds in ((1, 900), (2, 3_600)):
        assert automatic.top_up_low_wallets() == 1
        auto.refresh_from_db()
        assert auto.failures == failures and auto.next_try_at is not None
        assert abs((auto.next_try_at - clock.now()).total_seconds() - seconds) < 30
        assert automatic.top_up_low_wallets() == 0, "not before its time"
        AutoTopUp.everywhere.update(next_try_at=clock.now())
    assert automatic.top_up_low_wallets() == 1
    auto.refresh_from_db()
    assert (auto.is_on, auto.failures) == (False, 3) and "depois de 3 recusas" in auto.paused_reason
    assert types(wallet) == ["auto_top_up.failed"] * 3 + ["auto_top_up.off"]
    assert automatic.top_up_low_wallets() == 0 and balance(wallet) == 0


def test_a_success_forgets_earlier_failures(wallet: Wallet, stripe_side: StripeSide) -> None:
    auto = switch_on(wallet)
    stripe_side.post("faults", charge=[{"kind": "decline", "code": "try_again_later"}])
    automatic.top_up_low_wallets()
    AutoTopUp.everywhere.update(next_try_at=clock.now())
    automatic.top_up_low_wallets()
    auto.refresh_from_db()
    assert (auto.failures, auto.next_try_at, auto.is_on) == (0, None, True) and balance(wallet) == 200 * BRL


def test_a_card_that_will_never_do_ends_it_at_once(wallet: Wallet, stripe_side: StripeSide) -> None:
    auto = switch_on(wallet)
    stripe_side.post("faults", charge=[{"kind": "decline", "code": "stolen_card"}])
    automatic.top_up_low_wallets()
    auto.refresh_from_db()
    assert not auto.is_on and types(wallet) == ["auto_top_up.failed", "auto_top_up.off"]


def test_a_bank_that_asks_for_its_holder_is_told_with_a_link_and_confirmed_there(wallet: Wallet, stripe_side: StripeSide) -> None:
    switch_on(wallet, token="pm_card_authenticationRequired")
    automatic.top_up_low_wallets()
    payment = CardPayment.everywhere.get()
    assert (payment.status, payment.decline_code) == (Status.FAILED, "authentication_required")
    event = Event.everywhere.get(type="auto_top_up.failed")
    assert tell_event(event).url == f"/app/recarregar/cartao/{payment.id}/"
    asked = payments.confirm_on_session(payment)
    assert asked.status == Status.PENDING and asked.page_url
    AutoTopUp.everywhere.update(next_try_at=None)
    assert automatic.top_up_low_wallets() == 0, "one in flight: the one that the person confirms"
    stripe_side.answer_bank(asked)
    assert payments.confirm_payment(asked).status == Status.PAID and balance(wallet) == 200 * BRL


def test_an_older_payment_can_not_be_confirmed_beside_a_newer_one(wallet: Wallet, stripe_side: StripeSide) -> None:
    auto = switch_on(wallet, token="pm_card_authenticationRequired")
    automatic.top_up_low_wallets()
    older = CardPayment.everywhere.get()
    auto.card = save_card(wallet.organization)
    auto.next_try_at = None
    auto.save()
    assert automatic.top_up_low_wallets() == 1 and balance(wallet) == 200 * BRL
    with pytest.raises(CardRefused):
        payments.confirm_on_session(older)
    assert {intent["status"] for intent in stripe_side.all("payment_intent")} == {"canceled", "succeeded"}


def test_nothing_is_charged_while_suspended_off_or_without_the_card(wallet: Wallet, stripe_side: StripeSide) -> None:
    auto = switch_on(wallet)
    suspend(wallet.organization, reason="teste")
    assert automatic.top_up_low_wallets() == 0 and automatic.top_up_if_low(wallet.pk) is None
    reactivate(wallet.organization)
    assert auto_top_ups.switch_off(wallet, by="alice") and not auto_top_ups.switch_off(wallet, by="alice")
    assert automatic.top_up_if_low(wallet.pk) is None
    auto.refresh_from_db()
    assert auto.card is not None
    auto_top_ups.set_up(
        wallet, card=auto.card, threshold_nanos=BRL, amount_nanos=50 * BRL, day_max_nanos=50 * BRL, month_max_nanos=50 * BRL, by="a"
    )
    holders.remove_card(auto.card, by="alice")
    assert automatic.top_up_if_low(wallet.pk) is None and stripe_side.all("payment_intent") == []
    assert types(wallet) == ["auto_top_up.off"]


def test_bounds_that_shrank_switch_it_off(wallet: Wallet, stripe_side: StripeSide, settings: Settings) -> None:
    switch_on(wallet)
    settings.TOP_UP_MAX_BRL = 100
    assert automatic.top_up_low_wallets() == 0
    assert "no máximo" in AutoTopUp.everywhere.get().paused_reason


@pytest.mark.parametrize(
    ("amounts", "param"),
    [
        ((0, 200, 400, 400), "threshold"),
        ((50, 5, 400, 400), "amount"),
        ((50, 200, 100, 400), "day_max"),
        ((50, 200, 400, 300), "month_max"),
    ],
)
def test_it_refuses_amounts_that_do_not_go_together(
    wallet: Wallet, stripe_side: StripeSide, amounts: tuple[int, int, int, int], param: str
) -> None:
    with pytest.raises(AutoTopUpRefused) as refusal:
        switch_on(wallet, threshold=amounts[0], amount=amounts[1], day=amounts[2], month=amounts[3])
    assert refusal.value.param == param


def test_the_link_of_a_mail_switches_it_off_by_one_click_without_signing_in(wallet: Wallet, stripe_side: StripeSide) -> None:
    switch_on(wallet)
    path = auto_top_ups.off_path(wallet.pk)
    client = Client(enforce_csrf_checks=True)
    page = client.get(path).content.decode()
    assert "Desligar a recarga automática?" in page and AutoTopUp.everywhere.get().is_on, "opening the link changes nothing"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token is not None
    assert client.post(path).status_code == 403
    assert "desligada" in client.post(path, {"csrfmiddlewaretoken": token[1]}).content.decode()
    assert not AutoTopUp.everywhere.get().is_on
    forged = path.replace(path.split("/")[-2], signing.dumps(wallet.pk, salt="another"))
    assert client.get(forged).status_code == 404
