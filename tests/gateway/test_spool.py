"""The spool: what is written comes back, torn ends are cut, files of the living are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.spool import Orphan, Spool, find_orphans

RECORDS = [("a", b'{"id":"a"}'), ("b", b"x" * 500), ("c", b"")]


def read(orphans: list[Orphan]) -> list[bytes]:
    return [record for orphan in orphans for record in orphan.records()]


def test_a_successor_reads_what_was_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(RECORDS)
    assert find_orphans(tmp_path) == []  # its process lives
    spool.close()
    orphans = find_orphans(tmp_path)
    assert read(orphans) == [payload for _, payload in RECORDS]
    assert find_orphans(tmp_path) == []  # we have it now
    for orphan in orphans:
        orphan.delete()
    assert list(tmp_path.iterdir()) == []


def test_every_cut_of_the_end_loses_only_the_torn_record(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ends = []
    for record in RECORDS:
        spool.write([record])
        ends.append(next(tmp_path.iterdir()).stat().st_size)
    spool.close()
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        orphans = find_orphans(tmp_path)
        assert len(read(orphans)) == sum(end <= size for end in ends)
        for orphan in orphans:
            orphan.leave()


def test_a_flipped_bit_ends_the_reading(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(RECORDS)
    spool.close()
    [path] = tmp_path.iterdir()
    whole = bytearray(path.read_bytes())
    whole[30] ^= 1
    path.write_bytes(whole)
    [orphan] = find_orphans(tmp_path)
    assert len(list(orphan.records())) == 1
    orphan.leave()


def test_the_file_goes_when_all_was_taken(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(RECORDS)
    for id_, _ in RECORDS:
        assert spool.holds(id_)
        spool.mark_taken(id_)
    assert list(tmp_path.iterdir()) == []
    spool.write(RECORDS[:1])
    assert spool.pending == 1


def test_a_full_disk_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    spool = Spool(tmp_path)
    spool.write(RECORDS[:1])

    def refuse(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        spool.write(RECORDS[1:])
    monkeypatch.undo()
    assert spool.pending == 1
    spool.close()
    assert len(read(find_orphans(tmp_path))) == 1
