"""What a month of calls costs, by each way there is to pay for it. Pure: integers of nano-dollars and nano-reais.

| set-up | reckoned as |
|---|---|
| provider direct | the provider's list price in dollars for the whole month, by international card (`billing.abroad`) |
| a gateway of one's own | the list price of two models that share the calls, plus infrastructure in dollars, by card |
| another hosted gateway | the same two models, plus its percentage of what is bought (or its least), by card |
| Tokia | each call at the price in force, rounded up as it is charged, times the calls; less the volume discount of the month |

The dollars of a month are the exact sum over its tokens, up to one nano-dollar. A token read from a cache costs what the price list
says of cached input, or as any other input where it says nothing. Import taxes count only where the buyer pays them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from billing.abroad import BPS, Abroad, ComparisonRates, part_of
from billing.pricing import PriceList, Tier, Usage, net_of, price_usage

Tell = Callable[[str], str]  # a sentence in Portuguese → the same in the reader's language
MILLION = 1_000_000
DIRECT, DIRECT_CHEAPER, SELF_HOSTED, HOSTED = "direct", "direct_cheaper", "self_hosted", "hosted"
TOKIA, TOKIA_MIX, TOKIA_CHEAPER, TOKIA_OTHER = "tokia", "tokia_mix", "tokia_cheaper", "tokia_other"


@dataclass(frozen=True, slots=True)
class Model:
    """A model with the provider's list price (nano-dollars) and ours (nano-reais)."""

    name: str
    label: str
    provider: str  # whose list price it is, as people call it
    dollars: PriceList
    reais: PriceList


