"""Promotional money: given, told, warned about before it ends. Coupons and referrals give it through here.

It is used before paid money, is never returned nor invoiced (`UsageRecord.paid_nanos` is what invoices read), and may end. The
rules of what is given without a coupon are one row, changed by staff with a reason.

The welcome is given once per organization, and once per tax id, when an owner's e-mail is confirmed and the CNPJ or CPF is filled
in; a task finds who is due, so nothing at sign-up waits for it.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Lower
from django.utils.translation import gettext_noop

from accounts.models import Organization, Role
from billing import events, ledger
from billing.errors import BillingError
from billing.models import Event, LedgerEntry, Lot, PromotionRules, Wallet, WelcomeGrant
from billing.money import CENTAVO, to_brl
from billing.wallets import wallet_of
from tokia import clock

log = logging.getLogger("billing.promotions")

YOUNGEST_WARNED = dt.timedelta(days=1)  # a grant of today has just told when it ends


class RulesRefused(BillingError):
    """Rules that can't be."""

    code = "promotion_rules_refused"
    status = 400


# ── Giving ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def give_grant(
    wallet: Wallet, *, amount_nanos: int, reference: str, reason: str, by: str, expires_at: dt.datetime | None = None
) -> LedgerEntry:
    """Promotional money for a wallet, and its owner is told. The same reference again is the same grant, told once.

    It never ends before what is left of an older one. Raises ReferenceReused.
    """
    with transaction.atomic():
        entry = ledger.grant(
            wallet, amount_nanos=amount_nanos, reference=reference, actor=by, reason=reason, expires_at=expires_at
        )  # fmt: skip
        ends_at = Lot.everywhere.get(entry=entry).expires_at
        events.tell(
            wallet.organization, "credit.granted", reference=f"credit.granted:{entry.pk}",
            payload=_payload(amount_nanos, ends_at=ends_at, reason=reason),
        )  # fmt: skip
    return entry


def ends_after(days: int | None) -> dt.datetime | None:
    """The end of the last day, in Brazil, of money that lasts so many days beyond today; None lasts."""
    return None if days is None else end_of_day(clock.today_in_brazil() + dt.timedelta(days=days))


def end_of_day(on: dt.date) -> dt.datetime:
    return dt.datetime.combine(on + dt.timedelta(days=1), dt.time(), clock.SAO_PAULO).astimezone(dt.UTC)


def _payload(amount_nanos: int, *, ends_at: dt.datetime | None, reason: str) -> dict[str, Any]:
    return {
        "amount": f"{to_brl(amount_nanos - amount_nanos % CENTAVO):.2f}",
        "expires_at": ends_at.isoformat() if ends_at else None,
        "reason": reason,
    }


# ── The rules ────────────────────────────────────────────────────────────────────────────────────────────────────────
def rules() -> PromotionRules:
    """The rules in force; the defaults (all off) before anybody set them."""
    return PromotionRules.objects.filter(pk=1).first() or PromotionRules()


def change_rules(*, by: str, **changes: Any) -> PromotionRules:
    """New rules for what is given from now on. The welcome, when it is turned on, is for organizations opened since.

    Raises RulesRefused.
    """
    amounts = ("welcome_nanos", "referral_nanos", "referral_top_up_min_nanos", "welcome_days", "referral_days")
    if any(changes.get(name, 1) <= 0 for name in amounts):
        raise RulesRefused("Valores e dias precisam ser positivos.")
    with transaction.atomic():
        PromotionRules.objects.get_or_create(pk=1)
        found = PromotionRules.objects.select_for_update().get(pk=1)
        was_on = found.welcome_is_on
        for name, value in changes.items():
            setattr(found, name, value)
        if found.welcome_is_on and not was_on:
            found.welcome_since = clock.now()
        found.changed_by, found.changed_at = by[:150], clock.now()
        found.save()
    return found


# ── The welcome ──────────────────────────────────────────────────────────────────────────────────────────────────────
def grant_welcomes() -> int:
    """Give the welcome to whoever is due. Returns to how many."""
    current = rules()
    if not current.welcome_is_on or current.welcome_since is None:
        return 0
    return sum(give_welcome(organization, current) is not None for organization in _due(current.welcome_since)[:200])


