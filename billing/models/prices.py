"""What a unit costs us, what we ask for it, and the discount by volume."""

from __future__ import annotations

from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization


class Unit(models.TextChoices):
    """What is priced. The token units are disjoint: one token of a call falls in exactly one of them."""

    INPUT = "input", _("Entrada")
    CACHED_INPUT = "cached_input", _("Entrada em cache")
    CACHE_WRITE = "cache_write", _("Escrita em cache")
    OUTPUT = "output", _("Saída")
    REASONING = "reasoning", _("Raciocínio")
    AUDIO_INPUT = "audio_input", _("Entrada de áudio")
    AUDIO_OUTPUT = "audio_output", _("Saída de áudio")
    IMAGE_INPUT = "image_input", _("Entrada de imagem")
    IMAGE_OUTPUT = "image_output", _("Saída de imagem")
    IMAGE = "image", _("Imagem")
    AUDIO_SECOND = "audio_second", _("Tempo de áudio")
    CHARACTER = "character", _("Caractere")
    SEARCH = "search", _("Busca")
    REQUEST = "request", _("Requisição")


class ExchangeRate(models.Model):
    """Reais per US dollar. A rate older than EXCHANGE_RATE_MAX_AGE_DAYS is refused."""

    rate = models.DecimalField("R$ por US$", max_digits=12, decimal_places=6, validators=[MinValueValidator(Decimal("0.01"))])
    source = models.CharField("fonte", max_length=40)  # "PTAX venda" or who typed it
    reason = models.CharField("motivo", max_length=200, blank=True)  # why it was typed
    quoted_at = models.DateTimeField("cotado em")
    fetched_at = models.DateTimeField("obtido em", auto_now_add=True)

    class Meta:
        verbose_name = "câmbio"
        verbose_name_plural = "câmbio"
        constraints = [
            models.UniqueConstraint(fields=["source", "quoted_at"], name="exchange_rate_once"),
            models.CheckConstraint(condition=Q(rate__gt=0), name="exchange_rate_positive"),
        ]
        get_latest_by = "quoted_at"

    def __str__(self) -> str:
        return f"R$ {self.rate.normalize():f} ({self.source})".replace(".", ",", 1)


class ProviderCost(models.Model):
    """What a provider asks for one unit, in US dollars, as a source published it. Proposed until used by a version."""

    provider_name = models.CharField("provedor", max_length=40)  # the provider's slug; billing never holds a key upward
    upstream_model = models.CharField("modelo no provedor", max_length=120)
    unit = models.CharField("unidade", max_length=12, choices=Unit.choices)
    per_units = models.PositiveIntegerField("por quantas unidades", default=1_000_000)
    usd = models.DecimalField("US$", max_digits=18, decimal_places=9)
    source = models.CharField("fonte", max_length=60)
    source_version = models.CharField("versão da fonte", max_length=30)
    raw = models.JSONField("como publicado", default=dict, blank=True)
    fetched_at = models.DateTimeField("obtido em", auto_now_add=True)

    class Meta:
        verbose_name = "custo do provedor"
        verbose_name_plural = "custos dos provedores"
        constraints = [
            models.UniqueConstraint(
                fields=["provider_name", "upstream_model", "unit", "source", "source_version"],
                name="provider_cost_once",
            ),
            models.CheckConstraint(condition=Q(usd__gte=0), name="provider_cost_not_negative"),
        ]


class PriceBook(models.Model):
    """A list of sale prices in reais. One is in force for everybody."""

    name = models.CharField("nome", max_length=60, unique=True)
    is_default = models.BooleanField("em vigor para todos", default=False)

    class Meta:
        verbose_name = "livro de preços"
        verbose_name_plural = "livros de preços"
        constraints = [models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="price_book_one_default")]

    def __str__(self) -> str:
        return self.name


DRIFT_ALARM_BPS = 500


