"""Calls that are priced by other units than text: held by them, and settled with no more bytes than they need."""

from __future__ import annotations

import asyncio
import json

import pytest

from billing.errors import PriceMissing
from billing.money import BRL
from billing.pricing import MEDIA, PriceList, UnitPrice, Usage, price_usage
from gateway.calls import CallContext, Caller, ServedRoute
from gateway.errors import InsufficientBalance
from gateway.lanes import HoldResult
from gateway.metering import INSUFFICIENT, PLACED, Bound, Meter, OpenCall
from gateway.usage_row import write_row

PRICES = PriceList(
    1, "v1",
    {
        "input": UnitPrice(10 * BRL), "cached_input": UnitPrice(BRL), "output": UnitPrice(40 * BRL),
        "audio_input": UnitPrice(160 * BRL), "audio_output": UnitPrice(320 * BRL), "image": UnitPrice(BRL // 4, 0, 1),
        "audio_second": UnitPrice(2 * BRL, 0, 3_600), "character": UnitPrice(BRL, 0, 1_000), "search": UnitPrice(BRL // 50, 0, 1),
    },
)  # fmt: skip


class PoorMeter(Meter):
    """A meter whose ledger has so much money; what was asked of it."""

    def __init__(self, available: int) -> None:
        self.available = available
        self.asked: list[int] = []
        self._available = {}

    async def _place(self, call: OpenCall, amount: int) -> HoldResult:
        self.asked.append(amount)
        return HoldResult(PLACED if amount <= self.available else INSUFFICIENT, self.available, 1)


def open_call(prices: PriceList = PRICES) -> OpenCall:
    caller = Caller(1, 1, 1, "teste", frozenset(), 60, None, False, False)
    route = ServedRoute("a/b", "B", "A", "images", "", 8_000, 4_000, 1_000, 100, (), False, 0, prices, ())
    return OpenCall(
        context=CallContext(id="018f0000-0000-7000-8000-000000000000", started_ns=0), caller=caller, route=route, prices=prices,
        is_stream=False, output_tokens=1_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bound", "nanos"),
    [
        (Usage(images=4), BRL),
        (Usage(audio_seconds=90), BRL // 20),
        (Usage(characters=4_096), 4_096 * BRL // 1_000),
        (Usage(searches=3), 3 * BRL // 50),
        (Usage(input_tokens=1_000, output_tokens=1_000), 50 * BRL // 1_000),
        (Usage(cached_input_tokens=1_000), BRL // 100),  # perhaps none of it is cached
        (Usage(audio_input_tokens=1_000, audio_output_tokens=100), 192 * BRL // 1_000),
        (Usage(requests=0), 1),
    ],
)
def test_a_call_is_held_by_its_own_units(bound: Usage, nanos: int) -> None:
    meter = PoorMeter(nanos)
    asyncio.run(meter.hold_units(open_call(), bound))
    assert meter.asked == [nanos]
    assert price_usage(PRICES, bound) <= nanos
    with pytest.raises(InsufficientBalance) as refused:
        asyncio.run(PoorMeter(nanos - 1).hold_units(open_call(), bound))
    assert "max_tokens" not in refused.value.message and "Recarregue por PIX." in refused.value.message


@pytest.mark.parametrize("bound", [Usage(images=1), Usage(characters=1), Usage(audio_output_tokens=1)])
def test_what_has_no_price_is_not_held(bound: Usage) -> None:
    meter = PoorMeter(BRL)
    with pytest.raises(PriceMissing):
        asyncio.run(meter.hold_units(open_call(PriceList(1, "v1", {"input": UnitPrice(BRL)})), bound))
    assert meter.asked == []


@pytest.mark.parametrize(
    ("has_input", "has_output", "nanos"),
    [(False, False, 50), (True, False, 200), (False, True, 330), (True, True, 480)],
)
def test_a_chat_is_held_for_sound_where_it_may_use_it(has_input: bool, has_output: bool, nanos: int) -> None:
    meter = PoorMeter(BRL)
    asyncio.run(
        meter.hold_for(
            (call := open_call()),
            [Bound(call.route, call.prices, lambda: 1_000, call.output_tokens, has_input, has_output)],
            input_bytes=5_000,
        )
    )
    assert meter.asked == [nanos * BRL // 1_000]


def test_the_answer_is_cut_by_the_price_of_sound() -> None:
    meter, call = PoorMeter(BRL // 20), open_call()  # 5 centavos: 1 goes in, 4 come out
    bound = Bound(call.route, call.prices, lambda: 1_000, call.output_tokens, has_media_output=True)
    asyncio.run(meter.hold_for(call, [bound], input_bytes=5_000, is_ceiling_ours=True))
    assert bound.output_tokens == 125  # 40 000 000 nanos at 320 000 each
    assert meter.asked[-1] == BRL // 20


def test_a_row_of_plain_chat_names_no_other_unit() -> None:
    def row_of(usage: Usage) -> dict[str, object]:
        row: dict[str, object] = json.loads(write_row(open_call(), usage, 0, 0, outcome="completed", status=200, error_code=""))
        return row

    names = {name for name, _ in MEDIA}
    assert not names & set(row_of(Usage(input_tokens=5)))
    row = row_of(Usage(input_tokens=5, images=2, audio_seconds=2**40))
    assert {name: row[name] for name in names & set(row)} == {"images": 2, "audio_seconds": 2**31 - 1}
