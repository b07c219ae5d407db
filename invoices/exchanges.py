"""One question to a tax office and its whole answer: what certainly never arrived, what may have, and what was said.

The difference is the heart of it: a request that never left may be sent again at once, one that may have arrived may only be asked
for.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from django.conf import settings

from invoices.channels import Heard, Later, Message, Uncertain
from tokia import clock

log = logging.getLogger("invoices")

Json = dict[str, Any]
CONNECT_SECONDS = 5.0
KEEPALIVE_SECONDS = 5.0  # shorter than any server's: one that closes while we send would leave us uncertain
ANSWER_BYTES_MAX = 8_000_000  # a note has some 20 kB
RETRY_SECONDS_MAX = 3_600.0
# A server that refuses our certificate says so after TLS 1.3's handshake is over for us: the request was never read.
CERTIFICATE_ALERTS = frozenset({
    "TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN", "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_ACCESS_DENIED",
})  # fmt: skip


class Unsent(Exception):
    """Certainly nothing arrived. The text names the cause, never a secret."""


class Lost(Exception):
    """It may have arrived, and there is no whole answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`found` is the JSON of the body, None where it is none."""

    status_code: int
    body: bytes
    found: Any
    retry_seconds: float | None
    location: str = ""  # of a redirect, which nobody follows unasked

    def heard(self, text: str = "") -> Heard:
        return Heard(self.status_code, self.body, text)

    @property
    def fields(self) -> Json:
        """The body's object with its keys in lower case: the two dialects differ in capitals. Empty where it is no object."""
        return _lowered(self.found) if isinstance(self.found, dict) else {}


# ── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────────
_clients: dict[tuple[object, ...], httpx.Client] = {}
_opening = threading.Lock()  # of two threads that come first, one would lose its connections unclosed


def client_of(name: tuple[object, ...], *, context_of: Callable[[], ssl.SSLContext]) -> httpx.Client:
    """This process's client of that name; a fork gets its own. HTTP/1.1 only, no proxy of the environment, no redirect."""
    whole = (os.getpid(), *name, settings.SEFIN_TIMEOUT_SECONDS)
    with _opening:
        if whole not in _clients:
            seconds = settings.SEFIN_TIMEOUT_SECONDS
            _clients[whole] = httpx.Client(
                verify=context_of(),
                timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
                limits=httpx.Limits(max_connections=20, keepalive_expiry=KEEPALIVE_SECONDS),
                http2=False,
                trust_env=False,
                follow_redirects=False,
                headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "Tokia"},
            )
        return _clients[whole]


def close_clients() -> None:
    """End every connection. For tests, which change settings and certificates under one process."""
    with _opening:
        while _clients:
            _clients.popitem()[1].close()


def exchange(
    client: httpx.Client, method: str, url: str, *,
    body: bytes | None = None, auth: httpx.Auth | None = None, seconds: float | None = None,
) -> Answer:  # fmt: skip
    """The answer, whatever its status. Raises Unsent or Lost. `seconds`: of reading, where fewer than the setting will do."""
    reading = settings.SEFIN_TIMEOUT_SECONDS if seconds is None else min(seconds, settings.SEFIN_TIMEOUT_SECONDS)
    timeout = httpx.Timeout(reading, connect=min(CONNECT_SECONDS, reading), pool=CONNECT_SECONDS)
    headers = {} if body is None else {"content-type": "application/json"}
    try:
        with client.stream(method, url, content=body, headers=headers, auth=auth, timeout=timeout) as answer:
            read, ends = bytearray(), time.monotonic() + reading  # httpx counts each read anew: one that dribbles has an end, too
            for chunk in answer.iter_bytes():
                read += chunk
                if len(read) > ANSWER_BYTES_MAX:
                    raise Lost(f"resposta com mais de {ANSWER_BYTES_MAX} bytes")
                if time.monotonic() > ends:
                    raise Lost("resposta que não termina")
            return Answer(
                answer.status_code, bytes(read), _json_of(bytes(read)), _retry_seconds(answer.headers),
                answer.headers.get("location", ""),
            )  # fmt: skip
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise Unsent(_cause_of(error)) from error
    except httpx.RequestError as error:
        refused = _certificate_alert(error)
        if refused:
            raise Unsent(f"certificado recusado: {refused}") from error
        raise Lost(type(error).__name__) from error


def later(answer: Answer, text: str = "") -> Later:
    return Later(answer.heard(text), answer.retry_seconds)


def unsent(error: Unsent) -> Later:
    return Later(Heard(None, text=f"Não saiu: {error}"))


def lost(error: Lost) -> Uncertain:
    return Uncertain(Heard(None, text=f"Sem resposta: {error}"))


# ── What was said ────────────────────────────────────────────────────────────────────────────────────────────────────
def read_messages(found: Any, *, names: tuple[str, ...] = ("erros", "erro")) -> tuple[Message, ...]:
    """Errors or alerts in every dialect seen: keys in small letters or capitalised; an array, one object, or the array itself.

    One without code and text is none.
    """
    if isinstance(found, dict):
        fields = _lowered(found)
        listed = next((fields[name] for name in names if fields.get(name)), None)
        # An error that is the whole body, in no envelope.
        found = listed if listed is not None else ([found] if {"codigo", "descricao"} & fields.keys() else [])
    if isinstance(found, dict):
        found = [found]
    messages = [_message_of(_lowered(one)) for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return tuple(message for message in messages if message.code or message.text)


def text_of(fields: Json, name: str) -> str:
    """A field of an answer as text; empty where it is missing, null or a structure."""
    value = fields.get(name.lower())
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _message_of(fields: Json) -> Message:
    return Message(
        code=text_of(fields, "codigo")[:20],
        text=(text_of(fields, "descricao") or text_of(fields, "mensagem"))[:600],
        detail=(text_of(fields, "complemento") or text_of(fields, "correcao"))[:600],
    )


def _lowered(fields: Json) -> Json:
    return {str(name).lower(): value for name, value in fields.items()}


def _json_of(body: bytes) -> Any:
    try:
        return json.loads(body, parse_float=str)  # amounts and rates are never floats
    except (ValueError, RecursionError):
        return None


def _retry_seconds(headers: httpx.Headers) -> float | None:
    """Retry-After: seconds, or a date as HTTP writes it (against the server's own clock where it tells it)."""
    told = headers.get("retry-after", "").strip()
    if told.isdecimal():
        return min(float(told[:9]), RETRY_SECONDS_MAX)
    when = _http_date(told)
    if when is None:
        return None
    now = _http_date(headers.get("date", "")) or clock.now()
    return min(max((when - now).total_seconds(), 0.0), RETRY_SECONDS_MAX)


def _http_date(text: str) -> dt.datetime | None:
    try:
        found = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _cause_of(error: BaseException) -> str:
    alert = _certificate_alert(error)
    return f"certificado recusado: {alert}" if alert else type(error).__name__


def _certificate_alert(error: BaseException) -> str:
    """The server's word against our certificate, wherever in the chain of causes; else empty."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError) and (seen.reason or "") in CERTIFICATE_ALERTS:
            return seen.reason or ""
        seen = seen.__cause__ or seen.__context__
    return ""
