"""Files for customers: short ones leave as they are made, long ones are made in the background, in pieces that outlive a worker.

| status | next | moved by |
|---|---|---|
| waiting | running | `run_exports`, which leases it |
| running | running | the same worker with each piece; another one when the lease is over |
| | done | the last piece |
| | waiting, failed | an error: TRIES_MAX of them, or of workers that died, and it has failed |
| done | expired | `purge_exports`, EXPORT_KEPT_HOURS later |

A piece, the cursor after it and the lease are one commit, and only of the worker whose lease it is: no row twice, none left out.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
import uuid
import zlib
from collections.abc import Iterator

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext, override

from accounts import audit
from accounts.models import Organization, User
from billing.errors import TooManyExports
from billing.export_tables import Wanted, count_rows, write_rows
from billing.models import Export, ExportPiece
from billing.ofx import write_ofx
from tokia import clock
from tokia.crashpoints import crashpoint

TRIES_MAX = 5
RUN_SECONDS = 200.0  # a task's turn; the next one goes on
FORGOTTEN_AFTER_DAYS = 30
OPEN = (Export.Status.WAITING, Export.Status.RUNNING)

log = logging.getLogger("billing.exports")


def is_short(organization: Organization, wanted: Wanted) -> bool:
    """It may leave in the answer to the request that asks for it."""
    rows, _ = count_rows(organization, wanted)
    return rows <= settings.EXPORT_ROWS_AT_ONCE


def write_file(organization: Organization, wanted: Wanted) -> Iterator[bytes]:
    """The file in stretches, as they are read; what is told of memory is one stretch. Portuguese, whoever's page asked: each
    stretch is made in it, and between two of them the page's language is nobody's to change."""
    stretches = _write_file(organization, wanted)
    while True:
        with override(settings.LANGUAGE_CODE):
            data = next(stretches, None)
        if data is None:
            return
        yield data


def _write_file(organization: Organization, wanted: Wanted) -> Iterator[bytes]:
    if wanted.form == Export.Form.OFX:
        yield write_ofx(organization, first_on=wanted.first_on, last_on=wanted.last_on)
        return
    for stretch in write_rows(organization, wanted):
        yield stretch.data


def open_export(organization: Organization, wanted: Wanted, *, by: User | None) -> Export:
    """Put a long file in the queue; the same one, while it waits or runs, is the same row. Raises TooManyExports."""
    with transaction.atomic():
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        mine = Export.everywhere.filter(organization=organization, status__in=OPEN)
        same = mine.filter(kind=wanted.kind, form=wanted.form, filters=wanted.as_json()).first()
        if same is not None:
            return same
        if mine.count() >= settings.EXPORTS_OPEN_MAX:
            refusal = gettext("Há {count} exportações em andamento. Espere uma delas terminar.")
            raise TooManyExports(refusal.format(count=settings.EXPORTS_OPEN_MAX))
        rows, is_exact = count_rows(organization, wanted)
        audit.act("export_asked", organization=organization, detail={"table": wanted.name})
        return Export.everywhere.create(
            id=clock.new_id(), organization=organization, kind=wanted.kind, form=wanted.form, filters=wanted.as_json(),
            rows_total=rows if is_exact else 0, requested_by=by,
        )  # fmt: skip


def run_exports(*, seconds: float = RUN_SECONDS) -> int:
    """Work at what waits until nothing does, or the time is over; returns how many files became whole."""
    ends = time.monotonic() + seconds
    done = 0
    while time.monotonic() < ends and (export := _claim()) is not None:
        try:
            done += _work_at(export, ends=ends)
        except Exception as error:  # whatever it was, the row says so and the queue goes on
            log.exception("an export failed", extra={"export": str(export.pk)})
            _give_back(export, error=type(error).__name__)
    return done


def _claim() -> Export | None:
    now = clock.now()
    with transaction.atomic():
        is_due = Q(status=Export.Status.WAITING) | Q(status=Export.Status.RUNNING, leased_until__lt=now)
        waiting = Export.everywhere.select_for_update(skip_locked=True, of=("self",))
        export = waiting.filter(is_due).order_by("tries", "created_at").first()
        if export is None:
            return None
        if export.status == Export.Status.RUNNING:  # its worker died
            export.tries += 1
        if export.tries >= TRIES_MAX:
            Export.everywhere.filter(pk=export.pk).update(status=Export.Status.FAILED, done_at=now)
            ExportPiece.objects.filter(export=export).delete()
            return _claim()
        export.status, export.lease_id = Export.Status.RUNNING, uuid.uuid4()
        export.leased_until = now + dt.timedelta(seconds=settings.EXPORT_LEASE_SECONDS)
        export.save(update_fields=["status", "lease_id", "leased_until", "tries"])
        return export


def _work_at(export: Export, *, ends: float) -> bool:
    """Piece after piece; whether it became whole. Stops where somebody else took over."""
    wanted = Wanted.of(export)
    number = ExportPiece.objects.filter(export=export).count()
    for stretch in write_rows(export.organization, wanted, cursor=export.cursor):
        if not _keep(export, number=number, data=stretch.data, rows=stretch.rows, cursor=stretch.cursor):
            return False
        crashpoint("export-piece")
        if not stretch.cursor:
            return True
        number += 1
        if time.monotonic() > ends:
            _give_back(export)
            return False
    return True


def _keep(export: Export, *, number: int, data: bytes, rows: int, cursor: str) -> bool:
    now = clock.now()
    changes: dict[str, object] = {
        "rows_done": F("rows_done") + rows, "bytes": F("bytes") + len(data), "cursor": cursor,
        "leased_until": now + dt.timedelta(seconds=settings.EXPORT_LEASE_SECONDS),
    }  # fmt: skip
    if not cursor:
        changes |= {
            "status": Export.Status.DONE, "done_at": now, "expires_at": now + dt.timedelta(hours=settings.EXPORT_KEPT_HOURS),
            "error": "", "leased_until": None,
        }  # fmt: skip
    with transaction.atomic():
        if not _mine(export).update(**changes):
            return False
        ExportPiece.objects.create(export=export, number=number, data=zlib.compress(data, 1))
    return True


def _mine(export: Export) -> QuerySet[Export]:
    return Export.everywhere.filter(pk=export.pk, lease_id=export.lease_id, status=Export.Status.RUNNING)


def _give_back(export: Export, *, error: str = "") -> None:
    failed = 1 if error else 0
    _mine(export).update(status=Export.Status.WAITING, leased_until=None, error=error, tries=F("tries") + failed)


def read_file(export: Export) -> Iterator[bytes]:
    """A whole file, piece by piece."""
    number = 0
    while (piece := ExportPiece.objects.filter(export=export, number=number).first()) is not None:
        yield zlib.decompress(piece.data)
        number += 1


def purge_exports() -> int:
    """Drop the pieces of files whose time is over, and rows that nobody looks at any more; returns how many files went."""
    now = clock.now()
    over = Export.everywhere.filter(status=Export.Status.DONE, expires_at__lt=now)
    ids = list(over.values_list("pk", flat=True))
    with transaction.atomic():
        ExportPiece.objects.filter(export__in=ids).delete()
        Export.everywhere.filter(pk__in=ids).update(status=Export.Status.EXPIRED)
    Export.everywhere.exclude(status__in=OPEN).filter(created_at__lt=now - dt.timedelta(days=FORGOTTEN_AFTER_DAYS)).delete()
    return len(ids)
