"""What bounds a top-up, however it is paid: its amount, and how many may await payment at a time.

An organization's LimitProfile says, else the settings. Every opening (PIX, card, Checkout) asks here, under `lock_openings`.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext

from accounts.models import Organization
from billing.figures import tell_brl
from billing.kept_texts import TOP_UP_LEAST, TOP_UP_MOST
from billing.models import CardPayment, Charge, Wallet
from billing.money import BRL, CENTAVO
from billing.pix.errors import TooManyOpenCharges, TopUpRefused
from tokia import clock


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one top-up, in nanos, and of what may be open."""

    min_nanos: int
    max_nanos: int
    open_max: int


def bounds_of(organization: Organization) -> Bounds:
    profile = organization.limit_profile
    bounds = Bounds(settings.TOP_UP_MIN_BRL * BRL, settings.TOP_UP_MAX_BRL * BRL, settings.TOP_UP_OPEN_MAX)
    if profile is None:
        return bounds
    return Bounds(
        min_nanos=bounds.min_nanos if profile.top_up_min_nanos is None else profile.top_up_min_nanos,
        max_nanos=bounds.max_nanos if profile.top_up_max_nanos is None else profile.top_up_max_nanos,
        open_max=bounds.open_max if profile.open_charges_max is None else profile.open_charges_max,
    )


def check_amount(organization: Organization, *, amount_nanos: int) -> None:
    """Raises TopUpRefused for what is no whole number of centavos, or outside the organization's bounds."""
    bounds = bounds_of(organization)
    if amount_nanos % CENTAVO:
        raise TopUpRefused(gettext("O valor precisa ter no máximo duas casas decimais."), param="amount")
    if amount_nanos < bounds.min_nanos:
        raise TopUpRefused(gettext(TOP_UP_LEAST).format(amount=tell_brl(bounds.min_nanos)), param="amount")
    if amount_nanos > bounds.max_nanos:
        raise TopUpRefused(gettext(TOP_UP_MOST).format(amount=tell_brl(bounds.max_nanos)), param="amount")


def lock_openings(wallet: Wallet) -> None:
    """One opening at a time per wallet, until the transaction ends; the application's role may not lock the wallet's own row."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('charge', %s))", [wallet.pk])


def check_open(wallet: Wallet) -> None:
    """Raises TooManyOpenCharges. What people open counts, by PIX or on Stripe's pages; automatic top-ups have their own rule."""
    open_max, now = bounds_of(wallet.organization).open_max, clock.now()
    charges = Charge.everywhere.filter(
        wallet=wallet, status__in=(Charge.Status.OPENING, Charge.Status.PENDING), expires_at__gt=now
    ).count()
    payments = CardPayment.everywhere.filter(
        wallet=wallet, status__in=(CardPayment.Status.OPENING, CardPayment.Status.PENDING), expires_at__gt=now
    ).exclude(how=CardPayment.How.AUTO)  # fmt: skip
    if charges + payments.count() >= open_max:
        refusal = gettext("Já há {count} recargas aguardando pagamento. Pague uma delas ou espere que expirem.")
        raise TooManyOpenCharges(refusal.format(count=open_max))
