"""Where people are signed in: their sessions, and the devices that they came from before.

A device is known by a signed cookie that names who came in from it. A sign-in without it is told by e-mail; the first one of an
account is not: there is nothing to compare it with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.core import signing
from django.core.mail import send_mail
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext, gettext_noop, override

from accounts import audit
from accounts.models import AuditEvent, User
from accounts.throttle import peer_of
from tokia import clock

COOKIE = "aparelho"
COOKIE_SECONDS = 365 * 86_400
PEOPLE_MAX = 10  # remembered per device
_SALT = "accounts.devices"
METHODS = {
    "password": gettext_noop("senha"), "totp": gettext_noop("aplicativo de códigos"), "webauthn": gettext_noop("chave de acesso"),
    "recovery_codes": gettext_noop("código de recuperação"), "socialaccount": gettext_noop("Google ou GitHub"),
    "code": gettext_noop("código por e-mail"), "password_reset": gettext_noop("nova senha"),
}  # fmt: skip
log = logging.getLogger("accounts.devices")


def describe(request: HttpRequest) -> dict[str, str]:
    """Browser and address, as e-mails tell them."""
    browser = audit.describe_browser(request.headers.get("User-Agent", ""))
    return {"browser": browser or "Navegador desconhecido", "ip": peer_of(request)}


def welcome(request: HttpRequest, response: HttpResponse, *, user: User, how: Iterable[str], is_signup: bool) -> None:
    """Note a sign-in, remember the device, and tell the person of one that is new."""
    known = _known(request)
    is_first = not AuditEvent.everywhere.filter(user=user, kind="signed_in").exists()
    methods = list(dict.fromkeys(METHODS.get(name, name) for name in how))
    audit.note_everywhere("signed_in", user=user, detail={"how": methods})
    if "código de recuperação" in methods:
        audit.note_everywhere("recovery_code_used", user=user)
    if user.pk not in known:
        if not is_first and not is_signup:
            audit.note_everywhere("signed_in_elsewhere", user=user)
            _tell(request, user)
        known = [*known, user.pk][-PEOPLE_MAX:]
    response.set_cookie(
        COOKIE,
        signing.dumps(known, salt=_SALT),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=settings.IS_PRODUCTION,
    )


def _known(request: HttpRequest) -> list[int]:
    try:
        found = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=COOKIE_SECONDS)
    except signing.BadSignature:
        return []
    return [item for item in found if isinstance(item, int)] if isinstance(found, list) else []


def _tell(request: HttpRequest, user: User) -> None:
    context = {"where": describe(request), "at": clock.now(), "url": f"{settings.WEB_URL}/conta/seguranca/"}
    with override(settings.LANGUAGE_CODE):  # mail is Portuguese
        text = render_to_string("account/email/new_device.txt", context)
    try:
        send_mail("Tokia: novo acesso à sua conta", text, None, [user.email])
    except OSError:  # SMTP's errors are OSErrors; nobody is kept out for it
        log.warning("a notice of a new device was not sent", exc_info=True)


# ── Sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def sessions_of(request: HttpRequest, user: User) -> list[UserSession]:
    """The open ones, this one first. One from before sessions were listed is listed from now on."""
    if not UserSession.objects.filter(session_key=request.session.session_key).exists():
        UserSession.objects.create_from_request(request)
    found = UserSession.objects.purge_and_list(user)
    found.sort(key=lambda session: session.last_seen_at, reverse=True)
    for session in found:
        session.browser = audit.show_browser(audit.describe_browser(session.user_agent)) or gettext("Navegador desconhecido")
    return sorted(found, key=lambda session: session.session_key != request.session.session_key)


def end_session(request: HttpRequest, user: User, *, session_id: int) -> bool:
    """False where it isn't theirs, is over already, or is the one at work: that one is left by signing out."""
    session = UserSession.objects.filter(pk=session_id, user=user).exclude(session_key=request.session.session_key).first()
    if session is None:
        return False
    browser = audit.describe_browser(session.user_agent)
    session.end()
    audit.note_everywhere("session_ended", user=user, detail={"browser": browser})
    return True


def end_other_sessions(request: HttpRequest, user: User) -> int:
    """All but the one at work; how many they were."""
    others = list(UserSession.objects.filter(user=user).exclude(session_key=request.session.session_key))
    for session in others:
        session.end()
    if others:
        audit.note_everywhere("session_ended", user=user, detail={"count": len(others)})
    return len(others)


def end_all_sessions(user: User) -> None:
    for session in list(UserSession.objects.filter(user=user)):
        session.end()
