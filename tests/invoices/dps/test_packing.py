"""gzip in base64, out and in."""

from __future__ import annotations

import base64
import gzip

import pytest

from invoices.dps.packing import pack, unpack


def test_it_unpacks_what_it_packed_and_packs_alike_every_time() -> None:
    xml = "<a>ção</a>".encode() * 100
    assert unpack(pack(xml)) == xml and pack(xml) == pack(xml)


def test_it_takes_base64_in_lines() -> None:
    packed = pack(b"<a/>" * 50)
    assert unpack(f"{packed[:20]}\r\n{packed[20:]}\n") == b"<a/>" * 50


def test_it_stops_at_the_bound_however_much_would_come_out() -> None:
    bomb = pack(b"0" * 5_000_000)
    assert len(bomb) < 10_000
    with pytest.raises(ValueError, match="large"):
        unpack(bomb)
    assert unpack(pack(b"0" * 100), bytes_max=100) == b"0" * 100
    with pytest.raises(ValueError, match="large"):
        unpack(pack(b"0" * 101), bytes_max=100)
    with pytest.raises(ValueError, match="large"):
        unpack("A" * 300, bytes_max=100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "não",
        "AAAA",
        base64.b64encode(b"<a/>").decode(),
        pack(b"<a/>" * 9)[:-8],
        base64.b64encode(gzip.compress(b"x")[:-4]).decode(),
    ],
)
def test_it_refuses_what_is_no_whole_gzip_in_base64(text: str) -> None:
    with pytest.raises(ValueError):
        unpack(text)
