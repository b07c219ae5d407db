"""How a call finds who serves it: rules, fallbacks, experiments, customers' own provider keys, and what was measured."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models

from accounts.models import Organization, User
from accounts.tenancy import TenantManager
from gateway.models.catalog import Credential, Provider, Route


class FailureKind(models.TextChoices):
    """Why an attempt failed, as far as it matters to who is asked next."""

    OUTAGE = "outage", "Fora do ar, lento ou corrompido"
    RATE_LIMIT = "rate_limit", "Limite de requisições"
    CONTEXT_WINDOW = "context_window", "Não cabe no contexto"
    CONTENT_POLICY = "content_policy", "Política de conteúdo"


def every_kind() -> list[str]:
    return [str(kind) for kind in FailureKind]


class RoutingRule(models.Model):
    """A virtual model (`tokia/balanced`): a name that callers use, and the models that answer to it, in order."""

    class Policy(models.TextChoices):
        LIST = "list", "Lista"  # its own steps, in order
        AUTO = "auto", "Automática"  # reads the request, then goes by one of the other rules (`gateway.auto`)

    name = models.CharField(
        "modelo virtual", max_length=100, unique=True, validators=[RegexValidator(r"^tokia/[a-z0-9][a-z0-9._-]*$")]
    )
    display_name = models.CharField("nome", max_length=80)
    description = models.CharField("descrição", max_length=300, blank=True)
    policy = models.CharField("política", max_length=4, choices=Policy.choices, default=Policy.LIST)
    is_active = models.BooleanField("ativo", default=True)
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    class Meta:
        verbose_name = "regra de roteamento"
        verbose_name_plural = "regras de roteamento"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class RuleStep(models.Model):
    """One model of a rule. The first whose condition holds is asked first; those after it are its fallbacks, then those before."""

    rule = models.ForeignKey(RoutingRule, models.CASCADE, related_name="steps", verbose_name="regra")
    position = models.PositiveSmallIntegerField("ordem", default=1)
    route = models.ForeignKey(Route, models.CASCADE, related_name="+", verbose_name="modelo")
    # Milliseconds of the caller's `latency_budget_ms`. Empty: always.
    budget_below_ms = models.PositiveIntegerField("só com orçamento de latência abaixo de (ms)", null=True, blank=True)

    class Meta:
        verbose_name = "passo da regra"
        verbose_name_plural = "passos da regra"
        ordering = ["rule", "position", "pk"]
        constraints = [models.UniqueConstraint(fields=["rule", "route"], name="rule_step_once")]

    def __str__(self) -> str:
        return f"{self.position}. {self.route_id}"


class Fallback(models.Model):
    """Another model that may answer where all of a model's own deployments failed, for the reasons named."""

    route = models.ForeignKey(Route, models.CASCADE, related_name="fallbacks", verbose_name="modelo")
    position = models.PositiveSmallIntegerField("ordem", default=1)
    target = models.ForeignKey(Route, models.CASCADE, related_name="+", verbose_name="substituto")
    kinds = ArrayField(models.CharField(max_length=14, choices=FailureKind.choices), default=every_kind, verbose_name="quando")

    class Meta:
        verbose_name = "substituto"
        verbose_name_plural = "substitutos"
        ordering = ["route", "position", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["route", "target"], name="fallback_once"),
            models.CheckConstraint(condition=~models.Q(route=models.F("target")), name="fallback_is_another"),
        ]

    def __str__(self) -> str:
        return f"{self.route_id} → {self.target_id}"


