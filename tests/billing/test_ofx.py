"""The statement for accounting programs: parsed by somebody else's parser, the same lines at each export, and it adds up."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from ofxtools.Parser import OFXTree

from billing.models import Wallet
from billing.money import BRL, CENTAVO
from billing.ofx import write_ofx
from tests.billing.test_closing import date_back, id_at
from tests.cast import Cast, make_cast
from tests.make import make_top_up, make_usage, make_wallet
from tokia import clock
from tokia.clock import SAO_PAULO


def days_ago(days: int) -> dt.datetime:
    return dt.datetime.combine(clock.today_in_brazil() - dt.timedelta(days=days), dt.time(12), SAO_PAULO)


@pytest.fixture
def cast(committed_db: None) -> Cast:
    return make_cast()


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    wallet = make_wallet(organization=cast.acme, brl="0")
    date_back(make_top_up(wallet=wallet, brl="50"), days_ago(20))
    for ago, gross in ((9, 7_777_777), (8, 1), (8, 4_444_444), (5, 3 * BRL + 5), (4, 2)):
        make_usage(wallet=wallet, gross_nanos=gross, id_=id_at(days_ago(ago)))
    date_back(make_top_up(wallet=wallet, brl="10.50"), days_ago(3))
    make_usage(wallet=wallet, gross_nanos=BRL)  # today is not over
    wallet.refresh_from_db()
    return wallet


def read(wallet: Wallet, *, first: int = 30, last: int = 0) -> Any:
    data = write_ofx(wallet.organization, first_on=days_ago(first).date(), last_on=days_ago(last).date())
    tree = OFXTree()
    tree.parse(io.BytesIO(data))
    [statement] = tree.convert().statements
    return statement


def told(statement: Any) -> dict[str, tuple[Decimal, str]]:
    lines = {line.fitid: (line.trnamt, line.name) for line in statement.transactions}
    assert len(lines) == len(statement.transactions), "a FITID comes twice"
    return lines


def test_a_program_reads_it_and_it_adds_up(wallet: Wallet) -> None:
    statement = read(wallet)
    assert statement.curdef == "BRL" and statement.account.acctid == f"{wallet.pk:08d}"
    lines = told(statement)
    day = f"{days_ago(5):%Y%m%d}"
    assert lines[f"U{day}-0"] == (Decimal("-3.00"), f"Uso de {days_ago(5):%d/%m/%Y}")
    assert sorted(amount for amount, _ in lines.values() if amount > 0) == [Decimal("10.50"), Decimal("50.00")]
    assert {name for amount, name in lines.values() if amount > 0} == {"Recarga PIX"}
    yesterday = wallet.posted_nanos + BRL  # without today's call
    assert statement.balance.balamt == Decimal(yesterday // CENTAVO) / 100 == sum(amount for amount, _ in lines.values())


def test_parts_of_a_period_are_the_same_lines(wallet: Wallet) -> None:
    whole = told(read(wallet))
    parts: dict[str, Any] = {}
    for first, last in ((30, 10), (9, 6), (5, 0)):
        part = told(read(wallet, first=first, last=last))
        assert not parts.keys() & part.keys()
        parts |= part
    assert parts == whole


def test_a_second_import_brings_only_what_is_new(wallet: Wallet) -> None:
    before = told(read(wallet))
    make_usage(wallet=wallet, gross_nanos=2 * BRL, id_=id_at(days_ago(8)))  # late
    make_usage(wallet=wallet, gross_nanos=BRL, id_=id_at(days_ago(15)))  # a day that had none
    make_top_up(wallet=wallet, brl="5")  # today: not over
    after = told(read(wallet))
    assert {fitid: line for fitid, line in after.items() if fitid in before} == before
    new = {fitid: amount for fitid, (amount, _) in after.items() if fitid not in before}
    assert sum(new.values()) == Decimal("-3.00") and f"U{days_ago(8):%Y%m%d}-1" in new
    assert told(read(wallet)) == after
    statement = read(wallet)
    assert statement.balance.balamt == sum(amount for amount, _ in after.values())


def test_a_debt_that_a_top_up_paid_is_a_line_of_its_own(cast: Cast) -> None:
    wallet = make_wallet(organization=cast.globex, brl="0")
    make_usage(wallet=wallet, gross_nanos=2 * BRL, id_=id_at(days_ago(4)))
    entry = make_top_up(wallet=wallet, brl="10")
    date_back(entry, days_ago(2))
    lines = told(read(wallet))
    assert lines[f"E{entry.pk}"][0] == 10 and lines[f"E{entry.pk}-D"][0] == -2 and len(lines) == 2


def test_the_page_gives_it_to_finance_alone(wallet: Wallet, cast: Cast) -> None:
    for person, status in ((cast.carol, 200), (cast.bob, 403)):
        client = Client()
        client.force_login(person)
        answer = client.get("/app/extrato/extrato.ofx?dias=90")
        assert answer.status_code == status
    client.force_login(cast.carol)
    answer = client.get("/app/extrato/extrato.ofx?dias=90")
    assert answer["Content-Disposition"].endswith('.ofx"') and answer.content.startswith(b"OFXHEADER:100\r\n")


def test_signs_of_the_format_do_not_break_it(cast: Cast) -> None:
    from billing import ledger

    wallet = make_wallet(organization=cast.acme, brl="1")
    entry = ledger.correct(wallet, amount_nanos=BRL, reason="a <b> & c — ção ☃ " + "x" * 280, actor="ana")
    date_back(entry, days_ago(2))
    [line] = [line for line in read(wallet).transactions if line.fitid == f"E{entry.pk}"]
    assert line.memo.startswith("a (b) e c") and "ção" in line.memo and len(line.memo) <= 255
