"""Who may do what. Views ask by permission, never by role.

| permission           | owner | admin | developer  | finance |
| keys.manage          |   x   |   x   | own keys   |         |
| keys.manage_all      |   x   |   x   |            |         |
| experiments.manage   |   x   |   x   |     x      |         |
| own_keys.read        |   x   |   x   |     x      |         |
| own_keys.manage      |   x   |   x   |            |         |
| hooks.manage         |   x   |   x   |     x      |         |
| projects.manage      |   x   |   x   |            |         |
| budgets.manage       |   x   |   x   |            |    x    |
| usage.read           |   x   |   x   |     x      |    x    |
| billing.top_up       |   x   |   x   |            |    x    |
| billing.statement    |   x   |   x   |            |    x    |
| billing.refund       |   x   |   x   |            |    x    |
| team.manage          |   x   |   x   |            |         |
| organization.manage  |   x   |   x   |            |         |
| organization.fiscal  |   x   |   x   |            |    x    |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from accounts.models import Membership, Role, User

_FINANCE = frozenset(
    {"usage.read", "budgets.manage", "billing.top_up", "billing.statement", "billing.refund", "organization.fiscal"}
)
_DEVELOPER = frozenset({"usage.read", "keys.manage", "experiments.manage", "own_keys.read", "hooks.manage"})
_ADMIN = _FINANCE | _DEVELOPER | {"keys.manage_all", "own_keys.manage", "projects.manage", "team.manage", "organization.manage"}
PERMISSIONS: dict[str, frozenset[str]] = {
    Role.OWNER: _ADMIN,
    Role.ADMIN: _ADMIN,
    Role.DEVELOPER: _DEVELOPER,
    Role.FINANCE: _FINANCE,
}

P = ParamSpec("P")


class MemberRequest(HttpRequest):
    """A request whose person works in an organization: what `requires` hands to a view."""

    user: User
    membership: Membership


def may(membership: Membership, permission: str) -> bool:
    """Raises KeyError for a permission that no role knows: a typing mistake must not read as "no"."""
    if permission not in _ADMIN:
        raise KeyError(permission)
    return permission in PERMISSIONS[membership.role]


View = Callable[Concatenate[MemberRequest, P], HttpResponseBase]


def requires(permission: str) -> Callable[[View[P]], Callable[Concatenate[HttpRequest, P], HttpResponseBase]]:
    """Lets only members with the permission in. Strangers go to the sign-in page, people without an organization to open one."""
    if permission not in _ADMIN:
        raise KeyError(permission)

    def decorate(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            membership: Membership | None = getattr(request, "membership", None)
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path() if request.method == "GET" else "/app/")
            if membership is None:
                return redirect("start")
            if not may(membership, permission):
                return refuse(request, membership)
            return view(request, *args, **kwargs)  # type: ignore[arg-type]  # it is a MemberRequest now

        return guarded

    return decorate


def refuse(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The page that says whom to ask."""
    owner = Membership.everywhere.filter(organization=membership.organization, role=Role.OWNER).select_related("user").first()
    name = (owner.user.name or owner.user.email) if owner else ""
    return render(request, "403.html", {"ask": name}, status=403)
