"""One operation of the management API, declared once: what it needs (scope), takes (query, body) and gives, in code and in OpenAPI.

    class Keys(Resource):
        @operation("list_keys", scope="keys.read", summary="Listar chaves", text="…", query=PageQuery, answer=page_shape(KeyAnswer))
        def get(self, call: ApiCall) -> Any: …

A handler gets an ApiCall and the path's parameters, runs as the caller's organization (`accounts.tenancy`) and returns what its
answer's shape tells.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit, idempotency
from accounts.authentication import ApiCaller, caller_in
from accounts.models import Organization
from accounts.scopes import SCOPES
from accounts.tenancy import tenant
from accounts.throttle import Turn, address_of, take_turn
from tokia import clock
from tokia.manners import PROBLEM, TITLES, ApiError, Problem, Shape

PUBLIC = ""  # for everybody
SIGNED_IN = "*"  # for whoever has a key or a session, whatever their scopes
ATOMIC, STEPS = "atomic", "steps"  # how `accounts.idempotency` runs what creates
Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """`scope` is one of the table's, SIGNED_IN or PUBLIC. `creates` is ATOMIC or STEPS for what takes an Idempotency-Key.

    `media`: the handler gives a file of this type as a response of its own.
    """

    name: str
    scope: str
    tag: str
    summary: str
    text: str
    status: int = 200
    query: type[Shape] | None = None
    body: type[Shape] | None = None
    answer: type[Shape] | None = None
    creates: str = ""
    media: str = ""
    problems: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request, authenticated and read. Only public operations have no caller."""

    request: HttpRequest
    caller_or_none: ApiCaller | None
    query: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def caller(self) -> ApiCaller:
        assert self.caller_or_none is not None
        return self.caller_or_none

    @property
    def organization(self) -> Organization:
        return self.caller.organization


class Resource(APIView):  # type: ignore[misc]
    """An address of `/api/v1`. Its methods are operations; anything else is 405."""

    turn: Turn | None = None

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        found: Request = super().initialize_request(request, *args, **kwargs)
        found.request_id = str(clock.new_id())
        return found

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with ExitStack() as self.running:
            response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
            return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before any handler: who calls, whether it is their turn, and their tenant."""
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)
        address = address_of(request._request)
        try:
            self.perform_authentication(request)
        except ApiError:
            take_turn(address, limit=settings.API_REQUESTS_PER_MINUTE)
            raise
        caller = caller_in(request)
        self.turn = take_turn(caller.name if caller else address, limit=settings.API_REQUESTS_PER_MINUTE)
        if caller is not None:
            self.running.enter_context(tenant(caller.organization))
            if caller.key is not None:
                self.running.enter_context(audit.acting_key(caller.user, key=str(caller.key)))

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["x-request-id"] = getattr(request, "request_id", "")
        if "Cache-Control" not in response:
            response["Cache-Control"] = "no-store"
        for name, value in (self.turn.headers() if self.turn else {}).items():
            response[name] = value
        return response


class Elsewhere(Resource):
    """Every other address under `/api/v1/`."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise ApiError(404, "Não há nada com este endereço.")


def operation(name: str, *, scope: str, tag: str, summary: str, text: str, **given: Any) -> Callable[[Handler], Handler]:
    """Makes a handler an operation (`Operation` has the names of `given`). Raises KeyError for a scope that isn't in the table."""
    told = Operation(name, scope, tag, summary, text, **given)
    if scope not in (PUBLIC, SIGNED_IN):
        _ = SCOPES[scope]

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def handle(self: Resource, request: Request, **path: Any) -> HttpResponseBase:
            caller = caller_in(request)
            if told.scope != PUBLIC:
                if caller is None:
                    text = "Falta a chave de API: envie o cabeçalho 'Authorization: Bearer sk-tokia-…'."
                    raise ApiError(401, text, code="missing_api_key")
                if told.scope != SIGNED_IN:
                    caller.require(told.scope)
            call = ApiCall(request._request, caller, _read_query(told, request), _read_body(told, request))

            def work() -> Any:
                found = handler(self, call, **path)
                return told.answer(found).data if told.answer is not None else None

            if told.media:
                file: HttpResponseBase = handler(self, call, **path)
                return file
            key = request.headers.get("Idempotency-Key") if told.creates and caller is not None else None
            if key is None or caller is None:
                return _answer(told, work())
            where = f"{told.name} {sorted(path.items())}"
            done = idempotency.once(
                caller, key, operation=where, body=dict(request.data), is_atomic=told.creates == ATOMIC, work=work
            )
            return _answer(told, done.answer, is_replay=done.is_replay)

        handle.operation = told  # type: ignore[attr-defined]  # for the house's tests
        return _tell_schema(told)(handle)

    return decorate


