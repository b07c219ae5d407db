"""In which language a page is written: Portuguese, or English for whoever chose it on a page (a cookie).

What a browser says it prefers is not asked: a Brazilian's machine often speaks English, and a link must show everybody
the same. So English has no address of its own either: no `hreflang`, and nothing of it in the sitemap.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

ENGLISH = "en"
# Where nothing but Portuguese is spoken, whatever was chosen: the administration, and what machines read.
_PORTUGUESE_ONLY = ("/admin/", "/api/", "/static/", "/healthz", "/readyz")


def is_english() -> bool:
    return translation.get_language() == ENGLISH


def _has_languages(path: str) -> bool:
    """Pages have; files (exports, receipts, what machines read) are Portuguese for all, but for those of the documentation."""
    is_file = "." in path.rsplit("/", 1)[-1]
    return not path.startswith(_PORTUGUESE_ONLY) and (not is_file or path.startswith("/docs/"))


class LanguageMiddleware:
    """Stands before everything that writes words, and before the one that takes the cookies away (`tokia.status`)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not _has_languages(request.path):
            with translation.override(settings.LANGUAGE_CODE):
                return self.get_response(request)
        wants_english = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME) == ENGLISH
        with translation.override(ENGLISH if wants_english else settings.LANGUAGE_CODE):
            response = self.get_response(request)
        if response.get("Content-Type", "").startswith("text/html") or request.path.startswith("/docs/"):
            response.headers.setdefault("Content-Language", ENGLISH if wants_english else "pt-BR")
            patch_vary_headers(response, ["Cookie"])
        return response


@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    """`language` (pt-br or en) into the cookie, then back to `next`, which is an address of ours or else the front page."""
    return set_language(request)
