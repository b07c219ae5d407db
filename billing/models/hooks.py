"""Customers' own addresses that are told of events, what was sent there, and who is told by e-mail."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import Organization, User
from accounts.tenancy import TenantManager
from billing.models.events import Event
from tokia import clock


class Hook(models.Model):
    """An address of a customer's that is told of events, signed with a secret of its own (Standard Webhooks)."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="hooks", verbose_name="empresa")
    name = models.CharField("nome", max_length=60, blank=True)
    url = models.CharField("endereço", max_length=500)
    types = ArrayField(models.CharField(max_length=40), default=list, blank=True, verbose_name="avisos")  # empty: all
    # Sealed under the organization's key (`tokia.sealing`).
    secret = models.BinaryField("segredo", editable=False)
    previous_secret = models.BinaryField("segredo anterior", default=b"", editable=False)  # signs beside it until then
    previous_ends_at = models.DateTimeField("segredo anterior vale até", null=True, blank=True)
    is_active = models.BooleanField("em uso", default=True)
    failing_since = models.DateTimeField("falha desde", null=True, blank=True)  # the first failure since anything was taken
    disabled_at = models.DateTimeField("desligado em", null=True, blank=True)  # by us, for its failures
    disabled_reason = models.CharField("motivo", max_length=200, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="criado por")
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    objects = TenantManager["Hook"]()
    everywhere: ClassVar[models.Manager[Hook]] = models.Manager()

    class Meta:
        verbose_name = "webhook"
        verbose_name_plural = "webhooks"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [models.Index(fields=["organization"], name="hook_active", condition=models.Q(is_active=True))]

    def __str__(self) -> str:
        return self.name or self.url


class HookDelivery(models.Model):
    """One message to one address: sent until it is taken, or given up. `message_id` is the same however often it is sent."""

    class Status(models.TextChoices):
        DUE = "due", "Na fila"
        DELIVERED = "delivered", "Entregue"
        FAILED = "failed", "Falhou"  # given up

    hook = models.ForeignKey(Hook, models.CASCADE, related_name="deliveries", verbose_name="webhook")
    event = models.ForeignKey(
        Event, models.CASCADE, null=True, blank=True, related_name="deliveries", verbose_name="acontecimento"
    )  # empty: a test
    message_id = models.UUIDField("mensagem", default=clock.new_id, unique=True, editable=False)
    status = models.CharField("situação", max_length=9, choices=Status.choices, default=Status.DUE)
    attempts = models.PositiveSmallIntegerField("tentativas", default=0)  # counted as they begin
    due_at = models.DateTimeField("próxima tentativa", null=True, blank=True)
    leased_until = models.DateTimeField("em envio até", null=True, blank=True)  # a worker has it; after that it is taken for dead
    sent_at = models.DateTimeField("última tentativa", null=True, blank=True)
    status_code = models.PositiveSmallIntegerField("resposta HTTP", null=True, blank=True)
    error = models.CharField("erro", max_length=200, blank=True)
    answer = models.TextField("corpo da resposta", blank=True)  # its first bytes
    elapsed_ms = models.PositiveIntegerField("duração (ms)", null=True, blank=True)
    delivered_at = models.DateTimeField("entregue em", null=True, blank=True)
    created_at = models.DateTimeField("criada em", auto_now_add=True)

    objects = TenantManager["HookDelivery"]("hook__organization")
    everywhere: ClassVar[models.Manager[HookDelivery]] = models.Manager()

    class Meta:
        verbose_name = "entrega de webhook"
        verbose_name_plural = "entregas de webhooks"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["hook", "event"], name="hook_delivery_once")]
        indexes = [
            models.Index(fields=["hook", "-id"], name="hook_delivery_by_hook"),
            models.Index(fields=["due_at"], name="hook_delivery_due", condition=models.Q(status="due")),
            models.Index(fields=["created_at"], name="hook_delivery_by_age"),
        ]

    @property
    def type(self) -> str:
        return self.event.type if self.event else "ping"


def default_roles() -> list[str]:
    return ["owner", "admin", "finance"]


class AlertChoice(models.Model):
    """Who of an organization gets which mails, and what it wants watched. No row: all of the defaults."""

    organization = models.OneToOneField(Organization, models.CASCADE, related_name="alert_choice", verbose_name="empresa")
    roles = ArrayField(models.CharField(max_length=10), default=default_roles, blank=True, verbose_name="papéis")
    extra_emails = ArrayField(models.EmailField(), default=list, blank=True, verbose_name="outros e-mails")
    muted_kinds = ArrayField(models.CharField(max_length=20), default=list, blank=True, verbose_name="sem e-mail")
    watches_unusual = models.BooleanField("avisa de gasto fora do comum", default=True)

    objects = TenantManager["AlertChoice"]()
    everywhere: ClassVar[models.Manager[AlertChoice]] = models.Manager()

    class Meta:
        verbose_name = "preferências de avisos"
        verbose_name_plural = "preferências de avisos"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"


class AlertState(models.Model):
    """What an organization was told of that still holds: told again only after it no longer did."""

    organization = models.OneToOneField(Organization, models.CASCADE, related_name="alert_state", verbose_name="empresa")
    low_told_at = models.DateTimeField("saldo baixo avisado em", null=True, blank=True)
    empty_told_at = models.DateTimeField("saldo zerado avisado em", null=True, blank=True)
    suspended_told_at = models.DateTimeField("suspensão avisada em", null=True, blank=True)

    objects = TenantManager["AlertState"]()
    everywhere: ClassVar[models.Manager[AlertState]] = models.Manager()

    class Meta:
        verbose_name = "avisos em vigor"
        verbose_name_plural = "avisos em vigor"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"


class EventMail(models.Model):
    """An event's mail that an address has got: a retry leaves it out."""

    event = models.ForeignKey(Event, models.CASCADE, related_name="mails", verbose_name="acontecimento")
    email = models.EmailField("para")
    sent_at = models.DateTimeField("enviado em", auto_now_add=True)

    objects = TenantManager["EventMail"]("event__organization")
    everywhere: ClassVar[models.Manager[EventMail]] = models.Manager()

    class Meta:
        verbose_name = "e-mail de aviso"
        verbose_name_plural = "e-mails de avisos"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["event", "email"], name="event_mail_once")]
