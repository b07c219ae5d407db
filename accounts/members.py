"""Memberships: who works where, who comes in and who goes."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext, gettext_noop, override

from accounts import audit, session_keys
from accounts.errors import AlreadyMember, InvitationGone, LastOwner, NotAllowed, TooMany
from accounts.keys import revoke_key
from accounts.models import ApiKey, Invitation, Membership, Organization, Role, User
from accounts.roles import may
from accounts.scopes import CALL
from tokia import clock

SESSION_KEY = "organization"
INVITATION_DAYS = 7
OPEN_INVITATIONS_MAX = 50  # per organization
_SEEN_EVERY = dt.timedelta(minutes=5)


def membership_at_work(request: HttpRequest) -> Membership | None:
    """The membership under which this request works; None for strangers and people without an organization.

    The organization chosen in the session, while the person still belongs to it, else the one joined first.
    """
    if not request.user.is_authenticated:
        return None
    mine = Membership.everywhere.filter(user=request.user).select_related("organization", "user").order_by("id")
    chosen = request.session.get(SESSION_KEY)
    membership = (mine.filter(organization_id=chosen).first() if isinstance(chosen, int) else None) or mine.first()
    if membership is not None and getattr(request, "impersonation", None) is None:  # a visit of ours is no access of theirs
        _mark_seen(membership)
    return membership


def _mark_seen(membership: Membership) -> None:
    now = clock.now()
    if membership.last_seen_at is None or now - membership.last_seen_at > _SEEN_EVERY:
        Membership.everywhere.filter(pk=membership.pk).update(last_seen_at=now)


def switch_organization(request: HttpRequest, *, organization_id: int) -> bool:
    """Work in another of one's organizations from now on. False where the person isn't a member."""
    if not request.user.is_authenticated:
        return False
    if not Membership.everywhere.filter(user=request.user, organization_id=organization_id).exists():
        return False
    request.session[SESSION_KEY] = organization_id
    return True


@transaction.atomic
def invite(by: Membership, *, email: str, role: str) -> tuple[Invitation, str]:
    """An open offer and its token, of which only the digest is kept. Inviting the same address again replaces the offer.

    Raises NotAllowed (only an owner invites owners), AlreadyMember, TooMany.
    """
    email = email.strip().lower()
    _lock(by.organization)
    _may_touch(by, role)
    if Membership.everywhere.filter(organization=by.organization, user__email__iexact=email).exists():
        raise AlreadyMember(gettext("{email} já faz parte da equipe.").format(email=email))
    waiting = Invitation.everywhere.filter(organization=by.organization, accepted_at=None, cancelled_at=None)
    waiting.filter(email__iexact=email).update(cancelled_at=clock.now())
    if waiting.filter(expires_at__gt=clock.now()).count() >= OPEN_INVITATIONS_MAX:
        raise TooMany(gettext("Há convites demais em aberto. Cancele alguns antes de enviar outro."))
    token = secrets.token_urlsafe(32)
    invitation = Invitation.everywhere.create(
        organization=by.organization,
        email=email,
        role=role,
        token_hash=_digest(token),
        invited_by=by.user,
        expires_at=clock.now() + dt.timedelta(days=INVITATION_DAYS),
    )
    told = {"email": email, "role": Role(role).label}
    audit.note("member_invited", organization=by.organization, user=by.user, detail=told)
    return invitation, token


def send_invitation(invitation: Invitation, *, token: str) -> None:
    """The e-mail with the link. Raises OSError (SMTP's errors are) when it can't be handed over; the offer stands."""
    context = {
        "invitation": invitation,
        "url": f"{settings.WEB_URL}/app/convite/{token}/",
        "days": INVITATION_DAYS,
    }
    with override(settings.LANGUAGE_CODE):  # mail is Portuguese
        text = render_to_string("accounts/email/invitation.txt", context)
    send_mail(f"Tokia: convite para a equipe de {invitation.organization}", text, None, [invitation.email])


def find_invitation(token: str) -> Invitation:
    """Raises InvitationGone for one that is unknown, used, cancelled or expired."""
    invitation = Invitation.everywhere.select_related("organization", "invited_by").filter(token_hash=_digest(token)).first()
    if invitation is None or invitation.accepted_at or invitation.cancelled_at or invitation.expires_at <= clock.now():
        raise InvitationGone(gettext("Este convite não vale mais. Peça outro a quem convidou você."))
    return invitation


@transaction.atomic
def accept(user: User, *, token: str) -> Membership:
    """The membership that the offer promised. Raises InvitationGone, also when it is bound to another address."""
    invitation = find_invitation(token)
    invitation = Invitation.everywhere.select_for_update().select_related("organization").get(pk=invitation.pk)
    if invitation.accepted_at or invitation.cancelled_at:
        raise InvitationGone(gettext("Este convite não vale mais. Peça outro a quem convidou você."))
    if invitation.email.lower() != user.email.lower():
        text = gettext("Este convite é para {email}. Entre com esse e-mail para aceitar.")
        raise InvitationGone(text.format(email=invitation.email))
    membership, _ = Membership.everywhere.get_or_create(
        organization=invitation.organization, user=user, defaults={"role": invitation.role}
    )
    invitation.accepted_at = clock.now()
    invitation.save(update_fields=["accepted_at"])
    audit.note("member_joined", organization=membership.organization, user=user, detail={"role": Role(membership.role).label})
    return membership


def cancel_invitation(invitation: Invitation) -> None:
    waiting = Invitation.everywhere.filter(pk=invitation.pk, accepted_at=None, cancelled_at=None)
    if waiting.update(cancelled_at=clock.now()):
        audit.act("invitation_cancelled", organization=invitation.organization, detail={"email": invitation.email})


@transaction.atomic
def change_role(by: Membership, *, membership: Membership, role: str) -> None:
    """Raises NotAllowed (an administrator can't touch owners nor make them) and LastOwner."""
    _lock(by.organization)
    membership = Membership.everywhere.get(pk=membership.pk, organization=by.organization)
    _may_touch(by, membership.role)
    _may_touch(by, role)
    if membership.role == Role.OWNER and role != Role.OWNER:
        _keep_an_owner(membership)
    told = {"email": membership.user.email, "from": Role(membership.role).label}
    membership.role = role
    membership.save(update_fields=["role"])
    audit.note("role_changed", organization=by.organization, user=by.user, detail=told | {"to": Role(role).label})
    if not may(membership, session_keys.PERMISSION):
        session_keys.close_session_keys(membership)


@transaction.atomic
def remove(by: Membership, *, membership: Membership, revoke_keys: bool, heir: Membership | None = None) -> None:
    """Out of the organization. The keys that the person created are revoked, or go on; with an `heir`, those that only call go on
    as theirs, and those that manage, which act in their maker's name, are revoked. Raises NotAllowed and LastOwner."""
    _lock(by.organization)
    membership = Membership.everywhere.get(pk=membership.pk, organization=by.organization)
    _may_touch(by, membership.role)
    if membership.role == Role.OWNER:
        _keep_an_owner(membership)
    keys = gettext_noop("revogadas") if revoke_keys else gettext_noop("mantidas")
    session_keys.close_session_keys(membership)
    own = ApiKey.everywhere.filter(organization=by.organization, created_by=membership.user, status=ApiKey.Status.ACTIVE)
    if heir is not None:
        heir = Membership.everywhere.select_related("user").get(pk=heir.pk, organization=by.organization)
        own.filter(scopes=[CALL], kind=ApiKey.Kind.MADE).update(created_by=heir.user)
        revoke_keys, keys = True, f"passadas a {heir.user.email}"
    if revoke_keys:
        for key in own:
            revoke_key(key)
    told = {"email": membership.user.email, "role": Role(membership.role).label, "keys": keys}
    audit.note("member_removed", organization=by.organization, user=by.user, detail=told)
    membership.delete()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _lock(organization: Organization) -> None:
    """One change of a team at a time: two owners who remove each other at once must not both succeed."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)


def _may_touch(by: Membership, role: str) -> None:
    """`by` as it stands in the database: its role may have changed since the page was opened."""
    fresh = Membership.everywhere.filter(pk=by.pk).values_list("role", flat=True).first()
    if fresh not in (Role.OWNER, Role.ADMIN):
        raise NotAllowed(gettext("Só donos e administradores mudam a equipe."))
    if role == Role.OWNER and fresh != Role.OWNER:
        raise NotAllowed(gettext("Só um dono pode incluir, mudar ou remover donos."))


def _keep_an_owner(membership: Membership) -> None:
    others = Membership.everywhere.filter(organization_id=membership.organization_id, role=Role.OWNER).exclude(pk=membership.pk)
    if not others.exists():
        raise LastOwner(gettext("A empresa precisa de pelo menos um Dono."))
