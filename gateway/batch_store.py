"""Batches as their owners see them: open, find, list, cancel, show. What the caller wrote is sealed (`Batch.details`).

A row is the order: the worker looks for batches that are due (`batch_run`), the gateway calls nobody.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q

from accounts.models import Organization
from accounts.tenancy import tenant
from gateway.calls import Caller
from gateway.errors import BadRequest, GatewayError, RateLimited, RouteNotFound
from gateway.file_store import find_file, read_id
from gateway.models import Batch, BatchLine, StoredFile
from gateway.secrets import SecretUnreadable, reseal, seal, unseal
from tokia import clock
from tokia.errors import TokiaError

log = logging.getLogger(__name__)
ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/completions", "/v1/messages")
WINDOW = dt.timedelta(hours=24)
PURGE_BATCH = 100
_ENDED = {Batch.Status.COMPLETED: "completed_at", Batch.Status.FAILED: "failed_at", Batch.Status.EXPIRED: "expired_at",
          Batch.Status.CANCELLED: "cancelled_at"}  # fmt: skip


class LineError(msgspec.Struct, omit_defaults=True):
    """One error of a file, in OpenAI's shape."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Details(msgspec.Struct, omit_defaults=True):
    """What is sealed on a batch."""

    metadata: dict[str, str] | None = None
    errors: list[LineError] = []
    is_english: bool = False


def open_batch(
    caller: Caller,
    *,
    input_file_id: str,
    endpoint: str,
    metadata: dict[str, str] | None,
    output_seconds: int | None,
    is_english: bool,
) -> Batch:
    """Raises RouteNotFound (the file), BadRequest (its purpose), RateLimited (too many are open)."""
    file = find_file(input_file_id, organization_id=caller.organization_id, param="input_file_id")
    if file.purpose != StoredFile.Purpose.BATCH:
        raise BadRequest(
            "Valor inválido em 'input_file_id': o arquivo precisa ter sido enviado com purpose=batch.",
            "Invalid value for 'input_file_id': the file must have been uploaded with purpose=batch.", param="input_file_id",
        )  # fmt: skip
    now = clock.now()
    organization_id = caller.organization_id
    with transaction.atomic(), tenant(Organization(pk=organization_id)):
        Organization.objects.select_for_update().get(pk=organization_id)  # two requests at once count one after the other
        if Batch.objects.filter(ended_at=None).count() >= settings.BATCHES_OPEN_MAX:
            raise RateLimited(
                f"Sua empresa já tem {settings.BATCHES_OPEN_MAX} lotes abertos. Espere um terminar.",
                f"Your organization already has {settings.BATCHES_OPEN_MAX} open batches. Wait for one to end.",
                code="batch_limit_exceeded", retry_after_seconds=60,
            )  # fmt: skip
        return Batch.objects.create(
            id=clock.new_id(), organization_id=organization_id, api_key_id=caller.api_key_id, endpoint=endpoint,
            details=seal_details(Details(metadata=metadata, is_english=is_english), organization_id=organization_id),
            input_file_id=file.pk, output_seconds=output_seconds, created_at=now, expires_at=now + WINDOW,
            purged_at=now + WINDOW + dt.timedelta(days=settings.FILES_TTL_DAYS),
        )  # fmt: skip


def find_batch(shown_id: str, *, organization_id: int) -> Batch:
    """Raises RouteNotFound."""
    id_ = read_id(shown_id, "batch_")
    with tenant(Organization(pk=organization_id)):
        batch = Batch.objects.filter(pk=id_, purged_at__gt=clock.now()).first() if id_ else None
    if batch is None:
        raise not_found(shown_id)
    return batch


def list_batches(*, organization_id: int, after: str, limit: int) -> tuple[list[Batch], bool]:
    """A page, newest first, and whether there is more. Raises RouteNotFound for an `after` that is no batch's."""
    with tenant(Organization(pk=organization_id)):
        batches = Batch.objects.filter(purged_at__gt=clock.now()).order_by("-id")
        if after:
            id_ = read_id(after, "batch_")
            if id_ is None:
                raise not_found(after, param="after")
            batches = batches.filter(id__lt=id_)
        page = list(batches[: limit + 1])
    return page[:limit], len(page) > limit


def cancel_batch(shown_id: str, *, organization_id: int) -> Batch:
    """No line begins any more; what is under way ends, and what is done is delivered. Raises RouteNotFound, BadRequest (ended)."""
    batch = find_batch(shown_id, organization_id=organization_id)
    if not stop_batch(batch) and batch.status != Batch.Status.CANCELLING:
        raise BadRequest(
            f"Um lote com situação '{batch.status}' não pode mais ser cancelado.",
            f"Cannot cancel a batch with status '{batch.status}'.", param="batch_id", status=409, code="batch_ended",
        )  # fmt: skip
    return batch


