"""Our templates in the language of the page: each is compiled once per language, from a source with its sentences replaced.

In Portuguese, the language they are written in, nothing is done to a source. A sentence that no catalogue has stays
Portuguese: a page is never broken by a missing entry.
"""

from __future__ import annotations

from django.conf import settings
from django.template.base import Origin
from django.template.loaders.cached import Loader as CachedLoader
from django.utils.translation import get_language, gettext, pgettext

from tokia.sentences import replace_sentences

ROOT = settings.BASE_DIR / "templates"
# What stays Portuguese: the administration, what binds (terms, privacy), the documents (which have files per language).
_STAY = ("admin/", "unfold/", "docs/content/", "home/terms.html", "home/privacy.html")


def is_translated(name: str) -> bool:
    """Whether the template of this name speaks other languages: pages and messages do, mails and files for machines do not."""
    if name.startswith(_STAY) or "/email/" in name:
        return False
    return name.endswith(".html") or "/messages/" in name


def find_translation(name: str, key: str) -> str | None:
    """The active language's words for a sentence: those for this template alone (`msgctxt`) before those for all."""
    told = pgettext(name, key)
    if told == key:
        told = gettext(key)
    return told if told != key else None


class Loader(CachedLoader):
    """Django's cached loader over the usual two, with the language in its key."""

    def cache_key(self, template_name: str, skip: list[Origin] | None = None) -> str:
        key = super().cache_key(template_name, skip)
        language = get_language()
        return key if language in (None, settings.LANGUAGE_CODE) else f"{key}-{language}"

    def get_contents(self, origin: Origin) -> str:
        source: str = super().get_contents(origin)
        name = origin.template_name
        if get_language() in (None, settings.LANGUAGE_CODE) or not isinstance(name, str) or not is_translated(name):
            return source
        if not str(origin.name).startswith(str(ROOT)):  # a package's own
            return source
        return replace_sentences(source, lambda key: find_translation(name, key))
