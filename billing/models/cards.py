"""Cards at Stripe: who holds them, what they paid, automatic top-ups, what Stripe told, what was disputed."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization, User
from accounts.tenancy import TenantManager


class CardHolder(models.Model):
    """An organization as Stripe knows it. Its reference is committed before Stripe is asked: asking again finds the same one."""

    organization = models.OneToOneField(Organization, models.PROTECT, related_name="card_holder", verbose_name="empresa")
    reference = models.UUIDField("referência", unique=True, default=uuid.uuid4, editable=False)
    stripe_id = models.CharField("na Stripe", max_length=64, unique=True, null=True)  # cus_…; empty: not yet told
    created_at = models.DateTimeField("desde", auto_now_add=True)

    objects = TenantManager["CardHolder"]()
    everywhere: ClassVar[models.Manager[CardHolder]] = models.Manager()

    class Meta:
        verbose_name = "titular de cartões"
        verbose_name_plural = "titulares de cartões"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"

    def __str__(self) -> str:
        return f"Cartões de {self.organization}"


class Card(models.Model):
    """A saved card. Its number never comes near us: Stripe keeps it, we keep what a person recognizes it by."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Salvo"
        REMOVED = "removed", "Removido"  # here or at Stripe, for ever

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="cards", verbose_name="empresa")
    stripe_id = models.CharField("na Stripe", max_length=64, unique=True)  # pm_…
    brand = models.CharField("bandeira", max_length=30)
    last4 = models.CharField("final", max_length=4)
    exp_month = models.PositiveSmallIntegerField("mês de validade")
    exp_year = models.PositiveSmallIntegerField("ano de validade")
    is_default = models.BooleanField("principal", default=False)
    status = models.CharField("situação", max_length=7, choices=Status.choices, default=Status.ACTIVE)
    created_at = models.DateTimeField("salvo em", auto_now_add=True)
    removed_at = models.DateTimeField("removido em", null=True, blank=True)

    objects = TenantManager["Card"]()
    everywhere: ClassVar[models.Manager[Card]] = models.Manager()

    class Meta:
        verbose_name = "cartão"
        verbose_name_plural = "cartões"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint(fields=["organization"], condition=Q(is_default=True), name="card_one_default"),
            models.CheckConstraint(condition=Q(is_default=False) | Q(status="active"), name="card_default_is_active"),
        ]

    def __str__(self) -> str:
        return f"{self.brand_name} •••• {self.last4}"

    @property
    def brand_name(self) -> str:
        return BRANDS.get(self.brand, self.brand.title())


BRANDS = {
    "visa": "Visa", "mastercard": "Mastercard", "amex": "American Express", "elo": "Elo", "hipercard": "Hipercard",
    "diners": "Diners Club", "discover": "Discover", "jcb": "JCB", "unionpay": "UnionPay",
}  # fmt: skip


