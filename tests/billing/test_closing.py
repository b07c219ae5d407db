"""Closed days and months: they add up to the wallet, don't move, and what comes late is told."""

from __future__ import annotations

import datetime as dt
import io
import uuid

import psycopg
import pytest
from django.db import DataError, ProgrammingError
from django.test import Client
from pypdf import PdfReader
from pytest_django import Settings

from accounts.tenancy import tenant
from billing import closing, ledger, seals, statements
from billing.models import DayClose, LedgerEntry, MonthClose, Wallet
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.make import make_top_up, make_usage, make_volume_plan, make_wallet
from tests.stores import stores
from tokia import clock
from tokia.clock import SAO_PAULO, Month


def month_ago(number: int) -> Month:
    month = Month.current()
    for _ in range(number):
        month = Month.of(month.starts_at() - dt.timedelta(days=1))
    return month


def instant(month: Month, *, day: int = 10) -> dt.datetime:
    return dt.datetime.combine(month.first_on.replace(day=day), dt.time(12), SAO_PAULO)


def id_at(moment: dt.datetime) -> uuid.UUID:
    return uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (clock.new_id().int & ((1 << 80) - 1)))


def date_back(entry: LedgerEntry, moment: dt.datetime) -> None:
    """As if it had been booked then. Only a test may."""
    with psycopg.connect(stores.postgres.superuser_url) as other:
        other.execute("SET session_replication_role = replica")
        other.execute("UPDATE billing_ledgerentry SET created_at = %s WHERE id = %s", [moment, entry.pk])
        other.execute("UPDATE billing_lot SET created_at = %s WHERE entry_id = %s", [moment, entry.pk])


@pytest.fixture
def cast(committed_db: None) -> Cast:
    return make_cast()


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    """Acme's, open since two months ago, with a top-up and usage in each month."""
    make_volume_plan(tiers=((20 * BRL, 1_000),))
    wallet = make_wallet(organization=cast.acme, brl="0")
    with psycopg.connect(stores.postgres.superuser_url) as other:
        other.execute("UPDATE billing_wallet SET created_at = %s WHERE id = %s", [instant(month_ago(2), day=2), wallet.pk])
    date_back(make_top_up(wallet=wallet, brl="100"), instant(month_ago(2), day=3))
    make_usage(wallet=wallet, gross_nanos=30 * BRL, id_=id_at(instant(month_ago(2))))  # 20 + 10 − 10 %
    date_back(ledger.grant(wallet, amount_nanos=10 * BRL, reference="grant:x", actor="ana"), instant(month_ago(1), day=2))
    date_back(ledger.correct(wallet, amount_nanos=-BRL, reason="acerto", actor="ana"), instant(month_ago(1), day=4))
    make_usage(wallet=wallet, gross_nanos=5 * BRL + 1, id_=id_at(instant(month_ago(1), day=5)))
    make_usage(wallet=wallet, gross_nanos=2 * BRL)
    wallet.refresh_from_db()
    return wallet


def test_the_closes_and_what_moved_since_add_up_to_the_wallet(wallet: Wallet) -> None:
    seals.seal_entries()
    assert closing.close_due_months() == 2
    first, second = MonthClose.everywhere.order_by("month")
    assert (first.opening_nanos, first.in_nanos, first.out_nanos, first.closing_nanos) == (0, 100 * BRL, 29 * BRL, 71 * BRL)
    assert (first.gross_nanos, first.discount_nanos, first.net_nanos, first.top_ups_nanos) == (30 * BRL, BRL, 29 * BRL, 100 * BRL)
    assert (second.opening_nanos, second.closing_nanos) == (71 * BRL, 75 * BRL - 1)
    assert (second.promo_nanos, second.promo_used_nanos) == (10 * BRL, 5 * BRL + 1)
    assert wallet.posted_nanos == second.closing_nanos - 2 * BRL
    assert (second.seal_seq, bytes(second.seal_digest)) == (seals.head().seq, seals.head().digest)
    for close in (first, second):
        lines = closing.lines_of(close)
        assert sum(line.nanos for line in lines[:-1] if not line.is_detail) == lines[-1].nanos == close.closing_nanos
        with tenant(wallet.organization):
            told = statements.statement(first_on=close.month, last_on=closing.last_day_of(close))
        assert (told.opening_nanos, told.in_nanos, told.out_nanos) == (close.opening_nanos, close.in_nanos, close.out_nanos)
    assert closing.close_due_months() == 0


