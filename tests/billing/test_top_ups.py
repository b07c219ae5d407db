"""What bounds a top-up: the settings, or the organization's LimitProfile, for PIX and cards alike."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from pytest_django import Settings

from accounts.models import LimitProfile
from billing import top_ups
from billing.models import CardPayment
from billing.money import BRL, CENTAVO
from billing.pix.errors import TooManyOpenCharges, TopUpRefused
from tests.make import make_organization, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db


def test_a_profile_says_and_else_the_settings(settings: Settings) -> None:
    organization = make_organization()
    assert top_ups.bounds_of(organization) == top_ups.Bounds(10 * BRL, 50_000 * BRL, 10)
    organization.limit_profile = LimitProfile.objects.create(
        name="Pequena", requests_per_minute=1, tokens_per_minute=1, top_up_min_nanos=5 * BRL, top_up_max_nanos=100 * BRL
    )
    settings.TOP_UP_OPEN_MAX = 3
    assert top_ups.bounds_of(organization) == top_ups.Bounds(5 * BRL, 100 * BRL, 3)
    top_ups.check_amount(organization, amount_nanos=5 * BRL)
    for nanos, words in ((5 * BRL - CENTAVO, "R$\xa05,00 no mínimo"), (100 * BRL + CENTAVO, "no máximo"), (6 * BRL + 1, "casas")):
        with pytest.raises(TopUpRefused, match=re.escape(words)):
            top_ups.check_amount(organization, amount_nanos=nanos)


def test_what_people_opened_counts_and_automatic_top_ups_do_not() -> None:
    wallet = make_wallet(brl="0")
    wallet.organization.limit_profile = LimitProfile.objects.create(
        name="Uma", requests_per_minute=1, tokens_per_minute=1, open_charges_max=1
    )
    now = clock.now()
    ends = now + dt.timedelta(hours=1)
    CardPayment.everywhere.create(
        id=clock.new_id(), wallet=wallet, how=CardPayment.How.AUTO, amount_nanos=BRL, created_at=now, expires_at=ends
    )
    top_ups.check_open(wallet)
    CardPayment.everywhere.create(
        id=clock.new_id(), wallet=wallet, how=CardPayment.How.CHECKOUT, amount_nanos=BRL, created_at=now, expires_at=ends
    )
    with pytest.raises(TooManyOpenCharges):
        top_ups.check_open(wallet)
