"""Promotional money: given once, spent first, never returned nor invoiced, told before it ends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from allauth.account.models import EmailAddress
from django.db import DatabaseError, transaction
from django.test import Client

from accounts.models import Membership, Organization, Role
from billing import ledger, promotions, refunds
from billing.models import Event, LedgerEntry, Lot, PromotionRules, UsageRecord, Wallet, WelcomeGrant
from billing.money import BRL
from billing.promotions import RulesRefused, change_rules, end_of_day, give_grant, last_day, next_to_end, rules
from billing.wallets import wallet_of
from tests.cast import Cast, make_cast
from tests.make import make_organization, make_usage, make_user, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def welcome_on(brl: int = 10) -> PromotionRules:
    return change_rules(by="ana", welcome_is_on=True, welcome_nanos=brl * BRL, welcome_days=30)


def join(organization: Organization, *, is_confirmed: bool = True) -> None:
    owner = make_user()
    EmailAddress.objects.create(user=owner, email=owner.email.upper(), verified=is_confirmed, primary=True)
    Membership.everywhere.create(organization=organization, user=owner, role=Role.OWNER)


def promo_of(organization: Organization) -> int:
    return wallet_of(organization).promo_nanos


# ── Money ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_is_spent_before_paid_money_and_never_invoiced_nor_returned() -> None:
    make_volume_plan()
    wallet = make_wallet(brl="50.00")
    entry = give_grant(wallet, amount_nanos=10 * BRL, reference="grant:1", reason="Cortesia", by="ana")
    make_usage(wallet=wallet, gross_nanos=7 * BRL)
    make_usage(wallet=wallet, gross_nanos=5 * BRL)
    records = UsageRecord.everywhere.filter(wallet=wallet).order_by("id")
    # What invoices will read is `paid_nanos`: the part that somebody paid for.
    assert [(record.promo_nanos, record.paid_nanos) for record in records] == [(7 * BRL, 0), (3 * BRL, 2 * BRL)]
    assert all(record.promo_nanos + record.paid_nanos == record.net_nanos for record in records)
    assert refunds.refundable_nanos(Lot.everywhere.get(entry=entry)) == 0
    assert refunds.refundable_nanos(Lot.everywhere.get(wallet=wallet, kind=Lot.Kind.PAID)) == 48 * BRL


def test_a_grant_is_told_once_with_its_end() -> None:
    wallet = make_wallet(brl="0")
    ends_at = end_of_day(clock.today_in_brazil() + dt.timedelta(days=5))
    for _ in range(2):
        give_grant(wallet, amount_nanos=10 * BRL, reference="grant:1", reason="Cortesia", by="ana", expires_at=ends_at)
    event = Event.everywhere.get(type="credit.granted")
    assert event.payload == {"amount": "10.00", "expires_at": ends_at.isoformat(), "reason": "Cortesia"}
    assert event.organization_id == wallet.organization_id and promo_of(wallet.organization) == 10 * BRL


@pytest.fixture
def real_clock() -> Iterator[None]:
    yield
    clock.shift(0)


def test_it_warns_three_days_before_once_and_of_what_is_left(real_clock: None) -> None:
    make_volume_plan()
    wallet, spent = make_wallet(brl="0"), make_wallet(brl="0")
    ends_at = end_of_day(clock.today_in_brazil() + dt.timedelta(days=9))
    for each in (wallet, spent):
        give_grant(each, amount_nanos=10 * BRL, reference=f"grant:{each.pk}", reason="Cortesia", by="ana", expires_at=ends_at)
    make_usage(wallet=wallet, gross_nanos=4 * BRL)
    make_usage(wallet=spent, gross_nanos=10 * BRL)
    clock.shift(6 * 86_400)
    assert promotions.tell_expiring() == 0  # four days before
    clock.shift(8 * 86_400)
    assert promotions.tell_expiring() == 1
    assert promotions.tell_expiring() == 0
    event = Event.everywhere.get(type="credit.expiring")
    assert event.payload["amount"] == "6.00" and event.payload["expires_at"] == ends_at.isoformat()


def test_the_balance_tells_the_part_that_ends_first(cast: Cast) -> None:
    wallet = wallet_of(cast.acme)
    today = clock.today_in_brazil()
    for days, brl in ((3, 5), (40, 20)):
        ends_at = end_of_day(today + dt.timedelta(days=days))
        give_grant(wallet, amount_nanos=brl * BRL, reference=f"grant:{days}", reason="Cortesia", by="ana", expires_at=ends_at)
    ending = next_to_end(wallet)
    assert ending is not None and (ending.nanos, ending.last_on) == (5 * BRL, today + dt.timedelta(days=3))
    client = Client()
    client.force_login(cast.alice)
    page = client.get("/app/").content.decode()
    assert "R$\u00a025,00 são bônus" in page
    assert f"R$\u00a05,00 valem até {today + dt.timedelta(days=3):%d/%m/%Y}" in page


def test_what_comes_behind_money_that_never_ends_never_ends() -> None:
    """It could not be used before it: the older one is spent first."""
    make_volume_plan()
    wallet = make_wallet(brl="0")
    give_grant(wallet, amount_nanos=BRL, reference="grant:1", reason="Cortesia", by="ana")
    ends_at = end_of_day(clock.today_in_brazil())
    entry = give_grant(wallet, amount_nanos=BRL, reference="grant:2", reason="Cupom", by="ana", expires_at=ends_at)
    assert Lot.everywhere.get(entry=entry).expires_at is None and next_to_end(wallet) is None
    make_usage(wallet=wallet, gross_nanos=2 * BRL)
    entry = give_grant(wallet, amount_nanos=BRL, reference="grant:3", reason="Cupom", by="ana", expires_at=ends_at)
    assert Lot.everywhere.get(entry=entry).expires_at == ends_at  # nothing older is left


def test_a_day_ends_at_brazils_midnight() -> None:
    ends_at = end_of_day(dt.date(2026, 11, 30))
    assert ends_at == dt.datetime(2026, 12, 1, 3, tzinfo=dt.UTC)
    assert last_day(ends_at) == dt.date(2026, 11, 30)


# ── The welcome ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_welcome_is_off_until_somebody_turns_it_on() -> None:
    organization = make_organization()
    join(organization)
    assert not rules().welcome_is_on and promotions.grant_welcomes() == 0
    welcome_on()
    assert promotions.grant_welcomes() == 0  # opened before
    younger = make_organization()
    join(younger)
    assert promotions.grant_welcomes() == 1
    assert promo_of(younger) == 10 * BRL and promo_of(organization) == 0
    lot = Lot.everywhere.get(wallet=wallet_of(younger))
    assert lot.expires_at == end_of_day(clock.today_in_brazil() + dt.timedelta(days=30))


def test_the_welcome_is_given_once_per_organization_and_tax_id() -> None:
    welcome_on()
    first, second, other = make_organization(), make_organization(), make_organization(tax_id="12ABC34501DE35")
    for organization in (first, second, other):
        join(organization)
    assert promotions.grant_welcomes() == 2
    assert [promo_of(each) for each in (first, second, other)] == [10 * BRL, 0, 10 * BRL]
    Organization.objects.filter(pk=first.pk).update(tax_id="11444777000161")  # another one: no second welcome
    assert promotions.grant_welcomes() == 0
    assert promotions.give_welcome(Organization.objects.get(pk=first.pk), rules()) is None
    assert promotions.give_welcome(second, rules()) is None
    assert WelcomeGrant.everywhere.count() == 2 and promo_of(second) == 0
    assert LedgerEntry.objects.filter(kind=LedgerEntry.Kind.GRANT).count() == 2


def test_the_welcome_waits_for_the_address_and_the_tax_id() -> None:
    welcome_on()
    unconfirmed, nameless = make_organization(), make_organization(tax_id="")
    join(unconfirmed, is_confirmed=False)
    join(nameless)
    assert promotions.grant_welcomes() == 0
    EmailAddress.objects.update(verified=True)
    Organization.objects.filter(pk=nameless.pk).update(tax_id="12ABC34501DE35")
    assert promotions.grant_welcomes() == 2


def test_the_first_page_says_that_it_waits(cast: Cast) -> None:
    Organization.objects.filter(pk=cast.acme.pk).update(tax_id="")
    client = Client()
    client.force_login(cast.alice)
    assert "boas-vindas" not in client.get("/app/").content.decode()
    welcome_on()
    newcomer = make_organization(tax_id="")
    Membership.everywhere.create(organization=newcomer, user=cast.alice, role=Role.OWNER)
    client.post("/app/empresas/trocar/", {"organization": newcomer.pk, "organization_id": newcomer.pk})
    assert "ganhe R$\u00a010,00 de bônus de boas-vindas" in client.get("/app/").content.decode()
    Organization.objects.filter(pk=newcomer.pk).update(tax_id="11444777000161")
    assert "chegam em instantes" in client.get("/app/").content.decode()
    assert promotions.grant_welcomes() == 1
    assert "boas-vindas" not in client.get("/app/").content.decode()


def test_a_suspended_organization_gets_no_welcome() -> None:
    welcome_on()
    organization = make_organization()
    join(organization)
    Organization.objects.filter(pk=organization.pk).update(is_suspended=True)
    assert promotions.grant_welcomes() == 0


# ── The rules ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_rules_are_one_row_and_refuse_what_can_not_be() -> None:
    changed = welcome_on(25)
    assert PromotionRules.objects.count() == 1 and changed.changed_by == "ana" and changed.welcome_since is not None
    since = changed.welcome_since
    assert change_rules(by="bia", welcome_nanos=5 * BRL).welcome_since == since  # still the same switch
    for wrong in ({"welcome_nanos": 0}, {"referral_days": 0}, {"referral_top_up_min_nanos": -1}):
        with pytest.raises(RulesRefused):
            change_rules(by="ana", **wrong)


def test_who_got_what_is_append_only() -> None:
    welcome_on()
    organization = make_organization()
    join(organization)
    promotions.grant_welcomes()
    for act in (WelcomeGrant.everywhere.all().delete, lambda: WelcomeGrant.everywhere.update(tax_id="x")):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            act()


def test_a_grant_of_an_hour_ago_is_not_warned_about_at_once() -> None:
    wallet: Wallet = make_wallet(brl="0")
    ledger.grant(wallet, amount_nanos=BRL, reference="g", actor="a", expires_at=clock.now() + dt.timedelta(days=1))
    assert promotions.tell_expiring() == 0
