"""The documentation: which pages there are, in what sequence, and their text, in the language that is active.

A page is `templates/docs/content/<slug>.md`, or made from the description of `/api/v1` (`tokia.docs_reference`). Its first line is
the title, its first paragraph what search engines show. `{{ name }}` stands for an address or a setting (`values`), so that no
number on a page is another than the code's. Each page is made at its first use and kept: the files change with a release only.

The English page is `content/en/<slug>.md`, at the same address. Its headings have the ids of the Portuguese ones, place by place
(tests hold the two to the same shape), so that a link to an anchor holds in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import groupby

from django.conf import settings
from django.utils.translation import gettext, override
from django.utils.translation import gettext_noop as _

from tokia import docs_reference
from tokia.docs_markdown import Passage, Rendered, read_anchors, read_head, read_passages, render
from tokia.language import ENGLISH, is_english

CONTENT = settings.BASE_DIR / "templates" / "docs" / "content"
SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (_("Comece aqui"), ("inicio-rapido", "autenticacao", "migrar-da-openai", "migrar-do-openrouter", "ferramentas-prontas",
                        "glossario")),
    (_("Chamar modelos"), ("chat", "streaming", "ferramentas-e-json", "imagens-e-visao", "audio", "embeddings-e-rerank",
                           "moderacao", "responses", "anthropic-messages", "lotes-e-arquivos")),
    (_("Rotas e confiança"), ("roteamento", "fallbacks", "idempotencia", "cache", "chaves-proprias")),
    (_("Erros e limites"), ("erros", "limites")),
    (_("Dinheiro"), ("custos", "orcamentos-e-projetos", "recarga-e-notas")),
    (_("Integrações"), ("webhooks", "api-de-gestao")),
    (_("Dados"), ("privacidade",)),
    (_("Referência"), ("referencia-v1",)),
)  # fmt: skip
REFERENCE = SECTIONS[-1][0]  # the section that the generated pages end
_PLACE = re.compile(r"\{\{ ?([a-z_]+) ?\}\}")
MIB = 1_048_576


class Page:
    """One page in one language. Its title and first paragraph are known from the start, the rest once somebody asks.

    Whatever language is active then: what is kept is in the page's own.
    """

    def __init__(
        self, slug: str, *, language: str, section: str, title: str, lead: str, write: Callable[[], str], original: Page | None
    ) -> None:
        """`original`: the Portuguese page that this one says in another language."""
        self.slug, self.language, self.section, self.title, self.lead = slug, language, section, title, lead
        self._write, self._original = write, original

    @cached_property
    def markdown(self) -> str:
        with override(self.language):
            return self._write()

    @cached_property
    def anchors(self) -> tuple[str, ...]:
        """The ids of its headings, in sequence."""
        return self._original.anchors if self._original else read_anchors(self.markdown)

    @cached_property
    def rendered(self) -> Rendered:
        with override(self.language):
            return render(self.markdown, anchors=self.anchors)

    @property
    def passages(self) -> list[Passage]:
        return read_passages(self.markdown, anchors=self.anchors)

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


def language_now() -> str:
    """Of the two that there are pages in, the one that is active."""
    return ENGLISH if is_english() else settings.LANGUAGE_CODE


def pages() -> dict[str, Page]:
    """All of them by slug, in reading sequence."""
    return _pages(language_now())


def contents() -> tuple[tuple[str, tuple[Page, ...]], ...]:
    """The left navigation: sections and their pages."""
    return _contents(language_now())


@cache
def _pages(language: str) -> dict[str, Page]:
    folder = CONTENT / ENGLISH if language == ENGLISH else CONTENT
    originals = _pages(settings.LANGUAGE_CODE) if language == ENGLISH else {}
    found: dict[str, Page] = {}
    with override(language):
        for section, slugs in SECTIONS:
            make = partial(Page, language=language, section=gettext(section))
            for slug in slugs:
                text = fill((folder / f"{slug}.md").read_text(encoding="utf-8"))
                title, lead = read_head(text)
                found[slug] = make(slug, title=title, lead=lead, write=partial(str, text), original=originals.get(slug))
            if section == REFERENCE:
                for slug, title, lead in docs_reference.heads():
                    write = partial(docs_reference.write_page, slug)
                    found[slug] = make(slug, title=title, lead=lead, write=write, original=originals.get(slug))
    return found


@cache
def _contents(language: str) -> tuple[tuple[str, tuple[Page, ...]], ...]:
    grouped = groupby(_pages(language).values(), key=lambda page: page.section)
    return tuple((section, tuple(listed)) for section, listed in grouped)


def neighbours(page: Page) -> Neighbours:
    """Who stands before and after it in reading sequence."""
    everything = list(_pages(page.language).values())
    place = everything.index(page)
    return Neighbours(
        before=everything[place - 1] if place else None,
        after=everything[place + 1] if place + 1 < len(everything) else None,
    )