def _answer(told: Operation, content: Any, *, is_replay: bool = False) -> HttpResponseBase:
    response: HttpResponseBase = Response(content, status=told.status)
    if is_replay:
        response["Idempotent-Replayed"] = "true"
    return response


def _read_query(told: Operation, request: Request) -> dict[str, Any]:
    """Raises ValidationError, for unknown parameters too."""
    asked = {name: values[-1] for name, values in request.query_params.lists()}
    shape = (told.query or Shape)(data=asked)
    shape.is_valid(raise_exception=True)
    return dict(shape.validated_data)


def _read_body(told: Operation, request: Request) -> dict[str, Any]:
    if told.body is None:
        if request.method not in ("GET", "HEAD") and request.META.get("CONTENT_LENGTH") not in (None, "", "0"):
            (Shape)(data=request.data).is_valid(raise_exception=True)
        return {}
    shape = told.body(data=request.data, partial=request.method == "PATCH")
    shape.is_valid(raise_exception=True)
    return dict(shape.validated_data)


# ── What OpenAPI is told ─────────────────────────────────────────────────────────────────────────────────────────────
def _tell_schema(told: Operation) -> Callable[[Handler], Handler]:
    statuses = {400, 429, *told.problems}
    if told.scope != PUBLIC:
        statuses |= {401, 403}
    if told.body is not None:
        statuses |= {413, 415}
    if told.creates:
        statuses |= {409, 422}
    responses: dict[Any, Any] = {(status, PROBLEM): OpenApiResponse(Problem, TITLES[status][1]) for status in sorted(statuses)}
    if told.media:
        responses[told.status, told.media] = OpenApiResponse(OpenApiTypes.BINARY, "O arquivo")
    else:
        responses[told.status] = OpenApiResponse(told.answer, told.summary if told.answer else "Feito")
    examples = []
    if told.body is not None and told.body.example is not None:
        examples.append(OpenApiExample(f"{told.name} request", told.body.example, request_only=True))
    if told.answer is not None and told.answer.example is not None:
        shown = OpenApiExample(f"{told.name} answer", told.answer.example, response_only=True, status_codes=[str(told.status)])
        examples.append(shown)
    parameters: list[Any] = [told.query] if told.query is not None else []
    if told.creates:
        text = "Repete a resposta da primeira requisição com esta chave e o mesmo corpo, por 24 horas."
        parameters.append(OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, description=text))
    needs = {PUBLIC: "Pública: não precisa de chave.", SIGNED_IN: "Para qualquer chave."}.get(
        told.scope, f"Permissão: `{told.scope}`."
    )
    scopes = [] if told.scope == SIGNED_IN else [told.scope]
    auth: Any = [{}] if told.scope == PUBLIC else [{"key": scopes}, {"session": scopes}]
    schema = extend_schema(
        operation_id=told.name, summary=told.summary, description=f"{told.text}\n\n{needs}", request=told.body, responses=responses,
        parameters=parameters, examples=examples, auth=auth, tags=[told.tag],
    )  # fmt: skip
    return schema


def read_uuid(part: Any) -> uuid.UUID:
    """A cursor's position among rows with UUIDs. Raises ValueError."""
    if not isinstance(part, str):
        raise ValueError
    return uuid.UUID(part)
