"""`/v1/responses`, asked as a chat completion of whichever model. Body in `responses_body`, answer in `responses_stream`.

Stored only where the caller asks: by `"store": true`, or by the key's option where `store` is not said. Else nothing is kept, and
`previous_response_id` finds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import sse
from gateway.calls import Caller, ChatCall, Message, ServedDeployment, ServedRoute
from gateway.dialects.base import Dialect
from gateway.error_bodies import as_openai
from gateway.errors import GatewayError, RouteNotFound
from gateway.parsing import MESSAGES_MAX
from gateway.surfaces import responses_store
from gateway.surfaces.responses_answer import Told, item_id
from gateway.surfaces.responses_body import ENCRYPTED_REASONING, Asked, read_body
from gateway.surfaces.responses_input import Conversation, Item, expected
from gateway.surfaces.responses_stream import Shaper, error_fields, open_thoughts, shape_whole
from tokia import clock
from tokia.errors import TokiaError

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

name = "responses"
PREFIXES = {
    "message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs", "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}  # fmt: skip
# What a dialect calls a field, and what the caller called it.
PARAMS = {
    "max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens", "response_format": "text.format",
    "reasoning_effort": "reasoning.effort", "verbosity": "text.verbosity", "logprobs": "top_logprobs", "messages": "input",
}  # fmt: skip
INPUT_PLACE = 0x8000  # items of the input are numbered from here, those of the answer from zero
REFERENCES_MAX = 200  # stored responses that one request may refer to by their items
_decode_messages = msgspec.json.Decoder(list[Message]).decode


async def read_call(process: GatewayProcess, caller: Caller, body: bytes) -> ChatCall:
    asked = read_body(body)
    stored = await load_stored(process, caller, asked)
    return build_call(asked, stored, organization_id=caller.organization_id, stores_by_default=caller.stores_responses)


class Stored(msgspec.Struct):
    """What the request refers to."""

    history: list[Item] = []  # of previous_response_id, oldest first
    referred: Mapping[str, Item] = {}  # by item id


async def load_stored(process: GatewayProcess, caller: Caller, asked: Asked) -> Stored:
    """Raises RouteNotFound, with what has to be stored for it."""
    organization_id, stored = caller.organization_id, Stored()
    if (previous := asked.typed.previous_response_id) is not None:
        load = partial(responses_store.load_conversation, previous, organization_id=organization_id, param="previous_response_id")
        stored.history = [item for kept in await process.responses.run(load) for item in (*kept.items, *kept.response["output"])]
    if references := find_references(asked.input):
        stored.referred = await process.responses.run(partial(load_references, references, organization_id))
    return stored


def build_call(asked: Asked, stored: Stored, *, organization_id: int, stores_by_default: bool = False) -> ChatCall:
    """The chat completion that it comes to. Raises BadRequest, with the path of the item at fault."""
    typed, chat = asked.typed, asked.chat
    response_id = clock.new_id().hex
    items = _normalize(asked.input, stored.referred, response_id)
    conversation = Conversation(lambda sealed: open_thoughts(sealed, organization_id=organization_id))
    if typed.instructions:
        conversation.add_system(typed.instructions)
    for item in stored.history:
        conversation.add(item, "previous_response_id")
    for index, item in enumerate(items):
        conversation.add(item, "input" if isinstance(asked.input, str) else f"input[{index}]")
    messages = conversation.messages()
    chat["messages"] = messages
    if typed.stream:
        chat["stream"] = True
    fields = {field: msgspec.Raw(msgspec.json.encode(value)) for field, value in chat.items()}
    told = Told(
        id=response_id,
        created_at=int(time.time()),
        organization_id=organization_id,
        shown=asked.shown,
        items=items,
        previous_id=typed.previous_response_id.removeprefix("resp_") if typed.previous_response_id else None,
        is_stored=stores_by_default if typed.store is None else typed.store,
        wants_sealed=ENCRYPTED_REASONING in asked.includes,
        has_obfuscation=bool(typed.stream_options and typed.stream_options.include_obfuscation),
    )
    return ChatCall(
        model=typed.model,
        fields=fields,
        decoded=chat,
        messages=_decode_messages(fields["messages"]),
        body_bytes=sum(len(bytes(raw)) for raw in fields.values()),
        is_stream=bool(typed.stream),
        wants_usage=False,
        output_tokens_asked=typed.max_output_tokens,
        choices=1,
        drops_unsupported=bool(typed.drop_params),
        dropped=asked.dropped,
        told=told,
    )


# ── Input ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _normalize(given: Any, referred: Mapping[str, Item], response_id: str) -> list[Item]:
    """The request's own items as a list, each with an id, references resolved. Raises BadRequest."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise expected("input", "um texto ou uma lista de itens", "a string or an array of items")
    if len(given) > MESSAGES_MAX:
        raise expected("input", f"no máximo {MESSAGES_MAX} itens", f"at most {MESSAGES_MAX} items")
    items = []
    for index, item in enumerate(given):
        if isinstance(item, dict) and _is_reference(item):
            items.append(referred[item["id"]])
        elif isinstance(item, dict):
            kind, given_id = item.get("type") or "message", item.get("id")
            if given_id is not None and not isinstance(given_id, str):
                raise expected(f"input[{index}].id", "um texto", "a string")
            own_id = item_id(PREFIXES.get(str(kind), "item"), response_id, INPUT_PLACE + index)
            items.append({**item, "type": kind, "id": given_id or own_id})
        else:
            raise expected(f"input[{index}]", "um objeto", "an object")
    return items


