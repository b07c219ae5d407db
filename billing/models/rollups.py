"""Usage added up by day, in the transaction that settles it: what pages and reports read instead of usage records.

Only the SQL functions of `billing/sql/` write these tables. A day is the day of the call's id in America/Sao_Paulo.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from accounts.models import Organization
from accounts.tenancy import TenantManager


class UsageDay(models.Model):
    """A day's calls of one key, project, route and provider: sums of UsageRecord's columns."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_constraint=False, db_index=False)
    day = models.DateField("dia")
    api_key_id = models.BigIntegerField("chave")
    project_id = models.BigIntegerField("projeto", default=0)  # 0: none
    route_name = models.CharField("modelo", max_length=100)
    provider_name = models.CharField("provedor", max_length=40)
    is_own_key = models.BooleanField("com chave própria")
    calls = models.BigIntegerField()
    failed = models.BigIntegerField()
    gross_nanos = models.BigIntegerField()
    net_nanos = models.BigIntegerField()
    paid_nanos = models.BigIntegerField()
    promo_nanos = models.BigIntegerField()
    overdraft_nanos = models.BigIntegerField()
    cost_nanos = models.BigIntegerField()
    latency_ms = models.BigIntegerField()  # Σ; the mean is ÷ calls
    input_tokens = models.BigIntegerField()
    cached_input_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    audio_input_tokens = models.BigIntegerField()
    audio_output_tokens = models.BigIntegerField()
    image_input_tokens = models.BigIntegerField()
    image_output_tokens = models.BigIntegerField()
    images = models.BigIntegerField()
    audio_seconds = models.BigIntegerField()
    characters = models.BigIntegerField()
    searches = models.BigIntegerField()

    objects = TenantManager["UsageDay"]()
    everywhere: ClassVar[models.Manager[UsageDay]] = models.Manager()

    class Meta:
        verbose_name = "uso do dia"
        verbose_name_plural = "uso por dia"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "day", "api_key_id", "project_id", "route_name", "provider_name", "is_own_key"],
                name="usage_day_once",
            )
        ]
        indexes = [
            models.Index(fields=["day"], name="usage_day_by_day"),
            models.Index(fields=["organization", "route_name", "day"], name="usage_day_by_route"),
            models.Index(fields=["organization", "day"], name="usage_day_owing", condition=Q(overdraft_nanos__gt=0)),
        ]


class TagDay(models.Model):
    """A day's calls that carry a tag, of one route. A call with three tags is in three rows."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_constraint=False, db_index=False)
    day = models.DateField("dia")
    tag = models.CharField("etiqueta", max_length=64)
    route_name = models.CharField("modelo", max_length=100)
    calls = models.BigIntegerField()
    failed = models.BigIntegerField()
    gross_nanos = models.BigIntegerField()
    net_nanos = models.BigIntegerField()
    input_tokens = models.BigIntegerField()  # all of the prompt
    output_tokens = models.BigIntegerField()  # all of the answer

    objects = TenantManager["TagDay"]()
    everywhere: ClassVar[models.Manager[TagDay]] = models.Manager()

    class Meta:
        verbose_name = "uso do dia por etiqueta"
        verbose_name_plural = "uso por dia e etiqueta"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["organization", "day", "tag", "route_name"], name="tag_day_once")]
        indexes = [models.Index(fields=["organization", "tag", "day"], name="tag_day_by_tag")]
