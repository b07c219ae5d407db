"""Every fault of the simulated providers, seen from the wire, and what the ledger says of it."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.sandbox.conftest import Sandbox

HELLO = [{"role": "user", "content": "Oi, tudo bem? ✓ ação"}]
KEY = {"authorization": "Bearer sandbox-openai"}


def send(sandbox: Sandbox, model: str, *, stream: bool = False, **options: Any) -> httpx.Response:
    body = {"model": model, "messages": HELLO, "stream": stream, **options}
    return sandbox.http.post("/llm/openai/v1/chat/completions", json=body, headers=KEY, timeout=10)


def texts(raw: str) -> str:
    """The content of a well-formed stream, by the specification's line ends."""
    lines = raw.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events = [json.loads(line[5:]) for line in lines if line.startswith("data:") and "[DONE]" not in line]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


def raw_call(sandbox: Sandbox, model: str, *, stream: bool, wait_seconds: float = 0.0) -> tuple[bytes, bool]:
    """What a plain socket reads until the end, and whether the end was a reset."""
    address = urlsplit(sandbox.url)
    body = json.dumps({"model": model, "messages": HELLO, "stream": stream}).encode()
    head = (
        f"POST /llm/openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sandbox-openai\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    received = b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as wire:
        wire.sendall(head.encode() + body)
        time.sleep(wait_seconds)
        try:
            while chunk := wire.recv(65_536):
                received += chunk
        except ConnectionResetError:
            return received, True
    return received, False


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 503, 529])
def test_it_answers_with_the_status_asked(fresh: Sandbox, status: int) -> None:
    answer = send(fresh, f"fault-{status}-gpt-4o")
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    call = fresh.last_call()
    assert (call["status"], call["http_status"], call["usage"]["prompt_tokens"]) == ("error", status, 0)


def test_a_script_serves_its_faults_so_many_times(fresh: Sandbox) -> None:
    fresh.script("openai", "429", "retryafter:7", times=2)
    answers = [send(fresh, "gpt-4o") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert fresh.get("/llm/__script")["pending"] == []


def test_a_script_may_name_a_model_and_refuses_unknown_faults(fresh: Sandbox) -> None:
    fresh.post("/llm/__script", {"provider": "openai", "model": "gpt-4.1", "faults": [500], "times": -1})
    assert send(fresh, "gpt-4o").status_code == 200
    assert send(fresh, "gpt-4.1").status_code == send(fresh, "gpt-4.1").status_code == 500
    wrong = fresh.http.post("/llm/__script", json={"provider": "openai", "faults": ["feitico"]})
    assert wrong.status_code == 400


@pytest.mark.parametrize("fault", ["onebyte", "crlf", "bom", "comments", "nospace", "hugeline3000000", "nodone", "separators"])
def test_legal_oddities_change_no_text(fresh: Sandbox, fault: str) -> None:
    plain = texts(send(fresh, "gpt-4o", stream=True).text).replace("gpt-4o", "")
    odd = texts(send(fresh, f"fault-{fault}-gpt-4o", stream=True).text).replace("gpt-4o", "")
    if fault == "separators":
        assert odd.startswith("linha\u2028parágrafo\u2029próxima\u0085fim")
    else:
        assert odd == plain
    assert fresh.last_call()["status"] == "finished"


def test_an_events_json_may_span_lines(fresh: Sandbox) -> None:
    raw = send(fresh, "fault-multiline-gpt-4o", stream=True).text
    assert "data: {\ndata: " in raw


@pytest.mark.parametrize(
    ("fault", "delivered"), [("cleaneof3", 3), ("errormid4", 4), ("errorfirst", 0), ("truncated", 2), ("reset5", 5)]
)
def test_a_broken_stream_bills_what_left(fresh: Sandbox, fault: str, delivered: int) -> None:
    received, _ = raw_call(fresh, f"fault-{fault}-gpt-4o", stream=True)
    assert b"[DONE]" not in received
    assert b'"finish_reason":"stop"' not in received
    assert (b'"error"' in received) == fault.startswith("error")
    call = fresh.last_call()
    assert (call["status"], call["usage"]["completion_tokens"]) == ("broken", delivered)
    assert call["usage"]["prompt_tokens"] > 0


def test_a_reset_is_a_reset(fresh: Sandbox) -> None:
    received, was_reset = raw_call(fresh, "fault-reset2-gpt-4o", stream=True)
    assert was_reset
    assert received.count(b'"content":"') >= 2
    received, was_reset = raw_call(fresh, "fault-reset-gpt-4o", stream=False)
    assert was_reset
    assert b"200 OK" in received


def test_a_malformed_event_is_among_good_ones(fresh: Sandbox) -> None:
    raw = send(fresh, "fault-malformed-gpt-4o", stream=True).text
    with pytest.raises(ValueError, match="Expecting"):
        texts(raw)
    assert "[DONE]" in raw


def test_bad_whole_answers(fresh: Sandbox) -> None:
    page = send(fresh, "fault-html-gpt-4o")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|unexpected end"):
        send(fresh, "fault-truncated-gpt-4o").json()
    assert send(fresh, "fault-redirect-gpt-4o").status_code == 302
    assert send(fresh, "fault-bom-gpt-4o").content.startswith(b"\xef\xbb\xbf{")
    with pytest.raises(httpx.RemoteProtocolError):
        send(fresh, "fault-longlength-gpt-4o")
    received, _ = raw_call(fresh, "fault-shortlength-gpt-4o", stream=False)
    head, _, body = received.partition(b"\r\n\r\n")
    assert int(head.split(b"content-length: ")[1].split(b"\r\n")[0]) < len(body)
    assert send(fresh, "fault-onebyte-gpt-4o").json()["choices"]


def test_usage_may_lie_but_the_ledger_does_not(fresh: Sandbox) -> None:
    honest = send(fresh, "gpt-4o").json()["usage"]
    assert "usage" not in send(fresh, "fault-nousage-gpt-4o").json()
    assert send(fresh, "fault-negativeusage-gpt-4o").json()["usage"]["prompt_tokens"] < 0
    assert isinstance(send(fresh, "fault-stringusage-gpt-4o").json()["usage"]["prompt_tokens"], str)
    assert send(fresh, "fault-absurdusage-gpt-4o").json()["usage"]["prompt_tokens"] == honest["prompt_tokens"] * 10**9
    over = send(fresh, "fault-overshoot-gpt-4o", max_tokens=10).json()["usage"]
    assert (over["completion_tokens"], over["total_tokens"]) == (30, 30 + over["prompt_tokens"])
    assert fresh.last_call()["usage"]["completion_tokens"] == 10
    stream = send(fresh, "fault-nousage-gpt-4o", stream=True, stream_options={"include_usage": True}).text
    assert '"usage"' not in stream


def test_an_endless_body_ends_with_its_reader(fresh: Sandbox) -> None:
    for stream in (False, True):
        body = {"model": "fault-endless-gpt-4o", "messages": HELLO, "stream": stream}
        url = f"{fresh.url}/llm/openai/v1/chat/completions"
        with httpx.Client(verify=False, trust_env=False) as client, client.stream("POST", url, json=body, headers=KEY) as answer:
            size = 0
            for chunk in answer.iter_raw():
                size += len(chunk)
                if size > 3_000_000:
                    break
        assert fresh.last_call()["status"] == "cut"


def test_stalled_calls_wait_until_released(fresh: Sandbox) -> None:
    fresh.script("openai", "stall", times=5)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(send(fresh, "gpt-4o").status_code)) for _ in range(5)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while fresh.ledger()["stalled"] < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (fresh.ledger()["stalled"], fresh.ledger()["in_flight"], statuses) == (5, 5, [])
    assert fresh.post("/llm/__release") == {"released": 5}
    for thread in threads:
        thread.join(5)
    assert statuses == [200] * 5


