"""A top-up against the sandbox bank: one credit, at what was paid, whatever the bank's notices do."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from pytest_django import Settings

from billing.models import Charge, LedgerEntry, PixNotice, UnmatchedPix, Wallet
from billing.money import BRL, from_brl
from billing.pix import brcode, charges, psp, sweep
from billing.pix.errors import PspRefused, PspUnavailable, TooManyOpenCharges, TopUpRefused
from billing.wallets import wallet_of
from tests.billing.pix.conftest import BankControl, Door, open_charge, wait_until
from tests.examples import IN_FORCE_SECONDS
from tests.make import make_wallet
from tokia import clock


def posted(wallet: Wallet) -> int:
    wallet.refresh_from_db()
    return wallet.posted_nanos


def top_ups() -> int:
    return LedgerEntry.objects.filter(kind=LedgerEntry.Kind.TOP_UP).count()


# ── Opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_opens_a_charge_at_the_bank(bank: BankControl, wallet: Wallet) -> None:
    charge = open_charge(wallet, "50.00")
    (cob,) = bank.state()["cobs"]
    assert (cob["txid"], cob["valor"]["original"], cob["status"]) == (charge.txid, "50.00", "ATIVA")
    assert cob["devedor"]["cnpj"] == wallet.organization.tax_id
    assert charge.status == Charge.Status.PENDING and charge.brcode == cob["pixCopiaECola"]
    assert brcode.read_code(charge.brcode)["54"] == "50.00"
    assert abs((charge.expires_at - clock.now()).total_seconds() - 1_800) < 10


def test_it_gives_the_open_charge_of_the_same_amount_again(bank: BankControl, wallet: Wallet) -> None:
    first = open_charge(wallet)
    assert open_charge(wallet) == first
    assert open_charge(wallet, "50.01") != first
    assert len(bank.state()["cobs"]) == 2


def test_two_presses_at_once_open_one_charge(bank: BankControl, wallet: Wallet) -> None:
    def press(_: int) -> Charge:
        try:
            return open_charge(wallet_of(wallet.organization))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        opened = set(pool.map(press, range(8)))
    assert len(opened) == 1 and len(bank.state()["cobs"]) == 1


@pytest.mark.parametrize("brl", ["9.99", "50000.01", "50.001"])
def test_it_refuses_amounts_outside_the_limits(brl: str, wallet: Wallet) -> None:
    with pytest.raises(TopUpRefused):
        charges.open_charge(wallet, amount_nanos=from_brl(brl), by=None)
    assert not Charge.everywhere.exists()


def test_it_limits_the_charges_that_await_payment(bank: BankControl, wallet: Wallet, settings: Settings) -> None:
    settings.TOP_UP_OPEN_MAX = 2
    open_charge(wallet, "50.00")
    second = open_charge(wallet, "51.00")
    with pytest.raises(TooManyOpenCharges):
        open_charge(wallet, "52.00")
    assert open_charge(wallet, "51.00") == second


def test_it_builds_the_code_from_the_location_where_the_bank_sends_none(bank: BankControl, wallet: Wallet) -> None:
    bank.faults(create_cob="no_brcode")
    fields = brcode.read_code(open_charge(wallet).brcode)
    assert (fields["54"], fields["59"]) == ("50.00", "Tokia Tecnologia Ltda")


def test_it_takes_the_charge_that_a_lost_answer_left_at_the_bank(bank: BankControl, wallet: Wallet, settings: Settings) -> None:
    settings.PSP_TIMEOUT_SECONDS = 0.5
    bank.faults(create_cob={"kind": "timeout", "ms": 1_500})
    assert open_charge(wallet).status == Charge.Status.PENDING
    assert len(bank.state()["cobs"]) == 1


def test_it_goes_on_with_a_charge_that_the_bank_never_heard_of(bank: BankControl, wallet: Wallet, settings: Settings) -> None:
    settings.PSP_TIMEOUT_SECONDS = 0.5
    bank.faults(create_cob={"kind": "timeout_before", "ms": 1_000})
    with pytest.raises(PspUnavailable):
        open_charge(wallet)
    minted = Charge.everywhere.get()
    assert minted.status == Charge.Status.OPENING
    time.sleep(0.6)
    assert open_charge(wallet) == minted
    minted.refresh_from_db()
    assert minted.status == Charge.Status.PENDING and len(bank.state()["cobs"]) == 1


def test_the_sweep_finishes_a_charge_that_was_left_opening(bank: BankControl, wallet: Wallet) -> None:
    bank.faults(create_cob="503")
    with pytest.raises(PspUnavailable):
        open_charge(wallet)
    Charge.everywhere.update(asked_at=clock.now() - dt.timedelta(minutes=2))
    sweep.sweep_charges()
    assert Charge.everywhere.get().status == Charge.Status.PENDING


def test_a_refused_charge_fails_and_says_why(bank: BankControl, wallet: Wallet, settings: Settings) -> None:
    settings.PSP_PIX_KEY = "not-our-key"
    with pytest.raises(PspRefused):
        open_charge(wallet)
    charge = Charge.everywhere.get()
    assert charge.status == Charge.Status.FAILED and "CobOperacaoInvalida" in charge.bank_error


def test_a_taken_txid_is_read_and_compared(bank: BankControl, wallet: Wallet) -> None:
    bank.faults(create_cob="txid_taken")
    with pytest.raises(PspRefused):  # 409, and GET knows no such charge: somebody else's
        open_charge(wallet)
    charge = open_charge(wallet)
    Charge.everywhere.filter(pk=charge.pk).update(status=Charge.Status.OPENING, brcode="")
    bank.faults(create_cob="txid_taken")
    assert charges.register_charge(charge).status == Charge.Status.PENDING


def test_it_renews_a_token_that_the_bank_refuses(bank: BankControl, wallet: Wallet) -> None:
    open_charge(wallet)
    psp.bank().token = "expired"
    assert open_charge(wallet, "60.00").status == Charge.Status.PENDING
    assert psp.bank().token != "expired"


def test_it_uses_one_token_until_shortly_before_its_end(bank: BankControl, wallet: Wallet) -> None:
    open_charge(wallet)
    token = psp.bank().token
    open_charge(wallet, "60.00")
    assert psp.bank().token == token
    psp.bank().token_ends = time.monotonic() - 1
    open_charge(wallet, "70.00")
    assert psp.bank().token != token


# ── Being paid ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_balance_arrives_in_seconds(bank: BankControl, door: Door, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    bank.pay(charge)
    wait_until(lambda: posted(wallet) == 50 * BRL, seconds=IN_FORCE_SECONDS)
    charge.refresh_from_db()
    assert charge.status == Charge.Status.PAID and charge.received_nanos == 50 * BRL


def test_the_same_notice_fifty_times_at_once_is_one_credit(bank: BankControl, door: Door, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    bank.pay(charge, duplicate=50)
    wait_until(lambda: len(bank.deliveries()) == 50, seconds=30)
    wait_until(lambda: posted(wallet) > 0)
    assert {delivery["status"] for delivery in bank.deliveries()} == {200}
    assert posted(wallet) == 50 * BRL and top_ups() == 1
    assert PixNotice.objects.get().deliveries == 50


def test_fifty_confirmations_at_once_are_one_credit(bank: BankControl, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    bank.pay(charge, drop=True)
    barrier = threading.Barrier(20)

    def confirm(_: int) -> None:
        barrier.wait()
        try:
            charges.confirm_charge(Charge.everywhere.get(pk=charge.pk))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(confirm, range(20)))
    assert posted(wallet) == 50 * BRL and top_ups() == 1


def test_a_notice_before_our_answer_is_credited_once(bank: BankControl, door: Door, wallet: Wallet) -> None:
    bank.faults(create_cob="webhook_before_answer")
    charge = open_charge(wallet)
    wait_until(lambda: posted(wallet) == 50 * BRL)
    charge.refresh_from_db()
    assert charge.status == Charge.Status.PAID and charge.brcode
    sweep.sweep_window(hours=1)
    assert posted(wallet) == 50 * BRL


def test_the_sweep_finds_what_no_notice_told(bank: BankControl, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    bank.pay(charge, drop=True)
    Charge.everywhere.update(asked_at=clock.now() - dt.timedelta(minutes=2))
    assert sweep.sweep_charges() == 1
    assert posted(wallet) == 50 * BRL


def test_the_window_finds_what_even_the_sweep_missed(bank: BankControl, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    bank.pay(charge, drop=True)
    Charge.everywhere.update(status=Charge.Status.EXPIRED, expires_at=clock.now() - dt.timedelta(days=1))
    assert sweep.sweep_charges() == 0  # beyond its grace
    assert sweep.sweep_window(hours=48) == 1
    assert sweep.sweep_window(hours=48) == 0
    assert posted(wallet) == 50 * BRL


def test_the_window_follows_the_pages(bank: BankControl, wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psp, "PAGE_SIZE", 2)
    bank.pay(open_charge(wallet, "50.00"), drop=True, times=5)
    assert sweep.sweep_window(hours=1) == 5
    assert posted(wallet) == 250 * BRL


@pytest.mark.parametrize("paid", ["48.00", "52.00"])
def test_another_amount_is_credited_as_paid(paid: str, bank: BankControl, door: Door, wallet: Wallet) -> None:
    charge = open_charge(wallet, "50.00")
    bank.pay(charge, valor=paid)
    wait_until(lambda: posted(wallet) == from_brl(paid))
    charge.refresh_from_db()
    assert (charge.status, charge.received_nanos) == (Charge.Status.PAID, from_brl(paid))


def test_a_late_payment_is_credited(bank: BankControl, door: Door, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    Charge.everywhere.update(expires_at=clock.now() - dt.timedelta(minutes=1), asked_at=None)
    sweep.sweep_charges()
    charge.refresh_from_db()
    assert charge.status == Charge.Status.EXPIRED
    bank.pay(charge, force=True)
    wait_until(lambda: posted(wallet) == 50 * BRL)
    charge.refresh_from_db()
    assert charge.status == Charge.Status.PAID


def test_a_double_payment_is_credited_twice(bank: BankControl, door: Door, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    bank.pay(charge)
    wait_until(lambda: posted(wallet) == 50 * BRL)
    bank.pay(charge, force=True)
    wait_until(lambda: posted(wallet) == 100 * BRL)
    charge.refresh_from_db()
    assert charge.received_nanos == 100 * BRL and len(charge.payments) == 2 and top_ups() == 2


def test_a_top_up_pays_the_overdraft_first(bank: BankControl, door: Door, wallet: Wallet) -> None:
    from tests.make import make_usage, make_volume_plan

    make_volume_plan()
    make_usage(wallet=wallet, gross_nanos=10 * BRL)
    charge = open_charge(wallet)
    bank.pay(charge)
    wait_until(lambda: posted(wallet) == 40 * BRL)
    assert wallet.overdraft_nanos == 0


# ── Rumours and strangers ────────────────────────────────────────────────────────────────────────────────────────────
def notice(*, end_to_end_id: str, txid: str = "") -> PixNotice:
    payload = {"endToEndId": end_to_end_id, "txid": txid, "valor": "1000.00"}
    return PixNotice.objects.create(
        digest=hashlib.sha256(end_to_end_id.encode()).digest(), end_to_end_id=end_to_end_id, txid=txid, payload=payload,
        due_at=clock.now(),
    )  # fmt: skip


def test_a_forged_notice_credits_nothing(bank: BankControl, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    forged = notice(end_to_end_id="E" + "9" * 31, txid=charge.txid)
    charges.confirm_notice(forged)
    forged.refresh_from_db()
    assert forged.status == PixNotice.Status.DONE
    assert posted(wallet) == 0 and top_ups() == 0 and not UnmatchedPix.objects.exists()


def test_an_unknown_txid_waits_for_a_person(bank: BankControl, door: Door) -> None:
    pix = bank.pay_unknown(valor="30.00")
    wait_until(UnmatchedPix.objects.exists)
    unmatched = UnmatchedPix.objects.get()
    assert (unmatched.end_to_end_id, unmatched.amount_nanos) == (pix["endToEndId"], 30 * BRL)
    sweep.sweep_window(hours=1)
    assert UnmatchedPix.objects.count() == 1 and top_ups() == 0


def test_a_pix_without_txid_is_found_by_the_window(bank: BankControl, committed_db: None) -> None:
    bank.pay_unknown(valor="30.00", txid=None)
    assert sweep.sweep_window(hours=1) == 1
    assert UnmatchedPix.objects.get().txid == ""


def test_an_unplaced_pix_is_matched_when_its_charge_appears(bank: BankControl, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    txid, hidden = charge.txid, f"x{charge.txid[1:]}"
    Charge.everywhere.filter(pk=charge.pk).update(txid=hidden)
    bank.pay(charge, drop=True)
    sweep.sweep_window(hours=1)
    assert UnmatchedPix.objects.get().status == UnmatchedPix.Status.OPEN
    Charge.everywhere.filter(pk=charge.pk).update(txid=txid)
    sweep.sweep_window(hours=1)
    assert UnmatchedPix.objects.get().status == UnmatchedPix.Status.CREDITED
    assert posted(wallet) == 50 * BRL


def test_a_notice_waits_while_the_bank_is_silent(bank: BankControl, wallet: Wallet) -> None:
    charge = open_charge(wallet)
    (pix,) = bank.pay(charge, drop=True)
    rumour = notice(end_to_end_id=pix["endToEndId"], txid=charge.txid)
    bank.faults(read_cob="503")
    assert sweep.sweep_notices() == 0
    rumour.refresh_from_db()
    assert (rumour.status, rumour.failures) == (PixNotice.Status.DUE, 1) and rumour.due_at > clock.now()
    PixNotice.objects.update(due_at=clock.now())
    assert sweep.sweep_notices() == 1
    assert posted(wallet) == 50 * BRL


def test_a_payment_for_another_organizations_charge_stays_theirs(bank: BankControl, wallet: Wallet) -> None:
    theirs = make_wallet(brl="0")
    charge = open_charge(theirs)
    (pix,) = bank.pay(charge, drop=True)
    mine = open_charge(wallet)
    charges.confirm_notice(notice(end_to_end_id=pix["endToEndId"], txid=mine.txid))  # a mixed-up rumour
    assert (posted(wallet), posted(theirs)) == (0, 50 * BRL)
