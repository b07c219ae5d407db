"""Finds and repairs. Every act has its page, asks a reason, calls a verb, and leaves a line in the history."""

from invoices import (
    admin_answers,
    admin_certificates,
    admin_cities,
    admin_invoices,
    admin_issuers,
    admin_rules,
    admin_series,
    admin_takers,
)

__all__ = [
    "admin_answers",
    "admin_certificates",
    "admin_cities",
    "admin_invoices",
    "admin_issuers",
    "admin_rules",
    "admin_series",
    "admin_takers",
]
