"""How customers' own provider keys are doing. Apart from the keys, so that writing it moves no snapshot."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.tenancy import TenantManager
from gateway.models.routing import OwnKey


class OwnKeyHealth(models.Model):
    """What its provider last said of a customer's own key."""

    own_key = models.OneToOneField(OwnKey, models.CASCADE, primary_key=True, related_name="health", verbose_name="chave própria")
    refused_at = models.DateTimeField("recusada em", null=True, blank=True)  # empty: not since it was last found good
    refused_reason = models.CharField("motivo", max_length=200, blank=True)
    checked_at = models.DateTimeField("conferida em", null=True, blank=True)  # by a person's test of it

    objects = TenantManager["OwnKeyHealth"]("own_key__organization")
    everywhere: ClassVar[models.Manager[OwnKeyHealth]] = models.Manager()

    class Meta:
        verbose_name = "saúde da chave própria"
        verbose_name_plural = "saúde das chaves próprias"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"

    def __str__(self) -> str:
        return f"{self.own_key_id}"
