"""The nouns of invoices, one file per subject. Nothing is defined here."""

from invoices.models.documents import Invoice, InvoiceEvent, InvoiceLine
from invoices.models.issuers import Certificate, CityTerms, DpsSeries, InvoicePolicy, Issuer, TaxTerms
from invoices.models.takers import FiscalProfile

__all__ = [
    "Certificate", "CityTerms", "DpsSeries", "FiscalProfile", "Invoice", "InvoiceEvent", "InvoiceLine", "InvoicePolicy", "Issuer",
    "TaxTerms",
]  # fmt: skip
