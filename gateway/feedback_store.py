"""What callers think of answers, at rest. Comments are sealed under their organization's key; `gateway.generation` writes them."""

from __future__ import annotations

from gateway.models import Feedback
from gateway.secrets import reseal


def reseal_feedback() -> int:
    """Every comment, under the newest of ENCRYPTION_KEYS; gives how many. Safe to repeat."""
    count = 0
    for feedback in Feedback.everywhere.exclude(comment=b"").order_by("pk").iterator(chunk_size=500):
        sealed = reseal(bytes(feedback.comment), organization_id=feedback.organization_id)
        # A caller who writes it anew meanwhile has the last word.
        count += Feedback.everywhere.filter(pk=feedback.pk, comment=feedback.comment).update(comment=sealed)
    return count
