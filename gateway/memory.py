"""Pages of a library's file that were read once and only fill the process's memory."""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path

_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-.p .* (/\S+)\n((?:[A-Z]\w*: .*\n)*)", re.MULTILINE)
_UNWRITTEN = re.compile(r"^Anonymous: +0 kB$", re.MULTILINE)


def release_file_pages(library: str) -> int:
    """Bytes that were given back: the clean pages of the files whose path has `library` in it. Whoever reads them again gets them
    from the file. Mappings with pages of our own (relocations) are left alone. 0 where the kernel does not tell, or refuses."""
    try:
        mappings = Path("/proc/self/smaps").read_text()
        madvise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return 0
    released = 0
    for start, end, path, told in _MAPPING.findall(mappings):
        begin, size = int(start, 16), int(end, 16) - int(start, 16)
        if library not in path or not _UNWRITTEN.search(told):
            continue
        if madvise(ctypes.c_void_p(begin), ctypes.c_size_t(size), mmap.MADV_DONTNEED) == 0:
            released += size
    return released
