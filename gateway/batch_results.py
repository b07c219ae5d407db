"""What a batch leaves: the file of answers, the file of errors, in the order of its lines. One transaction with its end."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction

from gateway.batch_check import lock_batch
from gateway.batch_store import open_details
from gateway.file_store import store_file
from gateway.models import Batch, BatchLine, StoredFile
from gateway.secrets import unseal
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger(__name__)
ROWS_AT_ONCE = 20
_UNFINISHED = (BatchLine.Status.PENDING, BatchLine.Status.RUNNING)


def write_line(*, call_id: str, custom_id: str, status: int, body: bytes, dropped: tuple[str, ...] = ()) -> bytes:
    """One line of the output, or of the errors. `dropped`: hints that the model does not take, which a header tells elsewhere."""
    response: dict[str, Any] = {"status_code": status, "request_id": call_id, "body": msgspec.Raw(body)}
    if dropped:
        response["dropped_params"] = dropped
    return _encode(call_id.replace("-", ""), custom_id, response, None)


def _encode(id_: str, custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    return msgspec.json.encode({"id": f"batch_req_{id_}", "custom_id": custom_id, "response": response, "error": error})


def begin_end(batch: Batch) -> bool:
    """To finalizing, where there is nothing to do any more, or no time left."""
    is_open = Batch.everywhere.filter(pk=batch.pk, status__in=[Batch.Status.VALIDATING, Batch.Status.IN_PROGRESS])
    return bool(is_open.update(status=Batch.Status.FINALIZING, finalizing_at=clock.now()))


def end_batch(batch: Batch, *, lease_id: uuid.UUID) -> None:
    """Write the files and end the batch; afterwards its lines hold nothing of the caller's. Raises LeaseLost."""
    with transaction.atomic():
        locked = lock_batch(batch, lease_id=lease_id, statuses=[Batch.Status.FINALIZING, Batch.Status.CANCELLING])
        lines = BatchLine.everywhere.filter(batch=locked)
        if locked.in_progress_at is None:  # its file was never checked to the end
            lines.delete()
        done, failed = (lines.filter(status=status).count() for status in (BatchLine.Status.DONE, BatchLine.Status.FAILED))
        unfinished = lines.filter(status__in=_UNFINISHED).count()
        is_cancelled = locked.status == Batch.Status.CANCELLING
        now = clock.now()
        if done:
            locked.output_file_id = _write(locked, "output", _answers(locked, [BatchLine.Status.DONE]))
        if failed or (unfinished and not is_cancelled):
            statuses = [BatchLine.Status.FAILED] if is_cancelled else [BatchLine.Status.FAILED, *_UNFINISHED]
            locked.error_file_id = _write(locked, "error", _answers(locked, statuses))
        locked.completed = done
        locked.failed = failed if is_cancelled else failed + unfinished
        has_expired = unfinished or locked.in_progress_at is None
        locked.status = Batch.Status.CANCELLED if is_cancelled else Batch.Status.EXPIRED if has_expired else Batch.Status.COMPLETED
        locked.ended_at, locked.purged_at = now, now + dt.timedelta(days=settings.FILES_TTL_DAYS)
        locked.save()
        lines.update(request=b"", answer=b"")
        crashpoint("batch_before_end_commit")
    log.info("batch ended", extra={"batch": str(batch), "status": locked.status, "completed": done, "failed": locked.failed})


def _write(batch: Batch, kind: str, lines: Iterator[bytes]) -> uuid.UUID:
    file = store_file(
        organization_id=batch.organization_id, purpose=StoredFile.Purpose.BATCH_OUTPUT, name=f"{batch}_{kind}.jsonl",
        pieces=lines, seconds=batch.output_seconds,
    )  # fmt: skip
    return file.pk


def _answers(batch: Batch, statuses: list[BatchLine.Status]) -> Iterator[bytes]:
    details = open_details(batch)
    rows = BatchLine.everywhere.filter(batch=batch, status__in=statuses).order_by("number")
    for row in rows.iterator(chunk_size=ROWS_AT_ONCE):
        if row.status in _UNFINISHED:
            yield _expired_line(row, batch, is_english=details.is_english) + b"\n"
        else:
            yield unseal(bytes(row.answer), organization_id=batch.organization_id) + b"\n"


def _expired_line(row: BatchLine, batch: Batch, *, is_english: bool) -> bytes:
    """What was not done within the window, and why: for want of balance, or of time."""
    request = msgspec.json.decode(unseal(bytes(row.request), organization_id=batch.organization_id))
    if row.error_code == "insufficient_balance":
        code = row.error_code
        message = "O saldo não bastou para esta requisição até o fim do prazo do lote."
        english = "The balance did not cover this request before the completion window expired."
    else:
        code = "batch_expired"
        message = "Esta requisição não pôde ser executada antes do fim do prazo do lote."
        english = "This request could not be executed before the completion window expired."
    return _encode(clock.new_id().hex, request["custom_id"], None, {"code": code, "message": english if is_english else message})
