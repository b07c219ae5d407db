"""No secret reaches a log line, however it comes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tokia import logs

SECRETS = [
    "sk-tokia-rLeWhqhD58yaD4Ac5JXIPyXf2amgU5KPmwIgEQVEkod1UZNwj",
    "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
    "sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
    "gsk_abcdefghijklmnopqrstuvwxyz0123",
    "AIzaSyA-abcdefghijklmnopqrstuvwxyz012",
    "whsec_P2LlLo6pT/OZ8lt+jgOU/INFLcOLZjwGZrMDIzJTHTI=",
]


@pytest.fixture
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["{}", "key {}.", "Authorization: Bearer {}", '{{"x-api-key": "{}"}}', "?api_key={}&a=1"])
def test_it_masks_keys_in_any_text(secret: str, form: str) -> None:
    assert secret not in logs.scrub(form.format(secret))


@pytest.mark.parametrize(
    ("text", "kept", "hidden"),
    [
        ("postgresql://tokia_app:s3cretword@127.0.0.1:5432/tokia", "@127.0.0.1:5432/tokia", "s3cretword"),
        ("redis://:hidden-word@127.0.0.1:6379/0", "@127.0.0.1:6379/0", "hidden-word"),
        ("POST /webhooks/pix/a-very-secret-path/pix 200", "/pix 200", "a-very-secret-path"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic", "dXNlcjpwYXNz"),
        ("password=hunter2hunter2 user=ana", "user=ana", "hunter2hunter2"),
        ("{'client_secret': 'abc123abc123', 'scope': 'cob.read'}", "cob.read", "abc123abc123"),
    ],
)
def test_it_masks_credentials_and_keeps_the_rest(text: str, kept: str, hidden: str) -> None:
    scrubbed = logs.scrub(text)
    assert hidden not in scrubbed
    assert kept in scrubbed


@pytest.mark.parametrize("text", ["5 tokens of 20", "txid 7f3a", "R$ 18,14 por milhão", "GET /app/chaves/ 200", "risk-free skies"])
def test_it_leaves_ordinary_text_alone(text: str) -> None:
    assert logs.scrub(text) == text


def test_it_masks_fields_by_name_and_inside_of_others() -> None:
    event = {
        "event": "call",
        "api_key": "anything",
        "headers": {"Authorization": "x", "accept": "json"},
        "list": [SECRETS[0]],
        "n": 1,
    }
    assert logs.scrub_event(None, "info", event) == {
        "event": "call",
        "api_key": "…",
        "headers": {"Authorization": "…", "accept": "json"},
        "list": ["sk-tokia-…"],
        "n": 1,
    }


def test_it_writes_one_json_object_per_event_with_its_traceback_scrubbed(
    root_as_it_was: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure({"level": "INFO", "json": True})
    try:
        raise ValueError(f"upstream refused {SECRETS[1]}")
    except ValueError:
        logging.getLogger("gateway").exception("attempt failed for %s", SECRETS[0], extra={"route": "openai/gpt-5"})
    written = json.loads(capsys.readouterr().err)
    assert written["event"] == "attempt failed for sk-tokia-…"
    assert written["route"] == "openai/gpt-5"
    assert "ValueError: upstream refused sk-…" in written["exception"]
    assert written["level"] == "error"


def test_it_writes_a_readable_line_for_people(root_as_it_was: None, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure({"level": "INFO", "json": False})
    structlog.get_logger("billing").info("charge paid", txid="abc")
    assert capsys.readouterr().err == "info    billing: charge paid  txid=abc\n"
