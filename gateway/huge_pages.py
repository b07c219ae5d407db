"""What a process keeps from its start on, in pages of 2 MiB: the processor finds its way in them with far fewer look-ups.

Linux does so by itself only where it was told to for all programs; `MADV_COLLAPSE` (Linux 6.1) asks for what is there now. Where
it can't be had, nothing changes.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

PAGE = 4096
HUGE = 2 * 1024 * 1024
RESIDENT_MIN = HUGE // PAGE * 7 // 8  # of its small pages: a huge one takes the memory of all of them
MADV_COLLAPSE = 25


def use_huge_pages() -> int:
    """How many there are now. Blocks: some 8 ms for each, a fifth of a second in all at a start."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None)
    resident = (ctypes.c_ubyte * (HUGE // PAGE))()
    made = 0
    for start in _places():
        place = ctypes.c_void_p(start)
        if libc.mincore(place, ctypes.c_size_t(HUGE), resident) == 0 and sum(resident) >= RESIDENT_MIN:
            made += libc.madvise(place, ctypes.c_size_t(HUGE), MADV_COLLAPSE) == 0
    return made


def _places() -> Iterator[int]:
    """Where a huge page would lie whole in memory of our own: the heap, and what was mapped for it."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        lines = maps.read().splitlines()
    for line in lines:
        addresses, access, _, _, inode, *name = line.split(maxsplit=5)
        if access != "rw-p" or inode != "0" or (name and name[0] != "[heap]"):
            continue
        start, end = (int(address, 16) for address in addresses.split("-"))
        yield from range(-(-start // HUGE) * HUGE, end - HUGE + 1, HUGE)
