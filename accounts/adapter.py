"""allauth's doors into our accounts: sign-in, second factors, and sign-in by Google and GitHub.

Wrong passwords are also counted in PostgreSQL; codes have six digits; secrets of second factors are sealed. What allauth tells a
person by e-mail about their own account is also a line of the audit log.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any, cast

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.core.mail import EmailMessage
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, gettext_noop, override
from django.utils.translation import gettext_lazy as _

from accounts import audit, devices, second_factor
from accounts.models import PasswordFailure, User
from tokia import clock, sealing

_KEPT = dt.timedelta(days=1)
log = logging.getLogger("accounts.sign_in")
# The e-mails that allauth sends when something changed, and what the log calls it.
_TOLD: dict[str, tuple[str, dict[str, str]]] = {
    "account/email/password_changed": ("password_changed", {}),
    "account/email/password_set": ("password_changed", {}),
    "account/email/password_reset": ("password_reset", {}),
    "mfa/email/totp_activated": ("mfa_added", {"how": gettext_noop("aplicativo de códigos")}),
    "mfa/email/totp_deactivated": ("mfa_removed", {"how": "aplicativo de códigos"}),
    "mfa/email/webauthn_added": ("mfa_added", {"how": gettext_noop("chave de acesso")}),
    "mfa/email/webauthn_removed": ("mfa_removed", {"how": "chave de acesso"}),
    "mfa/email/recovery_codes_generated": ("recovery_codes_made", {}),
    "socialaccount/email/account_connected": ("social_connected", {}),
    "socialaccount/email/account_disconnected": ("social_disconnected", {}),
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": _("E-mail ou senha incorretos."),
        "too_many_login_attempts": _("Muitas tentativas. Tente de novo em alguns minutos."),
        "incorrect_code": _("Código incorreto."),
        "rate_limited": _("Muitas tentativas. Tente de novo em alguns minutos."),
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
        email = _email(credentials)
        PasswordFailure.objects.create(email=email, failed_at=clock.now())
        user = User.objects.filter(email=email).first()
        if user is not None:  # what strangers type is nobody's affair, and would fill the log
            audit.note_everywhere("sign_in_failed", user=user, detail={"how": gettext_noop("senha")})

    def post_login(self, request: HttpRequest, user: User, **told: Any) -> HttpResponse:
        """The person is in. A device that this person never came from is told by e-mail, but for the first of all."""
        response = cast(HttpResponse, super().post_login(request, user, **told))
        how = [str(record.get("type") or record["method"]) for record in get_authentication_records(request, user)]
        devices.welcome(request, response, user=user, how=how, is_signup=bool(told.get("signup")))
        return response

    def logout(self, request: HttpRequest) -> None:
        user = request.user
        super().logout(request)
        if isinstance(user, User):
            audit.note_everywhere("signed_out", user=user)

    def render_mail(self, *args: Any, **kwargs: Any) -> EmailMessage:
        """Mail is Portuguese, whatever language the page that asked for it is read in."""
        with override(settings.LANGUAGE_CODE):
            return cast(EmailMessage, super().render_mail(*args, **kwargs))

    def send_notification_mail(
        self, template_prefix: str, user: User, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        kind, detail = _TOLD.get(template_prefix, ("", {}))
        if kind:
            provider = (context or {}).get("provider")
            audit.note_everywhere(kind, user=user, detail=detail | ({"provider": str(provider)} if provider else {}))
        shown = (context or {}) | {"where": devices.describe(self.request)}
        try:
            super().send_notification_mail(template_prefix, user, context=shown, email=email)
        except OSError:  # SMTP's errors are OSErrors; the change itself stands
            log.warning("a notice about an account was not sent", extra={"template": template_prefix}, exc_info=True)


class SecondFactorDoor(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets of second factors are sealed at rest; who must have one can't take the last one away."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "cannot_delete_authenticator": _("Sua empresa exige verificação em duas etapas: ligue outra antes de remover esta."),
        "cannot_generate_recovery_codes": _("Ligue a verificação em duas etapas antes de gerar códigos de recuperação."),
        "incorrect_code": _("Código incorreto."),
        "unverified_email": _("Confirme seu e-mail antes de ligar a verificação em duas etapas."),
    }

    def get_totp_issuer(self) -> str:
        return "Tokia" if settings.IS_PRODUCTION else "Tokia (demonstração)"

    def encrypt(self, text: str) -> str:
        return sealing.encrypt(text).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return sealing.decrypt(encrypted_text.encode())

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        return second_factor.may_remove(authenticator)

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        number = Authenticator.objects.filter(user_id=user.pk, type=type).count() + 1
        return gettext("Chave de acesso") if number == 1 else gettext("Chave de acesso {number}").format(number=number)

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {"id": str(super().get_public_key_credential_rp_entity()["id"]), "name": "Tokia"}


class SocialDoor(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Google and GitHub vouch for who signs in; they never open an account that has a password of its own.

    Whoever has an account connects them from inside, signed in. So an address that somebody verified elsewhere is no way in.
    """

    error_messages = DefaultSocialAccountAdapter.error_messages | {
        "email_taken": _("Já existe uma conta com este e-mail. Entre com sua senha e ligue o %s em Segurança."),
        "no_password": _("Crie uma senha antes de desligar: sem ela você não conseguiria mais entrar."),
        "no_verified_email": _("Confirme seu e-mail antes de desligar."),
        "disconnect_last": _("Esta é a sua única forma de entrar."),
        "connected_other": _("Esta conta já está ligada a outra pessoa."),
    }

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        user = cast(User, super().populate_user(request, sociallogin, data))
        parts = [data.get("name") or "", f"{data.get('first_name') or ''} {data.get('last_name') or ''}"]
        user.name = next((part.strip() for part in parts if part.strip()), "")[:150]
        return user

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        user = cast(User, super().save_user(request, sociallogin, form))
        audit.note("signed_up", organization=None, user=user, detail={"how": str(sociallogin.account.provider)})
        return user

    def can_authenticate_by_email(self, login: SocialLogin, email: str) -> bool:
        return False


def _email(credentials: dict[str, Any]) -> str:
    return str(credentials.get("email") or credentials.get("username") or "").strip().lower()[:254]
