"""A batch's file before anything of it is called: every line, or none.

Lines are stored as they are checked, so that memory stays flat; a check that died begins anew. Errors name their lines.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import sha256
from itertools import islice

from django.conf import settings
from django.db import transaction

from gateway.batch_calls import LineProcess, check_request, read_request
from gateway.batch_store import LineError, line_error, open_details, seal_details
from gateway.calls import Caller
from gateway.errors import BadRequest, RouteNotFound
from gateway.file_store import find_file, read_lines
from gateway.models import Batch, BatchLine
from gateway.secrets import seal
from gateway.threads import DatabaseThreads
from tokia import clock
from tokia.errors import TokiaError

LINES_MAX = 50_000
ERRORS_MAX = 100
LINES_AT_ONCE, BYTES_AT_ONCE = 200, 4 * 1_048_576
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LeaseLost(Exception):
    """Somebody else works on the batch, or it was cancelled: what was begun is theirs."""


async def check_batch(process: LineProcess, threads: DatabaseThreads, batch: Batch, caller: Caller, *, lease_id: uuid.UUID) -> None:
    """Ends with the batch in progress, or failed with its errors. Raises LeaseLost."""
    details = await threads.run(lambda: open_details(batch))
    tell = partial(line_error, is_english=details.is_english)
    errors: list[LineError] = []
    seen: set[bytes] = set()
    number = total = 0
    try:
        file = await threads.run(
            lambda: find_file(f"file-{batch.input_file_id.hex}", organization_id=batch.organization_id, param="input_file_id")
        )
        await threads.run(lambda: _clear(batch, lease_id=lease_id))
        lines = read_lines(file, longest=settings.GATEWAY_BODY_BYTES_MAX)
        while part := await threads.run(lambda: list(take_some(lines))):
            good: list[tuple[int, bytes]] = []
            for line in part:
                number += 1
                line = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip(b" \t\r")
                if not line:
                    continue
                total += 1
                try:
                    if total > LINES_MAX:
                        raise _too_many()
                    if len(line) > settings.GATEWAY_BODY_BYTES_MAX:
                        raise _too_long()
                    await _check_line(process, caller, line, batch.endpoint, seen)
                except TokiaError as error:
                    errors.append(tell(error, line=number))
                else:
                    good.append((number, line))
                if len(errors) >= ERRORS_MAX or total > LINES_MAX:
                    break
            if not errors:
                await threads.run(partial(_store, batch, good, lease_id=lease_id))
            if len(errors) >= ERRORS_MAX or total > LINES_MAX:
                break
        if total == 0:
            errors.append(tell(BadRequest("O arquivo não tem nenhuma linha.", "The file has no line.", code="empty_file")))
    except RouteNotFound as error:  # the file was deleted meanwhile
        errors.append(tell(error))
    await threads.run(lambda: _conclude(batch, total, errors, lease_id=lease_id))


def take_some(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The next lines, as many as are stored at once."""
    size = 0
    for line in islice(lines, LINES_AT_ONCE):
        yield line
        size += len(line)
        if size > BYTES_AT_ONCE:
            return


async def _check_line(process: LineProcess, caller: Caller, line: bytes, endpoint: str, seen: set[bytes]) -> None:
    request = read_request(line, endpoint=endpoint)
    digest = sha256(request.custom_id.encode()).digest()
    if digest in seen:
        raise BadRequest(
            f"O 'custom_id' '{request.custom_id[:60]}' vem duas vezes.", f"Duplicate 'custom_id': '{request.custom_id[:60]}'.",
            param="custom_id", code="duplicate_custom_id",
        )  # fmt: skip
    seen.add(digest)
    await check_request(process, caller, request)


def _too_many() -> BadRequest:
    return BadRequest(
        f"Um lote tem no máximo {LINES_MAX} linhas.", f"A batch has at most {LINES_MAX} lines.", code="too_many_lines"
    )


def _too_long() -> BadRequest:
    most = settings.GATEWAY_BODY_BYTES_MAX // 1_048_576
    return BadRequest(f"A linha passa de {most} MiB.", f"The line exceeds {most} MiB.", code="line_too_long")


def lock_batch(batch: Batch, *, lease_id: uuid.UUID, statuses: Iterable[str]) -> Batch:
    """Within a transaction. Raises LeaseLost."""
    locked = Batch.everywhere.select_for_update().filter(pk=batch.pk, lease_id=lease_id, status__in=list(statuses)).first()
    if locked is None:
        raise LeaseLost
    return locked


def _clear(batch: Batch, *, lease_id: uuid.UUID) -> None:
    with transaction.atomic():
        lock_batch(batch, lease_id=lease_id, statuses=[Batch.Status.VALIDATING])
        BatchLine.everywhere.filter(batch=batch).delete()


def _store(batch: Batch, lines: list[tuple[int, bytes]], *, lease_id: uuid.UUID) -> None:
    now = clock.now()
    rows = [
        BatchLine(batch=batch, number=number, request=seal(line, organization_id=batch.organization_id), due_at=now)
        for number, line in lines
    ]
    with transaction.atomic():
        lock_batch(batch, lease_id=lease_id, statuses=[Batch.Status.VALIDATING])
        BatchLine.everywhere.bulk_create(rows)


def _conclude(batch: Batch, total: int, errors: list[LineError], *, lease_id: uuid.UUID) -> None:
    now = clock.now()
    with transaction.atomic():
        locked = lock_batch(batch, lease_id=lease_id, statuses=[Batch.Status.VALIDATING])
        if errors:
            details = open_details(locked)
            details.errors = errors
            locked.details = seal_details(details, organization_id=locked.organization_id)
            locked.status, locked.ended_at = Batch.Status.FAILED, now
            BatchLine.everywhere.filter(batch=batch).delete()
        else:
            locked.status, locked.in_progress_at, locked.total = Batch.Status.IN_PROGRESS, now, total
        locked.save()
