"""Who calls `/api/v1`: an API key by `Authorization: Bearer sk-tokia-…`, or a signed-in person's session with its CSRF token.

The two never mix: a request with an Authorization header is judged by it alone, and no page ever looks at one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts.keys import check_key, find_key
from accounts.models import ApiKey, Membership, Organization, User
from accounts.roles import may
from accounts.scopes import CALL, SCOPES, scopes_of
from tokia import clock
from tokia.manners import ApiError

SECRET_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True)
class ApiCaller:
    """In whose name a request works: a member, with what their role allows, or by a key with what its scopes leave of that."""

    membership: Membership
    key: ApiKey | None = None
    scopes: frozenset[str] = field(default=frozenset())

    @property
    def organization(self) -> Organization:
        return self.membership.organization

    @property
    def user(self) -> User:
        return self.membership.user

    @property
    def name(self) -> str:
        """For limits and idempotency: never two callers of one name."""
        return f"key:{self.key.pk}" if self.key else f"user:{self.membership.user_id}"

    @property
    def actor(self) -> str:
        """For the books."""
        return f"{self.user.email} (chave {self.key.name})" if self.key else self.user.email

    def may(self, permission: str) -> bool:
        return may(self.membership, permission)

    def require(self, scope: str) -> None:
        """Raises ApiError 403."""
        if scope in self.scopes:
            return
        what = SCOPES[scope].label
        if self.key is not None and scope not in self.key.scopes:
            raise ApiError(403, f"Esta chave não tem a permissão {scope} ({what}).", code="scope_missing")
        raise ApiError(403, f"O seu papel na empresa não permite {scope} ({what}).", code="not_allowed")


class KeyAuthentication(BaseAuthentication):  # type: ignore[misc]
    """A key that serves. Raises ApiError: 401 for one that is unknown, revoked or expired, 403 for a suspended organization,
    an archived project, or a person who left."""

    def authenticate(self, request: Request) -> tuple[User, ApiCaller] | None:
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        kind, _, secret = header.partition(" ")
        if kind.lower() != "bearer" or len(secret) > SECRET_CHARACTERS_MAX:
            raise _unknown()
        digest = check_key(secret.strip())
        key = find_key(digest) if digest is not None else None
        if key is None:
            raise _unknown()
        caller = caller_of(key)
        return caller.user, caller

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="Tokia"'


def _unknown() -> ApiError:
    return ApiError(401, "Chave de API inválida. Crie ou confira a sua em Chaves, no painel.", code="invalid_api_key")


def caller_of(key: ApiKey) -> ApiCaller:
    """Whom a key speaks for now. Raises ApiError."""
    if key.kind != ApiKey.Kind.MADE:
        raise ApiError(403, "Esta chave só serve ao playground. Crie outra em Chaves, no painel.", code="scope_missing")
    if key.status != ApiKey.Status.ACTIVE:
        raise ApiError(401, "Esta chave de API foi revogada.", code="invalid_api_key")
    if key.expires_at is not None and key.expires_at <= clock.now():
        raise ApiError(401, "Esta chave de API expirou.", code="invalid_api_key")
    if key.paused_at is not None:
        raise ApiError(403, "Esta chave de API está pausada. Reative-a em Chaves, no painel.", code="key_paused")
    if key.organization.is_suspended:
        raise ApiError(403, "A conta desta empresa está suspensa. Fale com o suporte.", code="organization_suspended")
    if key.project is not None and key.project.archived_at is not None:
        raise ApiError(403, "O projeto desta chave está arquivado.", code="project_archived")
    membership = (
        Membership.everywhere.select_related("organization", "user")
        .filter(organization_id=key.organization_id, user_id=key.created_by_id or 0, user__is_active=True)
        .first()
    )
    if membership is None:
        text = "Quem criou esta chave não faz mais parte da empresa: ela não administra mais nada. Crie outra."
        raise ApiError(403, text, code="creator_left")
    return ApiCaller(membership, key, scopes_of(membership) & frozenset(key.scopes))


class MemberAuthentication(SessionAuthentication):  # type: ignore[misc]
    """A signed-in person, in the organization they work in. What changes something needs the CSRF token in `X-CSRFToken`."""

    def authenticate(self, request: Request) -> tuple[User, ApiCaller] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user, _ = found
        membership: Membership | None = getattr(request._request, "membership", None)
        if membership is None:
            raise ApiError(403, "Abra uma empresa antes, em /app/comecar/.", code="no_organization")
        return user, ApiCaller(membership, None, scopes_of(membership) - {CALL})

    def enforce_csrf(self, request: Any) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            text = "Falta o cabeçalho X-CSRFToken, ou ele não vale mais. Recarregue a página."
            raise ApiError(403, text, code="csrf_failed") from error


def caller_in(request: Request) -> ApiCaller | None:
    """The caller of a request; None for a stranger."""
    return request.auth if not isinstance(request.user, AnonymousUser) and isinstance(request.auth, ApiCaller) else None
