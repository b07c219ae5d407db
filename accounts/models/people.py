"""A person, and the passwords that were wrong. Every person belongs to organizations by a membership."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


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


class PasswordFailure(models.Model):
    """A password that was wrong. Kept here beside allauth's counters in Valkey, so that a flush frees no attacker."""

    email = models.EmailField()  # as typed, lower-case; it need not be anybody's
    failed_at = models.DateTimeField(db_index=True)

    class Meta:
        indexes = [models.Index(fields=["email", "failed_at"], name="password_failure_by_email")]
