"""A customer returns what is unused of a top-up: one click, seven days, once, to its origin."""

from __future__ import annotations

import datetime as dt
import re
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from accounts.models import AuditEvent, User
from accounts.suspension import suspend
from billing import ledger, refunds
from billing.models import Event, LedgerEntry, Lot, Refund, Wallet
from billing.money import BRL, from_brl
from billing.reconcile import find_violations
from billing.refund_books import RefundRefused
from billing.wallets import wallet_of
from tests.billing.pix.conftest import BankControl
from tests.billing.pix.test_refunds import follow, make_paid_lot, money
from tests.cast import Cast, make_cast
from tests.make import make_hold, make_usage, make_volume_plan
from tokia import clock


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def acme(cast: Cast) -> Iterator[Wallet]:
    """Afterwards the money must add up, as after `committed_db`."""
    yield wallet_of(cast.acme)
    assert find_violations() == []


@pytest.fixture
def later() -> Iterator[None]:
    """Eight days later, in this process."""
    yield
    clock.shift(0)


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def ask(lot: Lot, brl: str, **more: object) -> Refund:
    return refunds.refund_lot(lot, amount_nanos=from_brl(brl), by="alice@acme.com.br", **more)  # type: ignore[arg-type]


def test_it_goes_from_the_list_to_the_bank_and_back_to_the_list(bank: BankControl, cast: Cast, acme: Wallet) -> None:
    make_volume_plan()
    lot = make_paid_lot(bank, acme)
    make_usage(wallet=acme, gross_nanos=10 * BRL + 1)
    bank.post("settings", refund_ms=400)
    carol = as_(cast.carol)  # finance
    listed = carol.get("/app/recargas/").content.decode()
    assert "Devolver R$\u00a039,99" in listed and "Recarga PIX" in listed
    page = carol.get(f"/app/recargas/{lot.pk}/devolver/").content.decode()
    assert 'value="39,99"' in page and re.search(r"style=|onclick|<script(?![^>]* src=)", page) is None
    pedido = re.search(r'name="pedido" value="([0-9a-f-]{36})"', page)
    assert pedido
    form = {"valor": "39,99", "pedido": pedido[1]}
    for _ in range(2):  # two clicks
        assert carol.post(f"/app/recargas/{lot.pk}/devolver/", form).status_code == 302
    refund = Refund.objects.get()
    assert (refund.amount_nanos, refund.requested_by) == (from_brl("39.99"), "carol@acme.com.br")
    assert AuditEvent.everywhere.get(kind="refund_asked").user == cast.carol  # noted once, too
    under_way = carol.get("/app/recargas/").content.decode()
    assert "Em processamento" in under_way and 'hx-trigger="every 5s"' in under_way
    assert carol.get("/app/recargas/lista/").status_code == 200
    assert follow(refund).status == Refund.Status.DONE
    ended = carol.get("/app/recargas/lista/")
    assert ended.status_code == 286 and "Devolvida" in ended.content.decode() and ended["HX-Trigger"] == "saldo-mudou"
    told = Event.everywhere.get(type="refund.done")
    assert told.organization == cast.acme and told.payload["amount"] == "39.99" and told.payload["paid_by"] == "pix"


def test_a_refund_that_the_bank_does_not_make_comes_back_and_is_told(bank: BankControl, cast: Cast, acme: Wallet) -> None:
    lot = make_paid_lot(bank, acme)
    bank.faults(refund={"kind": "NAO_REALIZADO", "motivo": "Conta encerrada"})
    assert follow(ask(lot, "50.00")).status == Refund.Status.REFUSED
    assert money(acme) == (50 * BRL, 0, 0)
    assert Event.everywhere.get(type="refund.refused").payload["reason"] == "Conta encerrada"
    page = as_(cast.alice).get("/app/recargas/").content.decode()
    assert "Não realizada" in page and "Conta encerrada" in page and "Devolver R$\u00a050,00" in page


def test_twenty_clicks_at_once_are_one_refund(bank: BankControl, wallet: Wallet) -> None:
    lot = make_paid_lot(bank, wallet)
    bank.post("settings", refund_ms=2_000)
    ids = [uuid.uuid4()] * 10 + [uuid.uuid4() for _ in range(10)]  # one page clicked ten times, ten other pages
    barrier = threading.Barrier(len(ids))

    def click(refund_id: uuid.UUID) -> bool:
        barrier.wait()
        try:
            ask(lot, "10.00", refund_id=refund_id)
            return True
        except RefundRefused:
            return False
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(ids)) as pool:
        accepted = list(pool.map(click, ids))
    assert Refund.objects.count() == 1 and any(accepted)
    assert AuditEvent.everywhere.filter(kind="refund_asked").count() == 1
    assert money(wallet) == (50 * BRL, 10 * BRL, 0)
    assert follow(Refund.objects.get()).status == Refund.Status.DONE


def test_an_id_is_good_for_one_refund(bank: BankControl, acme: Wallet) -> None:
    lot, pedido = make_paid_lot(bank, acme), uuid.uuid4()
    ask(lot, "10.00", refund_id=pedido)
    with pytest.raises(RefundRefused, match="outra devolução"):
        ask(lot, "20.00", refund_id=pedido)
    assert AuditEvent.everywhere.filter(kind="refund_asked").count() == 1


