"""What programs call with: keys, the projects they belong to, and the number that tells gateways of a change."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from accounts.models.organizations import Organization
from accounts.models.people import User
from accounts.tenancy import TenantManager


def default_scopes() -> list[str]:
    return ["call"]


class Project(models.Model):
    """A part of an organization with keys, budgets and reports of its own. Archived, its keys no longer serve."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="projects", verbose_name="empresa")
    name = models.CharField("nome", max_length=60)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="criado por")
    created_at = models.DateTimeField("criado em", auto_now_add=True)
    archived_at = models.DateTimeField("arquivado em", null=True, blank=True)

    objects = TenantManager["Project"]()
    everywhere: ClassVar[models.Manager[Project]] = models.Manager()

    class Meta:
        verbose_name = "projeto"
        verbose_name_plural = "projetos"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint("organization", Lower("name"), condition=Q(archived_at__isnull=True), name="project_name_once")
        ]

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A program's credential: `sk-tokia-` + 43 base62 characters of 32 random bytes + 6 of CRC-32. Stored as SHA-256."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Ativa"  # serves, unless expired
        REVOKED = "revoked", "Revogada"  # for ever

    class Kind(models.TextChoices):
        MADE = "made", "Criada por alguém"
        PLAYGROUND = "playground", "Do playground"  # a person's own, for minutes at a time (`accounts.session_keys`)

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="api_keys", verbose_name="empresa")
    project = models.ForeignKey(
        Project, models.PROTECT, null=True, blank=True, related_name="api_keys", verbose_name="projeto"
    )  # empty: none
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="criada por")
    kind = models.CharField("tipo", max_length=10, choices=Kind.choices, default=Kind.MADE, db_default=Kind.MADE, editable=False)
    session_digest = models.BinaryField(max_length=32, null=True, editable=False)  # of the sign-in it ends with (SHA-256)
    name = models.CharField("nome", max_length=60)
    key_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    prefix = models.CharField("começo", max_length=16, editable=False)
    suffix = models.CharField("fim", max_length=4, editable=False)
    status = models.CharField("situação", max_length=8, choices=Status.choices, default=Status.ACTIVE)
    expires_at = models.DateTimeField("expira em", null=True, blank=True)
    # Public route names; empty: all of them.
    allowed_routes = ArrayField(models.CharField(max_length=100), default=list, blank=True, verbose_name="modelos permitidos")
    # What it may do (`accounts.scopes`): "call" serves `/v1`; the others open `/api/v1`.
    scopes = ArrayField(models.CharField(max_length=30), default=default_scopes, verbose_name="permissões")
    requests_per_minute = models.PositiveIntegerField("requisições por minuto", null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField("tokens por minuto", null=True, blank=True)
    concurrent_calls = models.PositiveIntegerField("chamadas ao mesmo tempo", null=True, blank=True)
    # What `store` means where a call of /v1/responses does not say it. OpenAI's own default is true, and SDKs build on it.
    stores_responses = models.BooleanField("guarda respostas por padrão", default=False, db_default=False)
    # Equal calls are answered from the organization's cache for so long. Empty: only where a call asks for it.
    cache_seconds = models.PositiveIntegerField("guarda respostas iguais por (s)", null=True, blank=True)
    created_at = models.DateTimeField("criada em", auto_now_add=True)
    revoked_at = models.DateTimeField("revogada em", null=True, blank=True)
    paused_at = models.DateTimeField("pausada em", null=True, blank=True)  # it refuses until somebody resumes it

    objects = TenantManager["ApiKey"]()
    everywhere: ClassVar[models.Manager[ApiKey]] = models.Manager()

    class Meta:
        verbose_name = "chave de API"
        verbose_name_plural = "chaves de API"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "created_by"], condition=Q(kind="playground"), name="playground_key_once"
            )
        ]
        indexes = [models.Index(fields=["session_digest"], condition=Q(session_digest__isnull=False), name="api_key_by_session")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…{self.suffix})"


class IdempotentRequest(models.Model):
    """A creating request of the management API under an Idempotency-Key, and the answer it got (`accounts.idempotency`)."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", verbose_name="empresa")
    caller = models.CharField(max_length=30)  # "key:7" or "user:3"
    key_digest = models.BinaryField(max_length=32)  # SHA-256 of the header
    body_digest = models.BinaryField(max_length=32)  # SHA-256 of operation and body
    answer = models.BinaryField(null=True)  # JSON, sealed under the organization's key; empty while it runs
    started_at = models.DateTimeField(db_index=True)
    answered_at = models.DateTimeField(null=True)

    objects = TenantManager["IdempotentRequest"]()
    everywhere: ClassVar[models.Manager[IdempotentRequest]] = models.Manager()

    class Meta:
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["organization", "caller", "key_digest"], name="idempotent_request_once")]

    def __str__(self) -> str:
        return f"{self.caller} {self.started_at:%d/%m %H:%M}"


class SnapshotVersion(models.Model):
    """A number that moves, in the same commit, with what gateways keep in memory ('callers', 'catalog').

    Statement triggers on the tables concerned call the SQL function `bump_snapshot(subject)`, which also sends NOTIFY
    `tokia_snapshot`. So no writer, the admin and the shell included, can forget to tell the gateways.
    """

    subject = models.CharField(max_length=20, primary_key=True)
    number = models.BigIntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.subject} {self.number}"
