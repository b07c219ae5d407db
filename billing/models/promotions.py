"""Promotional money: coupons, the welcome, referrals, and the one row of rules. What is given is a lot of kind promo (`wallet.py`).

Rows that say who got what (CouponRedemption, WelcomeGrant) are append-only: they are why nobody gets it twice.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization, User
from accounts.tenancy import TenantManager


class Coupon(models.Model):
    """A code that gives promotional money, once per organization. Never deleted: it is switched off."""

    code = models.CharField("código", max_length=30, unique=True)  # upper-case letters, digits, hyphens
    amount_nanos = models.BigIntegerField("valor")
    spend_within_days = models.PositiveSmallIntegerField("gastar em (dias)", null=True, blank=True)  # empty: does not expire
    valid_until = models.DateTimeField("resgatar até", null=True, blank=True)  # empty: no end
    redemptions_max = models.PositiveIntegerField("resgates no máximo", null=True, blank=True)  # empty: no limit
    redeemed = models.PositiveIntegerField("resgates", default=0)  # counted under the row's lock, with the grant
    is_for_new_only = models.BooleanField("só para novas empresas", default=False)  # that never topped up
    is_active = models.BooleanField("em vigor", default=True)
    reason = models.CharField("motivo", max_length=300)
    created_by = models.CharField("criado por", max_length=150)
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    class Meta:
        verbose_name = "cupom"
        verbose_name_plural = "cupons"
        constraints = [
            models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="coupon_amount_positive"),
            models.CheckConstraint(condition=Q(code__regex=r"^[A-Z0-9][A-Z0-9-]{2,29}$"), name="coupon_code_in_capitals"),
            models.CheckConstraint(
                condition=Q(redemptions_max__isnull=True) | Q(redeemed__lte=F("redemptions_max")), name="coupon_within_its_limit"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class CouponRedemption(models.Model):
    """An organization took a coupon. Written in the transaction of its grant."""

    coupon = models.ForeignKey(Coupon, models.PROTECT, related_name="redemptions", verbose_name="cupom")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="coupons", verbose_name="empresa")
    entry = models.OneToOneField("billing.LedgerEntry", models.PROTECT, related_name="+", verbose_name="lançamento")
    redeemed_by = models.CharField("resgatado por", max_length=150)
    created_at = models.DateTimeField("em", auto_now_add=True)

    objects = TenantManager["CouponRedemption"]()
    everywhere: ClassVar[models.Manager[CouponRedemption]] = models.Manager()

    class Meta:
        verbose_name = "resgate de cupom"
        verbose_name_plural = "resgates de cupons"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["coupon", "organization"], name="coupon_once_per_organization")]


class CodeGuess(models.Model):
    """A code that does not exist, typed by somebody. Counted here and not in Valkey: the limit holds while Valkey is away."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", verbose_name="empresa")
    user = models.ForeignKey(User, models.CASCADE, related_name="+", verbose_name="usuário")
    guessed_at = models.DateTimeField("em", db_index=True)

    objects = TenantManager["CodeGuess"]()
    everywhere: ClassVar[models.Manager[CodeGuess]] = models.Manager()

    class Meta:
        verbose_name = "código errado"
        verbose_name_plural = "códigos errados"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"


