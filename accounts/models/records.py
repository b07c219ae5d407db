"""What is kept of people: who did what, and the copies of their data that they ask for."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models.organizations import Organization
from accounts.models.people import User
from accounts.tenancy import TenantManager


class AuditEvent(models.Model):
    """Who did what, when and from where (`accounts.audit`). Append-only: a trigger refuses the rest, even to the database's owner.

    Its only change is to lose, once, what could point at a person: what, when and by which account stays.
    """

    organization = models.ForeignKey(Organization, models.PROTECT, null=True, related_name="+", verbose_name="empresa")
    user = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", verbose_name="quem")
    kind = models.CharField("o quê", max_length=40)
    detail = models.JSONField("detalhes", default=dict)
    ip = models.GenericIPAddressField("IP", null=True)
    user_agent = models.CharField("navegador", max_length=60, blank=True)
    created_at = models.DateTimeField("quando")
    redacted_at = models.DateTimeField(null=True)  # since then without detail, address and browser

    objects = TenantManager["AuditEvent"]()
    everywhere: ClassVar[models.Manager[AuditEvent]] = models.Manager()

    class Meta:
        verbose_name = "registro de auditoria"
        verbose_name_plural = "registros de auditoria"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [
            models.Index(fields=["organization", "-id"], name="audit_event_by_organization"),
            models.Index(fields=["user", "-id"], name="audit_event_by_user"),
            models.Index(fields=["created_at"], name="audit_event_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.created_at:%d/%m/%Y %H:%M}"


class DataCopy(models.Model):
    """A copy of somebody's data (LGPD, art. 18), on its way to a ZIP: a person's own, or an organization's where there is one."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Na fila"
        DONE = "done", "Pronta"
        FAILED = "failed", "Falhou"
        EXPIRED = "expired", "Expirada"  # its file is gone

    id = models.UUIDField(primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="+", verbose_name="pedida por")
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="+", verbose_name="empresa")
    status = models.CharField("situação", max_length=7, choices=Status.choices, default=Status.WAITING)
    tries = models.PositiveSmallIntegerField("tentativas", default=0)
    file = models.BinaryField(null=True)  # a ZIP, sealed
    bytes = models.PositiveIntegerField("bytes", default=0)  # of the ZIP
    created_at = models.DateTimeField("pedida em")
    expires_at = models.DateTimeField("guardada até", null=True)

    objects = TenantManager["DataCopy"]()
    everywhere: ClassVar[models.Manager[DataCopy]] = models.Manager()

    class Meta:
        verbose_name = "cópia de dados"
        verbose_name_plural = "cópias de dados"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"

    def __str__(self) -> str:
        return f"{self.user} {self.created_at:%d/%m/%Y}"
