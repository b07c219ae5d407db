"""The tabs of an organization's settings, each where the member may open it."""

from __future__ import annotations

from django import template
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.models import Membership
from accounts.roles import may

register = template.Library()
TABS = (
    ("empresa", _("Empresa"), "organization", "organization.fiscal"),
    ("limites", _("Limites"), "limits", "usage.read"),
    ("avisos", _("Avisos"), "alert_choices", "billing.statement"),
    ("seguranca", _("Segurança"), "organization_security", "organization.manage"),
    ("privacidade", _("Privacidade"), "organization_privacy", "organization.manage"),
    ("webhooks", _("Webhooks"), "hooks", "hooks.manage"),
)


@register.simple_tag(takes_context=True)
def tabs_of_settings(context: template.Context) -> list[dict[str, str]]:
    """For parts/_settings_tabs.html: key, label and address."""
    membership: Membership | None = context.get("membership")
    if membership is None:
        return []
    return [
        {"key": key, "label": str(label), "url": reverse(name)}
        for key, label, name, permission in TABS
        if may(membership, permission)
    ]
