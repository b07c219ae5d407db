"""The bank: the Banco Central's API Pix over mutual TLS with an OAuth2 token. Requests and answers only; no decision, no row.

Every verb may raise PspUnavailable (nothing is known, ask again with the same ids) or PspRefused (the bank said no).
Amounts travel as the API's strings, "150.00". Secrets never reach a log or an error.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from django.conf import settings

from billing.pix.errors import PspRefused, PspUnavailable

log = logging.getLogger("billing.pix")

Json = dict[str, Any]
SCOPES = "cob.write cob.read pix.write pix.read webhook.write webhook.read"
PAGE_SIZE = 500
PAGES_MAX = 1_000
TOKEN_MARGIN_SECONDS = 30


class Bank:
    """One process's connections to the bank, and its token."""

    def __init__(self) -> None:
        context = ssl.create_default_context(cafile=settings.PSP_CA_FILE or None)
        if settings.PSP_CERT_FILE:
            context.load_cert_chain(settings.PSP_CERT_FILE)
        timeout = httpx.Timeout(settings.PSP_TIMEOUT_SECONDS, connect=min(5.0, settings.PSP_TIMEOUT_SECONDS))
        self.client = httpx.Client(verify=context, timeout=timeout, trust_env=False, follow_redirects=False)
        self.token = ""
        self.token_ends = 0.0  # monotonic seconds
        self.lock = threading.Lock()

    def call(self, method: str, path: str, *, body: Json | None = None, query: Mapping[str, str] | None = None) -> Json:
        """One answer's JSON object. A 401 renews the token once."""
        answer = self._send(method, path, body=body, query=query, token=self._current_token())
        if answer.status_code == 401:
            answer = self._send(method, path, body=body, query=query, token=self._current_token(refused=self.token))
        return _read(answer)

    def _send(self, method: str, path: str, *, body: Json | None, query: Mapping[str, str] | None, token: str) -> httpx.Response:
        try:
            return self.client.request(
                method, f"{settings.PSP_BASE_URL}{path}", json=body, params=query, headers={"authorization": f"Bearer {token}"}
            )
        except httpx.HTTPError as error:
            raise PspUnavailable(f"{method} {path}: {type(error).__name__}") from error

    def _current_token(self, refused: str | None = None) -> str:
        """The cached token, renewed `expires_in` − 30 s after it was granted, or when the bank refused that very one."""
        with self.lock:
            if self.token and self.token != refused and time.monotonic() < self.token_ends:
                return self.token
            try:
                answer = self.client.post(
                    settings.PSP_TOKEN_URL,
                    data={"grant_type": "client_credentials", "scope": SCOPES},
                    auth=(settings.PSP_CLIENT_ID, settings.PSP_CLIENT_SECRET),
                )
            except httpx.HTTPError as error:
                raise PspUnavailable(f"token: {type(error).__name__}") from error
            granted = _object_of(answer)
            token, seconds = granted.get("access_token"), granted.get("expires_in", 300)
            if answer.status_code != 200 or not isinstance(token, str) or not isinstance(seconds, int):
                log.error("the bank refused a token", extra={"status": answer.status_code})
                raise PspUnavailable(f"token: {answer.status_code}")
            self.token, self.token_ends = token, time.monotonic() + max(seconds - TOKEN_MARGIN_SECONDS, 1)
            return token


_banks: dict[tuple[object, ...], Bank] = {}
_opening = threading.Lock()  # of two threads that come first, one would lose its connections unclosed


def bank() -> Bank:
    """This process's bank; a fork, or other settings, get their own."""
    name = (os.getpid(), settings.PSP_BASE_URL, settings.PSP_CERT_FILE, settings.PSP_CLIENT_ID, settings.PSP_TIMEOUT_SECONDS)
    with _opening:
        if name not in _banks:
            try:
                _banks[name] = Bank()
            except (OSError, ssl.SSLError) as error:
                raise PspUnavailable(f"certificate: {type(error).__name__}") from error
        return _banks[name]


# ── The API's verbs ──────────────────────────────────────────────────────────────────────────────────────────────────
def create_cob(*, txid: str, requested: Json) -> Json:
    """PUT /cob/{txid}: create the charge. The same request again is the same charge."""
    return bank().call("PUT", f"/cob/{_part(txid)}", body=requested)


def read_cob(txid: str) -> Json:
    """GET /cob/{txid}: the charge with its payments in `pix`. PspRefused 404 when the bank does not know it."""
    return bank().call("GET", f"/cob/{_part(txid)}")


def read_pix(end_to_end_id: str) -> Json | None:
    """GET /pix/{e2eid}: one payment received, or None when there is none of that id."""
    try:
        return bank().call("GET", f"/pix/{_part(end_to_end_id)}")
    except PspRefused as refusal:
        if refusal.http_status == 404:
            return None
        raise


def list_pix(*, start: dt.datetime, end: dt.datetime) -> Iterator[list[Json]]:
    """GET /pix over a period, page by page."""
    for number in range(PAGES_MAX):
        answer = bank().call(
            "GET",
            "/pix",
            query={
                "inicio": _rfc3339(start),
                "fim": _rfc3339(end),
                "paginacao.paginaAtual": str(number),
                "paginacao.itensPorPagina": str(PAGE_SIZE),
            },
        )
        page = answer.get("pix", [])
        yield [pix for pix in page if isinstance(pix, dict)]
        total = answer.get("parametros", {}).get("paginacao", {}).get("quantidadeDePaginas", 1)
        if number + 1 >= int(total):
            return
    log.critical("the bank lists more pages than we follow", extra={"pages": PAGES_MAX})


def request_devolucao(*, end_to_end_id: str, refund_id: str, amount: str, description: str) -> Json:
    """PUT /pix/{e2eid}/devolucao/{id}: ask for a refund. A used id is refused: read it then, it is our own."""
    body = {"valor": amount, "natureza": "ORIGINAL", "descricao": description[:140]}
    return bank().call("PUT", f"/pix/{_part(end_to_end_id)}/devolucao/{_part(refund_id)}", body=body)


def read_devolucao(*, end_to_end_id: str, refund_id: str) -> Json:
    """GET /pix/{e2eid}/devolucao/{id}. PspRefused 404 when it was never asked."""
    return bank().call("GET", f"/pix/{_part(end_to_end_id)}/devolucao/{_part(refund_id)}")


def set_webhook(url: str) -> Json:
    """PUT /webhook/{chave}: where the bank tells. The bank adds `/pix` to the address. Repeatable."""
    return bank().call("PUT", f"/webhook/{_part(settings.PSP_PIX_KEY)}", body={"webhookUrl": url})


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _read(answer: httpx.Response) -> Json:
    found = _object_of(answer)
    status = answer.status_code
    if status < 300 and found:
        return found
    kind = str(found.get("type") or found.get("nome") or "").rsplit("/", 1)[-1][:60]
    detail = re.sub(r"\s+", " ", str(found.get("detail") or found.get("mensagem") or ""))[:200]
    if 400 <= status < 500 and status not in (401, 408, 425, 429):
        raise PspRefused(http_status=status, kind=kind, detail=detail)
    raise PspUnavailable(f"{answer.request.method} {answer.request.url.path}: {status} {kind} {detail}".strip())


def _object_of(answer: httpx.Response) -> Json:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _part(value: str) -> str:
    return quote(value, safe="")


def _rfc3339(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
