"""Raw costs from the offline snapshot of genai-prices: proposed, never published, and priced as the package prices."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from billing import costs
from billing.models import ProviderCost
from billing.pricing import per_units_of

pytestmark = pytest.mark.django_db

MODELS = [
    ("openai", "openai", "gpt-5", "gpt-5"),
    ("anthropic", "anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5"),
    ("google", "google", "gemini-2.5-pro", "gemini-2.5-pro"),
    ("deepseek", "deepseek", "deepseek-chat", "deepseek-chat"),
    ("groq", "groq", "llama-3.3-70b-versatile", "llama-3.3-70b-versatile"),
]


def test_it_stores_every_token_price_and_a_tiered_one_by_its_base() -> None:
    costs.import_costs(MODELS)
    latest = costs.latest_costs()
    assert {unit: cost.usd for unit, cost in latest["openai", "gpt-5"].items()} == {
        "input": Decimal("1.25"), "cached_input": Decimal("0.125"), "output": Decimal(10), "search": Decimal("0.01"),
    }  # fmt: skip
    assert latest["anthropic", "claude-sonnet-4-5"]["cache_write"].usd == Decimal("3.75")
    assert latest["google", "gemini-2.5-pro"]["input"].usd == Decimal("1.25")
    assert all(cost.source == "genai-prices" and cost.source_version for units in latest.values() for cost in units.values())


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-audio", {"input": "2.5", "output": "10", "audio_input": "32", "audio_output": "64"}),
        ("openai", "gpt-image-1", {"input": "5", "cached_input": "1.25", "output": "40", "image_input": "10"}),
        ("openai", "gpt-image-1.5", {"image_input": "8", "image_output": "32"}),
        ("google", "gemini-2.5-flash-image", {"image_output": "30"}),
        ("openai", "tts-1", {"character": "0.015"}),  # they: 15 per million; we: per thousand
        ("groq", "whisper-large-v3", {"audio_second": "0.111"}),  # both: per hour
        ("perplexity", "sonar", {"request": "0.012"}),  # they: 12 per thousand
        ("perplexity", "sonar-deep-research", {"reasoning": "3"}),
    ],
)
def test_it_knows_sound_pictures_characters_and_requests(provider: str, model: str, expected: dict[str, str]) -> None:
    costs.import_costs([(provider, provider, model, model)])
    found = costs.latest_costs()[provider, model]
    assert {unit: found[unit].usd for unit in expected} == {unit: Decimal(usd) for unit, usd in expected.items()}
    assert all(cost.per_units == per_units_of(unit) for unit, cost in found.items())


def test_what_is_declared_stands_against_every_import() -> None:
    declared = [("groq", "whisper-large-v3", {"audio_second": Decimal("0.36")}), ("cohere", "rerank", {"search": Decimal("0.002")})]
    assert [(cost.unit, cost.per_units) for cost in costs.declare_costs(declared)] == [("audio_second", 3_600), ("search", 1)]
    assert costs.import_costs([("groq", "groq", "whisper-large-v3", "whisper-large-v3")]) == []
    assert costs.declare_costs(declared) == costs.reimport_costs() == []
    (changed,) = costs.declare_costs([("cohere", "rerank", {"search": Decimal("0.0025")})])  # the same day
    assert costs.latest_costs()["cohere", "rerank"]["search"] == changed
    with pytest.raises(ValueError, match="is not a valid Unit"):
        costs.declare_costs([("cohere", "rerank", {"searches": Decimal(1)})])
    with pytest.raises(ValueError, match="custa -1"):
        costs.declare_costs([("cohere", "rerank", {"search": Decimal(-1)})])


def test_it_takes_the_dearest_hour_of_a_price_that_changes_within_the_day() -> None:
    costs.import_costs([MODELS[3]])
    stored = costs.latest_costs()["deepseek", "deepseek-chat"]
    assert (stored["input"].usd, stored["output"].usd) == (Decimal("0.27"), Decimal("1.1"))


def test_it_stores_nothing_when_nothing_changed() -> None:
    assert len(costs.import_costs(MODELS)) == ProviderCost.objects.count()
    assert costs.import_costs(MODELS) == []
    assert costs.reimport_costs() == []


def test_it_stores_a_price_that_changed_under_the_same_package() -> None:
    costs.import_costs([MODELS[0]])
    ProviderCost.objects.filter(unit="input").update(usd=Decimal(9))
    (changed,) = costs.reimport_costs()
    assert (changed.unit, changed.usd) == ("input", Decimal("1.25"))
    assert costs.latest_costs()["openai", "gpt-5"]["input"] == changed


def test_it_names_a_model_that_the_snapshot_does_not_know() -> None:
    with pytest.raises(costs.CostUnknown, match="openai/no-such-model"):
        costs.import_costs([MODELS[0], ("openai", "openai", "no-such-model", "no-such-model")])
    assert not ProviderCost.objects.exists()


@pytest.mark.parametrize("model", [MODELS[0], MODELS[1], MODELS[4]], ids=lambda model: model[2])
def test_it_agrees_with_the_packages_own_calculator(model: tuple[str, str, str, str]) -> None:
    costs.import_costs([model])
    units = costs.latest_costs()[model[0], model[2]]
    theirs = calc_price(
        TheirUsage(input_tokens=10_000, output_tokens=1_000), model_ref=model[3], provider_id=model[1],
        genai_request_timestamp=dt.datetime.now(dt.UTC),
    )  # fmt: skip
    ours = (10_000 * units["input"].usd + 1_000 * units["output"].usd) / 1_000_000
    assert theirs.total_price == ours