class PriceVersion(models.Model):
    """A whole edition of a price book. Frozen once published (a database trigger says so), in force from `effective_at`.

    Its prices stand at its exchange rate until another version, whatever the dollar does; the policy says when staff are told.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "Rascunho"  # may change, is never served
        PUBLISHED = "published", "Publicada"  # frozen

    class RatePolicy(models.TextChoices):
        LOCKED = "locked", "Travado, com alarme"  # a draft is proposed once PTAX is `drift_alarm_bps` away
        FOLLOWED = "followed", "Acompanhado"  # a draft is proposed at every other PTAX
        FIXED = "fixed", "Travado, sem alarme"  # nobody is told, but for prices below their cost

    book = models.ForeignKey(PriceBook, models.PROTECT, related_name="versions", verbose_name="livro")
    number = models.PositiveIntegerField("número")
    status = models.CharField("situação", max_length=9, choices=Status.choices, default=Status.DRAFT)
    exchange_rate = models.ForeignKey(ExchangeRate, models.PROTECT, null=True, blank=True, verbose_name="câmbio")
    rate_policy = models.CharField(
        "política de câmbio", max_length=8, choices=RatePolicy.choices, default=RatePolicy.LOCKED, db_default=RatePolicy.LOCKED
    )
    drift_alarm_bps = models.PositiveIntegerField(
        "alarme de variação (centésimos de %)", default=DRIFT_ALARM_BPS, db_default=DRIFT_ALARM_BPS
    )
    # The users who drafted it or edited its lines: none of them may approve it.
    author_ids = ArrayField(models.BigIntegerField(), default=list, db_default=[], blank=True, verbose_name="autores")
    note = models.CharField("nota", max_length=200, blank=True)
    effective_at = models.DateTimeField("vigente desde", null=True, blank=True)
    published_at = models.DateTimeField("publicada em", null=True, blank=True)
    published_by = models.CharField("publicada por", max_length=150, blank=True)
    created_at = models.DateTimeField("criada em", auto_now_add=True)

    class Meta:
        verbose_name = "versão de preços"
        verbose_name_plural = "versões de preços"
        constraints = [models.UniqueConstraint(fields=["book", "number"], name="price_version_number_once")]

    def __str__(self) -> str:
        return f"{self.book} v{self.number}"


class Price(models.Model):
    """One line: the price of one unit of one route, integer nano-reais per `per_units`.

    amount = ceil(cost_usd × exchange rate × markup × 10⁹), unless `override_nanos` is set, which wins.
    """

    version = models.ForeignKey(PriceVersion, models.CASCADE, related_name="prices", verbose_name="versão")
    route_name = models.CharField("modelo", max_length=100)
    unit = models.CharField("unidade", max_length=12, choices=Unit.choices)
    per_units = models.PositiveIntegerField("por quantas unidades", default=1_000_000)
    # Where the cost comes from: a ProviderCost by name. Empty where the price is fixed by hand.
    provider_name = models.CharField("provedor", max_length=40, blank=True)
    upstream_model = models.CharField("modelo no provedor", max_length=120, blank=True)
    cost_usd = models.DecimalField("custo em US$", max_digits=18, decimal_places=9, null=True, blank=True)
    markup = models.DecimalField("markup", max_digits=6, decimal_places=3, null=True, blank=True)
    override_nanos = models.BigIntegerField("preço fixo (nanos)", null=True, blank=True)
    override_reason = models.CharField("motivo se abaixo do custo", max_length=200, blank=True)
    amount_nanos = models.BigIntegerField("preço (nanos)")
    # Of the amount, in /v1/batches; never below cost (`pricebooks.batch_floor`). Providers sell their own batches at half, but our
    # lines go out as ordinary calls at the ordinary cost: what we give away is margin, in exchange for choosing when.
    batch_percent = models.PositiveSmallIntegerField("em lote (%)", default=75)
    # Of the amount, where the customer's own key at the provider served the call: the platform fee.
    own_key_percent = models.PositiveSmallIntegerField("com chave própria (%)", default=5, db_default=5)

    class Meta:
        verbose_name = "preço"
        verbose_name_plural = "preços"
        constraints = [
            models.UniqueConstraint(fields=["version", "route_name", "unit"], name="price_once"),
            models.CheckConstraint(condition=Q(amount_nanos__gte=0), name="price_not_negative"),
            models.CheckConstraint(condition=Q(per_units__gt=0), name="price_per_units_positive"),
            models.CheckConstraint(condition=Q(batch_percent__range=(1, 100)), name="price_batch_percent_a_part"),
            models.CheckConstraint(condition=Q(own_key_percent__range=(0, 100)), name="price_own_key_percent_a_part"),
        ]

    def __str__(self) -> str:
        return f"{self.route_name}: {self.get_unit_display().lower()}"


class VolumePlan(models.Model):
    """A frozen edition of the discounts by volume. One is in force for everybody, others by contract."""

    name = models.CharField("nome", max_length=60, unique=True)
    # Negotiated with one organization: never in force for everybody, and in nobody else's contract.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="volume_plans", verbose_name="só desta empresa"
    )
    is_default = models.BooleanField("em vigor para todos", default=False)
    created_at = models.DateTimeField("criado em", auto_now_add=True)
    published_at = models.DateTimeField("publicado em", null=True, blank=True)

    class Meta:
        verbose_name = "plano de volume"
        verbose_name_plural = "planos de volume"
        constraints = [
            models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="volume_plan_one_default"),
            models.CheckConstraint(
                condition=Q(is_default=False) | Q(organization__isnull=True), name="volume_plan_default_is_nobodys"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class VolumeTier(models.Model):
    """`discount_bps` hundredths of a percent off the part of the month's gross above `above_nanos`. Marginal, not retroactive."""

    plan = models.ForeignKey(VolumePlan, models.CASCADE, related_name="tiers", verbose_name="plano")
    above_nanos = models.BigIntegerField("acima de (nanos)")
    discount_bps = models.PositiveIntegerField("desconto (centésimos de %)")

    class Meta:
        verbose_name = "faixa de desconto"
        verbose_name_plural = "faixas de desconto"
        ordering = ["above_nanos"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "above_nanos"], name="volume_tier_once"),
            models.CheckConstraint(condition=Q(above_nanos__gte=0), name="volume_tier_not_negative"),
            models.CheckConstraint(condition=Q(discount_bps__lte=10_000), name="volume_tier_at_most_all"),
        ]


