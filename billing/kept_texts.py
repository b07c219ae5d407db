"""Texts that rows keep, in the language of whoever reads them now.

What is stored is Portuguese, whoever's request stored it: reasons of entries, refunds and hooks, a declined card's words. A
page says them by `tell_kept`; mails, files and the API say them as they are. What a person of ours typed stays as it was typed.
"""

from __future__ import annotations

import re

from django.utils.translation import gettext, gettext_noop

from tokia.outbound import NO_ANSWER

COUPON = gettext_noop("Cupom {code}")
CARD_REMOVED = gettext_noop("O cartão {card} foi removido.")
OFF_AT_ONCE = gettext_noop("Desligada depois de uma recusa. {reason}")
OFF_AFTER = gettext_noop("Desligada depois de {count} recusas. {reason}")
OFF_BY_BOUNDS = gettext_noop("Desligada: {reason}")
TOP_UP_LEAST = gettext_noop("{amount} no mínimo.")
TOP_UP_MOST = gettext_noop("{amount} no máximo por recarga.")
HOOK_ANSWERED = gettext_noop("O endereço respondeu {status}. Só 2xx conta como recebido.")
HOOK_FAILED = gettext_noop("nenhuma entrega deu certo em {count} dias")
_SHAPES = (
    COUPON, CARD_REMOVED, OFF_AT_ONCE, OFF_AFTER, OFF_BY_BOUNDS, TOP_UP_LEAST, TOP_UP_MOST, HOOK_ANSWERED, HOOK_FAILED, NO_ANSWER,
)  # fmt: skip


def _pattern(shape: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(shape)), re.DOTALL)


_PATTERNS = tuple((shape, _pattern(shape)) for shape in _SHAPES)


def tell_kept(text: str) -> str:
    """The same text where it was nobody's sentence."""
    if not text:
        return ""
    if (told := gettext(text)) != text:
        return told
    for shape, pattern in _PATTERNS:
        if found := pattern.fullmatch(text):
            parts = {name: tell_kept(part) if name == "reason" else part for name, part in found.groupdict().items()}
            return gettext(shape).format(**parts)
    return text
