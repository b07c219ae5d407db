"""The edge of `/v1`: `uvicorn gateway.asgi:app --loop uvloop --http gateway.server:HttpProtocol --lifespan on`.

Paths, the in-flight cap, and the last word on errors. Django is set up once, here; no request ever passes through it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial

import django
from django.apps import apps
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
if not apps.ready:  # a process of its own, which has no pages: their apps would be a tenth of its memory
    settings.INSTALLED_APPS = settings.GATEWAY_APPS
django.setup()
# uvicorn asks this logger, not its own setting, whether to write a line per request: usage records say more, and cost less.
logging.getLogger("uvicorn.access").propagate = False

from gateway import callers, cors, models_list  # noqa: E402
from gateway.answer_cache import open_turn  # noqa: E402
from gateway.batches import serve_batch  # noqa: E402
from gateway.calls import NO_PREFERENCES, CallContext, Caller, Reply  # noqa: E402
from gateway.chat import complete_chat  # noqa: E402
from gateway.count_tokens import count_tokens  # noqa: E402
from gateway.deployments_list import list_deployments  # noqa: E402
from gateway.embeddings import embed  # noqa: E402
from gateway.errors import (  # noqa: E402
    BadRequest,
    ClientGone,
    GatewayError,
    SessionLost,
    internal_error,
    ledger_unavailable,
    unknown_address,
    wrong_method,
)  # fmt: skip
from gateway.exchange import JSON_TYPE, Exchange, Receive, Scope, Send  # noqa: E402
from gateway.files import serve_file  # noqa: E402
from gateway.generation import serve_generation  # noqa: E402
from gateway.idempotency import OneCall, read_key  # noqa: E402
from gateway.images import edit_images, make_images  # noqa: E402
from gateway.keeping import IDEMPOTENCY_KEY, Keeper, wants_keeping  # noqa: E402
from gateway.messages import complete_message  # noqa: E402
from gateway.metering import overloaded  # noqa: E402
from gateway.moderations import moderate  # noqa: E402
from gateway.preferences import note_preferences, take_preferences  # noqa: E402
from gateway.process import GatewayProcess  # noqa: E402
from gateway.rerank import PATHS as RERANK_PATHS  # noqa: E402
from gateway.rerank import rerank  # noqa: E402
from gateway.speech import speak  # noqa: E402
from gateway.surfaces.registry import SURFACES  # noqa: E402
from gateway.surfaces.responses_resource import serve_response  # noqa: E402
from gateway.tags import TAGS_HEADER, read_tags  # noqa: E402
from gateway.tokens import load_tokenizer  # noqa: E402
from gateway.transcriptions import transcribe, translate  # noqa: E402
from gateway.upstream import stopping  # noqa: E402
from tokia.crashpoints import crashpoint  # noqa: E402
from tokia.errors import TokiaError  # noqa: E402

log = logging.getLogger(__name__)
Parent = Callable[[GatewayProcess, CallContext, Caller, bytes], Awaitable[Reply]]
# Reads its own body, by its own bound, and knows its methods; the path is given without what it was found by.
Resource = Callable[[GatewayProcess, Exchange, Caller, str], Awaitable[Reply]]

MESSAGES = "/v1/messages"
COUNTED = f"{MESSAGES}/count_tokens"
PARENTS: dict[str, Parent] = {
    **{path: partial(complete_chat, surface=surface) for path, surface in SURFACES.items()},
    MESSAGES: complete_message,
    COUNTED: count_tokens,
    "/v1/embeddings": embed,
    **dict.fromkeys(RERANK_PATHS, rerank),
    "/v1/images/generations": make_images,
    "/v1/audio/speech": speak,
    "/v1/moderations": moderate,
}
CHATS = frozenset(PARENTS[path] for path in (*SURFACES, COUNTED))
RESOURCES: dict[str, Resource] = {  # by the first two segments of the path, or all of it
    "/v1/responses": serve_response,
    "/v1/files": serve_file,
    "/v1/batches": serve_batch,
    "/v1/generation": serve_generation,
    "/v1/images/edits": edit_images,
    "/v1/audio/transcriptions": transcribe,
    "/v1/audio/translations": translate,
}
LIMITED_EARLY = frozenset({"/v1/responses", "/v1/files", "/v1/batches"})  # resources that ask the rate limit before the body
READS = frozenset({"/v1/models", "/v1/credits", "/v1/key"})
PROBES = frozenset({"/healthz", "/readyz"})
MODELS, DEPLOYMENTS = "/v1/models/", "/endpoints"
MODEL_NAME_MAX = 200
CALLS_MAX: int = settings.GATEWAY_CALLS_MAX  # Django's settings are dear to ask on every call

process = GatewayProcess()


async def live(receive: Receive, send: Send) -> None:
    """The server's start and end."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            load_tokenizer()  # 50 ms, before the first call waits for it
            await process.start()
            await send({"type": "lifespan.startup.complete"})
        else:
            await process.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """One request. Whatever goes wrong inside leaves as OpenAI's JSON.

    The walk from here to the upstream is of few coroutines, since each that waits is gone through again when the wait ends: what
    only chooses the next step gives that step's awaitable."""
    if scope["type"] != "http":
        await (live(receive, send) if scope["type"] == "lifespan" else send({"type": "websocket.close", "code": 1008}))
        return
    exchange = Exchange(scope, receive, send)
    context = exchange.context
    process.contexts.add(context)
    try:
        await exchange.send_reply(await choose(exchange))
    except GatewayError as error:
        await exchange.send_error(error)
    except ClientGone:
        return
    except SessionLost:
        await exchange.send_error(ledger_unavailable())
    except TokiaError as error:  # billing's refusals speak Portuguese only
        await exchange.send_error(GatewayError(error.message, error.message, code=error.code, status=error.status))
    except asyncio.CancelledError:
        if not context.is_late:
            raise
        if context.task is not None:
            context.task.uncancel()
        if context.is_reading:
            await exchange.send_error(_too_slow())
    except Exception:
        log.exception("call %s failed", context.id)
        await exchange.send_error(internal_error())
    finally:
        process.contexts.discard(context)
        if context.ticket is not None:
            process.limits.close(context.ticket)
        context.let_go()