@dataclass(frozen=True, slots=True)
class Use:
    """A month of alike calls of text."""

    requests: int
    input_tokens: int  # of one call, cached ones included
    output_tokens: int
    cached_percent: int = 0  # of the input

    @property
    def call(self) -> Usage:
        cached = self.input_tokens * self.cached_percent // 100
        return Usage(
            input_tokens=self.input_tokens - cached, cached_input_tokens=cached, output_tokens=self.output_tokens, requests=1
        )

    def of(self, requests: int) -> Usage:
        """So many of these calls, taken together."""
        call = self.call
        return Usage(
            input_tokens=call.input_tokens * requests, cached_input_tokens=call.cached_input_tokens * requests,
            output_tokens=call.output_tokens * requests, requests=requests,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mix:
    """Two models that share the calls: `first_percent` of them go to the first, rounded down."""

    first: Model
    second: Model
    first_percent: int = 50

    def shares(self, requests: int) -> tuple[tuple[Model, int], tuple[Model, int]]:
        of_first = requests * self.first_percent // 100
        return (self.first, of_first), (self.second, requests - of_first)

    @property
    def label(self) -> str:
        return f"{self.first_percent}% {self.first.label} + {100 - self.first_percent}% {self.second.label}"


@dataclass(frozen=True, slots=True)
class Line:
    """One step of a set-up's sum; the lines add up to its total."""

    label: str
    nanos: int


@dataclass(frozen=True, slots=True)
class SetUp:
    """One way to pay for the month."""

    key: str
    title: str
    models: str
    lines: tuple[Line, ...]
    usd_nanos: int | None = None  # what is paid in dollars; None where all is in reais

    @property
    def total_nanos(self) -> int:
        return sum(line.nanos for line in self.lines)

    @property
    def is_tokia(self) -> bool:
        return self.usd_nanos is None


@dataclass(frozen=True, slots=True)
class Choice:
    """What is compared: a model, a cheaper one, two that share the calls, and one more of Tokia's."""

    model: Model
    cheaper: Model | None = None
    mix: Mix | None = None
    other: Model | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    use: Use
    choice: Choice
    set_ups: tuple[SetUp, ...]

    def get(self, key: str) -> SetUp | None:
        return next((set_up for set_up in self.set_ups if set_up.key == key), None)

    @property
    def tokia(self) -> SetUp:
        return next(set_up for set_up in self.set_ups if set_up.key == TOKIA)

    @property
    def most_nanos(self) -> int:
        return max(set_up.total_nanos for set_up in self.set_ups)

    @property
    def saved_nanos(self) -> int | None:
        """By Tokia instead of the provider by card, the same model; negative where the card is cheaper. None: not known."""
        direct = self.get(DIRECT)
        return None if direct is None else direct.total_nanos - self.tokia.total_nanos

    @property
    def missing_nanos(self) -> int:
        """What the card would save, where it is cheaper."""
        return max(0, -(self.saved_nanos or 0))

    @property
    def saved_bps(self) -> int:
        """Of what is paid by card, towards zero."""
        direct, saved = self.get(DIRECT), self.saved_nanos
        if direct is None or not saved or not direct.total_nanos:
            return 0
        part = abs(saved) * BPS // direct.total_nanos
        return part if saved > 0 else -part

    @property
    def saved_by_model_nanos(self) -> int:
        """By the cheaper model instead of the other, both at Tokia; never below zero."""
        cheaper = self.get(TOKIA_CHEAPER)
        return max(0, self.tokia.total_nanos - cheaper.total_nanos) if cheaper else 0

    @property
    def rows(self) -> list[tuple[SetUp, int]]:
        """Each set-up with what it costs more (or, below zero, less) than Tokia with the same model."""
        base = self.tokia.total_nanos
        return [(set_up, set_up.total_nanos - base) for set_up in self.set_ups]


def compare(
    choice: Choice,
    use: Use,
    *,
    rates: ComparisonRates,
    tiers: Sequence[Tier] = (),
    with_import_taxes: bool = False,
    gettext: Tell = str,
) -> Comparison:
    """Every set-up whose numbers are known, those abroad first. Raises PriceMissing for a model without a price that it needs."""
    abroad = _abroad_set_ups(choice, use, rates=rates, with_import_taxes=with_import_taxes, gettext=gettext)
    mine = [(TOKIA, "Tokia", [(choice.model, use.requests)], choice.model.label)]
    if choice.mix:
        mine.append((TOKIA_MIX, gettext("Tokia, com a mesma divisão"), list(choice.mix.shares(use.requests)), choice.mix.label))
    if choice.cheaper:
        title = gettext("Tokia, com um modelo mais barato")
        mine.append((TOKIA_CHEAPER, title, [(choice.cheaper, use.requests)], choice.cheaper.label))
    if choice.other:
        mine.append((TOKIA_OTHER, gettext("Tokia, com outro modelo"), [(choice.other, use.requests)], choice.other.label))
    ours = [
        SetUp(key, title, models, _tokia_lines(shares, use, rates=rates, tiers=tiers, gettext=gettext))
        for key, title, shares, models in mine
    ]
    return Comparison(use=use, choice=choice, set_ups=(*abroad, *ours))


def requests_for(model: Model, use: Use, *, usd_nanos: int) -> int:
    """How many such calls a spend in dollars buys directly at the provider, at least one."""
    of_million = price_usage(model.dollars, use.of(MILLION))
    return max(1, usd_nanos * MILLION // of_million) if of_million else 1


def _abroad_set_ups(choice: Choice, use: Use, *, rates: ComparisonRates, with_import_taxes: bool, gettext: Tell) -> list[SetUp]:
    found: list[SetUp] = []

    def add(key: str, title: str, models: str, *amounts: tuple[str, int]) -> None:
        paid = rates.abroad(sum(nanos for _, nanos in amounts), with_import_taxes=with_import_taxes)
        if paid is not None:
            found.append(SetUp(key, title, models, _card_lines(amounts, paid, rates, gettext=gettext), usd_nanos=paid.usd_nanos))

    model, cheaper, mix = choice.model, choice.cheaper, choice.mix
    title = gettext("Direto na {provider}").format(provider=model.provider)
    add(DIRECT, title, model.label, (gettext("Modelo, ao dólar comercial"), _dollars([(model, use.requests)], use)))
    if cheaper:
        listed = _dollars([(cheaper, use.requests)], use)
        title = gettext("Direto na {provider}, modelo mais barato").format(provider=cheaper.provider)
        add(DIRECT_CHEAPER, title, cheaper.label, (gettext("Modelo, ao dólar comercial"), listed))
    if mix:
        listed, models = _dollars(mix.shares(use.requests), use), gettext("Modelos, ao dólar comercial")
        if rates.infrastructure_usd_nanos is not None:
            add(SELF_HOSTED, gettext("Gateway próprio (LiteLLM)"), mix.label,
                (models, listed), (gettext("Infraestrutura, ao dólar comercial"), rates.infrastructure_usd_nanos))  # fmt: skip
        if rates.hosted_bps is not None:
            extra = max(part_of(listed, rates.hosted_bps), rates.hosted_least_usd_nanos)
            add(HOSTED, gettext("Outro gateway hospedado (OpenRouter)"), mix.label,
                (models, listed), (gettext("Taxa do gateway, ao dólar comercial"), extra))  # fmt: skip
    return found


def _dollars(shares: Sequence[tuple[Model, int]], use: Use) -> int:
    return sum(price_usage(model.dollars, use.of(requests)) for model, requests in shares)


def _card_lines(amounts: Sequence[tuple[str, int]], paid: Abroad, rates: ComparisonRates, *, gettext: Tell) -> tuple[Line, ...]:
    """The parts at the commercial rate; the last of them takes what rounding each alone would lose."""
    lines: list[Line] = []
    left = paid.commercial_nanos
    for label, usd_nanos in amounts[:-1]:
        part = rates.commercial_nanos(usd_nanos) or 0
        lines.append(Line(label, part))
        left -= part
    lines.append(Line(amounts[-1][0], left))
    lines += [Line(gettext("Spread do cartão"), paid.spread_nanos), Line("IOF", paid.iof_nanos)]
    return (*lines, *(Line(gettext("{tax} sobre importação").format(tax=tax), nanos) for tax, nanos in paid.import_nanos))


def _tokia_lines(
    shares: Sequence[tuple[Model, int]], use: Use, *, rates: ComparisonRates, tiers: Sequence[Tier], gettext: Tell
) -> tuple[Line, ...]:
    gross = sum(requests * price_usage(model.reais, use.call) for model, requests in shares)
    discount = net_of(gross, tiers) - gross
    commercial = rates.commercial_nanos(_dollars(shares, use))
    if commercial is None:
        lines = [Line(gettext("Preço de tabela"), gross)]
    else:
        lines = [
            Line(gettext("Preço do provedor, ao dólar comercial"), commercial),
            Line(gettext("Margem da Tokia, com os impostos da nota"), gross - commercial),
        ]
    return (*lines, Line(gettext("Desconto por volume"), discount)) if discount else tuple(lines)
