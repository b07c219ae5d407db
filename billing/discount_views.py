"""The customer's page of the discount by volume."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from accounts.roles import MemberRequest, requires
from billing import contracts, discounts


@require_GET
@requires("usage.read")
def discount(request: MemberRequest) -> HttpResponseBase:
    """The tiers, where this month stands, what it saved, and the months that are over."""
    standing = discounts.standing()
    closed = discounts.closed_months()
    context = {
        "nav": "desconto",
        "title": _("Desconto por volume"),
        "standing": standing,
        "contract_months": contracts.tell_months(standing.contract) if standing.contract else "",
        "closed": closed,
        "saved_nanos": standing.saved_nanos + sum(month.saved_nanos for month in closed),
    }
    return render(request, "billing/discount.html", context)
