"""An organization that may not call: its keys are refused by every gateway within two seconds."""

from __future__ import annotations

from accounts import audit
from accounts.models import Organization


def suspend(organization: Organization, *, reason: str) -> None:
    """`reason` is shown to the customer."""
    Organization.objects.filter(pk=organization.pk).update(is_suspended=True, suspended_reason=reason)
    organization.refresh_from_db()
    audit.act("organization_suspended", organization=organization, detail={"reason": reason})


def reactivate(organization: Organization) -> None:
    Organization.objects.filter(pk=organization.pk).update(is_suspended=False, suspended_reason="")
    organization.refresh_from_db()
    audit.act("organization_reactivated", organization=organization)
