"""A customer's own server: addresses for webhooks that keep what comes and answer as they are told.

`POST /receiver/<name>` is such an address. Its page shows what came and, once it knows the secret, whether the signature holds by
Standard Webhooks 1.0 (HMAC-SHA256 of "id.timestamp.body", five minutes of tolerance).
`PUT /receiver/api/<name>` {"secret": "whsec_…", "status": 500, "times": 3} tells it the secret, and what to answer so many times.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from tokia.sandbox import pages
from tokia.sandbox.asgi import Request, Response, html_response, json_response
from tokia.sandbox.store import Store

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
TOLERANCE_SECONDS = 300
KEPT_MAX = 500
LISTED_MAX = 50
BODY_CHARACTERS_MAX = 65_536
NAME = r"[a-z0-9-]{1,40}"
SHOWN_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature", "user-agent", "content-type")


@dataclass
class Receiver:
    """Messages, newest first when read. Kept in the store, the oldest forgotten beyond KEPT_MAX; answers and secrets in memory."""

    store: Store
    messages: list[dict[str, Any]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[int, int]] = field(default_factory=dict)  # status, how many times more

    def __post_init__(self) -> None:
        self.messages = [message for _, message in self.store.read_all("receiver")]

    async def serve(self, request: Request) -> Response:
        path = request.path.rstrip("/")
        if match := re.fullmatch(rf"/receiver/api/({NAME})", path):
            return self._control(request, match[1])
        if match := re.fullmatch(rf"/receiver/({NAME})/segredo", path):
            if request.method == "POST":
                self.secrets[match[1]] = request.form.get("secret", "").strip()
            return Response(status=303, headers={"location": f"/receiver/{match[1]}"})
        if match := re.fullmatch(rf"/receiver/({NAME})", path):
            if request.method == "POST":
                return self._take(request, match[1])
            return html_response(self._page(match[1]))
        return html_response(self._page(""))

    def _control(self, request: Request, name: str) -> Response:
        if request.method == "PUT":
            told = request.json_object()
            if "secret" in told:
                self.secrets[name] = str(told["secret"])
            if "status" in told:
                self.answers[name] = int(told["status"]), int(told.get("times", 1))
        elif request.method == "DELETE":
            for message in [message for message in self.messages if message["name"] == name]:
                self.messages.remove(message)
                self.store.delete(room="receiver", key=message["key"])
        return json_response({"messages": self._find(name)})

    def _take(self, request: Request, name: str) -> Response:
        status, times = self.answers.pop(name, (204, 0))
        if times > 1:
            self.answers[name] = status, times - 1
        message = {
            "key": secrets.token_hex(8),
            "name": name,
            "received_at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "headers": {header: request.headers[header] for header in SHOWN_HEADERS if header in request.headers},
            "body": request.body.decode("utf-8", "replace")[:BODY_CHARACTERS_MAX],
            "is_signed": self._is_signed(request, name),
            "answered": status,
        }
        self.messages.append(message)
        self.store.put(room="receiver", key=str(message["key"]), value=message)
        while len(self.messages) > KEPT_MAX:
            self.store.delete(room="receiver", key=self.messages.pop(0)["key"])
        return Response(status=status)

    def _is_signed(self, request: Request, name: str) -> bool | None:
        """Whether one of the signatures holds; None where nobody told the secret."""
        secret = self.secrets.get(name, "")
        if not secret:
            return None
        id_, at = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            is_fresh = abs(dt.datetime.now(dt.UTC).timestamp() - int(at)) <= TOLERANCE_SECONDS
        except ValueError:
            return False
        digest = hmac.new(key, f"{id_}.{at}.".encode() + request.body, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        given = request.headers.get("webhook-signature", "").split(" ")
        return is_fresh and any(hmac.compare_digest(expected, signature) for signature in given)

    def _find(self, name: str) -> list[dict[str, Any]]:
        return [message for message in reversed(self.messages) if not name or message["name"] == name][:LISTED_MAX]

    def _page(self, name: str) -> str:
        known = {True: "assinatura confere", False: "assinatura NÃO confere", None: "assinatura não conferida"}
        cards = "".join(
            f'<div class="card"><div class="row"><strong>/receiver/{escape(message["name"])}</strong><span class="soft">'
            f"{_local_time(message)} · {known[message['is_signed']]} · respondemos {message['answered']}</span></div>"
            f"<pre>{escape(message['body'])}</pre><dl>"
            + "".join(f"<dt>{escape(header)}</dt><dd>{escape(value)}</dd>" for header, value in message["headers"].items())
            + "</dl></div>"
            for message in self._find(name)
        )
        secret = escape(self.secrets.get(name, ""), quote=True)
        form = (
            f'<form method="post" action="/receiver/{name}/segredo"><label for="secret">Segredo deste endereço, para conferir as'
            f' assinaturas</label><input id="secret" name="secret" autocomplete="off" placeholder="whsec_…" value="{secret}">'
            ' <button class="button plain" type="submit">Guardar</button></form>'
            if name
            else ""
        )
        body = (
            f"<h1>Webhooks{f' em /receiver/{escape(name)}' if name else ''}</h1>"
            '<p class="soft">Faz o papel do sistema de um cliente: cadastre na Tokia qualquer endereço daqui, como '
            "<code>/receiver/erp</code> depois do endereço do sandbox, e o que chegar aparece nesta página.</p>"
            + form
            + (cards or '<p class="notice">Nada chegou ainda.</p>')
        )
        return pages.page(title="Webhooks", body=body, refresh_seconds=None if name else 5)


def _local_time(message: dict[str, Any]) -> str:
    return f"{dt.datetime.fromisoformat(message['received_at']).astimezone(SAO_PAULO):%d/%m/%Y %H:%M:%S}"
