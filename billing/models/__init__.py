"""The nouns of billing, one file per subject. Nothing is defined here."""

from billing.models.budgets import Budget, BudgetSpend
from billing.models.cards import AutoTopUp, Card, CardHolder, CardPayment, Dispute, StripeEvent
from billing.models.charges import Charge, PixNotice, Refund, UnmatchedPix
from billing.models.events import Event
from billing.models.ledger import LedgerEntry, Posting
from billing.models.prices import (
    Contract,
    ExchangeRate,
    Price,
    PriceBook,
    PriceVersion,
    ProviderCost,
    Unit,
    VolumePlan,
    VolumeTier,
)
from billing.models.rollups import TagDay, UsageDay
from billing.models.usage import MonthSpend, SettledBatch, UsageRecord
from billing.models.wallet import ExpiredHold, GatewaySession, Hold, Lot, UnsettledCall, Wallet

__all__ = [
    "AutoTopUp",
    "Budget",
    "BudgetSpend",
    "Card",
    "CardHolder",
    "CardPayment",
    "Charge",
    "Contract",
    "Dispute",
    "Event",
    "ExchangeRate",
    "ExpiredHold",
    "GatewaySession",
    "Hold",
    "LedgerEntry",
    "Lot",
    "MonthSpend",
    "PixNotice",
    "Posting",
    "Price",
    "PriceBook",
    "PriceVersion",
    "ProviderCost",
    "Refund",
    "SettledBatch",
    "StripeEvent",
    "TagDay",
    "Unit",
    "UnmatchedPix",
    "UnsettledCall",
    "UsageDay",
    "UsageRecord",
    "VolumePlan",
    "VolumeTier",
    "Wallet",
]
