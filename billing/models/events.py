"""What happened that somebody should know: alerts on pages, mails, and calls of customers' own addresses all start from it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import Organization
from accounts.tenancy import TenantManager


class Event(models.Model):
    """One fact about an organization, told once (`reference`). Rows are the queue: what is due is mailed and delivered by tasks."""

    class Level(models.TextChoices):
        INFO = "info", "Informação"  # no alert on pages
        WARNING = "warning", "Atenção"
        ERROR = "error", "Urgente"

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="events", verbose_name="empresa")
    type = models.CharField("tipo", max_length=40)  # "wallet.low_balance"…: `billing.events.TYPES`
    reference = models.CharField("referência", max_length=120, unique=True)  # from the business fact: told once
    level = models.CharField("nível", max_length=7, choices=Level.choices, default=Level.INFO)
    payload = models.JSONField("conteúdo", default=dict)  # what outgoing webhooks carry as `data`; money as strings in reais
    created_at = models.DateTimeField("em", auto_now_add=True)
    mail_due_at = models.DateTimeField("enviar e-mail em", null=True, blank=True)  # empty: none, or sent
    mail_attempts = models.PositiveSmallIntegerField("tentativas de e-mail", default=0, db_default=0)
    mailed_at = models.DateTimeField("e-mail enviado em", null=True, blank=True)
    seen_at = models.DateTimeField("visto em", null=True, blank=True)  # dismissed on the pages

    objects = TenantManager["Event"]()
    everywhere: ClassVar[models.Manager[Event]] = models.Manager()

    class Meta:
        verbose_name = "acontecimento"
        verbose_name_plural = "acontecimentos"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [
            models.Index(fields=["organization", "-id"], name="event_by_organization"),
            models.Index(fields=["mail_due_at"], name="event_mail_due", condition=models.Q(mail_due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.type
