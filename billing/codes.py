"""A code that somebody types: a coupon, or another organization's referral. Wrong ones are counted: nobody goes through them all.

The count is in PostgreSQL: the limit holds while Valkey is away.
"""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils.translation import gettext

from accounts.models import Organization, User
from billing.coupons import CodeRefused, redeem_coupon, tidy
from billing.models import CodeGuess, Coupon, CouponRedemption, Referral, ReferralCode
from billing.referrals import note_referral
from tokia import clock

WINDOW = dt.timedelta(hours=1)
KEPT = dt.timedelta(days=1)


class TooManyGuesses(CodeRefused):
    """CODE_GUESSES_MAX wrong codes within the hour, by the person or in the organization."""

    status = 429

    def __init__(self) -> None:
        super().__init__(
            gettext("Muitas tentativas com códigos que não existem. Tente de novo em uma hora."), code="too_many_guesses"
        )


def use_code(organization: Organization, *, code: str, user: User) -> CouponRedemption | Referral:
    """What the code gives: a coupon's grant now, or a referral that pays later. Raises CodeRefused."""
    typed = tidy(code)
    coupon, is_referral = _find(typed, organization=organization, user=user)
    if coupon is not None:
        return redeem_coupon(coupon, organization=organization, by=user.email)
    if is_referral:
        return note_referral(organization, code=typed)
    raise CodeRefused(gettext("Este código não existe. Confira e tente de novo."), code="code_unknown")


def _find(typed: str, *, organization: Organization, user: User) -> tuple[Coupon | None, bool]:
    """One look at a time per person and per organization: guesses made at once are counted like guesses in turn.

    A coupon that was switched off is none, but for those who took it.
    """
    with transaction.atomic():
        for name, number in (("code-guess-user", user.pk), ("code-guess-organization", organization.pk)):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, number])
        now = clock.now()
        guesses = CodeGuess.everywhere.filter(Q(user=user) | Q(organization=organization), guessed_at__gt=now - WINDOW)
        if guesses.count() >= settings.CODE_GUESSES_MAX:
            raise TooManyGuesses
        coupon = Coupon.objects.filter(Q(is_active=True) | Q(redemptions__organization=organization), code=typed).first()
        is_referral = coupon is None and ReferralCode.everywhere.filter(code=typed).exists()
        if coupon is None and not is_referral:
            CodeGuess.everywhere.filter(guessed_at__lt=now - KEPT).delete()
            CodeGuess.everywhere.create(organization=organization, user=user, guessed_at=now)
    return coupon, is_referral
