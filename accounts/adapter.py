"""allauth's door into our accounts: wrong passwords are also counted in PostgreSQL, codes have six digits."""

from __future__ import annotations

import datetime as dt
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest

from accounts.models import PasswordFailure
from tokia import clock

_KEPT = dt.timedelta(days=1)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": "E-mail ou senha incorretos.",
        "too_many_login_attempts": "Muitas tentativas. Tente de novo em alguns minutos.",
        "incorrect_code": "Código incorreto.",
        "rate_limited": "Muitas tentativas. Tente de novo em alguns minutos.",
    }

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Raises a ValidationError past allauth's limits (Valkey) or ours (PostgreSQL), before a password is looked at."""
        super().pre_authenticate(request, **credentials)
        since = clock.now() - dt.timedelta(seconds=settings.PASSWORD_FAILURES_SECONDS)
        failures = PasswordFailure.objects.filter(email=_email(credentials), failed_at__gt=since).count()
        if failures >= settings.PASSWORD_FAILURES_MAX:
            raise self.validation_error("too_many_login_attempts")

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        super().authentication_failed(request, **credentials)
        PasswordFailure.objects.filter(failed_at__lt=clock.now() - _KEPT).delete()
        PasswordFailure.objects.create(email=_email(credentials), failed_at=clock.now())


def _email(credentials: dict[str, Any]) -> str:
    return str(credentials.get("email") or credentials.get("username") or "").strip().lower()[:254]
