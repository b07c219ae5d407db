"""What `/status/` tells beside its measurements: what a person of ours wrote while something was wrong, or will be worked on."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q


class Incident(models.Model):
    """Something that customers notice. It is told by its updates; the last one says how it stands."""

    class Impact(models.TextChoices):
        SLOW = "slow", "Lentidão ou falhas em parte"
        DOWN = "down", "Fora do ar"
        MAINTENANCE = "maintenance", "Manutenção programada"

    class Status(models.TextChoices):
        INVESTIGATING = "investigating", "Investigando"
        IDENTIFIED = "identified", "Identificado"
        MONITORING = "monitoring", "Monitorando"
        RESOLVED = "resolved", "Resolvido"

    title = models.CharField("título", max_length=120)  # as customers read it: "Anthropic com lentidão"
    impact = models.CharField("impacto", max_length=11, choices=Impact.choices, default=Impact.SLOW)
    affects = models.CharField("o que é afetado", max_length=120, blank=True)
    status = models.CharField("situação", max_length=13, choices=Status.choices, default=Status.INVESTIGATING)
    starts_at = models.DateTimeField("começou em")  # of a maintenance: will begin
    ends_at = models.DateTimeField("fim previsto", null=True, blank=True)  # of a maintenance
    resolved_at = models.DateTimeField("resolvido em", null=True, blank=True)
    opened_by = models.CharField("aberto por", max_length=150)
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    class Meta:
        verbose_name = "incidente"
        verbose_name_plural = "incidentes"
        indexes = [models.Index(fields=["-starts_at"], name="incident_by_time")]
        constraints = [
            models.CheckConstraint(condition=Q(ends_at__isnull=True) | Q(ends_at__gt=F("starts_at")), name="incident_ends_later"),
            models.CheckConstraint(
                condition=~Q(status="resolved") | Q(resolved_at__isnull=False), name="incident_resolved_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return self.title


class IncidentUpdate(models.Model):
    """One line of its story, never changed afterwards: customers have read it."""

    incident = models.ForeignKey(Incident, models.PROTECT, related_name="updates", verbose_name="incidente")
    status = models.CharField("situação", max_length=13, choices=Incident.Status.choices)
    text = models.CharField("o que dizer", max_length=600)
    written_by = models.CharField("por", max_length=150)
    created_at = models.DateTimeField("em", auto_now_add=True)

    class Meta:
        verbose_name = "atualização de incidente"
        verbose_name_plural = "atualizações de incidentes"

    def __str__(self) -> str:
        return f"{self.get_status_display()}: {self.text[:60]}"
