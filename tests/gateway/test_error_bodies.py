"""Where a refusal says that its code is explained: in every error object of OpenAI's shape, and never in Anthropic's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings

from gateway.batch_calls import EMBEDDINGS, word_error
from gateway.error_bodies import as_openai, doc_url
from gateway.errors import BudgetExceeded, GatewayError, InsufficientBalance, UpstreamError
from gateway.surfaces.messages import Messages
from gateway.surfaces.registry import SURFACES
from gateway.surfaces.responses_stream import error_fields
from tokia import docs

PAGE = f"{settings.WEB_URL}/docs/erros/"
POOR = f"{PAGE}#insufficient_balance"
OPENAIS = [address for address in SURFACES if address != "/v1/messages"]


def poor() -> InsufficientBalance:
    return InsufficientBalance("Saldo insuficiente.", "Insufficient balance.")


def error_of(body: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(body)["error"]
    return told


@pytest.mark.parametrize("address", [*OPENAIS, EMBEDDINGS])
def test_it_is_in_the_body_of_every_surface_in_openais_shape(address: str) -> None:
    told = error_of(word_error(poor(), endpoint=address, call_id="c", is_english=False))
    assert told == {
        "message": "Saldo insuficiente.", "type": "billing_error", "param": None, "code": "insufficient_balance", "doc_url": POOR,
    }  # fmt: skip


@pytest.mark.parametrize("address", OPENAIS)
def test_it_is_in_what_ends_a_stream(address: str) -> None:
    frame = SURFACES[address].error_frame(poor(), is_english=True, request_id="c")
    data = next(line for line in frame.split(b"\n") if line.startswith(b"data: "))
    told = error_of(data.removeprefix(b"data: "))
    assert (told["message"], told["doc_url"]) == ("Insufficient balance.", POOR)


def test_an_event_of_responses_is_flat_as_openais_types_say() -> None:
    told = error_fields(poor(), is_english=False)
    assert "doc_url" not in told and told["error"]["doc_url"] == POOR


def test_the_shape_of_anthropic_has_no_place_for_it() -> None:
    body = Messages().error_body(poor(), is_english=False, request_id="c")
    assert b"doc_url" not in body and PAGE.encode() not in body


@pytest.mark.parametrize("kind", [InsufficientBalance, BudgetExceeded])
def test_it_leads_to_a_place_that_there_is(kind: type[GatewayError]) -> None:
    explained = {heading.id for heading in docs.pages()["erros"].rendered.headings}
    assert error_of(as_openai(kind("a", "b")))["doc_url"].removeprefix(f"{PAGE}#") in explained


@pytest.mark.parametrize("code", ["", "Bad Code", "a" * 65, '"><script>', "código"])
def test_a_code_that_somebody_else_made_up_leads_to_the_page_alone(code: str) -> None:
    assert doc_url(code) == PAGE
    assert error_of(as_openai(UpstreamError("a", "b", code=code)))["doc_url"] == PAGE