def test_what_comes_late_is_an_adjustment_of_the_next_close(wallet: Wallet) -> None:
    early = closing.close_month(wallet, month_ago(2))
    make_usage(wallet=wallet, gross_nanos=10 * BRL, id_=id_at(instant(month_ago(2), day=20)))  # all above the tier: 9
    make_usage(wallet=wallet, gross_nanos=BRL, id_=id_at(instant(month_ago(2), day=21)))
    second = closing.close_month(wallet, month_ago(1))
    assert second.adjustments == {
        str(month_ago(2).first_on): {"calls": 2, "gross": 11 * BRL, "net": 99 * BRL // 10, "used": 99 * BRL // 10}
    }
    assert second.adjustment_nanos == 99 * BRL // 10
    assert second.closing_nanos == 71 * BRL + 10 * BRL - BRL - 5 * BRL - 1 - 99 * BRL // 10
    [line] = [line for line in closing.lines_of(second) if "depois do fechamento" in line.label]
    assert line.label.startswith(f"Ajuste de {closing.tell_month(month_ago(2).first_on)}: 2 requisições") and line.nanos < 0
    early.refresh_from_db()
    assert early.closing_nanos == 71 * BRL, "what was closed stands"
    make_usage(wallet=wallet, gross_nanos=BRL, id_=id_at(instant(month_ago(1), day=7)))  # waits for the close after


def test_debts_and_refunds_are_told(wallet: Wallet) -> None:
    make_usage(wallet=wallet, gross_nanos=90 * BRL, id_=id_at(instant(month_ago(1), day=8)))
    date_back(make_top_up(wallet=wallet, brl="50"), instant(month_ago(1), day=9))
    wallet.refresh_from_db()
    closing.close_due_months()
    close = MonthClose.everywhere.get(month=month_ago(1).first_on)
    assert close.overdraft_nanos > 0 and close.movements["overdraft"]["out"] == close.overdraft_nanos
    lines = closing.lines_of(close)
    assert sum(line.nanos for line in lines[:-1] if not line.is_detail) == close.closing_nanos
    assert "Acerto de saldo devedor" in [line.label for line in lines]


def test_months_close_in_order_once_and_not_before_their_time(wallet: Wallet, settings: Settings) -> None:
    with pytest.raises(DataError, match="not the next to close"):
        closing.close_month(wallet, month_ago(1))
    with pytest.raises(ValueError, match="closes at"):
        closing.close_month(wallet, Month.current())
    first = closing.close_month(wallet, month_ago(2))
    assert closing.close_month(wallet, month_ago(2)) == first
    settings.MONTH_CLOSE_GRACE_HOURS = 6
    assert closing.closes_at(month_ago(1)) == Month.current().starts_at() + dt.timedelta(hours=6, seconds=1_800)
    with psycopg.connect(stores.postgres.superuser_url) as other, pytest.raises(psycopg.errors.RestrictViolation):
        other.execute("UPDATE billing_monthclose SET closing_nanos = 0")
    with pytest.raises(ProgrammingError, match="permission denied"):  # the application's role may not even add one
        MonthClose.everywhere.create(organization=wallet.organization, wallet=wallet, month=month_ago(5).first_on)


def test_one_wallets_trouble_is_not_the_others(wallet: Wallet, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_wallet(organization=cast.globex, brl="0")
    with psycopg.connect(stores.postgres.superuser_url) as superuser:
        superuser.execute("UPDATE billing_wallet SET created_at = %s WHERE id = %s", [instant(month_ago(1)), other.pk])
    close_month = closing.close_month

    def refuse_the_first(closed: Wallet, month: Month) -> MonthClose:
        if closed == wallet:
            raise DataError("made up")
        return close_month(closed, month)

    monkeypatch.setattr(closing, "close_month", refuse_the_first)
    assert closing.close_due_months() == 1 and MonthClose.everywhere.get().wallet == other


def test_a_new_wallet_without_business_closes_empty(cast: Cast) -> None:
    wallet = make_wallet(organization=cast.globex, brl="0")
    with psycopg.connect(stores.postgres.superuser_url) as other:
        other.execute("UPDATE billing_wallet SET created_at = %s WHERE id = %s", [instant(month_ago(1)), wallet.pk])
    assert closing.close_due_months() == 1
    close = MonthClose.everywhere.get()
    assert (close.closing_nanos, close.calls) == (0, 0)
    assert [line.label for line in closing.lines_of(close)] == ["Saldo inicial", "Uso do mês, pago pelo saldo", "Saldo final"]


def test_days_are_told_once_and_late_calls_on_their_own(wallet: Wallet) -> None:
    closing.close_days(wallet)
    told = list(DayClose.everywhere.order_by("pk").values_list("day", "number", "told_on", "amount_nanos"))
    first_day, second_day = instant(month_ago(2)).date(), instant(month_ago(1), day=5).date()
    assert told == [(first_day, 0, first_day, 29 * BRL), (second_day, 0, second_day, 5 * BRL + 1)]
    closing.close_days(wallet)
    assert DayClose.everywhere.count() == 2
    make_usage(wallet=wallet, gross_nanos=3 * BRL, id_=id_at(instant(month_ago(1), day=5)))
    closing.close_days(wallet)
    late = DayClose.everywhere.order_by("-pk")[0]
    assert (late.day, late.number, late.told_on, late.amount_nanos, late.calls) == (
        second_day, 1, closing.last_day_over(), 3 * BRL, 1,
    )  # fmt: skip


def test_the_pages_show_it_to_its_organization_alone(wallet: Wallet, cast: Cast) -> None:
    seals.seal_entries()
    closing.close_due_months()
    close = MonthClose.everywhere.get(month=month_ago(1).first_on)
    carol, bob, charlie = Client(), Client(), Client()
    for client, person in ((carol, cast.carol), (bob, cast.bob), (charlie, cast.charlie)):
        client.force_login(person)
    month = closing.tell_month(close.month)
    assert f"Fechamento de {month}" in carol.get(f"/app/extrato/fechamentos/{close.pk}/").content.decode()
    assert month in carol.get("/app/extrato/fechamentos/").content.decode()
    sheet = carol.get(f"/app/extrato/fechamentos/{close.pk}/fechamento.csv").content.decode()
    assert "Saldo final;74,999999999" in sheet and "uso bruto;;5,000000001" in sheet
    pdf = carol.get(f"/app/extrato/fechamentos/{close.pk}/fechamento.pdf")
    text = PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    assert "Saldo final" in text and "74,999999999" in text and seals.head().text in text
    assert pdf.content == carol.get(f"/app/extrato/fechamentos/{close.pk}/fechamento.pdf").content
    for tail in ("", "fechamento.csv", "fechamento.pdf"):
        assert charlie.get(f"/app/extrato/fechamentos/{close.pk}/{tail}").status_code == 404
        assert bob.get(f"/app/extrato/fechamentos/{close.pk}/{tail}").status_code == 403
    assert month not in charlie.get("/app/extrato/fechamentos/").content.decode()