def choose(exchange: Exchange) -> Awaitable[Reply]:
    """Who calls, what for. Raises GatewayError; what it gives raises ClientGone too."""
    path: str = exchange.scope["path"]
    method: str = exchange.scope["method"]
    if len(path) > 1 and path[-1] == "/":
        path = path[:-1]
    if path.startswith(MESSAGES):  # who asks there reads Anthropic's errors, and looks for the call's id under its own name
        exchange.surface = SURFACES[MESSAGES]
        exchange.context.asked = exchange.headers
        exchange.context.headers.append((b"request-id", exchange.context.id.encode()))
    parent = PARENTS.get(path)
    if parent is None:
        return answer_resource(exchange, path, method)
    if method != "POST":
        return answer_preflight(exchange, path, method)
    exchange.surface = SURFACES.get(path, exchange.surface)
    caller = recognize(exchange)
    return answer_stranger(exchange, path, parent) if caller is None else answer_caller(exchange, caller, path, parent)


async def answer_preflight(exchange: Exchange, path: str, method: str) -> Reply:
    if (preflight := cors.answer_preflight(exchange, path)) is None:
        raise wrong_method(method)
    return preflight


async def answer_stranger(exchange: Exchange, path: str, parent: Parent) -> Reply:
    """A key that is not in memory: the database may know it."""
    return await answer_caller(exchange, await authenticate(exchange), path, parent)


def answer_caller(exchange: Exchange, caller: Caller, path: str, parent: Parent) -> Awaitable[Reply]:
    if wants_keeping(exchange.headers, caller):
        return open_keeper(exchange, caller, path).run(exchange, partial(ask_parent, exchange, caller, parent))
    return ask_parent(exchange, caller, parent)


