"""What is billed for an answer, and how it is written: bounds, counts, exact decimals."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import format_fine_brl
from billing.pricing import PriceList, UnitPrice, Usage, price_ceiling
from gateway.calls import ChatCall
from gateway.dialects.base import Tally, bucket_usage, openai_usage
from gateway.dialects.openai import read_usage
from gateway.lanes import Settled
from gateway.metering import affordable_output
from gateway.parsing import parse_chat
from gateway.pricetag import decimal_brl, with_cost
from gateway.tokens import bound_chat_input, count_chat_input, count_text, has_media
from gateway.usage import basis_of, basis_of_part

CALL: ChatCall = parse_chat(b'{"model":"a/b","messages":[{"role":"user","content":"Conte uma piada."}]}')
numbers = st.integers(-(10**12), 10**12)


@given(numbers, numbers, numbers, numbers, numbers)
def test_buckets_are_disjoint_and_never_negative(prompt: int, cached: int, written: int, completion: int, reasoning: int) -> None:
    usage, is_suspect = bucket_usage(prompt=prompt, cached=cached, cache_write=written, completion=completion, reasoning=reasoning)
    assert min(usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens) >= 0
    assert usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens == max(0, prompt)
    assert usage.output_tokens + usage.reasoning_tokens == max(0, completion)
    if not is_suspect:
        assert (usage.cached_input_tokens, usage.cache_write_tokens, usage.reasoning_tokens) == (cached, written, reasoning)


@given(st.lists(numbers, min_size=9, max_size=9))
def test_buckets_of_sound_and_pictures_are_disjoint_too(said: list[int]) -> None:
    names = (
        "prompt",
        "cached",
        "cache_write",
        "completion",
        "reasoning",
        "audio_input",
        "image_input",
        "audio_output",
        "image_output",
    )
    totals = dict(zip(names, said, strict=True))
    usage, is_suspect = bucket_usage(**totals)
    assert min(getattr(usage, name) for name in Usage.__struct_fields__) >= 0
    assert usage.prompt_tokens == max(0, totals["prompt"])
    assert usage.completion_tokens == max(0, totals["completion"])
    if not is_suspect:
        assert (usage.audio_output_tokens, usage.image_output_tokens) == (totals["audio_output"], totals["image_output"])
        parts = totals["cached"] + totals["cache_write"] + totals["audio_input"] + totals["image_input"]
        assert parts > totals["prompt"] or usage.audio_input_tokens == totals["audio_input"]
    told = json.loads(openai_usage(usage))
    assert told["total_tokens"] == usage.prompt_tokens + usage.completion_tokens
    tally = Tally()
    read_usage(openai_usage(usage), tally)  # what we tell is read back as it was
    assert (tally.usage, tally.is_suspect) == (usage, False)


def test_it_reads_sound_and_pictures_of_both_sides() -> None:
    tally = Tally()
    read_usage(
        b'{"prompt_tokens":150,"completion_tokens":90,"prompt_tokens_details":{"cached_tokens":20,"audio_tokens":50,"image_tokens":30},'
        b'"completion_tokens_details":{"reasoning_tokens":10,"audio_tokens":60,"accepted_prediction_tokens":0}}',
        tally,
    )
    assert not tally.is_suspect
    assert tally.usage == Usage(
        input_tokens=50, cached_input_tokens=20, audio_input_tokens=50, image_input_tokens=30, output_tokens=20,
        reasoning_tokens=10, audio_output_tokens=60,
    )  # fmt: skip
    assert json.loads(openai_usage(tally.usage)) == {
        "prompt_tokens": 150, "completion_tokens": 90, "total_tokens": 240,
        "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0, "audio_tokens": 50, "image_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 60},
    }  # fmt: skip
    assert b"audio" not in openai_usage(Usage(input_tokens=1))


def test_sound_that_was_cached_stays_cached() -> None:
    usage, is_suspect = bucket_usage(prompt=100, cached=80, cache_write=0, completion=0, reasoning=0, audio_input=60)
    assert (usage, is_suspect) == (Usage(cached_input_tokens=80, audio_input_tokens=20), False)


def test_sound_and_pictures_are_clamped_and_kept_like_the_rest() -> None:
    mad = Usage(input_tokens=10, audio_input_tokens=10**9, output_tokens=5, image_output_tokens=10**9, searches=2)
    tally = Tally(is_complete=True, usage=mad)
    usage, source = basis_of(CALL, tally, output_tokens=100)
    assert source == "suspect"
    assert usage.prompt_tokens == CALL.body_bytes + 4_000
    assert (usage.output_tokens, usage.image_output_tokens, usage.searches) == (5, 159, 2)
    cut = Tally(usage=Usage(audio_input_tokens=40, audio_output_tokens=7))
    cut.add_text("uma resposta que parou no meio do caminho")
    part, source = basis_of_part(CALL, cut, output_tokens=100)
    assert (part.input_tokens, part.audio_input_tokens, part.audio_output_tokens, source) == (0, 40, 7, "counted")
    assert part.output_tokens == count_text(cut.text)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('"oi"', False),
        ('[{"type":"text","text":"oi"}]', False),
        ('[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]', True),
        ('[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]', True),
        ('[{"type":"file","file":{"file_id":"file-1"}}]', True),
    ],
)
def test_it_sees_whether_a_call_has_media(content: str, expected: bool) -> None:
    call = parse_chat(b'{"model":"a/b","messages":[{"role":"user","content":%b}]}' % content.encode())
    assert has_media(call) is expected


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.text(max_size=50))
def test_a_bill_never_leaves_its_bounds(prompt: int, completion: int, text: str) -> None:
    tally = Tally(is_complete=True)
    tally.add_text(text)
    tally.usage, tally.is_suspect = bucket_usage(prompt=prompt, cached=0, cache_write=0, completion=completion, reasoning=0)
    usage, source = basis_of(CALL, tally, output_tokens=100)
    assert usage.input_tokens <= CALL.body_bytes + 4_000
    assert usage.output_tokens <= max(100, 4 * len(text)) + 64
    assert source in ("upstream", "suspect")
    if prompt < 100 and 0 < completion < 100:
        assert (usage.input_tokens, usage.output_tokens, source) == (prompt, completion, "upstream")
    if text and not completion:
        assert usage.output_tokens > 0


def test_a_part_is_billed_by_the_larger_of_what_is_known() -> None:
    assert basis_of_part(CALL, Tally(), output_tokens=9)[0] == Usage(requests=0)
    tally = Tally(usage=Usage(input_tokens=50, output_tokens=1))
    tally.add_text("uma resposta que parou no meio do caminho")
    usage, source = basis_of_part(CALL, tally, output_tokens=100)
    assert (usage.input_tokens, source) == (50, "counted")
    assert usage.output_tokens == count_text(tally.text) > 1


@pytest.mark.parametrize(
    "raw", ['{"prompt_tokens":"7"}', '{"prompt_tokens":null}', "[]", '"x"', '{"completion_tokens":1}', '{"prompt_tokens":1.5}']
)
def test_a_usage_that_can_not_be_read_is_suspect(raw: str) -> None:
    tally = Tally()
    read_usage(raw.encode(), tally)
    assert tally.usage is None
    assert tally.is_suspect


def test_it_reads_deepseeks_cache_hits() -> None:
    tally = Tally()
    read_usage(b'{"prompt_tokens":100,"completion_tokens":5,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}', tally)
    assert tally.usage == Usage(input_tokens=36, cached_input_tokens=64, output_tokens=5)


@given(st.text(max_size=300))
def test_bounds_hold(text: str) -> None:
    call = parse_chat(json.dumps({"model": "a/b", "messages": [{"role": "user", "content": text}]}, ensure_ascii=False).encode())
    assert count_chat_input(call, factor_percent=100) <= bound_chat_input(call)


@pytest.mark.parametrize("text", ["a" * 1_000_000, " " * 1_000_000, "😀" * 100_000])
def test_long_texts_are_bounded_by_their_bytes(text: str) -> None:
    assert count_text(text) == len(text.encode())


@given(st.integers(-(10**18), 10**18))
def test_amounts_are_exact_decimals(nanos: int) -> None:
    written = decimal_brl(nanos)
    assert json.loads(written, parse_float=Decimal, parse_int=Decimal) == Decimal(nanos) / 10**9
    assert b"e" not in written


def test_a_price_tag_goes_into_the_upstreams_own_bytes() -> None:
    raw = b'{"prompt_tokens": 1,  "completion_tokens":2 }'
    tagged = with_cost(raw, Settled(gross_nanos=1_000_000_001, net_nanos=950_000_001))
    assert tagged.startswith(raw[:-2])
    assert json.loads(tagged, parse_float=Decimal)["cost"] == Decimal("0.950000001")
    assert json.loads(tagged, parse_float=Decimal)["cost_details"] == {
        "currency": "BRL", "list_cost": Decimal("1.000000001"), "discount": Decimal("0.05")
    }  # fmt: skip
    assert json.loads(with_cost(b'{"a":1,"cost":9,"cost_details":{}}', Settled(0, 0)))["cost"] == 0


@given(st.integers(1, 10**10), st.integers(1, 10**10), st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 10**13))
def test_the_affordable_output_is_the_largest_that_fits(
    price_in: int, price_out: int, tokens: int, choices: int, money: int
) -> None:
    prices = PriceList(1, "v1", {"input": UnitPrice(price_in), "output": UnitPrice(price_out)})

    def ceiling(output: int) -> int:
        return price_ceiling(prices, input_tokens=tokens, output_tokens=output * choices)

    fits = affordable_output(ceiling, money, 100_000)
    assert fits == 0 or ceiling(fits) <= money
    assert fits == 100_000 or ceiling(fits + 1) > money


@pytest.mark.parametrize(
    ("nanos", "is_up", "shown"),
    [(0, False, "R$ 0,0000"), (1, True, "R$ 0,0001"), (1, False, "R$ 0,0000"), (1_234_567_890_000, False, "R$ 1.234,5678")],
)
def test_refusals_show_fractions_of_a_centavo(nanos: int, is_up: bool, shown: str) -> None:
    assert format_fine_brl(nanos, is_up=is_up) == shown
