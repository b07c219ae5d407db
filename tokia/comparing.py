"""Two to four models side by side: rows of the same question to each, and who answers it best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from billing import recounts
from billing.abroad import ComparisonRates
from billing.models import Unit
from billing.pricing import Usage, price_usage
from billing.units import tell_per
from gateway.models import Route
from tokia.paces import Pace, Paces
from tokia.showcase import CAPABILITIES, Offer
from tokia.templatetags.tokia import brl, brl_mtok, dur, num, pct

MODELS_MIN, MODELS_MAX = 2, 4
# A call as people make them, a thousand times: a page of text in, half a page out.
EXAMPLE_CALLS, EXAMPLE_INPUT, EXAMPLE_OUTPUT = 1_000, 1_000, 500
EXAMPLE = Usage(input_tokens=EXAMPLE_CALLS * EXAMPLE_INPUT, output_tokens=EXAMPLE_CALLS * EXAMPLE_OUTPUT, requests=EXAMPLE_CALLS)
NONE = "—"


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    note: str = ""
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    cells: tuple[Cell, ...]
    best: str = ""  # what the best of them is called: "menor", "maior"


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    rows: tuple[Row, ...]


def compare(offers: Sequence[Offer], *, paces: Paces, rates: ComparisonRates, use: recounts.TextUse | None) -> tuple[Section, ...]:
    """Rows that say nothing of any of them are left out, and sections without rows too."""
    measured = [paces.of(offer.name) for offer in offers]
    sections = (
        Section(_("Preços"), tuple(_price_rows(offers, rates))),
        Section(_("Exemplos"), tuple(_example_rows(offers, use))),
        Section(_("Tamanho e capacidades"), tuple(_ability_rows(offers))),
        Section(_("Desempenho nas últimas 24 horas"), tuple(_pace_rows(measured))),
        Section(_("Quem responde"), tuple(_server_rows(offers))),
    )
    return tuple(section for section in sections if section.rows)


def _price_rows(offers: Sequence[Offer], rates: ComparisonRates) -> Iterator[Row]:
    units = [unit.value for unit in Unit if any(unit.value in offer.prices.units for offer in offers)]
    for unit in units:
        if unit == Unit.SEARCH and all(offer.surface == Route.Surface.CHAT for offer in offers):
            continue
        priced = [offer.prices.units.get(unit) for offer in offers]
        per_units = {price.per_units for price in priced if price}
        amounts = [None if price is None else price.amount_nanos for price in priced]
        texts = [NONE if price is None else brl_mtok(price.amount_nanos) + tell_per(unit, price.per_units) for price in priced]
        notes = [_abroad_note(offer, unit, rates) for offer in offers]
        yield _row(str(Unit(unit).label), texts, amounts if len(per_units) == 1 else [], min, _("menor"), notes)


def _abroad_note(offer: Offer, unit: str, rates: ComparisonRates) -> str:
    listed, price = offer.listed.get(unit), offer.prices.units.get(unit)
    if listed is None or price is None or listed.per_units != price.per_units:
        return ""
    abroad = rates.abroad_nanos(listed.usd_nanos)
    return _("{price} pagando fora, no cartão").format(price=brl_mtok(abroad)) if abroad else ""


def _example_rows(offers: Sequence[Offer], use: recounts.TextUse | None) -> Iterator[Row]:
    if all(offer.surface == Route.Surface.CHAT for offer in offers):
        amounts = [example_nanos(offer) for offer in offers]
        label = _("{calls} chamadas de {input} tokens de entrada e {output} de saída")
        label = label.format(calls=num(EXAMPLE_CALLS), input=num(EXAMPLE_INPUT), output=num(EXAMPLE_OUTPUT))
        yield _row(label, [brl(amount) for amount in amounts], amounts, min, _("menor"))
    if use is not None:
        recounted = [recounts.recount(use, offer.prices) if offer.surface == Route.Surface.CHAT else None for offer in offers]
        label = _("O texto que sua conta usou nos últimos 30 dias")
        yield _row(label, [brl(amount) for amount in recounted], recounted, min, _("menor"))


def example_nanos(offer: Offer) -> int | None:
    """What EXAMPLE comes to; None where it is no chat model."""
    if offer.surface != Route.Surface.CHAT or offer.input_nanos is None or offer.output_nanos is None:
        return None
    return price_usage(offer.prices, EXAMPLE)


def _ability_rows(offers: Sequence[Offer]) -> Iterator[Row]:
    yield _row(_("Contexto, em tokens"), [num(o.context_tokens) if o.context_tokens else NONE for o in offers],
               [o.context_tokens or None for o in offers], max, _("maior"))  # fmt: skip
    if any(offer.output_tokens_max for offer in offers):
        yield _row(_("Saída máxima, em tokens"), [num(o.output_tokens_max) if o.output_tokens_max else NONE for o in offers],
                   [o.output_tokens_max or None for o in offers], max, _("maior"))  # fmt: skip
    for name, label in CAPABILITIES.items():
        if any(name in offer.capabilities for offer in offers):
            yield _row(label, [_("Sim") if name in offer.capabilities else _("Não") for offer in offers])
    if len({offer.surface for offer in offers}) > 1:
        yield _row(_("Para quê"), [offer.surface_label for offer in offers])


def _pace_rows(paces: Sequence[Pace]) -> Iterator[Row]:
    yield _row(_("Situação"), [pace.label for pace in paces])
    if any(pace.speed for pace in paces):
        yield _row(_("Velocidade, em tokens por segundo"), [num(pace.speed) for pace in paces],
                   [pace.speed for pace in paces], max, _("maior"))  # fmt: skip
    if any(pace.first_token_p50_ms for pace in paces):
        first = [pace.first_token_p50_ms for pace in paces]
        yield _row(_("Até o primeiro token (mediana)"), [dur(ms) for ms in first], first, min, _("menor"))
    if any(pace.uptime_bps is not None for pace in paces):
        uptimes = [pace.uptime_bps for pace in paces]
        yield _row(_("Disponibilidade"), [pct(bps) for bps in uptimes], uptimes, max, _("maior"))


def _server_rows(offers: Sequence[Offer]) -> Iterator[Row]:
    yield _row(_("Fabricante"), [offer.maker for offer in offers])
    yield _row(_("Provedores, em ordem"), [", ".join(dict.fromkeys(server.name for server in o.servers)) for o in offers])


def _row(
    label: str | Promise,
    texts: Sequence[str],
    values: Sequence[int | None] = (),
    choose: Callable[[Iterable[int]], int] = min,
    best: str = "",
    notes: Sequence[str] = (),
) -> Row:
    """The best is told only where they differ."""
    known = [value for value in values if value is not None]
    winner = choose(known) if len(set(known)) > 1 else None
    cells = tuple(
        Cell(text, notes[place] if notes else "", winner is not None and values[place] == winner)
        for place, text in enumerate(texts)
    )
    return Row(str(label), cells, best)