class PromotionRules(models.Model):
    """What is given without a coupon: one row, changed by staff with a reason. Both switches start off."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    welcome_is_on = models.BooleanField("bônus de boas-vindas", default=False)
    welcome_nanos = models.BigIntegerField("valor de boas-vindas", default=10 * 10**9)
    welcome_days = models.PositiveSmallIntegerField("boas-vindas: gastar em (dias)", default=30)
    # Organizations opened before it was last turned on get none.
    welcome_since = models.DateTimeField("boas-vindas desde", null=True, blank=True)
    referral_is_on = models.BooleanField("indicações", default=False)
    referral_nanos = models.BigIntegerField("valor da indicação, para cada lado", default=25 * 10**9)
    referral_days = models.PositiveSmallIntegerField("indicação: gastar em (dias)", default=60)
    referral_top_up_min_nanos = models.BigIntegerField("recarga mínima da indicada", default=50 * 10**9)
    # So many days after that top-up, if it still stands (7: past the time in which it can be returned by one click). 0: at once.
    referral_wait_days = models.PositiveSmallIntegerField("esperar (dias) depois da recarga", default=0)
    referral_monthly_max = models.PositiveSmallIntegerField("indicações pagas por mês, por empresa", default=10)
    changed_by = models.CharField("mudadas por", max_length=150, blank=True)
    changed_at = models.DateTimeField("mudadas em", null=True, blank=True)

    class Meta:
        verbose_name = "regras de promoção"
        verbose_name_plural = "regras de promoção"
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="promotion_rules_are_one_row"),
            models.CheckConstraint(
                condition=Q(welcome_nanos__gt=0) & Q(referral_nanos__gt=0) & Q(referral_top_up_min_nanos__gt=0),
                name="promotion_amounts_positive",
            ),
            models.CheckConstraint(condition=Q(welcome_days__gt=0) & Q(referral_days__gt=0), name="promotion_days_positive"),
        ]

    def __str__(self) -> str:
        return "Regras de promoção"


class WelcomeGrant(models.Model):
    """The welcome that an organization got: once, and once per tax id, whoever opens another organization with it."""

    organization = models.OneToOneField(Organization, models.PROTECT, related_name="welcome", verbose_name="empresa")
    tax_id = models.CharField("CNPJ ou CPF", max_length=14, unique=True)  # as it was then
    entry = models.OneToOneField("billing.LedgerEntry", models.PROTECT, related_name="+", verbose_name="lançamento")
    created_at = models.DateTimeField("em", auto_now_add=True)

    objects = TenantManager["WelcomeGrant"]()
    everywhere: ClassVar[models.Manager[WelcomeGrant]] = models.Manager()

    class Meta:
        verbose_name = "bônus de boas-vindas"
        verbose_name_plural = "bônus de boas-vindas"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"


class ReferralCode(models.Model):
    """An organization's own code to refer others; made when its page is first opened."""

    organization = models.OneToOneField(Organization, models.CASCADE, related_name="referral_code", verbose_name="empresa")
    code = models.CharField("código", max_length=12, unique=True)
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    objects = TenantManager["ReferralCode"]()
    everywhere: ClassVar[models.Manager[ReferralCode]] = models.Manager()

    class Meta:
        verbose_name = "código de indicação"
        verbose_name_plural = "códigos de indicação"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"

    def __str__(self) -> str:
        return self.code


class Referral(models.Model):
    """One organization brought another. Both get their grant when the other one's first top-up of the minimum stands."""

    class Status(models.TextChoices):
        PENDING = "pending", _("Aguardando a primeira recarga")
        REWARDED = "rewarded", _("Bônus creditado")
        REFUSED = "refused", _("Não vale")  # the reason says why

    referrer = models.ForeignKey(Organization, models.PROTECT, related_name="referrals", verbose_name="quem indicou")
    referred = models.OneToOneField(Organization, models.PROTECT, related_name="referred_by", verbose_name="indicada")
    status = models.CharField("situação", max_length=8, choices=Status.choices, default=Status.PENDING)
    reason = models.CharField("motivo", max_length=200, blank=True)
    # Empty for the referrer beyond its monthly limit.
    referrer_entry = models.OneToOneField(
        "billing.LedgerEntry", models.PROTECT, null=True, blank=True, related_name="+", verbose_name="bônus de quem indicou"
    )
    referred_entry = models.OneToOneField(
        "billing.LedgerEntry", models.PROTECT, null=True, blank=True, related_name="+", verbose_name="bônus da indicada"
    )
    created_at = models.DateTimeField("em", auto_now_add=True)
    decided_at = models.DateTimeField("decidida em", null=True, blank=True)

    objects = TenantManager["Referral"]("referrer")
    everywhere: ClassVar[models.Manager[Referral]] = models.Manager()

    class Meta:
        verbose_name = "indicação"
        verbose_name_plural = "indicações"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.CheckConstraint(condition=~Q(referrer=F("referred")), name="referral_of_another"),
            models.CheckConstraint(
                condition=Q(status="rewarded") ^ Q(referred_entry__isnull=True), name="referral_rewarded_with_its_entry"
            ),
        ]
        indexes = [models.Index(fields=["referrer", "decided_at"], name="referral_by_referrer")]
