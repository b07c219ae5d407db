"""Closed days and months: what was told of usage at a date, frozen, while usage that comes late goes on to its own day."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from accounts.models import Organization
from accounts.tenancy import TenantManager


class DayClose(models.Model):
    """A day's usage as it was told when the day was over; `number` > 0: what came to that day later. For files of bank entries.

    Its (wallet, day, number) is the line's identity for ever, so that a second import of the same file duplicates nothing.
    """

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_constraint=False, db_index=False)
    wallet = models.ForeignKey("billing.Wallet", models.PROTECT, related_name="+", db_constraint=False, db_index=False)
    day = models.DateField("dia")
    number = models.PositiveSmallIntegerField()
    told_on = models.DateField("informado em")  # the day itself, or the day on which what came late was told
    calls = models.BigIntegerField()
    amount_nanos = models.BigIntegerField("valor")  # paid by the wallet
    closed_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager["DayClose"]()
    everywhere: ClassVar[models.Manager[DayClose]] = models.Manager()

    class Meta:
        verbose_name = "dia fechado"
        verbose_name_plural = "dias fechados"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["wallet", "day", "number"], name="day_close_once")]


class MonthClose(models.Model):
    """A fiscal month of a wallet as it closed. opening + in − out = closing, and the next month opens there.

    Usage is that of the calls of the month known when it closed. What came to a closed month later (a spool replayed) is in the
    next close as an adjustment, named by its month; so the closes, and what moved since, add up to the wallet.
    """

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", verbose_name="empresa")
    wallet = models.ForeignKey("billing.Wallet", models.PROTECT, related_name="closes", verbose_name="carteira")
    month = models.DateField("mês")
    opening_nanos = models.BigIntegerField("saldo inicial")
    in_nanos = models.BigIntegerField("entradas")
    out_nanos = models.BigIntegerField("saídas")
    closing_nanos = models.BigIntegerField("saldo final")
    top_ups_nanos = models.BigIntegerField("recargas")
    promo_nanos = models.BigIntegerField("bônus")  # granted
    refunds_nanos = models.BigIntegerField("devoluções")
    calls = models.BigIntegerField("requisições")
    gross_nanos = models.BigIntegerField("uso bruto")
    discount_nanos = models.BigIntegerField("desconto por volume")
    net_nanos = models.BigIntegerField("uso líquido")
    promo_used_nanos = models.BigIntegerField("pago com bônus")  # of the net
    overdraft_nanos = models.BigIntegerField("não coberto pelo saldo")  # of the net: owed, paid by a later top-up
    adjustment_nanos = models.BigIntegerField("ajuste de meses fechados")  # paid by the wallet for calls of months closed before
    # {kind: {"in": nanos, "out": nanos}} of what is no usage, and "overdraft" for debts settled
    movements = models.JSONField("movimentos", default=dict)
    # {month: {"calls", "gross", "net", "used"}} of calls that came to closed months since the close before
    adjustments = models.JSONField("ajustes", default=dict)
    seal_seq = models.BigIntegerField("selo nº", default=0)  # the chain's head when it closed; 0: nothing was sealed yet
    seal_digest = models.BinaryField("selo", max_length=32)
    closed_at = models.DateTimeField("fechado em", auto_now_add=True)

    objects = TenantManager["MonthClose"]()
    everywhere: ClassVar[models.Manager[MonthClose]] = models.Manager()

    class Meta:
        verbose_name = "fechamento do mês"
        verbose_name_plural = "fechamentos"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint(fields=["wallet", "month"], name="month_close_once"),
            models.CheckConstraint(
                condition=Q(closing_nanos=F("opening_nanos") + F("in_nanos") - F("out_nanos")), name="month_close_adds_up"
            ),
            models.CheckConstraint(condition=Q(gross_nanos=F("net_nanos") + F("discount_nanos")), name="month_close_discount"),
        ]

    def __str__(self) -> str:
        return f"Fechamento de {self.month:%m/%Y}"
