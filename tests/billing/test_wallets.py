"""Opening wallets, and plans on them."""

from __future__ import annotations

import pytest
from django.db import transaction

from billing.errors import UnknownWallet
from billing.models import VolumePlan, Wallet
from billing.wallets import set_volume_plan, wallet_of
from tests.make import make_organization, make_volume_plan, make_wallet

pytestmark = pytest.mark.django_db


def test_it_opens_a_wallet_once() -> None:
    organization = make_organization()
    assert wallet_of(organization) == wallet_of(organization)
    assert Wallet.everywhere.filter(organization=organization).count() == 1


def test_a_draft_of_a_plan_is_not_put_on_a_wallet() -> None:
    wallet = make_wallet(brl="0")
    with pytest.raises(UnknownWallet), transaction.atomic():
        set_volume_plan(wallet, VolumePlan.objects.create(name="Rascunho"))
    plan = make_volume_plan(is_default=False)
    set_volume_plan(wallet, plan)
    assert wallet.volume_plan == plan
    set_volume_plan(wallet, None)
    assert wallet.volume_plan is None