def test_a_client_that_hangs_up_is_seen_at_once(fresh: Sandbox) -> None:
    for stream, fault in ((False, "stall"), (True, "stallmid3")):
        body = {"model": f"fault-{fault}-gpt-4o", "messages": HELLO, "stream": stream}
        url = f"{fresh.url}/llm/openai/v1/chat/completions"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=body, headers=KEY, verify=False, trust_env=False, timeout=0.3)
        call = fresh.last_call()
        assert (call["status"], call["client_disconnected"]) == ("cut", True)
        assert call["usage"]["completion_tokens"] == (3 if stream else 0)
        assert fresh.ledger()["stalled"] == 0


def test_the_totals_are_the_sum_of_the_calls(fresh: Sandbox) -> None:
    for model in ("gpt-4o", "fault-500-gpt-4o", "gpt-4o", "gpt-4.1"):
        send(fresh, model)
    report = fresh.ledger()
    assert {total["model"]: total["calls"] for total in report["totals"]} == {"gpt-4o": 2, "fault-500-gpt-4o": 1, "gpt-4.1": 1}
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(total[name] for total in report["totals"]) == sum(call["usage"][name] for call in report["calls"])
    assert len(fresh.get("/llm/__ledger?limit=1&provider=openai")["calls"]) == 1
    assert fresh.get("/llm/__ledger?provider=groq")["totals"] == []


def test_anthropics_events_break_too(fresh: Sandbox) -> None:
    headers = {"x-api-key": "sandbox-anthropic", "anthropic-version": "2023-06-01"}

    def stream(fault: str) -> str:
        body = {"model": f"fault-{fault}-claude-sonnet-4-6", "max_tokens": 100, "stream": True, "messages": HELLO}
        return fresh.http.post("/llm/anthropic/v1/messages", json=body, headers=headers).text

    assert stream("errormid2").endswith('"error":{"type":"overloaded_error","message":"Overloaded"}}\n\n')
    assert "message_stop" not in stream("cleaneof2")
    assert "message_stop" not in stream("nodone")
    assert "input_tokens" not in stream("nousage")
