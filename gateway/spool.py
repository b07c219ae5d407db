"""Settlements of finished answers that the database could not take in time: on disk, until it has taken them.

One file per process, locked while the process lives. A record is length, CRC-32, payload; a torn last record is cut. Records
are replayed by the ids they carry, so a second replay bills nothing. A file whose records were all taken is deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)
_HEAD = struct.Struct(">II")
RECORD_BYTES_MAX = 1_048_576
PATTERN = "settlements-*.spool"


class Spool:
    """This process's file, made at the first record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path: Path | None = None
        self._file: int | None = None
        self._pending: set[str] = set()

    @property
    def pending(self) -> int:
        """Records that the ledger has not taken yet."""
        return len(self._pending)

    def holds(self, id_: str) -> bool:
        return id_ in self._pending

    def write(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Append (id, payload) records and sync them to the disk. Raises OSError; then none of them counts as kept."""
        records = list(records)
        if self._file is None:
            self._open()
        assert self._file is not None
        before = os.fstat(self._file).st_size
        try:
            data = b"".join(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload for _, payload in records)
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise
        self._pending.update(id_ for id_, _ in records)

    def mark_taken(self, id_: str) -> None:
        """The ledger has it. When that holds for all, the file goes."""
        self._pending.discard(id_)
        if not self._pending and self._file is not None and self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = self._path = None

    def close(self) -> None:
        """What is left stays on the disk for a successor."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = self.folder / f"settlements-{uuid.uuid4().hex}.spool"
        self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name survives too
        finally:
            os.close(folder)


class Orphan:
    """The file of a process that died. Locked while we replay it, so that two successors do not share the work."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file

    def records(self) -> Iterator[bytes]:
        """Whole records, in order, up to the first that is torn."""
        with os.fdopen(os.dup(self._file), "rb") as stream:
            stream.seek(0)
            while True:
                head = stream.read(_HEAD.size)
                if not head:
                    return
                length, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (RECORD_BYTES_MAX + 1, 0)
                payload = stream.read(length) if length <= RECORD_BYTES_MAX else b""
                if len(payload) != length or zlib.crc32(payload) != crc:
                    log.warning("spool %s: a torn record was cut", self.path.name)
                    return
                yield payload

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._file)

    def leave(self) -> None:
        os.close(self._file)


def find_orphans(folder: Path) -> list[Orphan]:
    """Every spool file that no living process has locked, now locked by us."""
    orphans = []
    for path in sorted(folder.glob(PATTERN)) if folder.exists() else []:
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = path.exists() and os.fstat(file).st_ino == path.stat().st_ino
        except OSError:
            is_there = False
        if is_there:
            orphans.append(Orphan(path, file))
        else:
            os.close(file)
    return orphans