def _is_reference(item: Item) -> bool:
    """Its type may be left out."""
    return item.get("type") == "item_reference" or (item.get("type") is None and "role" not in item and "id" in item)


def find_references(given: Any) -> list[tuple[int, str]]:
    """Where the input refers to stored items by id. Raises BadRequest."""
    found = []
    for index, item in enumerate(given if isinstance(given, list) else ()):
        if isinstance(item, dict) and _is_reference(item):
            if not isinstance(item.get("id"), str):
                raise expected(f"input[{index}].id", "um texto", "a string")
            found.append((index, item["id"]))
    return found


def load_references(references: list[tuple[int, str]], organization_id: int) -> dict[str, Item]:
    """Raises RouteNotFound for an item that is not stored."""
    loaded: dict[str, dict[str, Item]] = {}
    referred: dict[str, Item] = {}
    size = 0
    for index, id_ in references:
        response_id = f"resp_{id_.partition('_')[2][:32]}"
        try:
            if response_id not in loaded:
                if len(loaded) >= REFERENCES_MAX:
                    raise expected("input", f"no máximo {REFERENCES_MAX} referências", f"at most {REFERENCES_MAX} references")
                kept = responses_store.find_response(response_id, organization_id=organization_id)
                size += kept.size
                if responses_store.is_too_large(size):
                    raise responses_store.too_large(f"input[{index}].id")
                loaded[response_id] = {item["id"]: item for item in (*kept.items, *kept.response["output"])}
            referred[id_] = loaded[response_id][id_]
        except (RouteNotFound, KeyError):
            raise RouteNotFound(
                f"O item '{id_[:80]}' não está guardado aqui. Envie o item inteiro, peça as respostas com \"store\": true, ou use"
                f" uma chave de API com a opção “{responses_store.KEY_OPTION}”.",
                f"Item with id '{id_[:80]}' not found. Items are only persisted with \"store\": true, or with an API key that has"
                f" the option “{responses_store.KEY_OPTION}”; or send the item itself.",
                param=f"input[{index}].id", code="item_not_found",
            ) from None  # fmt: skip
    return referred


# ── Answer ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def native(deployment: ServedDeployment) -> Dialect | None:
    return None


def shape_answer(call: ChatCall, route: ServedRoute, completion: bytes) -> bytes:
    return shape_whole(call.told, route, completion)


def open_shaper(call: ChatCall, route: ServedRoute) -> Shaper:
    return Shaper(call.told, route)


def keeps(call: ChatCall) -> bool:
    return bool(call.told.is_stored)


async def keep(process: GatewayProcess, caller: Caller, call: ChatCall, last: bytes) -> bytes:
    return await process.responses.keep(call.told, route_name=call.model, last=last)


def error_body(error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
    return as_openai(_reword(error), is_english=is_english)


def _reword(error: TokiaError) -> TokiaError:
    """A dialect names chat's field; the caller knows it by another name."""
    if error.param in PARAMS:
        asked = PARAMS[error.param]
        error.message = error.message.replace(f"'{error.param}'", f"'{asked}'")
        if isinstance(error, GatewayError):
            error.english = error.english.replace(f"'{error.param}'", f"'{asked}'")
        error.param = asked
    return error


def error_frame(error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
    _reword(error)
    event = {"type": "error", **error_fields(error, is_english=is_english), "sequence_number": 0}
    return b"event: error\n" + sse.frame(msgspec.json.encode(event))
