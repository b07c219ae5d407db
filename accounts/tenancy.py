"""Isolation of organizations: a query on a tenant's table with no tenant raises, and with one sees only its rows.

`Model.objects` is the tenant's view. `Model.everywhere` sees all rows; it is for the platform's own work (admin, tasks,
the ledger) and for finding out who the tenant is. Idea: a query without a scope is a bug, not an empty list.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from django.db import models

if TYPE_CHECKING:
    from accounts.models import Organization

_tenant: ContextVar[Organization | None] = ContextVar("tenant", default=None)
M = TypeVar("M", bound=models.Model)


class NoTenant(RuntimeError):
    """A tenant's table was asked outside of `tenant(organization)`."""


@contextmanager
def tenant(organization: Organization) -> Iterator[Organization]:
    token = _tenant.set(organization)
    try:
        yield organization
    finally:
        _tenant.reset(token)


def current_tenant() -> Organization:
    """The organization at work. Raises NoTenant outside of `tenant(...)`."""
    organization = _tenant.get()
    if organization is None:
        raise NoTenant("No tenant: use `with tenant(organization)`, or `Model.everywhere` for the platform's own work.")
    return organization


class TenantManager(models.Manager[M]):
    """Rows of the current tenant. `path` is the lookup from the model to its organization."""

    def __init__(self, path: str = "organization") -> None:
        super().__init__()
        self.path = path

    def get_queryset(self) -> models.QuerySet[M]:
        return super().get_queryset().filter(**{self.path: current_tenant()})
