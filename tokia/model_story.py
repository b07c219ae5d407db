"""All that the page of one model tells besides its prices: what goes in and out, who answers, how its price went."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing.models import Unit
from billing.price_history import PricePoint, price_history
from gateway.models_list import MODALITIES, MODALITY_OF, SURFACE_PARAMETERS
from gateway.parameters import taken_parameters
from tokia import clock
from tokia.showcase import Offer, Server
from tokia.templatetags.tokia import brl_mtok, data

MODALITY_LABELS = {
    "text": _("texto"), "image": _("imagem"), "audio": _("áudio"), "file": _("arquivo ou PDF"),
    "embeddings": _("vetores (embeddings)"), "rerank": _("lista reordenada"), "moderation": _("classificação"),
}  # fmt: skip
CAPABILITY_TEXTS = {
    "tools": _("Pede que o seu programa execute funções e usa o resultado."),
    "vision": _("Lê imagens junto do texto."),
    "audio": _("Ouve áudio."),
    "audio_output": _("Responde com voz."),
    "files": _("Lê arquivos e PDF."),
    "json": _("Responde em JSON, também no formato que você descrever."),
    "reasoning": _("Pensa antes de responder; o que pensa conta como saída."),
    "prompt_cache": _("O começo que se repete entre chamadas custa menos."),
    "timestamps": _("Diz em que instante cada trecho foi falado."),
    "translation": _("Traduz para o inglês o que ouve."),
    "streaming": _("Entrega a resposta enquanto ela é feita."),
}
COUNTRIES = {
    "US": _("Estados Unidos"), "CN": _("China"), "FR": _("França"), "CA": _("Canadá"), "BR": _("Brasil"), "IE": _("Irlanda"),
    "DE": _("Alemanha"), "GB": _("Reino Unido"), "NL": _("Países Baixos"), "SE": _("Suécia"), "FI": _("Finlândia"),
    "SG": _("Singapura"), "JP": _("Japão"), "KR": _("Coreia do Sul"), "IL": _("Israel"), "CH": _("Suíça"), "IN": _("Índia"),
    "AE": _("Emirados Árabes"),
}  # fmt: skip
WIDTH, HEIGHT, PAD = 640, 160, 8  # of the chart, in its own units
CHARTED = (Unit.OUTPUT, Unit.INPUT)


def modalities(offer: Offer) -> tuple[list[str], list[str]]:
    """What goes in and what comes out, in words."""
    into, out = MODALITIES.get(offer.surface, (["text"], ["text"]))
    into = [*into, *(kind for can, kind in MODALITY_OF.items() if can in offer.capabilities and kind not in into)]
    out = [*out, "audio"] if "audio_output" in offer.capabilities else list(out)
    return [str(MODALITY_LABELS[kind]) for kind in into], [str(MODALITY_LABELS[kind]) for kind in out]


def parameters_of(offer: Offer) -> list[str]:
    """Those that some provider of it takes: the dialects are asked, as for `/v1/models`."""
    if offer.surface != "chat":
        return SURFACE_PARAMETERS.get(offer.surface, [])
    return taken_parameters(
        [(server.dialect, server.slug, server.upstream_model, server.is_strict) for server in offer.servers],
        capabilities=offer.capabilities, is_reasoning=offer.is_reasoning,
    )  # fmt: skip


def country_of(server: Server) -> str:
    return str(COUNTRIES.get(server.country, server.country))


# ── The price's history ──────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Line:
    """One unit's price as steps, in the chart's units."""

    label: str
    points: str  # of an SVG polyline
    classes: str
    dash: str


@dataclass(frozen=True, slots=True)
class History:
    points: tuple[PricePoint, ...]  # the newest first, as the table shows them
    columns: tuple[tuple[str, str], ...]  # (unit, label)
    lines: tuple[Line, ...]
    most: str  # the top of the chart
    described: str

    @property
    def first_on(self) -> dt.datetime:
        return self.points[-1].since

    @property
    def rows(self) -> list[tuple[PricePoint, list[str]]]:
        return [(point, [_told(point, unit) for unit, _ in self.columns]) for point in self.points]


def history_of(name: str) -> History:
    """Two queries. The chart needs two prices of text at least; the table is there with one."""
    points = price_history(name)
    units = {unit for point in points for unit in point.amounts}
    columns = tuple((unit.value, str(unit.label)) for unit in Unit if unit.value in units)
    lines, most = _lines(points) if len(points) > 1 else ((), 0)
    return History(tuple(reversed(points)), columns, lines, brl_mtok(most), _described(points, [line.label for line in lines]))


def _told(point: PricePoint, unit: str) -> str:
    nanos = point.amounts.get(unit)
    return "—" if nanos is None else brl_mtok(nanos) + point.pers[unit]


def _lines(points: Sequence[PricePoint]) -> tuple[tuple[Line, ...], int]:
    shown = [unit for unit in CHARTED if all(point.per_units.get(unit) == 1_000_000 for point in points if point.is_on_sale)]
    shown = [unit for unit in shown if any(unit in point.amounts for point in points)]
    most = max((point.amounts.get(unit, 0) for point in points for unit in shown), default=0)
    if not most:
        return (), 0
    begins, ends = points[0].since, clock.now()
    span = max(1, int((ends - begins).total_seconds()))
    looks = (("text-primary", "none"), ("text-secondary", "6 4"))
    lines = []
    for unit, (classes, dash) in zip(shown, looks, strict=False):
        steps: list[str] = []
        for place, point in enumerate(points):
            until = points[place + 1].since if place + 1 < len(points) else ends
            if unit not in point.amounts:
                continue
            y = PAD + (HEIGHT - 2 * PAD) * (most - point.amounts[unit]) // most
            for at in (point.since, until):
                steps.append(f"{WIDTH * int((at - begins).total_seconds()) // span},{y}")
        lines.append(Line(str(unit.label), " ".join(steps), classes, dash))
    return tuple(lines), most


def _described(points: Sequence[PricePoint], labels: Sequence[str]) -> str:
    if len(points) < 2:
        return ""
    what = gettext(" e ").join(label.lower() for label in labels)
    told = gettext("Preço de {what} desde {date}: {count} preços; os números estão na tabela abaixo")
    return told.format(what=what, date=data(points[0].since), count=len(points))


def upcoming_of(offer: Offer) -> list[tuple[object, list[dict[str, str]]]]:
    """What is announced: (version, its changes as `billing.price_changes` tells them)."""
    return [(version, [change.as_json() for change in felt]) for version, felt in offer.changes]
