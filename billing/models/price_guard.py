"""What stands between a draft of prices and the customers: the alarm of the exchange rate, the second administrator, the notice."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from accounts.models import Organization
from accounts.tenancy import TenantManager
from billing.models.prices import ExchangeRate, PriceVersion


class RateAlarm(models.Model):
    """Staff were told once: at this quotation, the prices of this version have drifted, or some of them lose money."""

    version = models.ForeignKey(PriceVersion, models.CASCADE, related_name="rate_alarms", verbose_name="versão em vigor")
    exchange_rate = models.ForeignKey(ExchangeRate, models.PROTECT, related_name="+", verbose_name="cotação")
    drift_bps = models.IntegerField("variação (centésimos de %)")  # of the quotation against the locked rate
    # The lines sold below their landed cost at this quotation: [{route, unit, price, landed, per}], money as strings in reais.
    below_cost = models.JSONField("abaixo do custo", default=list)
    draft = models.ForeignKey(PriceVersion, models.SET_NULL, null=True, related_name="+", verbose_name="rascunho proposto")
    created_at = models.DateTimeField("em", auto_now_add=True)
    seen_by = models.CharField("visto por", max_length=150, blank=True)
    seen_at = models.DateTimeField("visto em", null=True, blank=True)

    class Meta:
        verbose_name = "alarme de câmbio"
        verbose_name_plural = "alarmes de câmbio"
        constraints = [models.UniqueConstraint(fields=["version", "exchange_rate"], name="rate_alarm_once")]

    def __str__(self) -> str:
        return f"{self.version}: câmbio {Decimal(self.drift_bps) / 100:+.1f} %".replace(".", ",")


class PriceApproval(models.Model):
    """A draft that one administrator alone may not publish, and what another one decided about exactly these lines."""

    class Status(models.TextChoices):
        ASKED = "asked", "Aguarda aprovação"
        APPROVED = "approved", "Aprovada"  # and published, in the same transaction
        REFUSED = "refused", "Recusada"
        WITHDRAWN = "withdrawn", "Retirada"

    version = models.ForeignKey(PriceVersion, models.PROTECT, related_name="approvals", verbose_name="versão")
    status = models.CharField("situação", max_length=9, choices=Status.choices, default=Status.ASKED)
    digest = models.CharField("impressão das linhas", max_length=64)  # SHA-256: what was asked for is what is approved
    effective_at = models.DateTimeField("vigente a partir de", null=True, blank=True)  # empty: when it is approved
    is_emergency = models.BooleanField("sem o prazo de aviso", default=False)
    findings = models.JSONField("o que foi apontado", default=list)  # as it was shown to who asked
    reason = models.CharField("motivo do pedido", max_length=300)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name="pedida por")
    asked_at = models.DateTimeField("pedida em", auto_now_add=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", verbose_name="decidida por"
    )
    decided_at = models.DateTimeField("decidida em", null=True)
    decision_reason = models.CharField("motivo da decisão", max_length=300, blank=True)

    class Meta:
        verbose_name = "aprovação de preços"
        verbose_name_plural = "aprovações de preços"
        constraints = [
            models.UniqueConstraint(fields=["version"], condition=Q(status="asked"), name="price_approval_one_open"),
            models.CheckConstraint(
                condition=~Q(status="approved") | (Q(decided_by__isnull=False) & ~Q(decided_by=F("asked_by"))),
                name="price_approval_by_another",
            ),
        ]

    def __str__(self) -> str:
        return f"Aprovação de {self.version}"


class PriceNotice(models.Model):
    """The e-mail that tells an organization of new prices for what it uses. Rows are the queue; written by the publication."""

    version = models.ForeignKey(PriceVersion, models.PROTECT, related_name="notices", verbose_name="versão")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="price_notices", verbose_name="empresa")
    changes = models.JSONField("mudanças", default=list)  # [{route, label, old, new, per, kind}], money as strings in reais
    created_at = models.DateTimeField("criado em", auto_now_add=True)
    due_at = models.DateTimeField("enviar em", null=True)  # empty: sent, or nobody to send it to
    sent_at = models.DateTimeField("enviado em", null=True, blank=True)
    sent_to = models.CharField("enviado a", max_length=1000, blank=True)
    attempts = models.PositiveSmallIntegerField("tentativas", default=0)
    error = models.CharField("último erro", max_length=200, blank=True)

    objects = TenantManager["PriceNotice"]()
    everywhere: ClassVar[models.Manager[PriceNotice]] = models.Manager()

    class Meta:
        verbose_name = "aviso de preços"
        verbose_name_plural = "avisos de preços"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["version", "organization"], name="price_notice_once")]
        indexes = [models.Index(fields=["due_at"], name="price_notice_due", condition=Q(due_at__isnull=False))]

    def __str__(self) -> str:
        return f"{self.version} → {self.organization}"
