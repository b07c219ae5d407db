"""A customer's own server in the sandbox: it keeps what comes, checks signatures, answers as it is told."""

from __future__ import annotations

import datetime as dt
import secrets
from base64 import b64encode
from typing import Any

from standardwebhooks import Webhook

from tests.sandbox.conftest import Sandbox

SECRET = "whsec_" + b64encode(b"a customer's own secret, 32 long").decode()


def deliver(sandbox: Sandbox, name: str, *, body: str = '{"type":"ping"}', secret: str = SECRET, at: int | None = None) -> int:
    moment = dt.datetime.now(dt.UTC) if at is None else dt.datetime.fromtimestamp(at, dt.UTC)
    headers = {
        "webhook-id": "msg_1", "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": "v1,bm90aGluZw== " + Webhook(secret).sign("msg_1", moment, body),
    }  # fmt: skip
    return sandbox.http.post(f"/receiver/{name}", content=body, headers=headers).status_code


def messages(sandbox: Sandbox, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox.get(f"/receiver/api/{name}")["messages"]
    return found


def test_it_keeps_what_comes_and_checks_the_signature(sandbox: Sandbox) -> None:
    name = f"erp-{secrets.token_hex(4)}"
    assert deliver(sandbox, name) == 204
    assert [message["is_signed"] for message in messages(sandbox, name)] == [None], "nobody told the secret"
    sandbox.http.put(f"/receiver/api/{name}", json={"secret": SECRET}).raise_for_status()
    deliver(sandbox, name)
    deliver(sandbox, name, secret="whsec_" + b64encode(b"another").decode())
    deliver(sandbox, name, at=int(dt.datetime.now(dt.UTC).timestamp()) - 301)
    sandbox.http.post(f"/receiver/{name}", content=b"{}")
    assert [message["is_signed"] for message in messages(sandbox, name)] == [False, False, False, True, None]
    page = sandbox.http.get(f"/receiver/{name}").text
    assert "assinatura confere" in page and "assinatura NÃO confere" in page and "msg_1" in page
    assert name in sandbox.http.get("/receiver/").text
    sandbox.http.request("DELETE", f"/receiver/api/{name}")
    assert messages(sandbox, name) == []


def test_it_answers_as_it_is_told(sandbox: Sandbox) -> None:
    name = f"erp-{secrets.token_hex(4)}"
    sandbox.http.put(f"/receiver/api/{name}", json={"status": 503, "times": 2}).raise_for_status()
    assert [deliver(sandbox, name) for _ in range(3)] == [503, 503, 204]
    assert sandbox.http.get("/receiver/<script>").status_code == 200
    assert deliver(sandbox, name, body="<script>alert(1)</script>") == 204
    assert "<script>alert" not in sandbox.http.get(f"/receiver/{name}").text
    assert sandbox.http.post(f"/receiver/{name}/segredo", data={"secret": SECRET}).status_code == 303
    deliver(sandbox, name)
    assert messages(sandbox, name)[0]["is_signed"]
