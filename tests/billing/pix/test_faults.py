"""What payments must survive, row by row of the fault matrix, where the other files of this folder don't show it."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.test import Client

from billing import refunds as way_back
from billing import tasks
from billing.models import Charge, LedgerEntry, PixNotice, Refund, UnmatchedPix, Wallet
from billing.money import BRL
from billing.pix import charges, psp, sweep, webhook
from billing.pix.received import parse_pix
from billing.refund_books import LIVE
from tests.billing.pix.conftest import BankControl, Door, open_charge, wait_until
from tests.billing.pix.test_refunds import follow, make_paid_lot, money
from tokia import clock


@pytest.fixture
def real_clock() -> Iterator[None]:
    yield
    clock.shift(0)


def deliver(*pix: dict[str, Any], secret: str = "") -> int:
    """What the bank posts at our door."""
    url = f"/webhooks/pix/{secret or django_settings.PSP_WEBHOOK_SECRET}/pix"
    return Client().post(url, json.dumps({"pix": list(pix)}), content_type="application/json").status_code


def test_fifty_workers_at_once_credit_one_payment_once(bank: BankControl, wallet: Wallet) -> None:
    """Notices, sweeps and the window meet on the same endToEndId."""
    charge = open_charge(wallet)
    (told,) = bank.pay(charge, drop=True)
    charges.confirm_charge(charge)  # the bank's answer is known; then everybody books it at once, again and for the first time
    other = open_charge(wallet, "20.00")
    (pix,) = bank.pay(other, drop=True)
    received = parse_pix(pix)
    barrier = threading.Barrier(50)

    def book(number: int) -> None:
        try:
            found = Charge.everywhere.select_related("wallet").get(pk=other.pk)
            barrier.wait()
            if number % 2:
                charges.credit_charge(found, [received])
            else:
                charges.place_pix(received, told=pix)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(book, range(50)))
    assert money(wallet)[0] == 70 * BRL
    assert LedgerEntry.objects.filter(kind=LedgerEntry.Kind.TOP_UP).count() == 2
    other.refresh_from_db()
    assert other.received_nanos == 20 * BRL and len(other.payments) == 1 and told["endToEndId"] != received.end_to_end_id


def test_a_notice_replayed_thirty_days_later_changes_nothing(
    bank: BankControl, wallet: Wallet, real_clock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_hurry", tasks.confirm_charge)
    charge = open_charge(wallet)
    (pix,) = bank.pay(charge, drop=True)
    assert deliver(pix) == 200 and money(wallet)[0] == 50 * BRL
    clock.shift(30 * 86_400)
    asked: list[str] = []
    monkeypatch.setattr(psp, "read_cob", lambda txid: asked.append(txid))
    assert deliver(pix) == 200
    sweep.sweep_notices()
    assert PixNotice.objects.get().deliveries == 2 and asked == []
    assert money(wallet)[0] == 50 * BRL


def test_a_refund_told_before_its_receipt_is_booked_after_it(
    bank: BankControl, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reordered: the notice of the return comes first, and alone. The state is read at the bank, not from the sequence."""
    monkeypatch.setattr(webhook, "_hurry", tasks.confirm_charge)
    charge = open_charge(wallet)
    (pix,) = bank.pay(charge, drop=True)
    returned = bank.post(f"med-refund/{pix['endToEndId']}", valor="15.00")
    assert deliver({**pix, "devolucoes": [returned]}) == 200
    assert money(wallet)[0] == 35 * BRL
    assert deliver(pix) == 200  # the receipt, late
    assert money(wallet)[0] == 35 * BRL
    kinds = LedgerEntry.objects.order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["top_up", "dispute"]


def test_a_notice_in_the_banks_own_handler_finds_our_row(bank: BankControl, door: Door, wallet: Wallet) -> None:
    """The bank tells of the payment before it has answered our PUT: the txid is committed by then."""
    bank.faults(create_cob="webhook_before_answer")
    charge = open_charge(wallet)
    wait_until(lambda: money(wallet)[0] == 50 * BRL)
    (notice,) = PixNotice.objects.all()
    assert notice.txid == charge.txid and notice.received_at < clock.now()
    charge.refresh_from_db()
    assert charge.status == Charge.Status.PAID and charge.brcode  # the answer that came later took nothing back


