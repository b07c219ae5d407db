"""What we sell and who serves it. Edited in the admin; gateways follow within two seconds. Costs live in billing, by name."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models


class Provider(models.Model):
    """A vendor of models that speaks one wire format."""

    class Dialect(models.TextChoices):
        OPENAI = "openai", "OpenAI e compatíveis"
        ANTHROPIC = "anthropic", "Anthropic Messages"
        GEMINI = "gemini", "Google Gemini"
        COHERE = "cohere", "Cohere v2"
        BEDROCK = "bedrock", "AWS Bedrock Converse"
        AZURE = "azure", "Azure OpenAI"

    slug = models.SlugField("identificador", max_length=40, unique=True)
    name = models.CharField("nome", max_length=60)
    dialect = models.CharField("dialeto", max_length=20, choices=Dialect.choices)
    base_url = models.URLField("endereço")
    country = models.CharField("país", max_length=2, blank=True)
    # Refuses fields that it does not know (OpenAI, Mistral); others ignore them.
    is_strict = models.BooleanField("recusa campos desconhecidos", default=False)
    # What its terms say of our customers' content; `provider.data_collection` and `provider.zdr` of a call choose by them.
    trains_on_data = models.BooleanField("usa os dados para treino", default=False, db_default=False)
    has_zero_retention = models.BooleanField("não guarda os dados (ZDR)", default=False, db_default=False)
    is_simulated = models.BooleanField("simulado", default=False)  # answered by the sandbox; the catalog says so
    is_active = models.BooleanField("ativo", default=True)

    class Meta:
        verbose_name = "provedor"
        verbose_name_plural = "provedores"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Credential(models.Model):
    """Our key at a provider, encrypted at rest (`gateway.secrets`), never shown again."""

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="credentials", verbose_name="provedor")
    label = models.CharField("rótulo", max_length=60)
    secret = models.BinaryField("segredo", editable=False)  # Fernet token
    last4 = models.CharField("final", max_length=4, editable=False)
    # What its account may be asked; empty: as much as there is. Processes share it.
    requests_per_minute = models.PositiveIntegerField("requisições por minuto", null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField("tokens por minuto", null=True, blank=True)
    is_active = models.BooleanField("ativa", default=True)
    created_at = models.DateTimeField("criada em", auto_now_add=True)

    class Meta:
        verbose_name = "credencial"
        verbose_name_plural = "credenciais"

    def __str__(self) -> str:
        return f"{self.label} (…{self.last4})"


class Route(models.Model):
    """A public model name that we sell. Served while active, priced, and with an active deployment and credential."""

    class Surface(models.TextChoices):
        CHAT = "chat", "Chat"
        EMBEDDINGS = "embeddings", "Embeddings"
        IMAGES = "images", "Imagens"
        SPEECH = "speech", "Fala"
        TRANSCRIPTIONS = "transcriptions", "Transcrição"
        MODERATIONS = "moderations", "Moderação"
        RERANK = "rerank", "Reordenação"

    name = models.CharField(
        "modelo",
        max_length=100,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9._:-]*$")],
    )
    aliases = ArrayField(models.CharField(max_length=100), default=list, blank=True, verbose_name="também atende por")
    display_name = models.CharField("nome", max_length=80)
    maker = models.CharField("fabricante", max_length=40)
    surface = models.CharField("superfície", max_length=20, choices=Surface.choices, default=Surface.CHAT)
    description = models.CharField("descrição", max_length=300, blank=True)
    context_tokens = models.PositiveIntegerField("contexto (tokens)")
    output_tokens_max = models.PositiveIntegerField("saída máxima (tokens)", default=0)
    # Without a max_tokens of the caller, this is held and sent upstream.
    output_tokens_default = models.PositiveIntegerField("saída reservada (tokens)", default=0)
    # Upper bound: our o200k count × this / 100 ≥ the provider's own count.
    token_factor_percent = models.PositiveIntegerField("fator de contagem (%)", default=100)
    # "tools", "vision", "json", "reasoning", "prompt_cache"
    capabilities = ArrayField(models.CharField(max_length=20), default=list, blank=True, verbose_name="capacidades")
    # Uses max_completion_tokens and refuses sampling parameters (o-series, gpt-5).
    is_reasoning = models.BooleanField("modelo de raciocínio", default=False)
    is_active = models.BooleanField("ativo", default=True)
    is_featured = models.BooleanField("em destaque", default=False)
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    class Meta:
        verbose_name = "modelo"
        verbose_name_plural = "modelos"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Deployment(models.Model):
    """One sellable copy of a route at a provider. Lower priority first; equal ones share by weight."""

    route = models.ForeignKey(Route, models.CASCADE, related_name="deployments", verbose_name="modelo")
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="deployments", verbose_name="provedor")
    upstream_model = models.CharField("modelo no provedor", max_length=120)
    priority = models.PositiveSmallIntegerField("prioridade", default=1)
    weight = models.PositiveIntegerField("peso", default=100)
    # A stream that has not begun by then goes to the next deployment, while there is one. Empty: GATEWAY_FIRST_TOKEN_MS.
    first_token_ms_max = models.PositiveIntegerField("1º token em até (ms)", null=True, blank=True)
    is_active = models.BooleanField("ativa", default=True)

    class Meta:
        verbose_name = "rota"
        verbose_name_plural = "rotas"
        ordering = ["route", "priority", "-weight"]
        constraints = [models.UniqueConstraint(fields=["route", "provider", "upstream_model"], name="deployment_once")]

    def __str__(self) -> str:
        return f"{self.provider.slug}: {self.upstream_model}"