def test_after_seven_days_only_staff_return_it(bank: BankControl, cast: Cast, acme: Wallet, later: None) -> None:
    lot = make_paid_lot(bank, acme)
    clock.shift(7 * 86_400)
    assert refunds.top_up_of(lot).refusal == ""  # the whole seventh day
    clock.shift(8 * 86_400)
    with pytest.raises(RefundRefused, match=r"7 dias terminou em .* Fale com o suporte"):
        ask(lot, "50.00")
    page = as_(cast.alice).get("/app/recargas/").content.decode()
    assert "Fale com o suporte" in page and "Devolver R$" not in page
    assert follow(ask(lot, "50.00", reason="Combinado por telefone", is_staff=True)).status == Refund.Status.DONE


def test_it_takes_lots_in_the_sequence_of_their_use(bank: BankControl, acme: Wallet) -> None:
    make_volume_plan()
    first, second = make_paid_lot(bank, acme), make_paid_lot(bank, acme, "30.00")
    make_usage(wallet=acme, gross_nanos=55 * BRL)
    assert (refunds.refundable_nanos(first), refunds.refundable_nanos(second)) == (0, 25 * BRL)
    with pytest.raises(RefundRefused, match="R\\$\u00a00,00"):
        ask(first, "1.00")


def test_it_never_returns_what_calls_hold_nor_promotional_money(bank: BankControl, acme: Wallet) -> None:
    lot = make_paid_lot(bank, acme)
    ledger.grant(acme, amount_nanos=10 * BRL, reference="grant:a", actor="test")
    make_hold(wallet=acme, brl="45.00")
    assert refunds.refundable_nanos(lot) == 15 * BRL
    with pytest.raises(RefundRefused):
        ask(lot, "15.01")
    bonus = Lot.everywhere.get(wallet=acme, kind=Lot.Kind.PROMO)
    adjustment = Lot.everywhere.get(entry=ledger.correct(acme, amount_nanos=BRL, reason="engano", actor="ana"))
    for lot in (bonus, adjustment):
        with pytest.raises(RefundRefused, match="Bônus e ajustes"):
            ask(lot, "1.00", is_staff=True, reason="x")
        assert refunds.refundable_nanos(lot) == 0


def test_one_refund_of_a_lot_at_a_time_by_its_owner(bank: BankControl, acme: Wallet) -> None:
    lot = make_paid_lot(bank, acme)
    bank.faults(refund="stuck")
    ask(lot, "10.00")
    with pytest.raises(RefundRefused, match="a caminho"):
        ask(lot, "10.00")
    assert money(acme)[1] == 10 * BRL
    assert ask(lot, "10.00", is_staff=True, reason="Duas partes").amount_nanos == 10 * BRL


def test_a_suspended_organization_and_one_that_owes_talk_to_people(bank: BankControl, cast: Cast, acme: Wallet) -> None:
    make_volume_plan()
    lot = make_paid_lot(bank, acme)
    make_hold(wallet=acme, brl="40.00")
    make_usage(wallet=acme, gross_nanos=12 * BRL)  # 10 are there
    with pytest.raises(RefundRefused):
        ask(lot, "1.00")
    suspend(cast.acme, reason="Contestação")
    assert "suspensa" in refunds._refusal(lot)


def test_developers_and_strangers_return_nothing(bank: BankControl, cast: Cast, acme: Wallet) -> None:
    lot = make_paid_lot(bank, acme)
    form = {"valor": "50,00", "pedido": str(uuid.uuid4())}
    assert as_(cast.bob).post(f"/app/recargas/{lot.pk}/devolver/", form).status_code == 403
    assert as_(cast.charlie).post(f"/app/recargas/{lot.pk}/devolver/", form).status_code == 404
    assert not Refund.objects.exists() and money(acme)[1] == 0


@pytest.mark.parametrize(("typed", "status"), [("abc", 400), ("0", 400), ("50,01", 409), ("-1", 400)])
def test_it_says_what_is_wrong_with_an_amount(typed: str, status: int, bank: BankControl, cast: Cast, acme: Wallet) -> None:
    lot = make_paid_lot(bank, acme)
    answer = as_(cast.alice).post(f"/app/recargas/{lot.pk}/devolver/", {"valor": typed, "pedido": str(uuid.uuid4())})
    assert answer.status_code == status and not Refund.objects.exists()


def test_the_last_day_is_brazils(acme: Wallet) -> None:
    entry = ledger.post_entry(kind=LedgerEntry.Kind.TOP_UP, reference="pix:x", wallet=acme, amount_nanos=BRL, book=ledger.WORLD_PIX)
    lot = Lot.everywhere.get(entry=entry)
    lot.created_at = dt.datetime(2026, 11, 23, 2, 30, tzinfo=dt.UTC)  # 22 November, 23:30 in São Paulo
    assert refunds.last_day_of(lot) == dt.date(2026, 11, 29)
