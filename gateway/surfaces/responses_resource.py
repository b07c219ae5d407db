"""What is asked of `/v1/responses` beside creating: read, delete, list the input, cancel, and count tokens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from gateway.calls import Caller, Reply
from gateway.errors import BadRequest, unknown_address, wrong_method
from gateway.planning import route_named
from gateway.preferences import take_preferences
from gateway.surfaces import responses, responses_store
from gateway.surfaces.responses_body import ENCRYPTED_REASONING, INCLUDABLE, invalid, read_body
from gateway.surfaces.responses_store import Kept
from gateway.tokens import count_chat_input

if TYPE_CHECKING:
    from gateway.exchange import Exchange
    from gateway.process import GatewayProcess

PAGE, PAGE_MAX = 20, 100
QUERY_FIELDS_MAX = 100
SERVED_BY = "chat"
_HEADERS = [(b"content-type", b"application/json")]


async def serve_response(process: GatewayProcess, exchange: Exchange, caller: Caller, rest: str) -> Reply:
    """`/v1/responses/{id}`, `…/input_items`, `…/cancel`, `/v1/responses/input_tokens`. Raises GatewayError."""
    await process.limits.admit(caller, exchange.context.headers)
    method: str = exchange.scope["method"]
    id_, _, tail = rest.partition("/")
    if rest == "input_tokens":
        _allow(method, "POST")
        return await count_input(process, caller, await exchange.read_body())
    query = _read_query(exchange.scope["query_string"])
    find = partial(responses_store.find_response, id_, organization_id=caller.organization_id)
    if tail == "cancel":
        _allow(method, "POST")
        await process.responses.run(find)
        raise BadRequest(
            "Só respostas em segundo plano ('background') podem ser canceladas, e aqui não há nenhuma.",
            "Only responses created with 'background' can be cancelled; none is here.", param="background",
        )  # fmt: skip
    if tail == "input_items":
        _allow(method, "GET")
        load = partial(responses_store.load_conversation, id_, organization_id=caller.organization_id)
        return _json(list_items(await process.responses.run(load), query))
    if tail or not id_:
        raise unknown_address(f"/v1/responses/{rest}")
    if method == "DELETE":
        await process.responses.run(partial(responses_store.delete_response, id_, organization_id=caller.organization_id))
        return _json({"id": id_, "object": "response", "deleted": True})
    _allow(method, "GET")
    if _one(query, "stream") in ("true", "1"):
        raise BadRequest(
            "Uma resposta guardada é lida inteira, sem 'stream'.", "A stored response is read whole, without 'stream'.",
            param="stream", code="unsupported_parameter",
        )  # fmt: skip
    kept: Kept = await process.responses.run(find)
    is_sealed = ENCRYPTED_REASONING in _included(query)
    return _json({**kept.response, "output": [_shown(item, is_sealed=is_sealed) for item in kept.response["output"]]})


async def count_input(process: GatewayProcess, caller: Caller, body: bytes) -> Reply:
    """What a request's input would come to, counted offline as a hold counts it: never less than it is. Free."""
    body, _ = take_preferences(body, {}, is_chat=True)
    asked = read_body(body)
    stored = await responses.load_stored(process, caller, asked)
    call = responses.build_call(asked, stored, organization_id=caller.organization_id)
    route = route_named(process, caller, call.model, surface=SERVED_BY)
    tokens = count_chat_input(call, factor_percent=route.token_factor_percent)
    return _json({"object": "response.input_tokens", "input_tokens": tokens})


def list_items(conversation: list[Kept], query: dict[str, list[str]]) -> dict[str, Any]:
    """What the last response of a chain was asked with: its own input after all that came before. By default newest first."""
    limit_asked, direction = _one(query, "limit") or str(PAGE), _one(query, "order") or "desc"
    if not limit_asked.isdigit() or not 1 <= int(limit_asked) <= PAGE_MAX:
        raise invalid("limit", f"um inteiro de 1 a {PAGE_MAX}", f"an integer from 1 to {PAGE_MAX}")
    if direction not in ("asc", "desc"):
        raise invalid("order", "'asc' ou 'desc'", "'asc' or 'desc'")
    is_sealed = ENCRYPTED_REASONING in _included(query)
    items: list[dict[str, Any]] = []
    for kept in conversation:
        items += kept.items
        if kept is not conversation[-1]:
            items += kept.response["output"]
    if direction == "desc":
        items.reverse()
    if after := _one(query, "after"):
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise invalid("after", "o id de um destes itens", "the id of one of these items")
        items = items[places[0] + 1 :]
    page = [_listed(_shown(item, is_sealed=is_sealed)) for item in items[: int(limit_asked)]]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > len(page),
    }


def _listed(item: dict[str, Any]) -> dict[str, Any]:
    """In full: what a request may leave out is there."""
    if item["type"] not in ("message", "function_call_output", "function_call"):
        return item
    full = {"status": "completed", **item}
    if item["type"] == "message" and isinstance(item.get("content"), str):
        part = {"type": "output_text", "text": item["content"], "annotations": [], "logprobs": []}
        if item["role"] != "assistant":
            part = {"type": "input_text", "text": item["content"]}
        full["content"] = [part]
    return full


def _shown(item: dict[str, Any], *, is_sealed: bool) -> dict[str, Any]:
    return item if is_sealed else {name: value for name, value in item.items() if name != "encrypted_content"}


def _read_query(raw: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(raw.decode("latin-1"), max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        raise invalid("query", "menos parâmetros", "fewer parameters") from None


def _included(query: dict[str, list[str]]) -> list[str]:
    """The SDKs write `include[]=…` or `include=…`."""
    asked = [*query.get("include", ()), *query.get("include[]", ())]
    for name in asked:
        if name not in INCLUDABLE:
            expected = ", ".join(sorted(INCLUDABLE))
            raise invalid("include", f"um destes: {expected}", f"one of: {expected}")
    return asked


def _one(query: dict[str, list[str]], name: str) -> str:
    return query[name][-1] if name in query else ""


def _allow(method: str, allowed: str) -> None:
    if method != allowed:
        raise wrong_method(method)


def _json(told: dict[str, Any]) -> Reply:
    return Reply(200, list(_HEADERS), msgspec.json.encode(told))
