"""Coupons: made by staff, redeemed once per organization while they last."""

from __future__ import annotations

import datetime as dt
import re
import secrets

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext

from accounts.models import Organization
from billing.errors import BillingError
from billing.figures import tell_day
from billing.kept_texts import COUPON
from billing.models import Coupon, CouponRedemption, Lot, ReferralCode
from billing.promotions import ends_after, give_grant, last_day
from billing.wallets import wallet_of
from tokia import clock

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # nothing that is read as something else
CODE_LENGTH = 10
CODE = re.compile(r"[A-Z0-9][A-Z0-9-]{2,29}", re.ASCII)


class CodeRefused(BillingError):
    """A code that gives nothing. `code` says which refusal it is: code_unknown, coupon_expired, coupon_gone, …"""

    status = 409

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


def new_code(length: int = CODE_LENGTH) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def tidy(code: str) -> str:
    """As a person types it → as it is kept."""
    return re.sub(r"\s", "", code).upper()


def create_coupon(
    *,
    code: str,
    amount_nanos: int,
    reason: str,
    by: str,
    spend_within_days: int | None = None,
    valid_until: dt.datetime | None = None,
    redemptions_max: int | None = None,
    is_for_new_only: bool = False,
) -> Coupon:
    """A coupon in force; without a code, one that nobody guesses. Raises CodeRefused: no code, or one that exists."""
    wanted = tidy(code) or new_code()
    if not CODE.fullmatch(wanted):
        raise CodeRefused("Use de 3 a 30 letras, números ou hifens, começando por letra ou número.", code="code_malformed")
    if ReferralCode.everywhere.filter(code=wanted).exists():
        raise CodeRefused("Este código já existe.", code="code_taken")
    try:
        with transaction.atomic():
            return Coupon.objects.create(
                code=wanted, amount_nanos=amount_nanos, spend_within_days=spend_within_days, valid_until=valid_until,
                redemptions_max=redemptions_max, is_for_new_only=is_for_new_only, reason=reason[:300], created_by=by[:150],
            )  # fmt: skip
    except IntegrityError:
        raise CodeRefused("Este código já existe.", code="code_taken") from None


def switch_coupon(coupon: Coupon, *, is_active: bool) -> None:
    """Off: nobody redeems it any more; what was given stays given."""
    Coupon.objects.filter(pk=coupon.pk).update(is_active=is_active)
    coupon.refresh_from_db()


def redeem_coupon(coupon: Coupon, *, organization: Organization, by: str) -> CouponRedemption:
    """The coupon's grant, in one transaction with the row that says who took it. Raises CodeRefused.

    The coupon's row is locked: of many who want the last one at once, one gets it. Lock order: coupon, then wallet.
    """
    with transaction.atomic():
        locked = Coupon.objects.select_for_update(no_key=True).get(pk=coupon.pk)
        _check(locked, organization)
        entry = give_grant(
            wallet_of(organization), amount_nanos=locked.amount_nanos, reference=f"coupon:{locked.pk}:{organization.pk}",
            reason=COUPON.format(code=locked.code), by=by, expires_at=ends_after(locked.spend_within_days),
        )  # fmt: skip
        redemption = CouponRedemption.everywhere.create(coupon=locked, organization=organization, entry=entry, redeemed_by=by[:150])
        locked.redeemed += 1
        locked.save(update_fields=["redeemed"])
    return redemption


def _check(coupon: Coupon, organization: Organization) -> None:
    if CouponRedemption.everywhere.filter(coupon=coupon, organization=organization).exists():
        raise CodeRefused(gettext("Sua empresa já usou este cupom."), code="coupon_used")
    if not coupon.is_active:
        raise CodeRefused(gettext("Este cupom não está mais em vigor."), code="coupon_off")
    if coupon.valid_until is not None and coupon.valid_until <= clock.now():
        refusal = gettext("Este cupom expirou: valia até {date}.").format(date=tell_day(last_day(coupon.valid_until)))
        raise CodeRefused(refusal, code="coupon_expired")
    if coupon.redemptions_max is not None and coupon.redeemed >= coupon.redemptions_max:
        raise CodeRefused(gettext("Este cupom esgotou: todos já foram resgatados."), code="coupon_gone")
    if coupon.is_for_new_only and not _is_new(organization, coupon):
        raise CodeRefused(gettext("Este cupom é só para novas empresas, que ainda não recarregaram."), code="coupon_for_new_only")
    if Organization.objects.filter(pk=organization.pk, is_suspended=True).exists():
        raise CodeRefused(gettext("A conta está suspensa. Fale com o suporte."), code="organization_suspended")


def _is_new(organization: Organization, coupon: Coupon) -> bool:
    """It never topped up and never took this coupon; nor did another organization with its tax id."""
    same = Q(pk=organization.pk) | (Q(tax_id=organization.tax_id) if organization.tax_id else Q())
    family = Organization.objects.filter(same)
    return not (
        Lot.everywhere.filter(wallet__organization__in=family, kind=Lot.Kind.PAID, entry__kind="top_up").exists()
        or CouponRedemption.everywhere.filter(coupon=coupon, organization__in=family).exists()
    )
