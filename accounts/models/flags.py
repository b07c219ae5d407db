"""Rows of feature flags: what `accounts.flags` reads and writes."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class FeatureFlag(models.Model):
    """For whom a feature of the pages is on. Without a row, or in DEFAULT, it is as `accounts.flags.REGISTRY` says."""

    class Mode(models.TextChoices):
        DEFAULT = "default", "Padrão do sistema"
        EVERYBODY = "everybody", "Ligado para todos"
        NOBODY = "nobody", "Desligado para todos"
        CHOSEN = "chosen", "Só para empresas escolhidas"
        PART = "part", "Para uma parte das empresas"

    name = models.CharField("nome", max_length=40, unique=True)
    mode = models.CharField("situação", max_length=9, choices=Mode.choices, default=Mode.DEFAULT)
    percent = models.PositiveSmallIntegerField("parte das empresas (%)", default=0)  # of PART, by a hash that never moves
    organization_ids = ArrayField(models.BigIntegerField(), default=list, blank=True, verbose_name="empresas")  # of CHOSEN and PART
    changed_at = models.DateTimeField("mudado em", null=True, blank=True)
    changed_by = models.CharField("mudado por", max_length=150, blank=True)

    class Meta:
        verbose_name = "recurso"
        verbose_name_plural = "recursos (liga e desliga)"
        constraints = [models.CheckConstraint(condition=Q(percent__lte=100), name="feature_flag_percent")]

    def __str__(self) -> str:
        return self.name


class FeatureFlagChange(models.Model):
    """One change of a flag. Rows are only added."""

    flag = models.ForeignKey(FeatureFlag, models.PROTECT, related_name="changes", verbose_name="recurso")
    before = models.CharField("antes", max_length=200)
    after = models.CharField("depois", max_length=200)
    organization_ids = ArrayField(models.BigIntegerField(), default=list, blank=True, verbose_name="empresas, depois")
    reason = models.CharField("motivo", max_length=300)
    changed_at = models.DateTimeField("mudado em", auto_now_add=True)
    changed_by = models.CharField("mudado por", max_length=150)

    class Meta:
        verbose_name = "mudança de recurso"
        verbose_name_plural = "mudanças de recursos"

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"
