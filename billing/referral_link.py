"""The link `/?indicacao=CODE`: kept in a cookie through sign-up, then noted for the organization that was opened."""

from __future__ import annotations

import re

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from accounts.roles import MemberRequest, may
from billing.coupons import CodeRefused, tidy
from billing.figures import tell_brl
from billing.models import PromotionRules
from billing.promotions import rules
from billing.referrals import note_referral

PARAMETER = COOKIE = "indicacao"
COOKIE_SECONDS = 30 * 86_400
_CODE = re.compile(r"[A-Z0-9]{4,12}", re.ASCII)


def link_of(code: str) -> str:
    return f"{settings.WEB_URL}/?{PARAMETER}={code}"


def keep_code(request: HttpRequest, response: HttpResponse) -> None:
    """Remember the code that a visitor came with. Only its shape is looked at: whether it exists is told to nobody here."""
    code = tidy(request.GET.get(PARAMETER, ""))
    if _CODE.fullmatch(code):
        response.set_cookie(
            COOKIE, code, max_age=COOKIE_SECONDS, httponly=True, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE
        )


def follow_code(request: MemberRequest, response: HttpResponse) -> None:
    """Note the referral that the visitor's cookie tells, once; a code that does not count is forgotten without a word."""
    code = request.COOKIES.get(COOKIE, "")
    if not code or not may(request.membership, "billing.top_up"):
        return
    response.delete_cookie(COOKIE, samesite="Lax")
    if not _CODE.fullmatch(code):
        return
    try:
        note_referral(request.membership.organization, code=code)
    except CodeRefused:
        return
    messages.success(request, tell_noted(rules()))


def tell_noted(rules: PromotionRules) -> str:
    """What a person reads when a referral was noted for their organization."""
    told = _("Indicação registrada: {bonus} de bônus quando você recarregar {least} ou mais.")
    return told.format(bonus=tell_brl(rules.referral_nanos), least=tell_brl(rules.referral_top_up_min_nanos))
