"""The tenant and who has a place in it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models.people import User
from accounts.tenancy import TenantManager


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

    @property
    def address_line(self) -> str:
        """For our own people to read; empty where none is known."""
        names = ("street", "number", "complement", "district", "city", "state", "postal_code")
        return ", ".join(str(self.address[name]) for name in names if self.address.get(name))


class Role(models.TextChoices):
    OWNER = "owner", _("Dono")  # everything
    ADMIN = "admin", _("Administrador")  # everything but the owner's own place
    DEVELOPER = "developer", _("Desenvolvedor")  # own keys, usage
    FINANCE = "finance", _("Financeiro")  # top-ups, statement


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
