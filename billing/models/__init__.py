"""The nouns of billing, one file per subject. Nothing is defined here."""

from billing.models.budgets import Budget, BudgetSpend
from billing.models.cards import AutoTopUp, Card, CardHolder, CardPayment, Dispute, StripeEvent
from billing.models.charges import Charge, PixNotice, Refund, UnmatchedPix
from billing.models.closing import DayClose, MonthClose
from billing.models.comparison import ComparisonParameter
from billing.models.events import Event
from billing.models.exports import Export, ExportPiece
from billing.models.hooks import AlertChoice, AlertState, EventMail, Hook, HookDelivery
from billing.models.ledger import LedgerEntry, Posting
from billing.models.price_guard import PriceApproval, PriceNotice, RateAlarm
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
from billing.models.promotions import (
    CodeGuess,
    Coupon,
    CouponRedemption,
    PromotionRules,
    Referral,
    ReferralCode,
    WelcomeGrant,
)
from billing.models.reconciliation import Difference, ProviderReport, ProviderReportLine, ReconciliationRun
from billing.models.rollups import TagDay, UsageDay
from billing.models.seals import LedgerSeal, SealCheck
from billing.models.usage import MonthSpend, SettledBatch, UsageRecord
from billing.models.wallet import ExpiredHold, GatewaySession, Hold, Lot, UnsettledCall, Wallet

__all__ = [
    "AlertChoice",
    "AlertState",
    "AutoTopUp",
    "Budget",
    "BudgetSpend",
    "Card",
    "CardHolder",
    "CardPayment",
    "Charge",
    "CodeGuess",
    "ComparisonParameter",
    "Contract",
    "Coupon",
    "CouponRedemption",
    "DayClose",
    "Difference",
    "Dispute",
    "Event",
    "EventMail",
    "ExchangeRate",
    "ExpiredHold",
    "Export",
    "ExportPiece",
    "GatewaySession",
    "Hold",
    "Hook",
    "HookDelivery",
    "LedgerEntry",
    "LedgerSeal",
    "Lot",
    "MonthClose",
    "MonthSpend",
    "PixNotice",
    "Posting",
    "Price",
    "PriceApproval",
    "PriceBook",
    "PriceNotice",
    "PriceVersion",
    "PromotionRules",
    "ProviderCost",
    "ProviderReport",
    "ProviderReportLine",
    "RateAlarm",
    "ReconciliationRun",
    "Referral",
    "ReferralCode",
    "Refund",
    "SealCheck",
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
    "WelcomeGrant",
]