def stop_batch(batch: Batch, *, error: TokiaError | None = None) -> bool:
    """False where it is past stopping. `error`: why, where it was not its owner's wish."""
    with transaction.atomic():
        locked = Batch.everywhere.select_for_update().get(pk=batch.pk)
        can_stop = locked.status in (Batch.Status.VALIDATING, Batch.Status.IN_PROGRESS)
        if can_stop:
            if error is not None:
                add_error(locked, error)
            locked.status, locked.cancelling_at = Batch.Status.CANCELLING, clock.now()
            locked.save(update_fields=["status", "cancelling_at", "details"])
    batch.refresh_from_db()
    return can_stop


def add_error(batch: Batch, error: TokiaError) -> None:
    """Not saved."""
    details = open_details(batch)
    details.errors = [*details.errors, line_error(error, is_english=details.is_english)]
    batch.details = seal_details(details, organization_id=batch.organization_id)


def line_error(error: TokiaError, *, is_english: bool, line: int | None = None) -> LineError:
    message = error.english if is_english and isinstance(error, GatewayError) else error.message
    return LineError(error.code, message, line, error.param)


def seal_details(details: Details, *, organization_id: int) -> bytes:
    return seal(msgspec.json.encode(details), organization_id=organization_id)


def open_details(batch: Batch) -> Details:
    try:
        return msgspec.json.decode(unseal(bytes(batch.details), organization_id=batch.organization_id), type=Details)
    except SecretUnreadable:
        log.error("batch %s can't be opened: was a key of ENCRYPTION_KEYS dropped too early?", batch.pk)
        return Details()


# ── As it is shown ───────────────────────────────────────────────────────────────────────────────────────────────────
def show_batches(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """OpenAI's batch objects, with how far each one is."""
    under_way = [batch.pk for batch in batches if batch.ended_at is None]
    rows = BatchLine.everywhere.filter(batch__in=under_way).values("batch").annotate(
        done=Count("pk", filter=Q(status=BatchLine.Status.DONE)), failed=Count("pk", filter=Q(status=BatchLine.Status.FAILED))
    ) if under_way else []  # fmt: skip
    counts = {row["batch"]: (row["done"], row["failed"]) for row in rows}
    return [_show(batch, *counts.get(batch.pk, (batch.completed, batch.failed))) for batch in batches]


def _show(batch: Batch, completed: int, failed: int) -> dict[str, Any]:
    details = open_details(batch)
    ended = _ENDED.get(Batch.Status(batch.status))
    return {
        "id": str(batch),
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": [_show_error(error) for error in details.errors]} if details.errors else None,
        "input_file_id": f"file-{batch.input_file_id.hex}",
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": f"file-{batch.output_file_id.hex}" if batch.output_file_id else None,
        "error_file_id": f"file-{batch.error_file_id.hex}" if batch.error_file_id else None,
        "created_at": _unix(batch.created_at),
        "in_progress_at": _unix(batch.in_progress_at),
        "expires_at": _unix(batch.expires_at),
        "finalizing_at": _unix(batch.finalizing_at),
        "cancelling_at": _unix(batch.cancelling_at),
        **{name: _unix(batch.ended_at) if name == ended else None for name in _ENDED.values()},
        "request_counts": {"total": batch.total, "completed": completed, "failed": failed},
        "metadata": details.metadata,
    }


def _show_error(error: LineError) -> dict[str, Any]:
    return {"code": error.code, "line": error.line, "message": error.message, "param": error.param}


def _unix(instant: dt.datetime | None) -> int | None:
    return int(instant.timestamp()) if instant else None


def not_found(shown_id: str, *, param: str | None = None) -> RouteNotFound:
    shown = shown_id[:80]
    return RouteNotFound(
        f"O lote '{shown}' não existe aqui.", f"No batch found with id '{shown}'.", param=param, code="batch_not_found"
    )


# ── In time ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def purge_batches() -> int:
    """Delete those whose time is over, with what is left of their lines. Gives how many."""
    purged = 0
    while True:
        due = list(
            Batch.everywhere.filter(purged_at__lte=clock.now()).exclude(ended_at=None).values_list("pk", flat=True)[:PURGE_BATCH]
        )
        if not due:
            return purged
        Batch.everywhere.filter(pk__in=due).delete()
        purged += len(due)


def reseal_batches() -> int:
    """Everything that is stored, under the newest key: before an old one is dropped. Gives how many rows; safe to repeat."""
    count = 0
    for batch_id, organization_id in Batch.everywhere.values_list("pk", "organization_id").order_by("pk").iterator():
        with transaction.atomic():
            batch = Batch.everywhere.select_for_update().filter(pk=batch_id).first()
            if batch is None:  # purged meanwhile
                continue
            batch.details = reseal(bytes(batch.details), organization_id=organization_id)
            batch.save(update_fields=["details"])
            count += 1
        for line_id in list(BatchLine.everywhere.filter(batch=batch_id).values_list("pk", flat=True)):
            with transaction.atomic():
                line = BatchLine.everywhere.select_for_update().filter(pk=line_id).first()
                if line is None:
                    continue
                for name in ("request", "answer"):
                    if sealed := bytes(getattr(line, name)):
                        setattr(line, name, reseal(sealed, organization_id=organization_id))
                line.save(update_fields=["request", "answer"])
                count += 1
    return count
