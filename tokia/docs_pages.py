"""`/docs/`: the documentation's pages, each also as Markdown, and its search."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_cookie

from tokia import docs, docs_search

MARKDOWN = "text/markdown; charset=utf-8"
INDEX_SECONDS = 300


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """`/docs/`: all pages by section."""
    context = _around(
        {"title": _("Documentação"), "description": _("Como usar a API da Tokia: guias, referência e todos os erros.")}
    )
    return render(request, "docs/index.html", context)


@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """`/docs/<slug>/`. Raises Http404."""
    found = _page(slug)
    neighbours = docs.neighbours(found)
    context = _around({
        "title": found.title, "description": found.lead, "page": found, "before": neighbours.before,
        "after": neighbours.after,
    })  # fmt: skip
    return render(request, "docs/page.html", context)


@require_safe
def markdown(request: HttpRequest, slug: str) -> HttpResponse:
    """`/docs/<slug>.md`: the page as it was written, for whoever feeds it to a model. Raises Http404."""
    return HttpResponse(_page(slug).markdown, content_type=MARKDOWN)


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """`/docs/busca/?q=`: what the form finds without JavaScript."""
    query = request.GET.get("q", "").strip()[: docs_search.QUERY_CHARACTERS_MAX]
    context = _around({
        "title": _("Busca na documentação"), "description": _("Busca na documentação da Tokia."), "query": query,
        "results": docs_search.find(query),
    })  # fmt: skip
    return render(request, "docs/search.html", context)


@require_safe
@cache_control(public=True, max_age=INDEX_SECONDS)
@vary_on_cookie
def search_index(request: HttpRequest) -> HttpResponse:
    """`/docs/indice.json`: what `docs.js` searches. Kept by the language's cookie, or a switch would search the other language."""
    return JsonResponse(docs_search.index(), safe=False, json_dumps_params={"ensure_ascii": False, "separators": (",", ":")})


def _page(slug: str) -> docs.Page:
    found = docs.pages().get(slug)
    if found is None:
        raise Http404
    return found


def _around(context: dict[str, Any]) -> dict[str, Any]:
    return {"nav": "docs", "contents": docs.contents(), **context}
