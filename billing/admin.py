"""Finds and repairs. Money is read-only here; every act asks a reason, calls a verb, and leaves an entry or a history line."""

from billing import (
    admin_budgets,
    admin_cards,
    admin_comparison,
    admin_exchange,
    admin_hooks,
    admin_limits,
    admin_money,
    admin_pix,
    admin_price_guard,
    admin_prices,
    admin_promotions,
    admin_reconciliation,
    admin_seals,
    admin_volume,
)

__all__ = [
    "admin_budgets",
    "admin_cards",
    "admin_comparison",
    "admin_exchange",
    "admin_hooks",
    "admin_limits",
    "admin_money",
    "admin_pix",
    "admin_price_guard",
    "admin_prices",
    "admin_promotions",
    "admin_reconciliation",
    "admin_seals",
    "admin_volume",
]
