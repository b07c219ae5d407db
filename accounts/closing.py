"""A person leaves (LGPD, art. 18 VI): asked for, CLOSING_DAYS to change one's mind, then only a number stays.

| what | after the days |
|---|---|
| e-mail, name, password, second factors, sessions, connected accounts, copies of data, memberships | gone |
| keys that manage: they act in the person's name | revoked |
| keys that only call, the ledger, notes, closings | stay: they are the organization's; the person is “conta excluída” there |
| audit log | stays, by the person's number; their e-mail in others' lines is blanked at once, addresses AUDIT_ADDRESS_DAYS later |
"""

from __future__ import annotations

import datetime as dt
import logging

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils.translation import gettext, gettext_noop, override

from accounts import audit, devices
from accounts.errors import AccountsError, ConfirmationMissing, LastOwner, NotAllowed
from accounts.keys import revoke_key
from accounts.models import ApiKey, AuditEvent, DataCopy, Invitation, Membership, Organization, PasswordFailure, Role, User
from accounts.scopes import CALL
from tokia import clock

GONE_DOMAIN = "excluida.invalid"  # RFC 2606: nobody's, for ever
LOG_DAYS = 5 * 365  # the log's details: as long as a claim may be raised (Código Civil, art. 206 §5º)
log = logging.getLogger("accounts.closing")


def owned_alone(user: User) -> list[Organization]:
    """Organizations that would be left without an owner."""
    owned = Organization.objects.filter(memberships__user=user, memberships__role=Role.OWNER, closed_at=None)
    others = Membership.everywhere.filter(role=Role.OWNER, user__is_active=True).exclude(user=user)
    return list(owned.exclude(pk__in=others.values("organization_id")).order_by("id"))


@transaction.atomic
def ask_to_close(user: User, *, typed: str) -> None:
    """`typed` is the person's own e-mail. Raises ConfirmationMissing, LastOwner, NotAllowed (staff)."""
    user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if typed.strip().lower() != user.email:
        raise ConfirmationMissing(gettext("O e-mail digitado é outro. Nada foi excluído."))
    _check_may_go(user)
    if user.closes_at is not None:
        return
    now = clock.now()
    User.objects.filter(pk=user.pk).update(closing_asked_at=now, closes_at=now + dt.timedelta(days=settings.CLOSING_DAYS))
    audit.note_everywhere("account_closing_asked", user=user)
    user.refresh_from_db()
    transaction.on_commit(lambda: _tell(user, "account/email/closing_asked.txt", "pedido de exclusão da sua conta"))


def _check_may_go(user: User) -> None:
    if user.is_staff:
        raise NotAllowed(gettext("Contas da equipe Tokia são encerradas na administração."))
    alone = [organization for organization in owned_alone(user) if organization.closing_asked_at is None]
    if alone:
        names = ", ".join(str(organization) for organization in alone)
        text = gettext("Você é o único Dono de {names}. Passe o papel a outra pessoa ou encerre a empresa antes.")
        raise LastOwner(text.format(names=names))


@transaction.atomic
def cancel_closing(user: User) -> bool:
    """The person stays. False where there was nothing to cancel."""
    asked = User.objects.filter(pk=user.pk, closed_at=None).exclude(closes_at=None)
    if not asked.update(closing_asked_at=None, closes_at=None):
        return False
    audit.note_everywhere("account_closing_cancelled", user=user)
    return True


def close_due_accounts() -> int:
    """For a task: those whose days are over. Who became an only owner meanwhile waits until that is settled."""
    due = User.objects.filter(closes_at__lte=clock.now(), closed_at=None).order_by("closes_at")
    done = 0
    for user in due:
        try:
            close_account(user)
        except AccountsError as error:
            log.warning("an account can't be closed yet", extra={"user": user.pk, "why": error.code})
        else:
            done += 1
    return done


@transaction.atomic
def close_account(user: User) -> None:
    """For ever. Raises LastOwner, NotAllowed."""
    user = User.objects.select_for_update().get(pk=user.pk)
    _check_may_go(user)
    email = user.email
    audit.note_everywhere("account_closed", user=user)
    devices.end_all_sessions(user)
    for key in ApiKey.everywhere.filter(created_by=user, status=ApiKey.Status.ACTIVE).exclude(scopes=[CALL]):
        revoke_key(key)
        audit.note(
            "key_revoked", organization=key.organization, user=None, detail={"key": str(key), "why": gettext_noop("conta excluída")}
        )
    Membership.everywhere.filter(user=user).delete()
    waiting = Invitation.everywhere.filter(email__iexact=email)
    waiting.filter(accepted_at=None, cancelled_at=None).update(cancelled_at=clock.now())
    waiting.update(email=_gone(user))
    for model in (EmailAddress, Authenticator, SocialAccount):
        model.objects.filter(user=user).delete()
    DataCopy.everywhere.filter(user=user, organization=None).delete()
    PasswordFailure.objects.filter(email=email).delete()
    told = AuditEvent.everywhere.filter(Q(detail__email__iexact=email) | Q(detail__as__iexact=email), redacted_at=None)
    _blank(told.values_list("pk", flat=True))
    user.email, user.name, user.is_active, user.closed_at = _gone(user), "", False, clock.now()
    user.set_unusable_password()
    user.save()


def _gone(user: User) -> str:
    return f"conta-{user.pk}@{GONE_DOMAIN}"


def redact_audit() -> int:
    """For a task: addresses, browsers and details that are kept no longer. What, when and by which number stays."""
    now = clock.now()
    gone = Q(user__closed_at__lt=now - dt.timedelta(days=settings.AUDIT_ADDRESS_DAYS))
    old = Q(created_at__lt=now - dt.timedelta(days=LOG_DAYS))
    return _blank(AuditEvent.everywhere.filter(gone | old, redacted_at=None).values_list("pk", flat=True)[:10_000])


def _blank(ids: object) -> int:
    rows = AuditEvent.everywhere.filter(pk__in=list(ids), redacted_at=None)  # type: ignore[call-overload]
    return rows.update(detail={}, ip=None, user_agent="", redacted_at=clock.now())


def _tell(user: User, template: str, subject: str) -> None:
    context = {"closes_at": user.closes_at, "url": f"{settings.WEB_URL}/conta/privacidade/"}
    with override(settings.LANGUAGE_CODE):  # mail is Portuguese
        text = render_to_string(template, context)
    try:
        send_mail(f"Tokia: {subject}", text, None, [user.email])
    except OSError:  # SMTP's errors are OSErrors; what was asked stands
        log.warning("a notice about leaving was not sent", exc_info=True)
