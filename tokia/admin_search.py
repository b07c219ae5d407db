"""The admin's search (⌘K): what a person pasted, recognized by its form and found exactly; words look for organizations by name.

Each form asks an index once; nothing is searched through. Who may not look at the rows finds nothing.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator

from django.db.models import Q
from django.http import HttpRequest
from unfold.dataclasses import SearchResult

from accounts.models import ApiKey, Organization, User
from accounts.tax_ids import format_tax_id
from billing.models import CardPayment, Charge, Dispute, LedgerEntry, PixNotice, Refund, UnmatchedPix, UsageRecord
from billing.money import format_brl
from invoices.models import Invoice

FOUND_MAX = 8  # of each kind
NAME_MIN = 3
_BARE = re.compile(r"[.\-/\s]")
_TAX_ID = re.compile(r"[0-9A-Z]{12}\d{2}|\d{11}")
_CALL = re.compile(r"(?:[a-z]+[-_])?([0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})", re.IGNORECASE)
_END_TO_END = re.compile(r"[ED]\d{8}[0-9A-Za-z]{23}")
_TXID = re.compile(r"[0-9A-Za-z]{26,35}")
_STRIPE = re.compile(r"(pi|cs|re|dp|du)_[0-9A-Za-z_]+")
_SECRET = re.compile(r"sk-tokia-[0-9A-Za-z]{10,}")
_SUFFIX = re.compile(r"(?:…|\.\.\.)?([0-9A-Za-z]{4})")
_NUMBER = re.compile(r"\d{1,15}")
_ACCESS_KEY = re.compile(r"\d{50}")
Finding = Iterator[SearchResult]


def search(request: HttpRequest, term: str) -> list[SearchResult]:
    """unfold's COMMAND.search_callback. It hands the term in small letters; identifiers may have capitals, so it is read again."""
    typed = (request.GET.get("s") or term).strip()[:200]
    if not typed:
        return []
    found: list[SearchResult] = []
    for permission, find in _FINDERS:
        if request.user.has_perm(permission):
            found.extend(find(typed))
    return found


def _result(title: object, what: str, link: str, icon: str) -> SearchResult:
    return SearchResult(title=str(title), description=what, link=link, icon=icon)


def _organization(organization: Organization) -> SearchResult:
    what = f"Empresa {format_tax_id(organization.tax_id)}" if organization.tax_id else "Empresa"
    return _result(organization, what, f"/admin/empresas/{organization.pk}/", "apartment")


def _organizations(typed: str) -> Finding:
    bare = _BARE.sub("", typed).upper()
    if _TAX_ID.fullmatch(bare):
        yield from map(_organization, Organization.objects.filter(tax_id=bare).order_by("-pk")[:FOUND_MAX])
    elif "@" in typed:
        members = Organization.objects.filter(Q(memberships__user__email__iexact=typed) | Q(invoice_email__iexact=typed))
        yield from map(_organization, members.distinct().order_by("-pk")[:FOUND_MAX])
    elif len(typed) >= NAME_MIN and not any(char.isdigit() for char in typed):
        named = Organization.objects.filter(Q(name__icontains=typed) | Q(trade_name__icontains=typed))
        yield from map(_organization, named.order_by("-pk")[:FOUND_MAX])


def _people(typed: str) -> Finding:
    if "@" in typed:
        for person in User.objects.filter(email__istartswith=typed).order_by("email")[:FOUND_MAX]:
            yield _result(person.email, person.name or "Pessoa", f"/admin/accounts/user/{person.pk}/change/", "person")


def _keys(typed: str) -> Finding:
    found = ApiKey.everywhere.none()
    if _SECRET.fullmatch(typed):
        found = ApiKey.everywhere.filter(key_hash=hashlib.sha256(typed.encode()).digest())
    elif match := _SUFFIX.fullmatch(typed):
        found = ApiKey.everywhere.filter(suffix=match[1])
    for key in found.select_related("organization").order_by("-pk")[:FOUND_MAX]:
        yield _result(key, f"Chave de {key.organization}", f"/admin/accounts/apikey/{key.pk}/change/", "key")


def _id_in(typed: str) -> uuid.UUID | None:
    match = _CALL.fullmatch(typed)
    return uuid.UUID(match[1]) if match else None


def _calls(typed: str) -> Finding:
    id_ = _id_in(typed)
    if id_ is None:
        return
    for call in UsageRecord.everywhere.filter(pk=id_).select_related("organization"):
        yield _result(call.pk, f"Requisição de {call.organization}", f"/admin/billing/usagerecord/{call.pk}/change/", "list_alt")


