"""PIX: what we ask, what the bank tells, what nobody can place, what goes back."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.tenancy import TenantManager


class Charge(models.Model):
    """A PIX cob of ours. Its txid is minted and committed before the bank is told."""

    class Status(models.TextChoices):
        OPENING = "opening", "Gerando"  # saved here, not yet confirmed by the bank
        PENDING = "pending", "Aguardando"  # has its brcode
        PAID = "paid", "Pago"  # money received and credited, whatever the amount
        EXPIRED = "expired", "Expirado"  # the bank is still asked for a grace time
        FAILED = "failed", "Falhou"  # the bank refused it

    id = models.UUIDField(primary_key=True)
    wallet = models.ForeignKey("billing.Wallet", models.PROTECT, related_name="charges", verbose_name="carteira")
    txid = models.CharField("txid", max_length=35, unique=True)
    amount_nanos = models.BigIntegerField("valor")
    received_nanos = models.BigIntegerField("recebido", default=0)
    # The payments that the bank told and we credited: [{"endToEndId", "valor", "horario"}].
    payments = models.JSONField("pagamentos", default=list, blank=True)
    status = models.CharField("situação", max_length=8, choices=Status.choices, default=Status.OPENING)
    brcode = models.CharField("copia e cola", max_length=512, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="criada por")
    created_at = models.DateTimeField("criada em")
    expires_at = models.DateTimeField("expira em")
    paid_at = models.DateTimeField("paga em", null=True, blank=True)
    asked_at = models.DateTimeField("consultada em", null=True, blank=True)  # last time that the bank was asked
    bank_error = models.CharField("erro do banco", max_length=200, blank=True)

    objects = TenantManager["Charge"]("wallet__organization")
    everywhere: ClassVar[models.Manager[Charge]] = models.Manager()

    class Meta:
        verbose_name = "cobrança PIX"
        verbose_name_plural = "cobranças PIX"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="charge_amount_positive")]
        indexes = [models.Index(fields=["status", "expires_at"], name="charge_due")]

    def __str__(self) -> str:
        return self.txid


class PixNotice(models.Model):
    """What the bank told at the webhook door, one row per Pix and content. A rumour: the bank is asked before any credit."""

    class Status(models.TextChoices):
        DUE = "due", "A verificar"
        DONE = "done", "Verificado"

    digest = models.BinaryField(max_length=32, unique=True, editable=False)  # SHA-256 of the Pix as canonical JSON
    end_to_end_id = models.CharField("E2E", max_length=32, db_index=True)
    txid = models.CharField("txid", max_length=35, blank=True, db_index=True)
    payload = models.JSONField("conteúdo")
    status = models.CharField("situação", max_length=4, choices=Status.choices, default=Status.DUE)
    deliveries = models.PositiveIntegerField("entregas", default=1)
    failures = models.PositiveIntegerField("falhas", default=0)
    last_error = models.CharField("último erro", max_length=300, blank=True)
    received_at = models.DateTimeField("recebido em", auto_now_add=True)
    due_at = models.DateTimeField("verificar em")
    done_at = models.DateTimeField("verificado em", null=True, blank=True)

    class Meta:
        verbose_name = "aviso de PIX"
        verbose_name_plural = "avisos de PIX"
        indexes = [models.Index(fields=["status", "due_at"], name="pix_notice_due")]


class UnmatchedPix(models.Model):
    """Money that the bank confirms and that no charge of ours explains (unknown txid, a remainder). A person resolves it."""

    class Status(models.TextChoices):
        OPEN = "open", "Em aberto"
        CREDITED = "credited", "Creditado"
        REFUNDED = "refunded", "Devolvido"

    end_to_end_id = models.CharField("E2E", max_length=32, unique=True)
    txid = models.CharField("txid", max_length=35, blank=True)
    amount_nanos = models.BigIntegerField("valor")
    payload = models.JSONField("conteúdo do banco")
    paid_at = models.DateTimeField("pago em")
    found_at = models.DateTimeField("encontrado em", auto_now_add=True)
    status = models.CharField("situação", max_length=8, choices=Status.choices, default=Status.OPEN)
    resolved_by = models.CharField("resolvido por", max_length=150, blank=True)
    resolved_reason = models.CharField("motivo", max_length=300, blank=True)
    resolved_at = models.DateTimeField("resolvido em", null=True, blank=True)

    class Meta:
        verbose_name = "PIX não identificado"
        verbose_name_plural = "PIX não identificados"

    def __str__(self) -> str:
        return self.end_to_end_id


class Refund(models.Model):
    """Money on its way back to who paid: held first, asked at the bank (a devolução) or at Stripe, settled when it was returned,
    released when it was not. `billing/refunds.py` decides; `billing/refund_books.py` moves the status with the money."""

    class Status(models.TextChoices):
        HELD = "held", _("Reservada")  # not yet acknowledged by the bank; asked again with the same id
        PROCESSING = "processing", _("Em processamento")
        DONE = "done", _("Devolvida")
        REFUSED = "refused", _("Não realizada")  # hold released

    id = models.UUIDField(primary_key=True)  # also the hold's id; its hex is the devolução's id at the bank
    lot = models.ForeignKey("billing.Lot", models.PROTECT, null=True, related_name="refunds", verbose_name="lote")
    unmatched = models.ForeignKey(UnmatchedPix, models.PROTECT, null=True, related_name="refunds", verbose_name="PIX")
    card_payment = models.ForeignKey(
        "billing.CardPayment", models.PROTECT, null=True, blank=True, related_name="refunds", verbose_name="recarga pela Stripe"
    )
    end_to_end_id = models.CharField("E2E", max_length=32, blank=True)  # empty: by card
    stripe_id = models.CharField(
        "na Stripe", max_length=64, unique=True, null=True, blank=True
    )  # re_…; empty: by PIX, or not yet told
    amount_nanos = models.BigIntegerField("valor")
    status = models.CharField("situação", max_length=10, choices=Status.choices, default=Status.HELD)
    reason = models.CharField("motivo", max_length=140)
    requested_by = models.CharField("pedida por", max_length=150)
    bank_reason = models.CharField("motivo do banco", max_length=200, blank=True)
    created_at = models.DateTimeField("pedida em", auto_now_add=True)
    asked_at = models.DateTimeField("consultada em", null=True, blank=True)
    done_at = models.DateTimeField("concluída em", null=True, blank=True)
    # Of a card: the bank took it and gave it back to us later; the wallet has it again.
    returned_at = models.DateTimeField("voltou em", null=True, blank=True)

    class Meta:
        verbose_name = "devolução"
        verbose_name_plural = "devoluções"
        constraints = [
            models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="refund_amount_positive"),
            models.CheckConstraint(condition=Q(card_payment__isnull=False) | ~Q(end_to_end_id=""), name="refund_of_a_pix_names_it"),
        ]
        indexes = [models.Index(fields=["status", "asked_at"], name="refund_due", condition=Q(status__in=("held", "processing")))]

    @property
    def paid_by(self) -> str:
        """ "pix" or "card"."""
        return "card" if self.card_payment_id else "pix"
