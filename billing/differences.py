"""What two sides tell differently: kept, closed when they agree again, explained by people. Money is never repaired here."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import transaction

from billing.errors import BillingError
from billing.models import Difference, ReconciliationRun
from tokia import clock

Subject, Kind, Status = Difference.Subject, Difference.Kind, Difference.Status


class ExplanationRefused(BillingError):
    """There is nothing to explain, or no words."""

    code = "explanation_refused"
    status = 409


@dataclass(frozen=True, slots=True)
class Found:
    """One difference as a comparison saw it, in nanos; a side that has nothing is None."""

    subject: Difference.Subject
    kind: Difference.Kind
    reference: str
    fact_at: dt.datetime
    ours_nanos: int | None = None
    theirs_nanos: int | None = None
    detail: str = ""


@dataclass(slots=True)
class Comparison:
    """What one run looked at and found; `is_examined` says which earlier differences it would have found again."""

    subject: Difference.Subject
    first_at: dt.datetime
    last_at: dt.datetime
    ours: dict[str, int] = field(default_factory=dict)  # nanos by reference
    theirs: dict[str, int] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    is_examined: Callable[[str], bool] = lambda reference: True

    def add(
        self, reference: str, *, kind: Difference.Kind, at: dt.datetime, ours: int | None, theirs: int | None, detail: str = ""
    ) -> None:
        self.found.append(Found(self.subject, kind, reference[:200], at, ours_nanos=ours, theirs_nanos=theirs, detail=detail))

    def compare(self, reference: str, *, at: dt.datetime, ours: int | None, theirs: int | None, detail: str = "") -> None:
        """Both sides of one fact; equal sides are no difference."""
        if ours is not None:
            self.ours[reference] = ours
        if theirs is not None:
            self.theirs[reference] = theirs
        if ours == theirs:
            return
        kind = Kind.ONLY_THERE if ours is None else Kind.ONLY_HERE if theirs is None else Kind.AMOUNT
        self.add(reference, kind=kind, at=at, ours=ours, theirs=theirs, detail=detail)


@contextmanager
def comparing(subject: Difference.Subject, *, first_at: dt.datetime, last_at: dt.datetime) -> Iterator[Comparison]:
    """A run: what is found inside is kept at its end, with a row of the run. What is raised inside leaves a run that failed, and
    no difference changes."""
    started_at, started = clock.now(), time.monotonic()
    comparison = Comparison(subject, first_at, last_at)
    failure = ""
    try:
        yield comparison
        keep(comparison)
    except Exception as error:
        failure = (str(error) or type(error).__name__)[:300]
        raise
    finally:
        ReconciliationRun.objects.create(
            subject=subject, first_at=first_at, last_at=last_at, ours_count=len(comparison.ours),
            theirs_count=len(comparison.theirs), ours_nanos=sum(comparison.ours.values()),
            theirs_nanos=sum(comparison.theirs.values()), differences=0 if failure else len(comparison.found), failure=failure,
            started_at=started_at, took_ms=int((time.monotonic() - started) * 1000),
        )  # fmt: skip


def keep(comparison: Comparison) -> None:
    """Write what was found; what was open in the same period and is not found any more is gone."""
    with transaction.atomic():
        seen = [_keep_one(found).pk for found in comparison.found]
        open_ones = Difference.objects.filter(
            subject=comparison.subject, fact_at__gte=comparison.first_at, fact_at__lte=comparison.last_at
        ).exclude(status=Status.GONE)
        gone = [row.pk for row in open_ones.exclude(pk__in=seen) if comparison.is_examined(row.reference)]
        Difference.objects.filter(pk__in=gone).update(status=Status.GONE, gone_at=clock.now())


def _keep_one(found: Found) -> Difference:
    now = clock.now()
    row, is_new = Difference.objects.select_for_update().get_or_create(
        subject=found.subject, reference=found.reference,
        defaults={
            "kind": found.kind, "ours_nanos": found.ours_nanos, "theirs_nanos": found.theirs_nanos, "detail": found.detail,
            "fact_at": found.fact_at, "first_seen_at": now, "last_seen_at": now,
        },
    )  # fmt: skip
    if is_new:
        return row
    is_same = (row.kind, row.ours_nanos, row.theirs_nanos) == (found.kind, found.ours_nanos, found.theirs_nanos)
    if row.status == Status.GONE or not is_same:  # an explanation holds for the figures that were explained
        row.status, row.gone_at = Status.OPEN, None
    row.kind, row.ours_nanos, row.theirs_nanos = found.kind, found.ours_nanos, found.theirs_nanos
    row.detail, row.last_seen_at, row.fact_at = found.detail, now, found.fact_at
    row.save()
    return row


def explain(difference: Difference, *, explanation: str, by: str) -> Difference:
    """A person says why both sides may differ. Raises ExplanationRefused: no words, or it is not open."""
    words = explanation.strip()
    if len(words) < 10:
        raise ExplanationRefused("Escreva a explicação em pelo menos dez letras.")
    moved = Difference.objects.filter(pk=difference.pk, status=Status.OPEN).update(
        status=Status.EXPLAINED, explanation=words[:500], explained_by=by[:150], explained_at=clock.now()
    )
    if not moved:
        raise ExplanationRefused("Esta diferença não está em aberto.")
    difference.refresh_from_db()
    return difference


def open_count() -> int:
    return Difference.objects.filter(status=Status.OPEN).count()


def last_runs() -> list[ReconciliationRun]:
    """The newest run of each subject."""
    newest = ReconciliationRun.objects.order_by("subject", "-started_at").distinct("subject")
    return sorted(newest, key=lambda run: run.subject)


def purge_runs(*, days: int = 90) -> int:
    """Runs are many and old ones tell nothing; differences stay."""
    deleted, _ = ReconciliationRun.objects.filter(started_at__lt=clock.now() - dt.timedelta(days=days)).delete()
    return deleted


def keep_violations(violations: Iterable[str], *, subject: Difference.Subject = Subject.INVARIANT) -> None:
    """Broken invariants of a subject ("rule: whose (what)") as differences; those that hold again are gone."""
    now = clock.now()
    comparison = Comparison(subject, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), now)
    for violation in violations:
        reference, _, what = violation.partition(" (")
        comparison.add(reference, kind=Kind.BROKEN, at=now, ours=None, theirs=None, detail=what.removesuffix(")"))
    keep(comparison)