def _charges(typed: str) -> Finding:
    id_ = _id_in(typed)
    found = Charge.everywhere.none()
    if id_ is not None:
        found = Charge.everywhere.filter(pk=id_)
    elif _END_TO_END.fullmatch(typed):
        told = PixNotice.objects.filter(end_to_end_id=typed).exclude(txid="").values("txid")
        found = Charge.everywhere.filter(txid__in=told)
    elif _TXID.fullmatch(typed):
        found = Charge.everywhere.filter(txid=typed)
    for charge in found.select_related("wallet__organization")[:FOUND_MAX]:
        what = f"Cobrança PIX de {format_brl(charge.amount_nanos)}, {charge.wallet.organization}"
        yield _result(charge.txid, what, f"/admin/billing/charge/{charge.pk}/change/", "qr_code")


def _unmatched(typed: str) -> Finding:
    if _END_TO_END.fullmatch(typed) or _TXID.fullmatch(typed):
        for pix in UnmatchedPix.objects.filter(Q(end_to_end_id=typed) | Q(txid=typed))[:FOUND_MAX]:
            what = f"PIX não identificado de {format_brl(pix.amount_nanos)}"
            yield _result(pix.end_to_end_id, what, f"/admin/billing/unmatchedpix/{pix.pk}/change/", "help_center")


def _entries(typed: str) -> Finding:
    references = [typed]
    if _END_TO_END.fullmatch(typed):
        references.append(f"pix:{typed}")
    elif typed.startswith("pi_"):
        references.append(f"stripe:{typed}")
    for entry in LedgerEntry.objects.filter(reference__in=references)[:FOUND_MAX]:
        yield _result(entry.reference, entry.get_kind_display(), f"/admin/billing/ledgerentry/{entry.pk}/change/", "menu_book")


def _refunds(typed: str) -> Finding:
    id_ = _id_in(typed)
    condition = Q(pk=id_) if id_ is not None else None
    if condition is None and (_END_TO_END.fullmatch(typed) or typed.startswith("re_")):
        condition = Q(end_to_end_id=typed) | Q(stripe_id=typed)
    if condition is not None:
        for refund in Refund.objects.filter(condition)[:FOUND_MAX]:
            what = f"Devolução de {format_brl(refund.amount_nanos)}: {refund.get_status_display().lower()}"
            yield _result(refund.pk, what, f"/admin/billing/refund/{refund.pk}/change/", "undo")


def _cards(typed: str) -> Finding:
    id_ = _id_in(typed)
    condition = Q(pk=id_) if id_ is not None else None
    if condition is None and _STRIPE.fullmatch(typed):
        condition = Q(intent_id=typed) | Q(session_id=typed)
    if condition is not None:
        for payment in CardPayment.everywhere.filter(condition).select_related("wallet__organization")[:FOUND_MAX]:
            what = f"Recarga de {format_brl(payment.amount_nanos)}, {payment.wallet.organization}"
            link = f"/admin/billing/cardpayment/{payment.pk}/change/"
            yield _result(payment.intent_id or payment.pk, what, link, "credit_card")


def _disputes(typed: str) -> Finding:
    if _STRIPE.fullmatch(typed):
        for dispute in Dispute.everywhere.filter(stripe_id=typed):
            yield _result(dispute.stripe_id, "Contestação", f"/admin/billing/dispute/{dispute.pk}/change/", "gavel")


def _notes(typed: str) -> Finding:
    bare = _BARE.sub("", typed)
    found = Invoice.everywhere.none()
    if _ACCESS_KEY.fullmatch(bare):
        found = Invoice.everywhere.filter(access_key=bare)
    elif _NUMBER.fullmatch(typed):
        found = Invoice.everywhere.filter(nfse_number=typed)
    shown = found.select_related("organization").only("nfse_number", "number", "organization")
    for invoice in shown.order_by("-pk")[:FOUND_MAX]:
        what = f"Nota fiscal de {invoice.organization}"
        yield _result(invoice, what, f"/admin/invoices/invoice/{invoice.pk}/change/", "receipt_long")


_FINDERS: tuple[tuple[str, Callable[[str], Finding]], ...] = (
    ("accounts.view_organization", _organizations),
    ("accounts.view_user", _people),
    ("accounts.view_apikey", _keys),
    ("billing.view_usagerecord", _calls),
    ("billing.view_charge", _charges),
    ("billing.view_unmatchedpix", _unmatched),
    ("billing.view_ledgerentry", _entries),
    ("billing.view_refund", _refunds),
    ("billing.view_cardpayment", _cards),
    ("billing.view_dispute", _disputes),
    ("invoices.view_invoice", _notes),
)