class Experiment(models.Model):
    """Calls that name one model, split by weight among several. The same session or user always meets the same arm."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Rascunho"
        RUNNING = "running", "Em andamento"
        ENDED = "ended", "Encerrado"  # for ever: its results stay

    # Empty: of the platform, for every organization without an experiment of its own on that model.
    organization = models.ForeignKey(
        Organization, models.CASCADE, null=True, blank=True, related_name="experiments", verbose_name="empresa"
    )
    name = models.CharField("nome", max_length=80)
    model = models.CharField("quando pedem o modelo", max_length=100)  # the name callers use: a route's, an alias, or a rule's
    status = models.CharField("situação", max_length=7, choices=Status.choices, default=Status.DRAFT)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="criado por")
    created_at = models.DateTimeField("criado em", auto_now_add=True)
    started_at = models.DateTimeField("iniciado em", null=True, blank=True, editable=False)
    ended_at = models.DateTimeField("encerrado em", null=True, blank=True, editable=False)

    objects = TenantManager["Experiment"]()
    everywhere: ClassVar[models.Manager[Experiment]] = models.Manager()

    class Meta:
        verbose_name = "experimento"
        verbose_name_plural = "experimentos"
        ordering = ["-pk"]
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "model"],
                condition=models.Q(status="running"),
                nulls_distinct=False,
                name="experiment_running_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ExperimentArm(models.Model):
    """One side of an experiment."""

    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="arms", verbose_name="experimento")
    label = models.CharField("rótulo", max_length=40)
    route = models.ForeignKey(Route, models.PROTECT, related_name="+", verbose_name="modelo")
    weight = models.PositiveIntegerField("peso", default=50, validators=[MinValueValidator(1)])

    objects = TenantManager["ExperimentArm"]("experiment__organization")
    everywhere: ClassVar[models.Manager[ExperimentArm]] = models.Manager()

    class Meta:
        verbose_name = "braço"
        verbose_name_plural = "braços"
        ordering = ["experiment", "pk"]
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint(fields=["experiment", "label"], name="arm_once"),
            models.CheckConstraint(condition=models.Q(weight__gte=1), name="arm_has_weight"),
        ]

    def __str__(self) -> str:
        return self.label


class Feedback(models.Model):
    """What a caller thinks of one answer."""

    call_id = models.UUIDField("chamada", primary_key=True, editable=False)  # of the usage record
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", verbose_name="empresa", editable=False)
    score = models.SmallIntegerField("nota", editable=False)  # 1 good, −1 bad
    comment = models.BinaryField("comentário", default=b"", editable=False)  # sealed (`gateway.secrets`)
    created_at = models.DateTimeField("em", auto_now_add=True)

    objects = TenantManager["Feedback"]()
    everywhere: ClassVar[models.Manager[Feedback]] = models.Manager()

    class Meta:
        verbose_name = "avaliação"
        verbose_name_plural = "avaliações"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.CheckConstraint(condition=models.Q(score__in=(-1, 1)), name="feedback_up_or_down")]


class OwnKey(models.Model):
    """A customer's own key at a provider. Calls that it serves cost the platform fee only (`Price.own_key_percent`)."""

    class Use(models.TextChoices):
        FIRST = "first", "Usar primeiro"  # ours take over where it fails
        ONLY = "only", "Usar só esta"  # this provider is never asked with our key
        FAILOVER = "failover", "Usar como reserva"  # where ours fail

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="own_keys", verbose_name="empresa", editable=False)
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="+", verbose_name="provedor")
    label = models.CharField("rótulo", max_length=60)
    secret = models.BinaryField("segredo", editable=False)  # sealed under the organization's key
    last4 = models.CharField("final", max_length=4, editable=False)
    use = models.CharField("uso", max_length=8, choices=Use.choices, default=Use.FIRST)
    is_active = models.BooleanField("ativa", default=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="criada por", editable=False)
    created_at = models.DateTimeField("criada em", auto_now_add=True)

    objects = TenantManager["OwnKey"]()
    everywhere: ClassVar[models.Manager[OwnKey]] = models.Manager()

    class Meta:
        verbose_name = "chave própria do cliente"
        verbose_name_plural = "chaves próprias dos clientes"
        ordering = ["provider__name", "pk"]
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"

    def __str__(self) -> str:
        return f"{self.label} (…{self.last4})"


class CredentialHealth(models.Model):
    """How one of our keys is doing at its provider. Apart from the key, so that writing it moves no snapshot."""

    credential = models.OneToOneField(
        Credential, models.CASCADE, primary_key=True, related_name="health", verbose_name="credencial"
    )
    # Refused by its provider: rotated out until it is tried again.
    dead_at = models.DateTimeField("recusada desde", null=True, blank=True)
    dead_reason = models.CharField("motivo", max_length=200, blank=True)
    balance = models.DecimalField("saldo no provedor", max_digits=14, decimal_places=4, null=True, blank=True)
    balance_currency = models.CharField("moeda", max_length=3, blank=True)
    balance_at = models.DateTimeField("saldo em", null=True, blank=True)
    # As the provider's last answer said: {"requests_left", "requests_limit", "tokens_left", "tokens_limit"}
    limits = models.JSONField("limites restantes", default=dict, blank=True)
    limits_at = models.DateTimeField("limites em", null=True, blank=True)

    class Meta:
        verbose_name = "saúde da credencial"
        verbose_name_plural = "saúde das credenciais"

    def __str__(self) -> str:
        return f"{self.credential_id}"


class DeploymentVitals(models.Model):
    """What was measured of one deployment in one span of time, by all processes together; without keys, so that rows outlive
    what they speak of. `first_token` and `total` count answers by the buckets of `gateway.histogram.BOUNDS_MS`."""

    begins_at = models.DateTimeField()
    span_seconds = models.PositiveIntegerField()  # 60, kept for two days; 3600, for forty; 86400, for four hundred
    deployment_id = models.BigIntegerField()
    provider_slug = models.CharField(max_length=40)
    route_name = models.CharField(max_length=100)
    succeeded = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)  # outages: what a status page calls down
    limited = models.IntegerField(default=0)  # 429
    output_tokens = models.BigIntegerField(default=0)
    output_ms = models.BigIntegerField(default=0)  # between first token and end, of those
    first_token = ArrayField(models.IntegerField(), default=list)
    total = ArrayField(models.IntegerField(), default=list)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["span_seconds", "begins_at", "deployment_id"], name="vitals_once")]


class IdempotentCall(models.Model):
    """A POST that came with an Idempotency-Key: who runs it, then what it answered, until `expires_at`."""

    class Status(models.TextChoices):
        RUNNING = "running", "Em execução"
        DRAFTED = "drafted", "Respondida"  # stored before its settlement; stands where the usage record does
        DONE = "done", "Concluída"

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", verbose_name="empresa", editable=False)
    key_hash = models.BinaryField(max_length=32, editable=False)  # SHA-256 of API key id and Idempotency-Key
    fingerprint = models.BinaryField(max_length=32, editable=False)  # SHA-256 of method, path and body
    call_id = models.UUIDField(editable=False)
    session_id = models.BigIntegerField(editable=False)  # the gateway's ledger session: a reaped one runs nothing any more
    status = models.CharField(max_length=7, choices=Status.choices, default=Status.RUNNING, editable=False)
    status_code = models.SmallIntegerField(default=0, editable=False)
    headers = models.JSONField(default=dict, editable=False)
    body = models.BinaryField(default=b"", editable=False)  # sealed
    created_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(db_index=True, editable=False)

    objects = TenantManager["IdempotentCall"]()
    everywhere: ClassVar[models.Manager[IdempotentCall]] = models.Manager()

    class Meta:
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["organization", "key_hash"], name="idempotent_call_once")]