class CardPayment(models.Model):
    """A top-up that Stripe collects. Its id is minted and committed first, and is what makes asking Stripe again safe."""

    class How(models.TextChoices):
        CHECKOUT = "checkout", _("Cartão, na página da Stripe")
        SAVED = "saved", _("Cartão salvo")
        AUTO = "auto", _("Recarga automática")
        PIX = "pix", _("PIX pela Stripe")

    class Status(models.TextChoices):
        OPENING = "opening", _("Abrindo")  # saved here, Stripe's answer not yet known
        PENDING = "pending", _("Aguardando")  # the person, or their bank, has to act
        PAID = "paid", _("Pago")  # credited at the amount received
        FAILED = "failed", _("Recusado")  # nothing was taken; may still be confirmed while it is young (authentication)
        EXPIRED = "expired", _("Expirado")

    id = models.UUIDField(primary_key=True)
    wallet = models.ForeignKey("billing.Wallet", models.PROTECT, related_name="card_payments", verbose_name="carteira")
    how = models.CharField("como", max_length=8, choices=How.choices)
    amount_nanos = models.BigIntegerField("valor")
    received_nanos = models.BigIntegerField("recebido", default=0)
    status = models.CharField("situação", max_length=7, choices=Status.choices, default=Status.OPENING)
    card = models.ForeignKey(Card, models.PROTECT, null=True, blank=True, related_name="payments", verbose_name="cartão")
    keeps_card = models.BooleanField("salva o cartão", default=False)  # of a Checkout: the person asked for it
    intent_id = models.CharField("intent", max_length=64, unique=True, null=True, blank=True)  # pi_…
    session_id = models.CharField("sessão", max_length=100, unique=True, null=True, blank=True)  # cs_…
    page_url = models.URLField("página da Stripe", max_length=2_000, blank=True)  # where the person pays, or their bank asks them
    brcode = models.CharField("copia e cola", max_length=512, blank=True)
    paid_with = models.CharField("pago com", max_length=60, blank=True)  # "Visa •••• 4242"
    decline_code = models.CharField("código da recusa", max_length=60, blank=True)
    failure = models.CharField("motivo da recusa", max_length=200, blank=True)  # as the person reads it
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name="criada por")
    created_at = models.DateTimeField("criada em")
    expires_at = models.DateTimeField("expira em")
    paid_at = models.DateTimeField("paga em", null=True, blank=True)
    asked_at = models.DateTimeField("consultada em", null=True, blank=True)

    objects = TenantManager["CardPayment"]("wallet__organization")
    everywhere: ClassVar[models.Manager[CardPayment]] = models.Manager()

    class Meta:
        verbose_name = "recarga pela Stripe"
        verbose_name_plural = "recargas pela Stripe"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="card_payment_amount_positive"),
            models.CheckConstraint(condition=Q(received_nanos__gte=0), name="card_payment_received_not_negative"),
            models.UniqueConstraint(
                fields=["wallet"], condition=Q(how="auto", status__in=("opening", "pending")), name="card_payment_one_auto"
            ),
        ]
        indexes = [
            models.Index(fields=["status", "expires_at"], name="card_payment_due"),
            models.Index(fields=["wallet", "-created_at"], name="card_payment_by_wallet"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class AutoTopUp(models.Model):
    """Below the threshold the default card, or the one named, pays a top-up, within a cap per day and per month (Brazil's)."""

    wallet = models.OneToOneField("billing.Wallet", models.PROTECT, related_name="auto_top_up", verbose_name="carteira")
    is_on = models.BooleanField("ligada", default=False)
    card = models.ForeignKey(Card, models.PROTECT, null=True, blank=True, related_name="+", verbose_name="cartão")
    threshold_nanos = models.BigIntegerField("quando o saldo ficar abaixo de")
    amount_nanos = models.BigIntegerField("valor de cada recarga")
    day_max_nanos = models.BigIntegerField("máximo por dia")
    month_max_nanos = models.BigIntegerField("máximo por mês")
    failures = models.PositiveSmallIntegerField("falhas seguidas", default=0)
    paused_reason = models.CharField("desligada porque", max_length=200, blank=True)  # empty: by a person, or never
    next_try_at = models.DateTimeField("tenta de novo em", null=True, blank=True)
    changed_by = models.CharField("mudada por", max_length=150, blank=True)
    changed_at = models.DateTimeField("mudada em", auto_now=True)

    objects = TenantManager["AutoTopUp"]("wallet__organization")
    everywhere: ClassVar[models.Manager[AutoTopUp]] = models.Manager()

    class Meta:
        verbose_name = "recarga automática"
        verbose_name_plural = "recargas automáticas"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.CheckConstraint(
                condition=Q(threshold_nanos__gt=0, amount_nanos__gt=0, day_max_nanos__gte=models.F("amount_nanos"))
                & Q(month_max_nanos__gte=models.F("day_max_nanos")),
                name="auto_top_up_amounts",
            ),
            models.CheckConstraint(condition=Q(is_on=False) | Q(card__isnull=False), name="auto_top_up_on_has_card"),
        ]

    def __str__(self) -> str:
        return f"Recarga automática de {self.wallet.organization}"


class StripeEvent(models.Model):
    """What Stripe told at the door, one row per event. A rumour: Stripe is asked before anything is booked."""

    class Status(models.TextChoices):
        DUE = "due", "A verificar"
        DONE = "done", "Verificado"

    stripe_id = models.CharField("evento", max_length=64, unique=True)  # evt_…
    type = models.CharField("tipo", max_length=60)
    object_id = models.CharField("de", max_length=100, db_index=True)  # pi_…, cs_…, re_…, dp_…: what is asked
    payload = models.JSONField("conteúdo")
    status = models.CharField("situação", max_length=4, choices=Status.choices, default=Status.DUE)
    deliveries = models.PositiveIntegerField("entregas", default=1)
    failures = models.PositiveIntegerField("falhas", default=0)
    last_error = models.CharField("último erro", max_length=300, blank=True)
    received_at = models.DateTimeField("recebido em", auto_now_add=True)
    due_at = models.DateTimeField("verificar em")
    done_at = models.DateTimeField("verificado em", null=True, blank=True)

    class Meta:
        verbose_name = "evento da Stripe"
        verbose_name_plural = "eventos da Stripe"
        indexes = [models.Index(fields=["status", "due_at"], name="stripe_event_due")]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_id}"


class Dispute(models.Model):
    """A chargeback. While Stripe keeps the money, the wallet is debited and the organization suspended."""

    class Status(models.TextChoices):
        OPEN = "open", "Em aberto"
        WON = "won", "Ganha"  # the money came back
        LOST = "lost", "Perdida"

    stripe_id = models.CharField("na Stripe", max_length=64, unique=True)  # dp_… or du_…
    payment = models.ForeignKey(CardPayment, models.PROTECT, related_name="disputes", verbose_name="recarga")
    amount_nanos = models.BigIntegerField("valor")
    reason = models.CharField("motivo", max_length=60, blank=True)
    status = models.CharField("situação", max_length=4, choices=Status.choices, default=Status.OPEN)
    is_withdrawn = models.BooleanField("dinheiro retido", default=False)  # by Stripe, and so from the wallet
    rounds = models.PositiveSmallIntegerField("idas e vindas", default=0)  # of the money: names each entry
    has_suspended = models.BooleanField("suspendeu a empresa", default=False)
    opened_at = models.DateTimeField("aberta em")
    closed_at = models.DateTimeField("encerrada em", null=True, blank=True)
    asked_at = models.DateTimeField("consultada em", null=True, blank=True)

    objects = TenantManager["Dispute"]("payment__wallet__organization")
    everywhere: ClassVar[models.Manager[Dispute]] = models.Manager()

    class Meta:
        verbose_name = "contestação"
        verbose_name_plural = "contestações"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="dispute_amount_positive")]

    def __str__(self) -> str:
        return self.stripe_id
