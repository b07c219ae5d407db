"""Files that their owners asked us to keep: sealed under the organization's key in chunks, gone after FILES_TTL_DAYS.

Plain Django; the gateway runs these verbs in threads (`DatabaseThreads`), never on the event loop.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from accounts.models import Organization
from accounts.tenancy import tenant
from gateway.errors import BadRequest, BodyTooLarge, RouteNotFound
from gateway.models import FileChunk, StoredFile
from gateway.secrets import SecretUnreadable, reseal, seal, unseal
from tokia import clock

log = logging.getLogger(__name__)
CHUNK_BYTES = 1_048_576
PURGE_BATCH = 200
NAME_CHARACTERS_MAX = 255


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def store_file(
    *, organization_id: int, purpose: str, name: str, pieces: Iterable[bytes | memoryview], seconds: int | None = None
) -> StoredFile:
    """Keep what `pieces` come to, for `seconds` (FILES_TTL_DAYS where empty, and at most).

    Raises BodyTooLarge where the organization keeps FILES_BYTES_MAX; what a batch wrote is always kept.
    """
    now = clock.now()
    longest = settings.FILES_TTL_DAYS * 86_400
    with transaction.atomic(), tenant(Organization(pk=organization_id)):
        file = StoredFile.objects.create(
            id=clock.new_id(), organization_id=organization_id, purpose=purpose, bytes=0, created_at=now,
            name=seal(name[:NAME_CHARACTERS_MAX].encode(), organization_id=organization_id),
            expires_at=now + dt.timedelta(seconds=min(seconds or longest, longest)),
        )  # fmt: skip
        number = 0
        for number, chunk in enumerate(_rechunk(pieces)):
            FileChunk.objects.create(file=file, number=number, body=seal(bytes(chunk), organization_id=organization_id))
            file.bytes += len(chunk)
        file.save(update_fields=["bytes"])
        if purpose != StoredFile.Purpose.BATCH_OUTPUT:
            kept = StoredFile.objects.filter(expires_at__gt=now).aggregate(bytes=Sum("bytes"))["bytes"]
            if kept > settings.FILES_BYTES_MAX:
                shown = settings.FILES_BYTES_MAX // 1_048_576
                raise BodyTooLarge(
                    f"Sua empresa já guarda perto de {shown} MiB de arquivos. Apague os que não usa.",
                    f"Your organization's files would exceed {shown} MiB. Delete those that you do not need.",
                    code="storage_limit_exceeded",
                )  # fmt: skip
    return file


def _rechunk(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of CHUNK_BYTES; at most one is in memory."""
    kept = bytearray()
    for piece in pieces:
        place = 0
        while len(kept) + len(piece) - place >= CHUNK_BYTES:
            end = place + CHUNK_BYTES - len(kept)
            yield bytes(kept) + bytes(piece[place:end])
            kept.clear()
            place = end
        kept += piece[place:]
    if kept:
        yield bytes(kept)


def delete_file(shown_id: str, *, organization_id: int) -> None:
    """Raises RouteNotFound."""
    id_ = read_id(shown_id, "file-")
    with tenant(Organization(pk=organization_id)):
        deleted = StoredFile.objects.filter(pk=id_, expires_at__gt=clock.now()).delete()[0] if id_ else 0
    if not deleted:
        raise not_found(shown_id)


def purge_files() -> int:
    """Delete what has expired, for good. Gives how many files."""
    purged = 0
    while True:
        due = list(StoredFile.everywhere.filter(expires_at__lte=clock.now()).values_list("pk", flat=True)[:PURGE_BATCH])
        if not due:
            return purged
        StoredFile.everywhere.filter(pk__in=due).delete()
        purged += len(due)


