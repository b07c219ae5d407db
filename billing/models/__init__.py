"""The nouns of billing, one file per subject. Nothing is defined here."""

from billing.models.charges import Charge, PixNotice, Refund, UnmatchedPix
from billing.models.ledger import LedgerEntry, Posting
from billing.models.prices import (
    ExchangeRate,
    Price,
    PriceBook,
    PriceVersion,
    ProviderCost,
    Unit,
    VolumePlan,
    VolumeTier,
)
from billing.models.usage import MonthSpend, SettledBatch, UsageRecord
from billing.models.wallet import ExpiredHold, GatewaySession, Hold, Lot, UnsettledCall, Wallet

__all__ = [
    "Charge",
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
    "Unit",
    "UnmatchedPix",
    "UnsettledCall",
    "UsageRecord",
    "VolumePlan",
    "VolumeTier",
    "Wallet",
]