class Contract(models.Model):
    """A negotiated volume plan of one organization, in force for whole fiscal months. A month that has begun keeps its plan."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="contracts", verbose_name="empresa")
    plan = models.ForeignKey(VolumePlan, models.PROTECT, related_name="contracts", verbose_name="plano")
    first_month = models.DateField("do mês")  # its first day
    last_month = models.DateField("até o mês", null=True, blank=True)  # its first day; empty: until another one
    note = models.CharField("nota", max_length=300, blank=True)
    agreed_by = models.CharField("acertado por", max_length=150)
    created_at = models.DateTimeField("criado em", auto_now_add=True)
    ended_by = models.CharField("encerrado por", max_length=150, blank=True)
    ended_at = models.DateTimeField("encerrado em", null=True, blank=True)
    end_reason = models.CharField("motivo do fim", max_length=300, blank=True)
    # Before its first month began: it never counted.
    is_cancelled = models.BooleanField("cancelado", default=False, db_default=False)

    class Meta:
        verbose_name = "contrato de volume"
        verbose_name_plural = "contratos de volume"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "first_month"], condition=Q(is_cancelled=False), name="contract_once_a_month"
            ),
            models.CheckConstraint(condition=Q(first_month__day=1), name="contract_from_first_day"),
            models.CheckConstraint(
                condition=Q(last_month__isnull=True) | Q(last_month__gte=models.F("first_month"), last_month__day=1),
                name="contract_to_first_day",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organization}: {self.plan}"
