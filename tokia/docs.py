"""The documentation: which pages there are, in what sequence, and their text.

A page is `templates/docs/content/<slug>.md`, or made from the description of `/api/v1` (`tokia.docs_reference`). Its first line is
the title, its first paragraph what search engines show. `{{ name }}` stands for an address or a setting (`values`), so that no
number on a page is another than the code's. Each page is made at its first use and kept: the files change with a release only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial

from django.conf import settings

from tokia import docs_reference
from tokia.docs_markdown import Rendered, read_head, render

CONTENT = settings.BASE_DIR / "templates" / "docs" / "content"
SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Comece aqui", ("inicio-rapido", "autenticacao", "migrar-da-openai", "migrar-do-openrouter", "ferramentas-prontas",
                     "glossario")),
    ("Chamar modelos", ("chat", "streaming", "ferramentas-e-json", "imagens-e-visao", "audio", "embeddings-e-rerank", "moderacao",
                        "responses", "anthropic-messages", "lotes-e-arquivos")),
    ("Rotas e confiança", ("roteamento", "fallbacks", "idempotencia", "cache", "chaves-proprias")),
    ("Erros e limites", ("erros", "limites")),
    ("Dinheiro", ("custos", "orcamentos-e-projetos", "recarga-e-notas")),
    ("Integrações", ("webhooks", "api-de-gestao")),
    ("Dados", ("privacidade",)),
    ("Referência", ("referencia-v1",)),
)  # fmt: skip
REFERENCE = "Referência"  # the section that the generated pages end
_PLACE = re.compile(r"\{\{ ?([a-z_]+) ?\}\}")
MIB = 1_048_576


class Page:
    """One page. Its title and first paragraph are known from the start, the rest once somebody asks."""

    def __init__(self, slug: str, *, section: str, title: str, lead: str, write: Callable[[], str]) -> None:
        self.slug, self.section, self.title, self.lead = slug, section, title, lead
        self._write = write

    @cached_property
    def markdown(self) -> str:
        return self._write()

    @cached_property
    def rendered(self) -> Rendered:
        return render(self.markdown)

    @property
    def url(self) -> str:
        return f"/docs/{self.slug}/"


@dataclass(frozen=True, slots=True)
class Neighbours:
    before: Page | None
    after: Page | None


def values() -> Mapping[str, str]:
    """What the texts leave open: addresses, and settings that a customer meets."""
    return {
        "base_url": f"{settings.GATEWAY_URL}/v1",
        "gateway_url": settings.GATEWAY_URL,
        "web_url": settings.WEB_URL,
        "body_mib": str(settings.GATEWAY_BODY_BYTES_MAX // MIB),
        "upload_mib": str(settings.GATEWAY_UPLOAD_BYTES_MAX // MIB),
        "file_mib": str(settings.FILE_BYTES_MAX // MIB),
        "files_mib": str(settings.FILES_BYTES_MAX // MIB),
        "files_days": str(settings.FILES_TTL_DAYS),
        "batches_open": str(settings.BATCHES_OPEN_MAX),
        "responses_days": str(settings.RESPONSES_TTL_DAYS),
        "idempotency_hours": str(settings.IDEMPOTENCY_TTL_HOURS),
        "idempotency_mib": str(settings.IDEMPOTENCY_BYTES_MAX // MIB),
        "cache_mib": str(settings.ANSWER_CACHE_BYTES_MAX // MIB),
        "requests_per_minute": str(settings.REQUESTS_PER_MINUTE),
        "api_requests_per_minute": str(settings.API_REQUESTS_PER_MINUTE),
        "first_token_seconds": str(settings.GATEWAY_FIRST_TOKEN_MS // 1_000),
        "body_seconds": str(settings.GATEWAY_BODY_SECONDS),
        "top_up_min": str(settings.TOP_UP_MIN_BRL),
        "refund_days": str(settings.REFUND_SELF_DAYS),
        "price_notice_days": str(settings.PRICE_NOTICE_DAYS),
    }


def fill(text: str) -> str:
    """Raises KeyError for a name that `values` has not."""
    known = values()
    return _PLACE.sub(lambda found: known[found[1]], text)


@cache
def pages() -> dict[str, Page]:
    """All of them by slug, in reading sequence."""
    found: dict[str, Page] = {}
    for section, slugs in SECTIONS:
        for slug in slugs:
            text = fill((CONTENT / f"{slug}.md").read_text(encoding="utf-8"))
            title, lead = read_head(text)
            found[slug] = Page(slug, section=section, title=title, lead=lead, write=partial(str, text))
        if section == REFERENCE:
            for slug, title, lead in docs_reference.heads():
                write = partial(docs_reference.write_page, slug)
                found[slug] = Page(slug, section=section, title=title, lead=lead, write=write)
    return found


@cache
def contents() -> tuple[tuple[str, tuple[Page, ...]], ...]:
    """The left navigation: sections and their pages."""
    return tuple((section, tuple(page for page in pages().values() if page.section == section)) for section, _ in SECTIONS)


def neighbours(page: Page) -> Neighbours:
    """Who stands before and after it in reading sequence."""
    everything = list(pages().values())
    place = everything.index(page)
    return Neighbours(
        before=everything[place - 1] if place else None,
        after=everything[place + 1] if place + 1 < len(everything) else None,
    )
