"""The nouns of accounts. See `accounts/__init__.py`."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from accounts.tenancy import TenantManager


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


def default_scopes() -> list[str]:
    return ["call"]


class User(AbstractUser):
    """A person, known by e-mail."""

    username = None  # type: ignore[assignment]
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    name = models.CharField("nome", max_length=150, blank=True)
    email = models.EmailField("e-mail")
    accepted_terms_at = models.DateTimeField("aceitou os termos em", null=True, blank=True)
    # Asked to be deleted (`accounts.closing`): until `closes_at` the person may change their mind; then only the number stays.
    closing_asked_at = models.DateTimeField("pediu exclusão em", null=True, editable=False)
    closes_at = models.DateTimeField("some em", null=True, editable=False)
    closed_at = models.DateTimeField("excluída em", null=True, editable=False)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "usuário"
        verbose_name_plural = "usuários"
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_once")]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name.split(" ")[0] or self.email


class LimitProfile(models.Model):
    """What many organizations share: rate limits, bounds of a top-up, a margin. A key's own limit, where set, can only be lower."""

    name = models.CharField("nome", max_length=60, unique=True)
    requests_per_minute = models.PositiveIntegerField("requisições por minuto")
    tokens_per_minute = models.PositiveIntegerField("tokens por minuto")
    concurrent_calls = models.PositiveIntegerField("chamadas ao mesmo tempo", null=True, blank=True)  # empty: no limit
    # Empty: TOP_UP_MIN_BRL, TOP_UP_MAX_BRL, TOP_UP_OPEN_MAX.
    top_up_min_nanos = models.BigIntegerField("recarga mínima", null=True, blank=True)
    top_up_max_nanos = models.BigIntegerField("recarga máxima", null=True, blank=True)
    open_charges_max = models.PositiveSmallIntegerField("cobranças em aberto", null=True, blank=True)
    # Added to every price, in hundredths of a percent; negative: a discount on prices, before the one by volume.
    margin_bps = models.SmallIntegerField("ajuste de margem (centésimos de %)", default=0, db_default=0)

    class Meta:
        verbose_name = "perfil de limites"
        verbose_name_plural = "perfis de limites"
        constraints = [
            models.CheckConstraint(condition=Q(margin_bps__gt=-10_000), name="limit_profile_margin"),
            models.CheckConstraint(
                condition=Q(top_up_min_nanos__isnull=True) | Q(top_up_min_nanos__gt=0), name="limit_profile_top_up_min"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Organization(models.Model):
    """The tenant: a Brazilian company (CNPJ) or person (CPF) that owns a wallet, keys and members."""

    class TaxIdKind(models.TextChoices):
        CNPJ = "cnpj", "CNPJ"
        CPF = "cpf", "CPF"

    name = models.CharField("razão social ou nome", max_length=150)
    trade_name = models.CharField("nome fantasia", max_length=150, blank=True)
    # Bare and upper-case; empty until the organization is identified. Several organizations may share one (branches of work).
    tax_id = models.CharField("CNPJ ou CPF", max_length=14, blank=True, db_index=True)
    tax_id_kind = models.CharField("documento", max_length=4, choices=TaxIdKind.choices, default=TaxIdKind.CNPJ)
    invoice_email = models.EmailField("e-mail para notas", blank=True)
    municipal_registration = models.CharField("inscrição municipal", max_length=20, blank=True)
    # street, number, complement, district, city, state, postal_code
    address = models.JSONField("endereço", default=dict, blank=True)
    limit_profile = models.ForeignKey(
        LimitProfile,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name="perfil de limites",
        related_name="organizations",
    )
    is_suspended = models.BooleanField("suspensa", default=False)
    suspended_reason = models.CharField("motivo da suspensão", max_length=200, blank=True)
    checklist_dismissed_at = models.DateTimeField(null=True, blank=True, editable=False)
    # From then on whoever has no second factor sees no page of it (`accounts.second_factor`); empty: everybody does.
    mfa_demanded_from = models.DateTimeField("exige duas etapas desde", null=True, blank=True, editable=False)
    # Asked to be closed (`tokia.closures`): its keys stop at once, the rest goes at `closes_at`.
    closing_asked_at = models.DateTimeField("pediu encerramento em", null=True, editable=False)
    closes_at = models.DateTimeField("encerra em", null=True, editable=False)
    closed_at = models.DateTimeField("encerrada em", null=True, editable=False)
    created_at = models.DateTimeField("criada em", auto_now_add=True)

    class Meta:
        verbose_name = "empresa"
        verbose_name_plural = "empresas"
        permissions = [("impersonate_organization", "Pode entrar como uma empresa")]

    def __str__(self) -> str:
        return self.trade_name or self.name


class Role(models.TextChoices):
    OWNER = "owner", "Dono"  # everything
    ADMIN = "admin", "Administrador"  # everything but the owner's own place
    DEVELOPER = "developer", "Desenvolvedor"  # own keys, usage
    FINANCE = "finance", "Financeiro"  # top-ups, statement


class Membership(models.Model):
    """A user's place in an organization."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="memberships", verbose_name="empresa")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships", verbose_name="usuário")
    role = models.CharField("papel", max_length=10, choices=Role.choices)
    last_seen_at = models.DateTimeField("último acesso", null=True, blank=True)
    created_at = models.DateTimeField("desde", auto_now_add=True)

    objects = TenantManager["Membership"]()
    everywhere: ClassVar[models.Manager[Membership]] = models.Manager()

    class Meta:
        verbose_name = "membro"
        verbose_name_plural = "membros"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()}"


class Invitation(models.Model):
    """An open offer of a membership, bound to one e-mail address. Only the digest of its token is stored."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="invitations", verbose_name="empresa")
    email = models.EmailField("e-mail")
    role = models.CharField("papel", max_length=10, choices=Role.choices)
    token_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="convidado por")
    created_at = models.DateTimeField("criado em", auto_now_add=True)
    expires_at = models.DateTimeField("expira em")
    accepted_at = models.DateTimeField("aceito em", null=True, blank=True)
    cancelled_at = models.DateTimeField("cancelado em", null=True, blank=True)

    objects = TenantManager["Invitation"]()
    everywhere: ClassVar[models.Manager[Invitation]] = models.Manager()

    class Meta:
        verbose_name = "convite"
        verbose_name_plural = "convites"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"

    def __str__(self) -> str:
        return self.email


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


class PasswordFailure(models.Model):
    """A password that was wrong. Kept here beside allauth's counters in Valkey, so that a flush frees no attacker."""

    email = models.EmailField()  # as typed, lower-case; it need not be anybody's
    failed_at = models.DateTimeField(db_index=True)

    class Meta:
        indexes = [models.Index(fields=["email", "failed_at"], name="password_failure_by_email")]


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


class StaffNote(models.Model):
    """What staff tell each other about an organization. Nobody of the organization ever sees it."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="staff_notes", verbose_name="empresa")
    text = models.TextField("texto", max_length=2_000)
    written_by = models.CharField("por", max_length=150)  # the e-mail: it outlives the person's account
    created_at = models.DateTimeField("em", auto_now_add=True)

    objects = TenantManager["StaffNote"]()
    everywhere: ClassVar[models.Manager[StaffNote]] = models.Manager()

    class Meta:
        verbose_name = "anotação interna"
        verbose_name_plural = "anotações internas"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [models.Index(fields=["organization", "-id"], name="staff_note_by_organization")]

    def __str__(self) -> str:
        return f"{self.written_by}: {self.text[:60]}"


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


class SnapshotVersion(models.Model):
    """A number that moves, in the same commit, with what gateways keep in memory ('callers', 'catalog').

    Statement triggers on the tables concerned call the SQL function `bump_snapshot(subject)`, which also sends NOTIFY
    `tokia_snapshot`. So no writer, the admin and the shell included, can forget to tell the gateways.
    """

    subject = models.CharField(max_length=20, primary_key=True)
    number = models.BigIntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.subject} {self.number}"


from accounts.flag_rows import FeatureFlag as FeatureFlag  # noqa: E402 - a file of its own; Django finds models here
from accounts.flag_rows import FeatureFlagChange as FeatureFlagChange  # noqa: E402