def reseal_files() -> int:
    """Everything that is stored, under the newest key: before an old one is dropped. Gives how many rows; safe to repeat."""
    count = 0
    for file in StoredFile.everywhere.order_by("pk").iterator(chunk_size=100):
        name = reseal(bytes(file.name), organization_id=file.organization_id)
        count += StoredFile.everywhere.filter(pk=file.pk).update(name=name)
        for id_ in list(FileChunk.everywhere.filter(file=file).values_list("pk", flat=True)):
            chunk = FileChunk.everywhere.filter(pk=id_).first()
            if chunk is not None:
                body = reseal(bytes(chunk.body), organization_id=file.organization_id)
                count += FileChunk.everywhere.filter(pk=id_).update(body=body)
    return count


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def find_file(shown_id: str, *, organization_id: int, param: str | None = None) -> StoredFile:
    """Raises RouteNotFound: no such file of this organization, deleted, or expired."""
    id_ = read_id(shown_id, "file-")
    with tenant(Organization(pk=organization_id)):
        file = StoredFile.objects.filter(pk=id_, expires_at__gt=clock.now()).first() if id_ else None
    if file is None:
        raise not_found(shown_id, param=param)
    return file


def list_files(
    *, organization_id: int, after: str, limit: int, is_oldest_first: bool, purpose: str
) -> tuple[list[StoredFile], bool]:
    """A page, and whether there is more. Raises BadRequest for an `after` that is no file's."""
    with tenant(Organization(pk=organization_id)):
        files = StoredFile.objects.filter(expires_at__gt=clock.now()).order_by("id" if is_oldest_first else "-id")
        if purpose:
            files = files.filter(purpose=purpose)
        if after:
            id_ = read_id(after, "file-")
            if id_ is None:
                raise not_found(after, param="after")
            files = files.filter(id__gt=id_) if is_oldest_first else files.filter(id__lt=id_)
        page = list(files[: limit + 1])
    return page[:limit], len(page) > limit


def read_chunk(file: StoredFile, number: int) -> bytes | None:
    """None after the last. Raises RouteNotFound where it can't be opened."""
    with tenant(Organization(pk=file.organization_id)):
        chunk = FileChunk.objects.filter(file=file, number=number).first()
    return None if chunk is None else _open(bytes(chunk.body), file)


def read_lines(file: StoredFile, *, longest: int) -> Iterator[bytes]:
    """A text's lines without their ends; one that is longer is cut to `longest` + 1 bytes. One chunk is in memory."""
    kept = bytearray()
    number = 0
    while (chunk := read_chunk(file, number)) is not None:
        number += 1
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            kept += line[: longest + 1]
            yield bytes(kept[: longest + 1])
            kept.clear()
        kept += rest[: max(0, longest + 1 - len(kept))]
    if kept:
        yield bytes(kept)


def read_id(shown: str, prefix: str) -> uuid.UUID | None:
    """file-<32 hex digits> → its UUID."""
    digits = shown.removeprefix(prefix)
    if digits == shown or len(digits) != 32:
        return None
    try:
        return uuid.UUID(digits)
    except ValueError:
        return None


def show_file(file: StoredFile) -> dict[str, Any]:
    return {
        "id": str(file),
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()),
        "filename": _open(bytes(file.name), file).decode(),
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _open(sealed: bytes, file: StoredFile) -> bytes:
    try:
        return unseal(sealed, organization_id=file.organization_id)
    except SecretUnreadable:
        log.error("stored file %s can't be opened: was a key of ENCRYPTION_KEYS dropped too early?", file.pk)
        raise not_found(str(file)) from None


def not_found(shown_id: str, *, param: str | None = None) -> RouteNotFound:
    shown = shown_id[:80]
    return RouteNotFound(
        f"O arquivo '{shown}' não existe aqui: foi apagado, ou expirou.",
        f"No such File object: '{shown}'. It was deleted, or has expired.", param=param, code="file_not_found",
    )  # fmt: skip


def invalid(param: str, message: str, english: str) -> BadRequest:
    return BadRequest(f"Valor inválido em '{param}': {message}.", f"Invalid value for '{param}': {english}.", param=param)
