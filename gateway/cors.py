"""Calls by a browser: the playground's, and nobody else's.

`/v1` is for programs: a browser may read its answers only on our own pages (WEB_URL's origin), and only under a session key, which
has no use anywhere else: `accounts.session_keys`. A call without a session key never comes here, so it costs it nothing: preflights
are found among wrong methods, session keys where a key may not call, and refusals are told the page as they are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings

from gateway.calls import Headers, Reply
from gateway.errors import Forbidden

if TYPE_CHECKING:
    from gateway.exchange import Exchange

PATH = "/v1/chat/completions"  # the only address that a session key opens, and that a browser may call
MAX_AGE_SECONDS = 600
_EXPOSED = b"x-request-id, x-tokia-model, x-tokia-provider, x-tokia-attempts, x-tokia-dropped-params, x-tokia-cost-brl, retry-after"


def origin_of(url: str) -> bytes:
    """As a browser writes it: without a path, and without a port that goes without saying."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}".lower().encode()


ORIGIN: bytes = origin_of(settings.WEB_URL)
_READABLE: Headers = [
    (b"access-control-allow-origin", ORIGIN),
    (b"access-control-expose-headers", _EXPOSED),
    (b"vary", b"Origin"),
]


def answer_preflight(exchange: Exchange, path: str) -> Reply | None:
    """None where it is no preflight of our own page: it is then the wrong method that it was."""
    if exchange.scope["method"] != "OPTIONS" or path != PATH or exchange.headers.get(b"origin") != ORIGIN:
        return None
    headers: Headers = [
        (b"access-control-allow-origin", ORIGIN),
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"authorization, content-type"),
        (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
        (b"cache-control", b"no-store"),
        (b"vary", b"Origin"),
    ]
    return Reply(200, headers)


def check_session(exchange: Exchange) -> None:
    """For a caller that `is_session`. Raises Forbidden elsewhere than at PATH, and for whoever is not our own page."""
    path = exchange.scope["path"].removesuffix("/")
    if path != PATH or exchange.scope["method"] != "POST" or exchange.headers.get(b"origin") != ORIGIN:
        raise Forbidden(
            "Esta chave só serve ao playground do painel. Para chamar de um programa, crie uma em Chaves.",
            "This key only serves the dashboard's playground. To call from a program, create one on the keys page.",
            code="scope_missing",
        )
    exchange.context.headers.extend(_READABLE)


def note_readable(exchange: Exchange) -> None:
    """A refusal that the page may read, whoever called: it says what the page did wrong, and nothing of an organization."""
    headers = exchange.context.headers
    if exchange.headers.get(b"origin") == ORIGIN and exchange.scope["path"] == PATH and _READABLE[0] not in headers:
        headers.extend(_READABLE)
