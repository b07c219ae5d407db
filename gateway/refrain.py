"""What the events of a stream have in common, learned from one and used for the next: between the same bytes only the text moves.

Reading JSON and writing it again is most of what an event costs us. An event of a text delta differs from the one before in the
text alone; where all around it is the same, byte for byte, so is what it means, and its frame is the frame before with this text.
Pure.
"""

from __future__ import annotations

TEXT_BYTES_MAX = 4_096
LESSONS_MAX = 8  # of a stream whose events differ elsewhere, too (a number, padding): learning costs more than it saves


class Refrain:
    """Of one stream. `text` is what `read` found."""

    __slots__ = ("_after", "_before", "_edges", "_frame_after", "_frame_before", "_lessons", "text")

    def __init__(self) -> None:
        self.text = ""
        self._before = self._after = self._frame_before = self._frame_after = b""
        self._edges = 0  # bytes around the text; 0: nothing was learned
        self._lessons = 0

    def learn(self, event: bytes, frame: bytes, text: str) -> None:
        """`event`: the bytes of one whole event that brought `text` and nothing else; `frame`: what was made of it."""
        if self._lessons == LESSONS_MAX or not is_plain(text):
            return
        self._lessons += 1
        quoted = b'"%b"' % text.encode()
        at, frame_at = _find_once(event, quoted) + 1, _find_once(frame, quoted) + 1
        if not at or not frame_at:  # it is also a name, or is told twice
            return
        size = len(quoted) - 2
        self._before, self._after = event[:at], event[at + size :]
        self._frame_before, self._frame_after = frame[:frame_at], frame[frame_at + size :]
        self._edges = len(event) - size

    def read(self, event: bytes) -> bytes | None:
        """The frame of an event like the one that was learned from, its text in `text`; None for any other."""
        size = len(event) - self._edges
        if not self._edges or not 0 < size <= TEXT_BYTES_MAX:
            return None
        if not event.startswith(self._before) or not event.endswith(self._after):
            return None
        raw = event[len(self._before) : len(self._before) + size]
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return None
        if not is_plain(text):
            return None
        self.text = text
        return self._frame_before + raw + self._frame_after


def _find_once(data: bytes, part: bytes) -> int:
    """Where it is, or -1: also where it is twice, one over the other among them (`":"` in `"content":":"`)."""
    at = data.find(part)
    return at if data.find(part, at + 1) < 0 else -1


def is_plain(text: str) -> bool:
    """As it is between the quotes of JSON, whoever writes it."""
    return text.isprintable() and '"' not in text and "\\" not in text and text != ""
