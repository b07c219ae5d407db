"""Whoever uses what changes is told once, before it changes, whatever happens to the worker or to SMTP."""

from __future__ import annotations

import datetime as dt
import smtplib
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives

from billing import costs, exchange, price_mails, pricebooks
from billing.models import Event, Price, PriceNotice, PriceVersion, UsageDay, Wallet
from billing.money import BRL
from billing.price_changes import felt_changes
from billing.pricebooks import PriceLine
from tests.cast import Cast, make_cast
from tests.make import make_usage, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
LINE = PriceLine("acme/one", "acme", "one", Decimal(1), overrides={"input": 10 * BRL, "output": 30 * BRL})
OTHER = replace(LINE, route_name="acme/two")


@pytest.fixture(autouse=True)
def rate() -> None:
    costs.latest_costs()
    exchange.enter_rate(rate=Decimal(5), by="test", reason="cotação de teste")


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return make_wallet(organization=cast.acme)


def in_ten_days() -> dt.datetime:
    return clock.now() + dt.timedelta(days=10)


def publish(*lines: PriceLine, effective_at: dt.datetime | None = None) -> PriceVersion:
    return pricebooks.publish_version(pricebooks.draft_version(lines=lines), by="ana", effective_at=effective_at)


def raised(line: PriceLine = LINE, **units: int) -> PriceLine:
    return replace(line, overrides={**line.overrides, **units})


def kinds(old: PriceVersion, new: PriceVersion) -> set[tuple[str, str]]:
    return {(change.label, change.kind) for change in felt_changes(old, new)}


def test_it_tells_who_used_what_changes_and_nobody_else(cast: Cast, wallet: Wallet) -> None:
    globex = make_wallet(organization=cast.globex)
    publish(LINE, OTHER)
    assert not PriceNotice.everywhere.exists()  # the first list changes nothing for anybody
    make_usage(wallet=wallet, route_name="acme/one")
    make_usage(wallet=globex, route_name="acme/two")
    version = publish(raised(input=12 * BRL), OTHER, effective_at=in_ten_days())
    [notice] = PriceNotice.everywhere.all()
    assert (notice.organization, notice.version) == (cast.acme, version)
    assert notice.changes == [
        {"route": "acme/one", "unit": "input", "label": "Entrada", "kind": "up", "old": "10.000000000", "old_per": "/1M",
         "new": "12.000000000", "new_per": "/1M"},
    ]  # fmt: skip
    event = Event.everywhere.get(type="prices.changed")
    assert (event.organization, event.mail_due_at) == (cast.acme, None)
    assert event.payload["routes"] == notice.changes and event.payload["version"] == f"v{version.number}"


def test_use_of_long_ago_does_not_count(wallet: Wallet) -> None:
    publish(LINE)
    long_ago = clock.now() - dt.timedelta(days=62)
    call_id = uuid.UUID(int=(int(long_ago.timestamp() * 1000) << 80) | (clock.new_id().int & ((1 << 80) - 1)))
    make_usage(wallet=wallet, route_name="acme/one", id_=call_id)
    assert UsageDay.everywhere.filter(route_name="acme/one").exists()
    publish(raised(input=12 * BRL), effective_at=in_ten_days())
    assert not PriceNotice.everywhere.exists()


def test_one_mail_in_portuguese_with_both_prices_and_the_date(cast: Cast, wallet: Wallet) -> None:
    publish(LINE)
    make_usage(wallet=wallet, route_name="acme/one")
    at = in_ten_days()
    publish(raised(input=12_060_900_000, output=29 * BRL), effective_at=at)
    assert price_mails.send_due_notices() == 1
    assert price_mails.send_due_notices() == 0
    [message] = mail.outbox
    assert isinstance(message, EmailMultiAlternatives)
    assert set(message.to) == {cast.alice.email, cast.carol.email}  # money is no developer's mail
    day = f"{at.astimezone(clock.SAO_PAULO):%d/%m/%Y}"
    assert message.subject == f"Tokia: preços novos a partir de {day}"
    html = str(message.alternatives[0][0])
    for body in (str(message.body), html):
        assert day in body and "acme/one" in body and "/precos/" in body and "Acme" in body
        for price in ("R$\u00a010,0000/1M", "R$\u00a012,0609/1M", "R$\u00a030,0000/1M", "R$\u00a029,0000/1M"):
            assert price in body
    notice = PriceNotice.everywhere.get()
    assert notice.sent_at and notice.due_at is None and cast.alice.email in notice.sent_to


