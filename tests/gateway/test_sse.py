"""The parser of server-sent events: any cutting of the bytes gives the same events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sse import LINE_BYTES_MAX, Event, LineTooLong, SseParser
from tests.examples import examples

texts = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)
line_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """A stream as a provider might write it, and its events."""
    out = b"\xef\xbb\xbf" if draw(st.booleans()) else b""
    events: list[Event] = []
    for _ in range(draw(st.integers(0, 6))):
        name = draw(st.sampled_from([b"", b"message_start", b"x"]))
        data = draw(st.lists(texts.map(str.encode), min_size=1, max_size=3))
        end = draw(line_ends)
        if draw(st.booleans()):
            out += b": comment " + draw(texts).encode() + end
        if name:
            out += b"event: " + name + end
        if draw(st.booleans()):
            out += b"id: 7" + end
        for line in data:
            space = b" " if draw(st.booleans()) or line.startswith(b" ") else b""
            out += b"data:" + space + line + end
        out += end
        events.append((name, b"\n".join(data)))
    return out, events


def parse(pieces: list[bytes]) -> list[Event]:
    parser = SseParser()
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(piece)
    return events + parser.close()


@settings(max_examples=examples(300), deadline=None)
@given(streams(), st.lists(st.integers(0, 400), max_size=12))
def test_it_gives_the_same_events_however_the_bytes_are_cut(stream: tuple[bytes, list[Event]], cuts: list[int]) -> None:
    raw, events = stream
    places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    pieces = [raw[start:end] for start, end in itertools.pairwise(places)]
    assert parse(pieces) == events
    assert parse([raw[index : index + 1] for index in range(len(raw))]) == events


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_it_survives_any_bytes_and_any_cutting(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert parse(pieces) == parse([whole])


def test_it_keeps_line_separators_of_unicode_inside_a_line() -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg".encode()
    assert parse([b"data: " + text + b"\n\n"]) == [(b"", text)]


def test_it_gives_an_event_that_lacks_its_blank_line_at_the_end() -> None:
    assert parse([b"data: [DONE]"]) == [(b"", b"[DONE]")]


@pytest.mark.parametrize("size", [1, 4096, LINE_BYTES_MAX])
def test_it_refuses_a_line_that_never_ends(size: int) -> None:
    parser = SseParser()
    with pytest.raises(LineTooLong):
        for _ in range(2 * LINE_BYTES_MAX // size + 2 if size > 1 else 3):
            parser.feed(b"data: " + b"x" * (size if size > 1 else LINE_BYTES_MAX))
