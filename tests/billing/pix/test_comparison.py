"""The bank's list against our books, both ways: what agrees is silent, what differs is kept, nothing is repaired."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from pytest_django import Settings

from billing import reconcile
from billing.differences import ExplanationRefused, explain
from billing.models import Difference, LedgerEntry, ReconciliationRun, UnmatchedPix, Wallet
from billing.money import BRL
from billing.pix import refunds, sweep
from billing.pix.comparison import compare_pix
from billing.pix.errors import PspUnavailable
from tests.billing.pix.conftest import BankControl, open_charge
from tests.billing.pix.test_refunds import follow, make_paid_lot, make_unmatched, refund
from tests.make import make_top_up
from tokia import clock

Status, Kind = Difference.Status, Difference.Kind


def compare() -> dict[str, Difference]:
    now = clock.now()
    compare_pix(first_at=now - dt.timedelta(hours=2), last_at=now + dt.timedelta(minutes=11))
    return {row.reference: row for row in Difference.objects.exclude(status=Status.GONE)}


def test_books_that_agree_leave_only_a_run(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    follow(refund(lot, "20.00"))
    bank.post(f"med-refund/{refunds.end_to_end_id_of(make_paid_lot(bank, wallet))}")
    sweep.sweep_window(hours=1)
    assert compare() == {}
    runs = {run.subject: run for run in ReconciliationRun.objects.all()}
    assert (runs["pix"].ours_nanos, runs["pix"].theirs_nanos, runs["pix"].theirs_count) == (100 * BRL, 100 * BRL, 2)
    assert runs["pix_refund"].ours_nanos == runs["pix_refund"].theirs_nanos == 70 * BRL


def test_what_only_the_bank_has_is_open_until_somebody_places_it(bank: BankControl, wallet: Wallet) -> None:
    charge = open_charge(wallet, "30.00")
    [told] = bank.pay(charge, drop=True)
    [row] = compare().values()
    assert (row.kind, row.reference, row.ours_nanos, row.theirs_nanos) == (Kind.ONLY_THERE, told["endToEndId"], None, 30 * BRL)
    assert not LedgerEntry.objects.exists()  # looking books nothing
    sweep.sweep_window(hours=1)
    assert compare() == {}
    row.refresh_from_db()
    assert row.status == Status.GONE and row.gone_at is not None


def test_money_that_nobody_placed_is_a_difference_and_says_so(bank: BankControl, committed_db: None) -> None:
    unmatched = make_unmatched(bank)
    row = compare()[unmatched.end_to_end_id]
    assert "não identificados" in row.detail
    refunds.refund_unmatched(unmatched, by="ana@tokia.test", reason="Devolver.")
    UnmatchedPix.objects.filter(pk=unmatched.pk).update(status=UnmatchedPix.Status.REFUNDED)
    assert unmatched.end_to_end_id not in compare()


def test_what_only_we_have_and_what_differs_in_amount(bank: BankControl, wallet: Wallet) -> None:
    make_top_up(wallet=wallet, brl="10.00", end_to_end_id="E" + "7" * 31)  # the bank has never heard of it
    charge = open_charge(wallet, "30.00")
    [told] = bank.pay(charge, drop=True)
    make_top_up(wallet=wallet, brl="31.00", end_to_end_id=told["endToEndId"])
    found = compare()
    assert found["E" + "7" * 31].kind == Kind.ONLY_HERE
    differs = found[told["endToEndId"]]
    assert (differs.kind, differs.ours_nanos, differs.theirs_nanos) == (Kind.AMOUNT, 31 * BRL, 30 * BRL)


def test_a_refund_that_only_we_believe_in_is_found(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    asked = follow(refund(lot, "5.00"))
    type(asked).objects.filter(pk=asked.pk).update(id=uuid.uuid4())
    kinds = sorted((row.subject, row.kind) for row in compare().values())
    assert kinds == [("pix_refund", Kind.ONLY_HERE), ("pix_refund", Kind.ONLY_THERE)]
    type(asked).objects.update(id=asked.pk)


def test_an_explanation_holds_for_the_figures_that_were_explained(bank: BankControl, wallet: Wallet) -> None:
    bank.pay(open_charge(wallet, "30.00"), drop=True)
    [row] = compare().values()
    with pytest.raises(ExplanationRefused):
        explain(row, explanation="curta", by="ana@tokia.test")
    explain(row, explanation="Pagamento de teste do time.", by="ana@tokia.test")
    with pytest.raises(ExplanationRefused):
        explain(row, explanation="Pagamento de teste do time.", by="ana@tokia.test")
    assert compare()[row.reference].status == Status.EXPLAINED
    Difference.objects.filter(pk=row.pk).update(theirs_nanos=29 * BRL)  # as it had been told before
    assert compare()[row.reference].status == Status.OPEN


def test_a_silent_bank_changes_nothing(bank: BankControl, wallet: Wallet, settings: Settings) -> None:
    bank.pay(open_charge(wallet, "30.00"), drop=True)
    compare()
    settings.PSP_BASE_URL = "https://127.0.0.1:9/v2"
    now = clock.now()
    with pytest.raises(PspUnavailable):
        compare_pix(first_at=now - dt.timedelta(hours=2), last_at=now)
    assert Difference.objects.get().status == Status.OPEN
    assert ReconciliationRun.objects.filter(subject="pix").latest("pk").failure
    reconcile.compare_books(hours=1)  # the task goes on
