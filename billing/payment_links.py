"""A charge's page for somebody who does not sign in here: the finance department that pays what a developer asked for.

The address holds the charge's id, signed: nobody makes one up, and nothing is stored. It shows the code, its amount and who
receives it, never a balance, and says no more once the code's time is over.
"""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.core import signing
from django.urls import reverse

from billing.models import Charge
from tokia import clock

SALT = "billing.payment_link"
PAID_SHOWN_FOR = dt.timedelta(days=1)  # past the code's time, for whoever looks whether it was paid


def link_of(charge: Charge) -> str:
    """The whole address, to be sent."""
    return settings.WEB_URL + reverse("pay", args=[signing.dumps(charge.pk.hex, salt=SALT)])


def find_charge(token: str) -> Charge | None:
    """The charge of a link; None for a token that is not ours, and when its time is over."""
    try:
        pk = uuid.UUID(signing.loads(token, salt=SALT))
    except (signing.BadSignature, ValueError, TypeError, AttributeError):
        return None
    found = Charge.everywhere.select_related("wallet__organization").filter(pk=pk).first()
    if found is None:
        return None
    shown_until = found.expires_at + (PAID_SHOWN_FOR if found.status == Charge.Status.PAID else dt.timedelta())
    return found if clock.now() < shown_until else None
