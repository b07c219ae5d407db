"""A wallet and what is reserved in it. Only the SQL functions of `billing/sql/` write these tables."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization
from accounts.tenancy import TenantManager


class Wallet(models.Model):
    """An organization's prepaid money, in nano-reais. available = posted − held, never below zero for any reader."""

    organization = models.OneToOneField(Organization, models.PROTECT, related_name="wallet", verbose_name="empresa")
    volume_plan = models.ForeignKey(
        "billing.VolumePlan", models.PROTECT, null=True, blank=True, verbose_name="plano de volume"
    )  # empty: the plan in force
    posted_nanos = models.BigIntegerField("lançado", default=0)
    held_nanos = models.BigIntegerField("reservado", default=0)
    promo_nanos = models.BigIntegerField("promocional", default=0)  # the part of posted that was granted, used first
    overdraft_nanos = models.BigIntegerField("a receber", default=0)  # settled beyond the money there; a top-up pays it first
    # Cumulative consumption per kind of lot; a lot's remaining is derived from them, so no settlement touches a lot row.
    paid_used_nanos = models.BigIntegerField(default=0)
    promo_used_nanos = models.BigIntegerField(default=0)
    low_balance_nanos = models.BigIntegerField("avisar abaixo de", null=True, blank=True)  # empty: LOW_BALANCE_BRL
    created_at = models.DateTimeField("aberta em", auto_now_add=True)

    objects = TenantManager["Wallet"]()
    everywhere: ClassVar[models.Manager[Wallet]] = models.Manager()

    class Meta:
        verbose_name = "carteira"
        verbose_name_plural = "carteiras"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.CheckConstraint(condition=Q(held_nanos__gte=0), name="wallet_held_not_negative"),
            models.CheckConstraint(condition=Q(posted_nanos__gte=F("held_nanos")), name="wallet_available_not_negative"),
            models.CheckConstraint(condition=Q(overdraft_nanos__gte=0), name="wallet_overdraft_not_negative"),
            models.CheckConstraint(
                condition=Q(promo_nanos__gte=0) & Q(promo_nanos__lte=F("posted_nanos")),
                name="wallet_promo_within_posted",
            ),
        ]

    def __str__(self) -> str:
        return f"Carteira de {self.organization}"

    @property
    def available_nanos(self) -> int:
        return self.posted_nanos - self.held_nanos


class Lot(models.Model):
    """Money that came in at once: a top-up (paid) or a grant (promo). Lots of a kind are consumed in id order.

    A lot's size for consumption is amount − withdrawn − reserved; its remaining is that size minus what the wallet's
    cumulative counter of this kind has eaten into it.
    """

    class Kind(models.TextChoices):
        PAID = "paid", _("Pago")
        PROMO = "promo", _("Promocional")

    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="lots", verbose_name="carteira")
    entry = models.OneToOneField("billing.LedgerEntry", models.PROTECT, related_name="lot", verbose_name="lançamento")
    kind = models.CharField("tipo", max_length=5, choices=Kind.choices)
    amount_nanos = models.BigIntegerField("valor")
    withdrawn_nanos = models.BigIntegerField("retirado", default=0)  # refunded or expired
    reserved_nanos = models.BigIntegerField("em devolução", default=0)  # a refund under way
    expires_at = models.DateTimeField("expira em", null=True, blank=True)  # promo only; never earlier than an older lot's rest
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    objects = TenantManager["Lot"]("wallet__organization")
    everywhere: ClassVar[models.Manager[Lot]] = models.Manager()

    class Meta:
        verbose_name = "lote"
        verbose_name_plural = "lotes"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="lot_amount_positive"),
            models.CheckConstraint(
                condition=Q(withdrawn_nanos__gte=0)
                & Q(reserved_nanos__gte=0)
                & Q(amount_nanos__gte=F("withdrawn_nanos") + F("reserved_nanos")),
                name="lot_parts_within_amount",
            ),
        ]


class GatewaySession(models.Model):
    """One gateway process. A silent one is reaped: its holds expire and it can hold nothing any more (fencing)."""

    class State(models.TextChoices):
        LIVE = "live", "Ativa"
        DRAINING = "draining", "Encerrando"  # finishes its calls, admits none
        REAPED = "reaped", "Encerrada"  # for ever

    host = models.CharField("processo", max_length=100)
    state = models.CharField("situação", max_length=8, choices=State.choices, default=State.LIVE)
    started_at = models.DateTimeField("desde", auto_now_add=True)
    expires_at = models.DateTimeField("expira em")

    class Meta:
        verbose_name = "processo do gateway"
        verbose_name_plural = "processos do gateway"


class Hold(models.Model):
    """Money reserved for one call (id = the call's id) or one refund. Gone when settled, released or expired."""

    class Purpose(models.TextChoices):
        CALL = "call", "Chamada"
        REFUND = "refund", "Devolução"

    id = models.UUIDField(primary_key=True)
    # No foreign keys in the database: the functions lock wallet and session themselves, and a check per row costs as much again.
    wallet = models.ForeignKey(
        Wallet, models.PROTECT, related_name="holds", db_constraint=False, db_index=False, verbose_name="carteira"
    )
    purpose = models.CharField("motivo", max_length=6, choices=Purpose.choices, default=Purpose.CALL)
    amount_nanos = models.BigIntegerField("valor")
    session = models.ForeignKey(
        GatewaySession, models.PROTECT, null=True, blank=True, db_constraint=False, verbose_name="processo"
    )  # of a call
    lot = models.ForeignKey(
        Lot, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False, db_index=False, verbose_name="lote"
    )  # of a refund
    # The windows of budgets (BudgetSpend) that hold the same amount; empty: none.
    spends = ArrayField(models.BigIntegerField(), null=True, blank=True, editable=False)
    created_at = models.DateTimeField("desde", auto_now_add=True)

    objects = TenantManager["Hold"]("wallet__organization")
    everywhere: ClassVar[models.Manager[Hold]] = models.Manager()

    class Meta:
        verbose_name = "reserva"
        verbose_name_plural = "reservas"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="hold_amount_positive")]


class ExpiredHold(models.Model):
    """A call that never ended: its gateway died, the customer pays nothing. Also the metric of what we served unbilled."""

    id = models.UUIDField(primary_key=True)
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="+", db_constraint=False, verbose_name="carteira")
    amount_nanos = models.BigIntegerField("valor")
    session = models.ForeignKey(GatewaySession, models.PROTECT, null=True, blank=True, db_constraint=False, verbose_name="processo")
    spends = ArrayField(models.BigIntegerField(), null=True, blank=True, editable=False)  # of the hold
    created_at = models.DateTimeField("expirou em", auto_now_add=True)

    class Meta:
        verbose_name = "reserva expirada"
        verbose_name_plural = "reservas expiradas"


class UnsettledCall(models.Model):
    """A settlement that the ledger refuses for a definite reason, kept whole for a person."""

    id = models.UUIDField(primary_key=True)
    payload = models.JSONField("conteúdo")
    error = models.TextField("erro")
    created_at = models.DateTimeField("criada em", auto_now_add=True)
    resolved_at = models.DateTimeField("resolvida em", null=True, blank=True)

    class Meta:
        verbose_name = "chamada não liquidada"
        verbose_name_plural = "chamadas não liquidadas"
