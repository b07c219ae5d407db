"""The walk of a program that manages: a key by the session, then project, key, budget, top-up, a call, what it came to. All over
real sockets, every answer held against the description that is served."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from tests.conftest import Stack
from tests.walks.test_top_up import sign_in

ROUTE = "tokia/demo"


class Program:
    """A client of `/api/v1` that checks what it is told."""

    def __init__(self, stack: Stack, *, secret: str) -> None:
        self.http = httpx.Client(
            base_url=f"{stack.demo['web_url']}/api/v1/", headers={"authorization": f"Bearer {secret}"}, trust_env=False, timeout=20
        )
        self.described: dict[str, Any] = self.http.get("openapi.json").json()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        answer = self.http.request(method, path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        found = answer.json() if answer.content else None
        asked = "/api/v1/" + path.split("?")[0]
        [told] = [
            address[method.lower()]["responses"][str(status)]
            for name, address in self.described["paths"].items()
            if method.lower() in address and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", name), asked)
        ]
        if found is not None:
            [content] = told["content"].values()
            Draft202012Validator({**content["schema"], "components": self.described["components"]}).validate(found)
        return found


def test_it_manages_from_a_key_to_the_statement(stack: Stack) -> None:
    with httpx.Client(base_url=stack.demo["web_url"], trust_env=False, timeout=20) as browser:
        sign_in(stack, browser)
        browser.get("/app/recarregar/")
        csrf = {"x-csrftoken": browser.cookies["csrftoken"], "referer": stack.demo["web_url"]}
        scopes = ["call", "projects.read", "projects.write", "keys.write", "budgets.write", "budgets.read", "billing.read",
                  "billing.top_up", "usage.read"]  # fmt: skip
        body = {"name": "terraform", "scopes": scopes}
        assert browser.post("/api/v1/keys", json=body).status_code == 403  # no CSRF token
        made = browser.post("/api/v1/keys", json=body, headers=csrf)
        assert made.status_code == 201, made.text
    with Program(stack, secret=made.json()["secret"]) as program:
        walk(stack, program, scopes=scopes)


def walk(stack: Stack, program: Program, *, scopes: list[str]) -> None:
    assert program.ask("GET", "caller")["scopes"] == [scope for scope in program.ask("GET", "caller")["scopes"] if scope in scopes]
    refused = program.http.get("members")
    assert refused.status_code == 403 and refused.headers["content-type"] == "application/problem+json"

    project = program.ask("POST", "projects", {"name": "Passeio"}, status=201, idempotency_key="walk-project")
    assert program.ask("POST", "projects", {"name": "Passeio"}, status=201, idempotency_key="walk-project") == project
    key = program.ask("POST", "keys", {"name": "do passeio", "project_id": project["id"], "models": [ROUTE]}, status=201)
    budget = program.ask(
        "POST", "budgets", {"scope": "project", "subject_id": project["id"], "window": "day", "limit_brl": "5.00"}, status=201
    )
    assert (budget["subject"], budget["spent_nanos"]) == ("Passeio", 0)

    before = program.ask("GET", "wallet")["available_nanos"]
    top_up = program.ask("POST", "top-ups", {"amount_brl": "41.37"}, status=201)
    assert top_up["status"] == "pending" and top_up["brcode"].startswith("000201")
    assert httpx.post(top_up["sandbox_pay_url"], trust_env=False).status_code in (302, 303)
    began = time.monotonic()
    while program.ask("GET", f"top-ups/{top_up['id']}")["status"] != "paid":
        assert time.monotonic() - began < 15, "the payment never arrived"
        time.sleep(0.1)
    assert program.ask("GET", "wallet")["available_nanos"] - before == 41_370_000_000

    asked = {"model": ROUTE, "messages": [{"role": "user", "content": "oi"}], "max_tokens": 20}
    called = httpx.post(
        f"{stack.demo['base_url']}/chat/completions", json=asked, headers={"authorization": f"Bearer {key['secret']}"}, timeout=30
    )
    assert called.status_code == 200, called.text
    call_id = called.headers["x-request-id"]
    record = program.ask("GET", f"activity/{call_id}")
    assert (record["model"], record["key_id"], record["outcome"]) == (ROUTE, key["id"], "completed")
    assert record["net_nanos"] > 0
    [listed] = program.ask("GET", f"activity?key_id={key['id']}")["data"]
    assert listed["id"] == call_id
    for group, name in (("key", str(key["id"])), ("project", str(project["id"])), ("model", ROUTE)):
        usage = program.ask("GET", f"usage?group_by={group}&key_id={key['id']}")
        [line] = usage["data"]
        assert (line["group"], line["calls"], line["net_nanos"]) == (name, 1, record["net_nanos"]), group
        assert usage["totals"]["net_nanos"] == record["net_nanos"]
    spent = program.ask("GET", f"budgets/{budget['id']}")
    assert (spent["spent_nanos"], spent["held_nanos"]) == (record["net_nanos"], 0)
    statement = program.ask("GET", "statement")
    assert any(row["kind"] == "top_up" and row["in_nanos"] == 41_370_000_000 for row in statement["data"])
    assert statement["closing_nanos"] == program.ask("GET", "wallet")["posted_nanos"]

    rotated = program.ask("POST", f"keys/{key['id']}/rotate")
    assert rotated["id"] == key["id"] and rotated["secret"] != key["secret"]
    program.ask("POST", f"projects/{project['id']}/archive")
    program.ask("DELETE", f"keys/{key['id']}", status=204)
    program.ask("POST", f"budgets/{budget['id']}/stop")
