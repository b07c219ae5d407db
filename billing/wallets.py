"""Wallets: found or opened by organization. Only the ledger's SQL functions write them."""

from __future__ import annotations

from accounts.models import Organization
from billing.ledger import call_function
from billing.models import VolumePlan, Wallet


def wallet_of(organization: Organization) -> Wallet:
    """The organization's wallet, opened at first use."""
    wallet = Wallet.everywhere.filter(organization=organization).first()
    if wallet is None:
        call_function("billing_open_wallet", organization.pk)
        wallet = Wallet.everywhere.get(organization=organization)
    wallet.organization = organization
    return wallet


def set_volume_plan(wallet: Wallet, plan: VolumePlan | None) -> None:
    """Puts a published plan on a wallet (None: the one in force for everybody), from its next month on.

    Raises UnknownWallet for a plan that is not published.
    """
    call_function("billing_set_volume_plan", wallet.pk, plan.pk if plan else None)
    wallet.refresh_from_db()
