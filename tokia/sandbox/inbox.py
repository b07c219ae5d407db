"""An inbox for every address: an SMTP receiver, a page that shows the newest message first, and a JSON API."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.message
import email.policy
import re
import secrets
from dataclasses import dataclass, field
from email.parser import BytesParser
from html import escape
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from aiosmtpd.smtp import SMTP, Envelope, Session

from tokia.sandbox import pages
from tokia.sandbox.asgi import Request, Response, html_response, json_response
from tokia.sandbox.store import Store

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
MESSAGE_BYTES_MAX = 10 * 1_048_576
KEPT_MAX = 1000
LISTED_MAX = 50
WAIT_SECONDS_MAX = 60.0
# A code stands alone on its line ("K7M2QX", "ABCD-2345"), or has a digit when it sits within a sentence.
CODE_LINE = re.compile(r"^[\s>*]*([A-Z0-9]{6}|[A-Z0-9]{3,4}-[A-Z0-9]{3,4})[\s*]*$", re.MULTILINE)
CODE_INLINE = re.compile(r"(?<![\w/=-])(?=[A-Z-]*\d)([A-Z0-9]{6}|[A-Z0-9]{3,4}-[A-Z0-9]{3,4})(?![\w/=-])")
LINK = re.compile(r"https?://[^\s<>\"')]+")


@dataclass
class Inbox:
    """Messages, newest first when read. Kept in the store, the oldest forgotten beyond KEPT_MAX."""

    store: Store
    messages: list[dict[str, Any]] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.messages = [message for _, message in self.store.read_all("mail")]

    # ── SMTP ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def smtp_protocol(self) -> SMTP:
        """One SMTP conversation, for `loop.create_server`."""
        return SMTP(self, hostname="sandbox", enable_SMTPUTF8=True, data_size_limit=MESSAGE_BYTES_MAX)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        raw = content if isinstance(content, bytes) else (content or "").encode()
        self.accept(raw, sender=envelope.mail_from or "", recipients=list(envelope.rcpt_tos))
        return "250 2.0.0 Recebida"

    def accept(self, raw: bytes, *, sender: str, recipients: list[str]) -> None:
        parsed = BytesParser(policy=email.policy.default).parsebytes(raw)
        text, html = _text_of(parsed, "plain"), _text_of(parsed, "html")
        readable = text or re.sub(r"<[^>]+>", " ", html)
        code = CODE_LINE.search(readable) or CODE_INLINE.search(readable)
        message = {
            "id": secrets.token_hex(8),
            "from": str(parsed["from"] or sender),
            "to": recipients,
            "subject": str(parsed["subject"] or ""),
            "received_at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "text": text,
            "html": html,
            "code": code[1] if code else None,
            "links": LINK.findall(readable),
            "attachments": [
                {"name": part.get_filename() or "anexo", "type": part.get_content_type(), "bytes": len(_payload(part))}
                for part in parsed.iter_attachments()
            ],
        }
        self.messages.append(message)
        self.store.put(room="mail", key=str(message["id"]), value=message)
        while len(self.messages) > KEPT_MAX:
            self.store.delete(room="mail", key=self.messages.pop(0)["id"])
        self._arrived.set()
        self._arrived = asyncio.Event()

    # ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def serve(self, request: Request) -> Response:
        query = request.query
        if request.path == "/inbox/api/messages":
            if request.method == "DELETE":
                self.messages.clear()
                self.store.clear("mail")
                return json_response({"messages": []})
            wait_seconds = min(float(query.get("wait", 0)), WAIT_SECONDS_MAX)
            found = await self._wait_for(to=query.get("to", ""), seconds=wait_seconds)
            return json_response({"messages": found[: int(query.get("limit", LISTED_MAX))]})
        match = re.fullmatch(r"/inbox/([0-9a-f]{16})/?", request.path)
        if match:
            found = [message for message in self.messages if message["id"] == match[1]]
            if found:
                return html_response(_message_page(found[0]))
        if request.path in ("/inbox", "/inbox/"):
            return html_response(_list_page(self._find(query.get("to", "")), to=query.get("to", "")))
        return html_response(pages.page(title="Não encontrado", body="<h1>Mensagem não encontrada</h1>"), status=404)

    async def _wait_for(self, *, to: str, seconds: float) -> list[dict[str, Any]]:
        """Messages to an address; when there is none yet, wait for the first one."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not (found := self._find(to)):
            left = deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(left, 0)):
                    await self._arrived.wait()
            except TimeoutError:
                break
        return found

    def _find(self, to: str) -> list[dict[str, Any]]:
        wanted = to.strip().lower()
        newest = reversed(self.messages)
        return [mail for mail in newest if not wanted or wanted in [address.lower() for address in mail["to"]]]


def _payload(part: email.message.Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text_of(message: email.message.EmailMessage, subtype: str) -> str:
    part = message.get_body(preferencelist=(subtype,))
    if part is None:
        return ""
    charset = part.get_content_charset() or "utf-8"
    try:
        text = _payload(part).decode(charset, "replace")
    except LookupError:
        text = _payload(part).decode("utf-8", "replace")
    return text.replace("\r\n", "\n").strip()


def _local_time(message: dict[str, Any]) -> str:
    return f"{dt.datetime.fromisoformat(message['received_at']).astimezone(SAO_PAULO):%d/%m/%Y %H:%M:%S}"


def _code_of(message: dict[str, Any]) -> str:
    return f'<div class="code">{escape(message["code"])}</div>' if message["code"] else ""


def _list_page(found: list[dict[str, Any]], *, to: str) -> str:
    whose = f" de {escape(to)}" if to else ""
    cards = "".join(
        f'<div class="card"><div class="row"><a href="/inbox/{mail["id"]}"><strong>{escape(mail["subject"]) or "(sem assunto)"}'
        f'</strong></a><span class="soft">{_local_time(mail)}</span></div>'
        f'<div class="soft">Para <a href="/inbox/?to={quote(mail["to"][0] if mail["to"] else "")}">'
        f"{escape(', '.join(mail['to']))}</a></div>{_code_of(mail)}<pre>{escape(mail['text'])}</pre></div>"
        for mail in found[:LISTED_MAX]
    )
    body = (
        f"<h1>E-mails{whose}</h1>"
        '<p class="soft">Tudo o que a Tokia envia nesta máquina chega aqui, o mais recente primeiro. Nada sai para a internet.</p>'
        + (cards or '<p class="notice">Nenhum e-mail ainda. Esta página se atualiza sozinha.</p>')
    )
    return pages.page(title="E-mails", body=body, refresh_seconds=5)


def _message_page(mail: dict[str, Any]) -> str:
    files = "".join(f"<dt>Anexo</dt><dd>{escape(item['name'])} ({item['bytes']} bytes)</dd>" for item in mail["attachments"])
    links = "".join(f'<p><a href="{escape(link, quote=True)}">{escape(link)}</a></p>' for link in mail["links"])
    body = (
        f'<h1>{escape(mail["subject"]) or "(sem assunto)"}</h1><div class="card"><dl>'
        f"<dt>De</dt><dd>{escape(mail['from'])}</dd><dt>Para</dt><dd>{escape(', '.join(mail['to']))}</dd>"
        f"<dt>Em</dt><dd>{_local_time(mail)}</dd>{files}</dl>{_code_of(mail)}<pre>{escape(mail['text'])}</pre>{links}</div>"
        '<p><a href="/inbox/">Voltar aos e-mails</a></p>'
    )
    return pages.page(title=mail["subject"] or "E-mail", body=body)