def test_a_mail_that_smtp_does_not_take_is_tried_again(wallet: Wallet, monkeypatch: pytest.MonkeyPatch, cast: Cast) -> None:
    publish(LINE)
    make_usage(wallet=wallet, route_name="acme/one")
    publish(raised(input=9 * BRL))  # cheaper: at once, and told all the same

    def fail(self: Any, fail_silently: bool = False) -> int:
        raise smtplib.SMTPServerDisconnected("gone")

    with monkeypatch.context() as patch:
        patch.setattr(EmailMultiAlternatives, "send", fail)
        assert price_mails.send_due_notices() == 0
    notice = PriceNotice.everywhere.get()
    assert (notice.attempts, notice.error, notice.sent_at) == (1, "gone", None)
    assert price_mails.send_due_notices() == 0  # not yet
    PriceNotice.everywhere.update(due_at=clock.now())
    assert price_mails.send_due_notices() == 1
    assert mail.outbox[0].subject == "Tokia: mudança de preços"


def test_a_worker_that_dies_after_the_hand_over_sends_the_same_message_again(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(LINE)
    make_usage(wallet=wallet, route_name="acme/one")
    publish(raised(input=9 * BRL))

    def die(self: PriceNotice, *args: object, **kwargs: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(PriceNotice, "save", die)
        with pytest.raises(SystemExit):
            price_mails.send_due_notices()
    assert price_mails.send_due_notices() == 1
    first, second = mail.outbox
    assert first.extra_headers["Message-ID"] == second.extra_headers["Message-ID"]


def test_an_organization_without_readers_is_shown_to_staff(wallet: Wallet, cast: Cast) -> None:
    publish(LINE)
    make_usage(wallet=wallet, route_name="acme/one")
    publish(raised(input=9 * BRL))
    type(cast.alice).objects.update(is_active=False)
    assert price_mails.send_due_notices() == 0
    notice = PriceNotice.everywhere.get()
    assert (notice.due_at, notice.error, mail.outbox) == (None, "Ninguém para avisar.", [])


def test_a_publication_that_fails_leaves_no_notice(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(LINE)
    make_usage(wallet=wallet, route_name="acme/one")

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(pricebooks, "write_notices", fail)
    with pytest.raises(RuntimeError):
        publish(raised(input=9 * BRL))
    assert not PriceNotice.everywhere.exists() and not Event.everywhere.filter(type="prices.changed").exists()
    assert PriceVersion.objects.filter(status="published").count() == 1


def test_callers_feel_more_than_lines() -> None:
    """A unit takes its family's price until it has its own; a batch and the own key take a part of it."""
    old = publish(LINE)
    with_cache = pricebooks.draft_version(lines=[raised(cached_input=BRL)])
    assert kinds(old, with_cache) == {("Entrada em cache", "down")}
    dear_sound = pricebooks.draft_version(lines=[raised(audio_input=80 * BRL, image=BRL, request=1)])
    assert kinds(old, dear_sound) == {("Entrada de áudio", "up"), ("Imagem", "new"), ("Requisição", "up")}
    batches = pricebooks.draft_version(lines=[replace(LINE, batch_percent=90, own_key_percent=3)])
    assert kinds(old, batches) == {
        ("Entrada em lote", "up"), ("Saída em lote", "up"), ("Entrada com chave própria", "down"),
        ("Saída com chave própria", "down"),
    }  # fmt: skip
    per_thousand = pricebooks.draft_version(lines=[LINE])
    Price.objects.filter(version=per_thousand, unit="input").update(
        per_units=1_000, override_nanos=BRL // 100, amount_nanos=BRL // 100
    )
    assert kinds(old, per_thousand) == set()  # the same price, told otherwise