def open_keeper(exchange: Exchange, caller: Caller, path: str, *, is_admitted: bool = False) -> Keeper:
    """By the request's headers and the caller's key. `is_admitted`: the rate limit is asked before the body is read.

    Raises BadRequest."""
    key = exchange.headers.get(IDEMPOTENCY_KEY)
    once = None if key is None else OneCall(process, exchange, caller, read_key(key), is_admitted=is_admitted)
    return Keeper(once, open_turn(process, exchange, caller, path=path))


async def ask_parent(exchange: Exchange, caller: Caller, parent: Parent) -> Reply:
    body = await exchange.read_body()
    crashpoint("recv")
    exchange.expect_long()
    body, preferences = take_preferences(body, exchange.headers, is_chat=parent in CHATS)
    if preferences is not NO_PREFERENCES:
        note_preferences(exchange.context, preferences)
    return await parent(process, exchange.context, caller, body)


def recognize(exchange: Exchange) -> Caller | None:
    """The caller of a key that is in memory. Raises GatewayError: no room, a drain, a wrong key."""
    if len(process.contexts) > CALLS_MAX:
        raise overloaded()
    if process.draining_since is not None:
        raise stopping()
    secret = callers.secret_of(exchange.headers)
    if not secret:
        raise callers.missing_key()
    caller = process.snapshots.callers.find(secret)
    return None if caller is None else callers.check_caller(caller, exchange)


async def admit(exchange: Exchange) -> Caller:
    """The same where the database may have to be asked."""
    return recognize(exchange) or await authenticate(exchange)


async def answer_resource(exchange: Exchange, path: str, method: str) -> Reply:
    """What is not a plain POST of JSON: a path with an id, a form, another method."""
    _, _, rest = path.removeprefix("/v1/").partition("/")
    found = path.removesuffix(f"/{rest}") if rest else path
    resource = RESOURCES.get(path) or RESOURCES.get(found)
    if resource is None:
        return await answer_read(exchange, path, method)
    caller = await admit(exchange)
    if TAGS_HEADER in exchange.headers:  # of a form, or of what is no call at all
        exchange.context.tags = read_tags(exchange.headers)
    serve = partial(resource, process, exchange, caller, "" if path in RESOURCES else rest)
    if method == "POST" and wants_keeping(exchange.headers, caller):
        return await open_keeper(exchange, caller, path, is_admitted=found in LIMITED_EARLY).run(exchange, serve)
    return await serve()


async def answer_read(exchange: Exchange, path: str, method: str) -> Reply:
    if path not in READS and path not in PROBES and not path.startswith(MODELS):
        raise unknown_address(path)
    if method != "GET":
        raise wrong_method(method)
    if path == "/healthz":
        return Reply(200, [JSON_TYPE], b'{"status":"ok"}')
    if path == "/readyz":
        return (
            Reply(200, [JSON_TYPE], b'{"status":"ok"}') if process.is_ready else Reply(503, [JSON_TYPE], b'{"status":"not ready"}')
        )
    caller = await authenticate(exchange)
    catalog = process.snapshots.catalog.priced_for(caller)
    if path == "/v1/models":
        body = models_list.list_models(catalog, caller)
    elif path == "/v1/credits":
        body = await process.balances.read_credits(caller)
    elif path == "/v1/key":
        body = await process.balances.read_key(caller)
    elif path.endswith(DEPLOYMENTS):
        body = await list_deployments(process, caller, path[len(MODELS) : -len(DEPLOYMENTS)][:MODEL_NAME_MAX])
    else:
        body = models_list.show_model(catalog, caller, path[len(MODELS) :][:MODEL_NAME_MAX])
    return Reply(200, [JSON_TYPE], body)


async def authenticate(exchange: Exchange) -> Caller:
    """Raises Unauthorized, Forbidden (suspended), Unavailable (a new key, and the database is away)."""
    secret = callers.secret_of(exchange.headers)
    if not secret:
        raise callers.missing_key()
    caller = await process.snapshots.find_caller(secret)
    if caller is None:
        raise callers.unknown_key()
    return callers.check_caller(caller, exchange)


def _too_slow() -> BadRequest:
    return BadRequest(
        "O corpo demorou demais para chegar.", "The body took too long to arrive.", code="request_timeout", status=408
    )
