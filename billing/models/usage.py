"""What was used: one record per call, and the month's cumulative position of each wallet."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization
from accounts.tenancy import TenantManager
from billing.money import CENTAVO


class UsageRecord(models.Model):
    """One call that began, as it ended; the subledger of revenue:usage. Range-partitioned by id (a UUIDv7: its month).

    The quantities are `billing.pricing.Usage`'s: disjoint. gross = ceil(Σ quantity · price / per_units); net = F(S + gross) − F(S),
    where S is the month's gross before it; net = paid + promo + overdraft. `cost_nanos` is what the upstream asks us, 0 when
    unknown.
    """

    class Outcome(models.TextChoices):
        COMPLETED = "completed", _("Concluída")
        CUT = "cut", _("Interrompida pelo provedor")  # what was delivered is billed
        CANCELLED = "cancelled", _("Cancelada pelo cliente")  # what was delivered is billed
        FAILED = "failed", _("Falhou")  # nothing delivered, net 0

    class UsageSource(models.TextChoices):
        NONE = "none", _("Sem uso")
        UPSTREAM = "upstream", _("Informado pelo provedor")
        COUNTED = "counted", _("Contado pela Tokia")
        SUSPECT = "suspect", _("Suspeito, limitado")
        CACHE = "cache", _("Resposta do cache")  # costs nothing

    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="+", db_constraint=False, db_index=False, verbose_name="empresa"
    )
    wallet = models.ForeignKey(
        "billing.Wallet", models.PROTECT, related_name="+", db_constraint=False, db_index=False, verbose_name="carteira"
    )
    api_key_id = models.BigIntegerField("chave")
    project_id = models.BigIntegerField("projeto", null=True)  # of the key when it was called
    tags = ArrayField(models.CharField(max_length=64), null=True, verbose_name="etiquetas")  # what the call carried; empty: none
    margin_bps = models.SmallIntegerField("ajuste de margem", default=0, db_default=0)  # on every price: `LimitProfile.margin_bps`
    month = models.DateField("mês")
    surface = models.CharField("superfície", max_length=20)  # "chat", "embeddings"…; "batch:chat": at its batch price
    is_stream = models.BooleanField("streaming", default=False)
    route_name = models.CharField("modelo", max_length=100)
    provider_name = models.CharField("provedor", max_length=40, blank=True)
    upstream_model = models.CharField("modelo no provedor", max_length=120, blank=True)
    upstream_id = models.CharField("id no provedor", max_length=120, blank=True)
    price_version = models.ForeignKey(
        "billing.PriceVersion",
        models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
        verbose_name="preços",
    )
    input_tokens = models.IntegerField("entrada", default=0)
    cached_input_tokens = models.IntegerField("entrada em cache", default=0)
    cache_write_tokens = models.IntegerField("escrita em cache", default=0)
    output_tokens = models.IntegerField("saída", default=0)
    reasoning_tokens = models.IntegerField("raciocínio", default=0)
    requests = models.IntegerField("requisições", default=1)
    audio_input_tokens = models.IntegerField("entrada de áudio", default=0)
    audio_output_tokens = models.IntegerField("saída de áudio", default=0)
    image_input_tokens = models.IntegerField("entrada de imagem", default=0)
    image_output_tokens = models.IntegerField("saída de imagem", default=0)
    images = models.IntegerField("imagens", default=0)
    audio_seconds = models.IntegerField("segundos de áudio", default=0)
    characters = models.IntegerField("caracteres", default=0)
    searches = models.IntegerField("buscas", default=0)
    hold_nanos = models.BigIntegerField("reservado", null=True)  # empty: the hold had expired
    gross_nanos = models.BigIntegerField("bruto")
    net_nanos = models.BigIntegerField("custo")
    paid_nanos = models.BigIntegerField(default=0)
    promo_nanos = models.BigIntegerField(default=0)
    overdraft_nanos = models.BigIntegerField(default=0)
    cost_nanos = models.BigIntegerField("custo no provedor", default=0)
    gross_before_nanos = models.BigIntegerField()  # S
    is_late = models.BooleanField(default=False)
    outcome = models.CharField("situação", max_length=9, choices=Outcome.choices)
    status_code = models.SmallIntegerField("HTTP", default=200)
    error_code = models.CharField("erro", max_length=40, blank=True)
    finish_reason = models.CharField("fim", max_length=40, blank=True)
    usage_source = models.CharField("fonte do uso", max_length=8, choices=UsageSource.choices)
    attempts = models.JSONField("tentativas", default=list)  # `gateway.calls.Attempt`s, what is empty left out
    # How it was routed (`gateway.calls.Routing`): {asked, rule, why, skipped, session, arm…}; empty where there is nothing to say.
    routing = models.JSONField("roteamento", null=True)
    experiment_arm_id = models.BigIntegerField("braço do experimento", null=True)
    is_own_key = models.BooleanField("com chave própria", default=False, db_default=False)
    first_token_ms = models.IntegerField("1º token", null=True)
    latency_ms = models.IntegerField("duração", default=0)
    overhead_us = models.IntegerField("gateway (µs)", default=0)
    batch_id = models.UUIDField()
    entry_id = models.BigIntegerField(null=True)  # the LedgerEntry; empty when net is 0
    created_at = models.DateTimeField("em")  # the instant inside the id

    objects = TenantManager["UsageRecord"]()
    everywhere: ClassVar[models.Manager[UsageRecord]] = models.Manager()

    class Meta:
        verbose_name = "requisição"
        verbose_name_plural = "requisições"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [
            models.Index(fields=["organization", "-id"], name="usage_by_organization"),
            models.Index(fields=["wallet", "month", "gross_before_nanos"], name="usage_by_position"),
            models.Index(fields=["experiment_arm_id", "id"], name="usage_by_arm", condition=Q(experiment_arm_id__isnull=False)),
            models.Index(fields=["entry_id"], name="usage_by_entry", condition=Q(entry_id__isnull=False)),  # for the seals
            models.Index(fields=["id"], name="usage_without_entry", condition=Q(entry_id__isnull=True)),
            # For lists with filters. What most calls are is in none of the partial ones.
            models.Index(fields=["api_key_id", "-id"], name="usage_by_key"),
            models.Index(fields=["organization", "outcome", "-id"], name="usage_not_completed", condition=~Q(outcome="completed")),
            models.Index(fields=["organization", "-id"], name="usage_from_cache", condition=Q(usage_source="cache")),
            models.Index(fields=["organization", "-id"], name="usage_by_own_key", condition=Q(is_own_key=True)),
            models.Index(fields=["organization", "-id"], name="usage_tried_again", condition=Q(attempts__1__isnull=False)),
            # What cost at least so much; under a centavo it is nearly every call, and the list finds them in its own sequence.
            models.Index(fields=["organization", "net_nanos", "id"], name="usage_by_cost", condition=Q(net_nanos__gte=CENTAVO)),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(gross_nanos__gte=0) & Q(net_nanos__gte=0) & Q(net_nanos__lte=F("gross_nanos")),
                name="usage_net_within_gross",
            ),
            models.CheckConstraint(
                condition=Q(net_nanos=F("paid_nanos") + F("promo_nanos") + F("overdraft_nanos")),
                name="usage_net_is_parts",
            ),
        ]

    @property
    def is_batch(self) -> bool:
        """It was a line of a batch, so its gross is by the batch prices of its version."""
        return self.surface.startswith("batch:")


class MonthSpend(models.Model):
    """A wallet's cumulative month, under the wallet's lock. The plan is the one in force at the month's first call; empty where
    there was none: no discount."""

    wallet = models.ForeignKey("billing.Wallet", models.PROTECT, related_name="months")
    month = models.DateField()
    volume_plan = models.ForeignKey("billing.VolumePlan", models.PROTECT, null=True)
    gross_nanos = models.BigIntegerField(default=0)
    net_nanos = models.BigIntegerField(default=0)
    calls = models.BigIntegerField(default=0)

    objects = TenantManager["MonthSpend"]("wallet__organization")
    everywhere: ClassVar[models.Manager[MonthSpend]] = models.Manager()

    class Meta:
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["wallet", "month"], name="month_spend_once")]


class SettledBatch(models.Model):
    """A batch of settlements that was committed: the same batch again is a replay."""

    id = models.UUIDField(primary_key=True)
    created_at = models.DateTimeField(auto_now_add=True)
