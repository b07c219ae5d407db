"""One organization brings another, and both get promotional money when the other one's first top-up of the minimum stands.

The code travels in a link (`/?indicacao=CODE`) and a cookie to the organization's first page; or it is typed where coupons are.
Not oneself, not the same tax id, not the same people; one referral per organization, and per tax id one that pays. Beyond its limit
of a month, who refers gets nothing, and who was referred still does.
"""

from __future__ import annotations

import datetime as dt
import logging

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils.translation import gettext, gettext_noop

from accounts.models import Membership, Organization
from billing.coupons import CodeRefused, new_code
from billing.models import Coupon, LedgerEntry, Lot, PromotionRules, Referral, ReferralCode, Wallet
from billing.promotions import ends_after, give_grant, rules
from billing.wallets import wallet_of
from tokia import clock
from tokia.clock import Month

log = logging.getLogger("billing.promotions")

CODE_LENGTH = 8
BATCH = 200
SAME_TAX_ID = gettext_noop("Indicação entre empresas do mesmo CNPJ ou CPF não vale.")
SAME_PEOPLE = gettext_noop("Indicação entre empresas com a mesma pessoa na equipe não vale.")
MONTH_IS_FULL = gettext_noop("Limite de indicações do mês atingido.")
FIRST_TOP_UP = gettext_noop("Bônus de indicação: sua primeira recarga")
BROUGHT_ONE = gettext_noop("Bônus de indicação: uma empresa que você indicou")
SECOND_OF_TAX_ID = gettext_noop("Outra empresa com este CNPJ ou CPF já foi indicada.")


def code_of(organization: Organization) -> ReferralCode:
    """The organization's code, made at first use."""
    while True:
        found = ReferralCode.everywhere.filter(organization=organization).first()
        if found is not None:
            return found
        code = new_code(CODE_LENGTH)
        if Coupon.objects.filter(code=code).exists():
            continue
        try:
            with transaction.atomic():
                return ReferralCode.everywhere.create(organization=organization, code=code)
        except IntegrityError:  # made this instant by another request, or the code is somebody's
            continue


def note_referral(organization: Organization, *, code: str) -> Referral:
    """Whose code brought this organization. It pays nothing yet. Raises CodeRefused."""
    if not rules().referral_is_on:
        raise CodeRefused(gettext("O programa de indicações não está ativo agora."), code="referral_off")
    found = ReferralCode.everywhere.select_related("organization").filter(code=code).first()
    if found is None:
        raise CodeRefused(gettext("Este código não existe. Confira e tente de novo."), code="code_unknown")
    referrer = found.organization
    if referrer.pk == organization.pk:
        raise CodeRefused(gettext("Este é o código da sua própria empresa."), code="referral_own")
    if refusal := _refusal(referrer, organization):
        raise CodeRefused(gettext(refusal), code="referral_same")
    if _top_ups(organization).exists():
        raise CodeRefused(gettext("Uma indicação vale antes da primeira recarga."), code="referral_late")
    try:
        with transaction.atomic():
            return Referral.everywhere.create(referrer=referrer, referred=organization)
    except IntegrityError:
        raise CodeRefused(gettext("Sua empresa já tem uma indicação registrada."), code="referral_known") from None


def refuse_referral(referral: Referral, *, reason: str) -> bool:
    """A person decides that it does not count. False where it was decided before."""
    changed = Referral.everywhere.filter(pk=referral.pk, status=Referral.Status.PENDING).update(
        status=Referral.Status.REFUSED, reason=reason[:200], decided_at=clock.now()
    )
    return bool(changed)


# ── Paying ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def reward_referrals() -> int:
    """Pay the referrals whose top-up stands. Returns how many were paid."""
    current = rules()
    if not current.referral_is_on:
        return 0
    standing = _standing(current).filter(wallet__organization=OuterRef("referred"))
    due = Referral.everywhere.filter(Exists(standing), status=Referral.Status.PENDING, referred__is_suspended=False)
    return sum(reward(referral, current) for referral in due.exclude(referred__tax_id="").order_by("pk")[:BATCH])


def reward(referral: Referral, current: PromotionRules) -> bool:
    """Give both their grants, once. False where it does not count, or was decided before.

    Lock order: the tax id, the referrer's code (its month is counted under it), the referral, then wallets by id.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:  # two referrals of one tax id are decided one after the other
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"referral:{referral.referred.tax_id}"])
        ReferralCode.everywhere.select_for_update().filter(organization=referral.referrer_id).first()
        locked = Referral.everywhere.select_for_update(of=("self",)).select_related("referrer", "referred").get(pk=referral.pk)
        if locked.status != Referral.Status.PENDING:
            return False
        refusal = _refusal(locked.referrer, locked.referred) or _second_of_tax_id(locked)
        if refusal:
            refuse_referral(locked, reason=refusal)
            return False
        gets_too = not locked.referrer.is_suspended and paid_this_month(locked.referrer) < current.referral_monthly_max
        entries = _give_both(locked, current, gets_too=gets_too)
        Referral.everywhere.filter(pk=locked.pk).update(
            status=Referral.Status.REWARDED, decided_at=clock.now(), referred_entry=entries["referred"],
            referrer_entry=entries.get("referrer"), reason="" if gets_too else MONTH_IS_FULL,
        )  # fmt: skip
    return True


def _give_both(referral: Referral, current: PromotionRules, *, gets_too: bool) -> dict[str, LedgerEntry]:
    sides: list[tuple[Wallet, str, str]] = [(wallet_of(referral.referred), "referred", FIRST_TOP_UP)]
    if gets_too:
        sides.append((wallet_of(referral.referrer), "referrer", BROUGHT_ONE))
    return {
        side: give_grant(
            wallet, amount_nanos=current.referral_nanos, reference=f"referral:{referral.pk}:{side}", reason=reason, by="billing",
            expires_at=ends_after(current.referral_days),
        )
        for wallet, side, reason in sorted(sides, key=lambda item: item[0].pk)
    }  # fmt: skip


def paid_this_month(organization: Organization) -> int:
    """Referrals that paid this organization in Brazil's month."""
    return Referral.everywhere.filter(
        referrer=organization, referrer_entry__isnull=False, decided_at__gte=Month.current().starts_at()
    ).count()


def _standing(current: PromotionRules) -> QuerySet[Lot]:
    """Top-ups of the minimum that were neither returned nor disputed, old enough."""
    return Lot.everywhere.filter(
        kind=Lot.Kind.PAID, entry__kind="top_up",
        amount_nanos__gte=current.referral_top_up_min_nanos + F("withdrawn_nanos") + F("reserved_nanos"),
        created_at__lte=clock.now() - dt.timedelta(days=current.referral_wait_days),
    )  # fmt: skip


def _top_ups(organization: Organization) -> QuerySet[Lot]:
    return Lot.everywhere.filter(wallet__organization=organization, kind=Lot.Kind.PAID, entry__kind="top_up")


def _refusal(referrer: Organization, referred: Organization) -> str:
    if referrer.tax_id and referrer.tax_id == referred.tax_id:
        return SAME_TAX_ID
    theirs = Membership.everywhere.filter(organization=referrer).values("user")
    return SAME_PEOPLE if Membership.everywhere.filter(organization=referred, user__in=theirs).exists() else ""


def _second_of_tax_id(referral: Referral) -> str:
    rewarded = Referral.everywhere.filter(status=Referral.Status.REWARDED, referred__tax_id=referral.referred.tax_id)
    return SECOND_OF_TAX_ID if rewarded.exists() else ""
