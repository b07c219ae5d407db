"""Finds and repairs. Money is read-only here; every act asks a reason, calls a verb, and leaves an entry or a history line."""

from billing import admin_money, admin_pix, admin_prices

__all__ = ["admin_money", "admin_pix", "admin_prices"]
