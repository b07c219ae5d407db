"""Which models of the catalog somebody looks for, and in what sequence, as the address says it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.money import BRL
from gateway.models import Route
from tokia.paces import Paces
from tokia.showcase import CAPABILITIES, Offer

SEQUENCES = {
    "": _("Relevância"),
    "entrada": _("Menor preço de entrada"),
    "saida": _("Menor preço de saída"),
    "contexto": _("Maior contexto"),
    "velocidade": _("Mais rápido"),
}
CONTEXTS = {
    "32000": _("32 mil tokens ou mais"),
    "128000": _("128 mil ou mais"),
    "200000": _("200 mil ou mais"),
    "1000000": _("1 milhão ou mais"),
}
# By the price of a million input tokens: from (included) and up to (not included), in reais.
BANDS: dict[str, tuple[str | Promise, int, int | None]] = {
    "ate-1": (_("Entrada abaixo de R$ 1"), 0, 1),
    "1-5": (_("Entrada de R$ 1 a R$ 5"), 1, 5),
    "5-20": (_("Entrada de R$ 5 a R$ 20"), 5, 20),
    "20-mais": (_("Entrada de R$ 20 ou mais"), 20, None),
}
LAST = 2**63


@dataclass(frozen=True, slots=True)
class CatalogFilter:
    """What is empty does not filter; what an address makes up filters nothing either."""

    search: str = ""
    maker: str = ""
    surface: str = ""
    capabilities: tuple[str, ...] = ()
    context_tokens: str = ""  # a key of CONTEXTS
    band: str = ""
    sequence: str = ""

    @property
    def is_empty(self) -> bool:
        return self in (CatalogFilter(), CatalogFilter(sequence=self.sequence))

    def apply(self, offers: Sequence[Offer], *, paces: Paces) -> list[Offer]:
        words = self.search.lower().split()
        kept = [offer for offer in offers if self._is_met_by(offer) and all(word in _text_of(offer) for word in words)]
        return sorted(kept, key=_keys(paces)[self.sequence])

    def _is_met_by(self, offer: Offer) -> bool:
        return (
            (not self.maker or offer.maker == self.maker)
            and (not self.surface or offer.surface == self.surface)
            and all(name in offer.capabilities for name in self.capabilities)
            and (not self.context_tokens or offer.context_tokens >= int(self.context_tokens))
            and (not self.band or _is_within(offer, self.band))
        )


def read_filter(asked: QueryDict) -> CatalogFilter:
    def known(name: str, among: Any) -> str:
        value = asked.get(name, "")
        return value if value in among else ""

    return CatalogFilter(
        search=asked.get("busca", "").strip()[:100], maker=asked.get("provedor", "")[:40],
        surface=known("superficie", Route.Surface.values),
        capabilities=tuple(name for name in CAPABILITIES if name in asked.getlist("capacidade")),
        context_tokens=known("contexto", CONTEXTS), band=known("preco", BANDS), sequence=known("ordem", SEQUENCES),
    )  # fmt: skip


def _text_of(offer: Offer) -> str:
    return " ".join((offer.name, offer.display_name, offer.maker, *offer.aliases)).lower()


def _is_within(offer: Offer, band: str) -> bool:
    least, most = BANDS[band][1:]
    nanos = offer.input_nanos
    return nanos is not None and nanos >= least * BRL and (most is None or nanos < most * BRL)


def _keys(paces: Paces) -> dict[str, Callable[[Offer], Any]]:
    """Ties keep the sequence of the shop: by maker and name."""
    return {
        "": lambda offer: (not offer.is_demo, not offer.is_featured),
        "entrada": lambda offer: LAST if offer.input_nanos is None else offer.input_nanos,
        "saida": lambda offer: LAST if offer.output_nanos is None else offer.output_nanos,
        "contexto": lambda offer: -offer.context_tokens,
        "velocidade": lambda offer: -(paces.of(offer.name).tokens_per_second or 0),
    }
