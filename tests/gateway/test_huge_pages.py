"""Pages of 2 MiB: taken where the kernel gives them, and only for memory that is there anyway."""

from __future__ import annotations

import ctypes
from pathlib import Path

from gateway.huge_pages import HUGE, use_huge_pages


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_it_changes_no_byte_and_takes_no_memory_that_was_not_used() -> None:
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    size = 8 * HUGE
    start = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, 0)  # private and anonymous
    assert start not in (None, ctypes.c_void_p(-1).value)
    try:
        ctypes.memset(ctypes.c_void_p(start), 7, size // 2)
        ctypes.memset(ctypes.c_void_p(start + size // 2), 7, HUGE // 8)  # of the rest, hardly anything
        before = resident()
        made = use_huge_pages()
        assert resident() - before <= HUGE * (made + 1) // 8  # an eighth of each may not have been there
        assert ctypes.string_at(start, size // 2) == b"\x07" * (size // 2)
    finally:
        libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(size))
