"""The inbox: SMTP in, a page and a JSON API out."""

from __future__ import annotations

import smtplib
import threading
from email.message import EmailMessage
from typing import Any

import pytest

from tests.sandbox.conftest import Sandbox


def send(sandbox: Sandbox, *, to: str, text: str, subject: str = "Confirme seu e-mail", html: str = "", file: bytes = b"") -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Tokia <nao-responda@tokia.com.br>", to, subject
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    if file:
        message.add_attachment(file, maintype="application", subtype="pdf", filename="nota.pdf")
    with smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=5) as smtp:
        smtp.send_message(message)


def messages(sandbox: Sandbox, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox.get(f"/inbox/api/messages{query}")["messages"]
    return found


def test_it_receives_and_finds_the_code(fresh: Sandbox) -> None:
    text = "Olá!\n\nSeu código de verificação:\n\nK7M2-QX9P\n\nVale por 3 minutos."
    send(fresh, to="ana@example.com", text=text, subject="Código de verificação é…", html="<p>K7M2-QX9P</p>", file=b"%PDF-1.7")
    (mail,) = messages(fresh, "?to=ANA@example.com")
    assert (mail["code"], mail["subject"], mail["to"]) == ("K7M2-QX9P", "Código de verificação é…", ["ana@example.com"])
    assert mail["text"] == text
    assert mail["attachments"] == [{"name": "nota.pdf", "type": "application/pdf", "bytes": 8}]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Seu código:\n\n  ABCDEF  \n", "ABCDEF"),
        ("Use o código X3J9K2 para entrar.", "X3J9K2"),
        ("OLÁ CLIENTE, SEU SALDO ACABOU", None),
        ("Veja http://127.0.0.1:8000/conta/senha/3-ABC123/ agora", None),
    ],
)
def test_it_tells_codes_from_words(fresh: Sandbox, text: str, code: str | None) -> None:
    send(fresh, to="codigo@example.com", text=text)
    assert messages(fresh, "?to=codigo@example.com")[0]["code"] == code


def test_it_lists_links(fresh: Sandbox) -> None:
    send(fresh, to="link@example.com", text="Redefina: http://127.0.0.1:8000/conta/senha/3-ABC123/ até amanhã")
    assert messages(fresh, "?to=link@example.com")[0]["links"] == ["http://127.0.0.1:8000/conta/senha/3-ABC123/"]


def test_the_page_shows_the_newest_first_and_escapes(fresh: Sandbox) -> None:
    send(fresh, to="bia@example.com", text="primeira")
    send(fresh, to="bia@example.com", text="segunda <script>alert(1)</script>\n\nZX82QW", subject="Olá <b>")
    answer = fresh.http.get("/inbox/?to=bia@example.com")
    assert answer.text.index("segunda") < answer.text.index("primeira")
    assert "<script>" not in answer.text
    assert '<div class="code">ZX82QW</div>' in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
    one = fresh.http.get(f"/inbox/{messages(fresh, '?to=bia@example.com')[0]['id']}")
    assert "Olá &lt;b&gt;" in one.text
    assert fresh.http.get("/inbox/0123456789abcdef").status_code == 404


def test_a_caller_may_wait_for_a_message(fresh: Sandbox) -> None:
    late = threading.Timer(0.2, send, args=(fresh,), kwargs={"to": "tarde@example.com", "text": "cheguei"})
    late.start()
    assert messages(fresh, "?to=tarde@example.com&wait=5")[0]["text"] == "cheguei"
    assert messages(fresh, "?to=ninguem@example.com&wait=0.05") == []
    late.join()
