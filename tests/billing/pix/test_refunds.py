"""Money that goes back: held first, settled on DEVOLVIDO, released on NAO_REALIZADO, never twice; and disputes."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from pytest_django import Settings

from billing import holds
from billing import refunds as way_back
from billing.models import LedgerEntry, Lot, Refund, UnmatchedPix, Wallet
from billing.money import BRL, from_brl
from billing.pix import charges, refunds, sweep
from billing.pix.errors import PixResolved
from billing.refund_books import LIVE, RefundRefused
from tests.billing.pix.conftest import BankControl, Door, open_charge, wait_until
from tests.make import make_session, make_usage, make_volume_plan, make_wallet
from tokia import clock


def make_paid_lot(bank: BankControl, wallet: Wallet, brl: str = "50.00") -> Lot:
    charge = open_charge(wallet, brl)
    bank.pay(charge, drop=True)
    charges.confirm_charge(charge)
    return Lot.everywhere.get(entry__reference=f"pix:{end_to_end_id(charge.pk)}")


def end_to_end_id(charge_id: uuid.UUID) -> str:
    from billing.models import Charge

    found: str = Charge.everywhere.get(pk=charge_id).payments[0]["endToEndId"]
    return found


def refund(lot: Lot, brl: str = "50.00") -> Refund:
    return way_back.refund_lot(lot, amount_nanos=from_brl(brl), by="ana@tokia.test", reason="Cliente pediu.", is_staff=True)


def money(wallet: Wallet) -> tuple[int, int, int]:
    wallet.refresh_from_db()
    return wallet.posted_nanos, wallet.held_nanos, wallet.overdraft_nanos


def follow(asked: Refund) -> Refund:
    """Ask until the bank has decided."""

    def is_decided() -> bool:
        Refund.objects.update(asked_at=None)
        way_back.sweep_refunds()
        asked.refresh_from_db()
        return asked.status not in LIVE

    wait_until(is_decided)
    return asked


def test_it_holds_first_and_settles_when_the_bank_returned_it(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    bank.post("settings", refund_ms=600)
    asked = refund(lot, "20.00")
    assert asked.status == Refund.Status.PROCESSING
    assert money(wallet) == (50 * BRL, 20 * BRL, 0)
    assert follow(asked).status == Refund.Status.DONE
    assert money(wallet) == (30 * BRL, 0, 0)
    entry = LedgerEntry.objects.get(kind=LedgerEntry.Kind.REFUND)
    assert (entry.actor, entry.reason) == ("ana@tokia.test", "Cliente pediu.")


def test_the_banks_notice_settles_it(bank: BankControl, door: Door, wallet: Wallet) -> None:
    asked = refund(make_paid_lot(bank, wallet))
    wait_until(lambda: Refund.objects.get(pk=asked.pk).status == Refund.Status.DONE)
    assert money(wallet) == (0, 0, 0)


def test_it_releases_what_the_bank_did_not_return(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    bank.faults(refund={"kind": "NAO_REALIZADO", "motivo": "Conta encerrada"})
    asked = follow(refund(lot))
    assert (asked.status, asked.bank_reason) == (Refund.Status.REFUSED, "Conta encerrada")
    assert money(wallet) == (50 * BRL, 0, 0)
    assert follow(refund(lot)).status == Refund.Status.DONE  # and may be asked again


def test_a_lost_answer_is_asked_again_with_the_same_id(bank: BankControl, wallet: Wallet, settings: Settings) -> None:
    lot = make_paid_lot(bank, wallet)
    settings.PSP_TIMEOUT_SECONDS = 0.5
    bank.faults(refund={"kind": "timeout", "ms": 900})
    asked = refund(lot)
    assert asked.status == Refund.Status.HELD and money(wallet)[1] == 50 * BRL
    assert follow(asked).status == Refund.Status.DONE
    (pix,) = bank.state()["pix"]
    assert [told["id"] for told in pix["devolucoes"]] == [asked.pk.hex]
    assert money(wallet) == (0, 0, 0)


def test_a_stuck_refund_stays_held(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    bank.faults(refund="stuck")
    asked = refund(lot)
    Refund.objects.update(asked_at=clock.now() - dt.timedelta(hours=1))
    way_back.sweep_refunds()
    assert money(wallet) == (50 * BRL, 50 * BRL, 0)
    bank.post(f"finish-refund/{asked.end_to_end_id}/{asked.pk.hex}", status="DEVOLVIDO")
    assert follow(asked).status == Refund.Status.DONE


def test_it_refuses_what_was_used(bank: BankControl, wallet: Wallet) -> None:
    make_volume_plan()
    lot = make_paid_lot(bank, wallet)
    make_usage(wallet=wallet, gross_nanos=10 * BRL + 1)
    assert way_back.refundable_nanos(lot) == from_brl("39.99")
    with pytest.raises(RefundRefused, match="39,99"):
        refund(lot, "40.00")
    assert not Refund.objects.exists() and money(wallet)[1] == 0
    assert follow(refund(lot, "39.99")).status == Refund.Status.DONE


@pytest.mark.parametrize("brl", ["0", "10.001", "-5.00"])
def test_it_refuses_odd_amounts(brl: str, bank: BankControl, wallet: Wallet) -> None:
    with pytest.raises(RefundRefused):
        refund(make_paid_lot(bank, wallet), brl)


def test_it_refuses_old_payments_bonuses_and_no_reason(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    with pytest.raises(RefundRefused, match="motivo"):
        way_back.refund_lot(lot, amount_nanos=BRL, by="ana", reason=" ", is_staff=True)
    lot.created_at = clock.now() - dt.timedelta(days=91)
    with pytest.raises(RefundRefused, match="90 dias"):
        refund(lot)
    bonus = Lot.everywhere.filter(wallet=make_wallet(brl="0", promo_brl="10.00")).get()
    with pytest.raises(RefundRefused, match="Bônus"):
        refund(bonus, "10.00")


def test_a_call_under_way_keeps_its_money(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    call = clock.new_id()
    holds.place_hold(make_session(), call_id=call, wallet=wallet, amount_nanos=30 * BRL)
    assert way_back.refundable_nanos(lot) == 20 * BRL
    with pytest.raises(RefundRefused):
        refund(lot, "20.01")


# ── Unmatched ────────────────────────────────────────────────────────────────────────────────────────────────────────
def make_unmatched(bank: BankControl) -> UnmatchedPix:
    bank.pay_unknown(valor="30.00", drop=True)
    sweep.sweep_window(hours=1)
    return UnmatchedPix.objects.get()


def test_an_unmatched_pix_is_credited_once_by_a_person(bank: BankControl, wallet: Wallet) -> None:
    unmatched = make_unmatched(bank)
    refunds.credit_unmatched(unmatched, wallet=wallet, by="ana", reason="Conferido por e-mail")
    assert money(wallet)[0] == 30 * BRL
    with pytest.raises(PixResolved):
        refunds.credit_unmatched(unmatched, wallet=wallet, by="ana", reason="de novo")
    with pytest.raises(PixResolved):
        refunds.refund_unmatched(unmatched, by="ana", reason="de novo")
    sweep.sweep_window(hours=1)
    assert money(wallet)[0] == 30 * BRL and UnmatchedPix.objects.count() == 1


def test_an_unmatched_pix_goes_back_without_a_wallet(bank: BankControl, committed_db: None) -> None:
    unmatched = make_unmatched(bank)
    asked = refunds.refund_unmatched(unmatched, by="ana", reason="Pagador desconhecido")
    with pytest.raises(PixResolved):
        refunds.refund_unmatched(unmatched, by="ana", reason="outra vez")
    assert follow(asked).status == Refund.Status.DONE
    unmatched.refresh_from_db()
    assert (unmatched.status, unmatched.resolved_by) == (UnmatchedPix.Status.REFUNDED, "ana")
    assert not LedgerEntry.objects.exists()


# ── Disputes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_dispute_takes_what_is_there_and_the_rest_is_owed(bank: BankControl, wallet: Wallet) -> None:
    make_volume_plan()
    lot = make_paid_lot(bank, wallet)
    make_usage(wallet=wallet, gross_nanos=20 * BRL)
    bank.post(f"med-refund/{refunds.end_to_end_id_of(lot)}")
    for _ in range(2):  # told twice, booked once
        sweep.sweep_window(hours=1)
    assert money(wallet) == (0, 0, 20 * BRL)
    wallet.organization.refresh_from_db()
    assert wallet.organization.is_suspended and wallet.organization.suspended_reason
    assert LedgerEntry.objects.filter(reference__startswith="med:").count() == 1


def test_a_dispute_of_money_that_nobody_placed_closes_it(bank: BankControl, committed_db: None) -> None:
    unmatched = make_unmatched(bank)
    bank.post(f"med-refund/{unmatched.end_to_end_id}")
    sweep.sweep_window(hours=1)
    unmatched.refresh_from_db()
    assert unmatched.status == UnmatchedPix.Status.REFUNDED