def test_a_pix_of_a_charge_whose_row_is_missing_is_matched_by_the_next_window(
    bank: BankControl, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the row were not committed yet: stored as unidentified, matched by the sweep within its five minutes."""
    monkeypatch.setattr(webhook, "_hurry", tasks.confirm_charge)
    charge = open_charge(wallet)
    (pix,) = bank.pay(charge, drop=True)
    Charge.everywhere.filter(pk=charge.pk).update(txid=f"x{charge.txid[1:]}")
    assert deliver(pix) == 200
    assert UnmatchedPix.objects.get().status == UnmatchedPix.Status.OPEN and money(wallet)[0] == 0
    Charge.everywhere.filter(pk=charge.pk).update(txid=charge.txid)
    sweep.sweep_window(hours=48)
    assert UnmatchedPix.objects.get().status == UnmatchedPix.Status.CREDITED and money(wallet)[0] == 50 * BRL


def test_of_an_array_with_a_bad_pix_the_good_ones_are_credited(
    bank: BankControl, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_hurry", tasks.confirm_charge)
    first, second = open_charge(wallet), open_charge(wallet, "20.00")
    (good,), (other,) = bank.pay(first, drop=True), bank.pay(second, drop=True)
    assert deliver(good, {"endToEndId": "too short", "valor": "9.99"}, other) == 200
    assert money(wallet)[0] == 70 * BRL
    bad = PixNotice.objects.get(end_to_end_id="")
    assert bad.payload["valor"] == "9.99" and bad.last_error  # kept for a person


def test_an_array_that_names_a_payment_twice_is_one_credit(
    bank: BankControl, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_hurry", tasks.confirm_charge)
    (pix,) = bank.pay(open_charge(wallet), drop=True)
    assert deliver(pix, pix) == 200
    assert PixNotice.objects.get().deliveries == 2 and money(wallet)[0] == 50 * BRL


def test_a_forger_with_the_right_shape_and_even_the_secret_credits_nothing(
    bank: BankControl, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_hurry", tasks.confirm_charge)
    charge = open_charge(wallet)
    forged = {
        "endToEndId": "E" + "9" * 31, "txid": charge.txid, "valor": "50.00", "horario": clock.now().isoformat(), "chave": "k",
    }  # fmt: skip
    assert deliver(forged, secret="guessed") in (401, 403, 404) and not PixNotice.objects.exists()
    assert deliver(forged) == 200  # whoever knew the secret: the bank denies it
    assert money(wallet)[0] == 0 and not UnmatchedPix.objects.exists()
    assert PixNotice.objects.get().status == PixNotice.Status.DONE


def test_nobody_reaches_the_bank_without_its_certificate(bank: BankControl) -> None:
    with pytest.raises(httpx.HTTPError), httpx.Client(verify=False, trust_env=False) as stranger:
        stranger.post(f"{bank.psp_url}/oauth/token", data={"grant_type": "client_credentials"})


def test_a_refund_whose_answer_is_lost_twice_is_one_refund_and_stays_held(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    bank.faults(refund={"kind": "500"}, times=2)
    asked = way_back.refund_lot(lot, amount_nanos=20 * BRL, by="ana", reason="Pediu.", is_staff=True)
    assert asked.status in LIVE and money(wallet) == (50 * BRL, 20 * BRL, 0)
    assert follow(asked).status == Refund.Status.DONE
    (pix,) = bank.state()["pix"]
    assert [told["id"] for told in pix["devolucoes"]] == [asked.pk.hex]
    assert money(wallet) == (30 * BRL, 0, 0)


def test_a_payment_of_long_ago_is_still_found_by_the_night(bank: BankControl, wallet: Wallet) -> None:
    """Never told, beyond its charge's grace, outside the 48 hours: the nightly eight days find it."""
    charge = open_charge(wallet)
    bank.pay(charge, drop=True)
    Charge.everywhere.update(status=Charge.Status.EXPIRED, expires_at=clock.now() - dt.timedelta(days=7))
    tasks.sweep_window(hours=192)
    assert money(wallet)[0] == 50 * BRL