def give_welcome(organization: Organization, current: PromotionRules) -> WelcomeGrant | None:
    """None where the organization, or another one with its tax id, had it before."""
    try:
        with transaction.atomic():
            entry = give_grant(
                wallet_of(organization), amount_nanos=current.welcome_nanos, reference=f"welcome:{organization.pk}",
                reason=gettext_noop("Boas-vindas"), by="billing", expires_at=ends_after(current.welcome_days),
            )  # fmt: skip
            return WelcomeGrant.everywhere.create(organization=organization, tax_id=organization.tax_id, entry=entry)
    except IntegrityError:
        log.info("the welcome was given before", extra={"organization": organization.pk})
        return None


def welcome_offered_to(organization: Organization) -> int:
    """The welcome in nanos that waits for an organization; 0 where there is none, or it was given to it or to its tax id."""
    current = rules()
    if not current.welcome_is_on or current.welcome_since is None or organization.created_at < current.welcome_since:
        return 0
    given = WelcomeGrant.everywhere.filter(Q(organization=organization) | Q(tax_id=organization.tax_id))
    return 0 if given.exists() else current.welcome_nanos


def _due(since: dt.datetime) -> QuerySet[Organization]:
    owner = {"memberships__role": Role.OWNER, "memberships__user__emailaddress__verified": True}
    return (
        Organization.objects.filter(created_at__gte=since, is_suspended=False, welcome__isnull=True, **owner)
        .annotate(confirmed=Lower("memberships__user__emailaddress__email"))
        .filter(confirmed=Lower(F("memberships__user__email")))
        .exclude(tax_id="")
        .exclude(tax_id__in=WelcomeGrant.everywhere.values("tax_id"))
        .distinct()
        .order_by("pk")
    )


# ── Its end ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def tell_expiring() -> int:
    """Tell, once per grant, what ends within PROMO_WARNING_DAYS and is not used yet. Returns how many were told."""
    now = clock.now()
    soon = now + dt.timedelta(days=settings.PROMO_WARNING_DAYS)
    ending = Lot.everywhere.filter(
        kind=Lot.Kind.PROMO, expires_at__gt=now, expires_at__lte=soon, created_at__lte=now - YOUNGEST_WARNED,
        wallet__promo_nanos__gt=0,
    ).select_related("wallet__organization", "entry")  # fmt: skip
    lots = {f"credit.expiring:{lot.pk}": lot for lot in ending}
    told = set(Event.everywhere.filter(reference__in=lots).values_list("reference", flat=True))
    number = 0
    for reference, lot in lots.items():
        left = ledger.lot_remaining(lot) if reference not in told else 0
        if left >= CENTAVO:
            payload = _payload(left, ends_at=lot.expires_at, reason=lot.entry.reason)
            number += events.tell(lot.wallet.organization, "credit.expiring", reference=reference, payload=payload) is not None
    return number


@dataclass(frozen=True, slots=True)
class Ending:
    nanos: int
    last_on: dt.date  # the last day, in Brazil, on which it may be used


def last_day(expires_at: dt.datetime) -> dt.date:
    """The last day, in Brazil, of money that ends at an instant (mostly the midnight after it)."""
    return (expires_at - dt.timedelta(seconds=1)).astimezone(clock.SAO_PAULO).date()


def next_to_end(wallet: Wallet) -> Ending | None:
    """What of the promotional money ends first, and when; None where none ends."""
    rows = ledger.call_table(
        "SELECT sum(r.remaining)::bigint, l.expires_at FROM billing_lots(%s) r JOIN billing_lot l ON l.id = r.lot_id"
        " WHERE l.kind = 'promo' AND r.remaining > 0 AND l.expires_at > %s GROUP BY l.expires_at ORDER BY l.expires_at LIMIT 1",
        wallet.pk, clock.now(),
    )  # fmt: skip
    return Ending(int(rows[0][0]), last_day(rows[0][1])) if rows else None
