"""The management API's manners (`/api/v1`): strict bodies, problems as RFC 9457, pages by cursor, and what OpenAPI is told.

A body is JSON with known fields only; an answer is JSON. Lists are `{"data": […], "next_cursor": "…" or null}`, newest first unless
an operation says otherwise; a cursor names the last row given, so rows that come meanwhile move nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404
from rest_framework import exceptions, serializers
from rest_framework.parsers import JSONParser
from rest_framework.response import Response

from tokia.errors import TokiaError

BODY_BYTES_MAX = 65_536
DEPTH_MAX = 16
PAGE_SIZE = 50
PAGE_SIZE_MAX = 200
CURSOR_CHARACTERS_MAX = 400
ID_MAX = 2**63 - 1
PROBLEM = "application/problem+json"
# By HTTP status: the code and the title where nothing more special is known.
TITLES = {
    400: ("invalid_request", "Requisição inválida"),
    401: ("unauthorized", "Não autenticado"),
    402: ("insufficient_balance", "Saldo insuficiente"),
    403: ("not_allowed", "Sem permissão"),
    404: ("not_found", "Não encontrado"),
    405: ("method_not_allowed", "Método não permitido"),
    406: ("not_acceptable", "Formato não aceito"),
    409: ("conflict", "Em conflito com o estado atual"),
    413: ("request_too_large", "Requisição grande demais"),
    415: ("unsupported_media_type", "Tipo de conteúdo não aceito"),
    422: ("idempotency_key_reused", "Idempotency-Key já usada"),
    429: ("rate_limited", "Requisições demais"),
    500: ("internal_error", "Erro interno"),
    502: ("upstream_refused", "Recusado por terceiro"),
    503: ("unavailable", "Indisponível agora"),
}
log = logging.getLogger(__name__)


class ApiError(TokiaError):
    """A refusal of the API's own: about the request, not about what it asks for."""

    def __init__(
        self, status: int, detail: str, *, code: str = "", param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail, param=param, retry_after_seconds=retry_after)
        self.status = status
        self.code = code or TITLES[status][0]


# ── Bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class Shape(serializers.Serializer):  # type: ignore[misc]
    # A body or an answer. In a body a field that isn't known is refused: a typing mistake must not read as "leave it".
    # No docstring: the description of the API would say it to customers, of every shape.
    example: Any = None  # what OpenAPI shows; a house test holds it against the schema

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name)[:60] for name in set(data) - {n for n, f in self.fields.items() if not f.read_only})
            if unknown:
                raise serializers.ValidationError({name: ["Campo desconhecido."] for name in unknown[:20]})
        return super().to_internal_value(data)


class Text(serializers.CharField):  # type: ignore[misc]
    """Text is a JSON string: no number, no boolean is taken for one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class Integer(serializers.IntegerField):  # type: ignore[misc]
    """A JSON integer: "5" and 5.0 are none."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return int(super().to_internal_value(data))


class Flag(serializers.BooleanField):  # type: ignore[misc]
    """true or false, nothing that resembles them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return bool(data)


class StrictJson(JSONParser):  # type: ignore[misc]
    """One JSON object: bounded in bytes and depth, UTF-8, no NaN, no name twice."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        raw = stream.read(BODY_BYTES_MAX + 1)
        if len(raw) > BODY_BYTES_MAX:
            raise ApiError(413, f"O corpo passa de {BODY_BYTES_MAX // 1024} KiB.")
        try:
            text = raw.decode("utf-8")
            if _depth(text) > DEPTH_MAX:
                raise ValueError("too deep")
            body = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "O corpo não é JSON válido.", code="invalid_json") from error
        if not isinstance(body, dict):
            raise ApiError(400, "O corpo precisa ser um objeto JSON.", code="invalid_json")
        return body


def _depth(text: str) -> int:
    """How deep brackets nest, those inside strings too: a bound, not a parse."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# ── Problems ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class FieldProblem(Shape):
    field = serializers.CharField(help_text="O campo ou parâmetro; o de dentro de outro com ponto: `address.city`.")
    message = serializers.CharField(help_text="O que há de errado, em português.")


class Problem(Shape):
    """Um erro, conforme a RFC 9457 (`application/problem+json`)."""

    type = serializers.CharField(help_text="URI do tipo de erro: `urn:tokia:problem:` e o código.")
    title = serializers.CharField(help_text="O tipo de erro em poucas palavras.")
    status = serializers.IntegerField(help_text="O status HTTP.")
    detail = serializers.CharField(help_text="O que houve nesta requisição.")
    code = serializers.CharField(help_text="Código estável, para programas.")
    request_id = serializers.CharField(help_text="Para o suporte; o mesmo do cabeçalho `x-request-id`.")
    errors = FieldProblem(many=True, required=False, help_text="Campo por campo, onde há.")


def tell_problem(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. What nobody expected is logged and told without a word of its inside."""
    status, code, detail, errors = _read(error)
    request = context.get("request")
    request_id = str(getattr(request, "request_id", ""))
    if status >= 500 and not isinstance(error, TokiaError):
        log.error("the API failed", exc_info=error, extra={"request_id": request_id})
    _, title = TITLES.get(status, TITLES[500])
    problem: dict[str, Any] = {
        "type": f"urn:tokia:problem:{code}", "title": title, "status": status, "detail": detail, "code": code,
        "request_id": request_id,
    }  # fmt: skip
    if errors:
        problem["errors"] = errors
    response = Response(problem, status=status, content_type=PROBLEM)
    response.exception = True
    wait = getattr(error, "retry_after_seconds", None)
    if wait:
        response["Retry-After"] = str(max(1, round(wait)))
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="Tokia"'
    if isinstance(error, exceptions.MethodNotAllowed) and context.get("view") is not None:
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


def _read(error: Exception) -> tuple[int, str, str, list[dict[str, str]]]:
    if isinstance(error, TokiaError):
        errors = [{"field": error.param, "message": error.message}] if error.param else []
        return error.status, error.code, error.message, errors
    if isinstance(error, exceptions.ValidationError):
        return 400, TITLES[400][0], "Confira os campos apontados em errors.", list(_fields(error.detail))
    if isinstance(error, Http404):
        return 404, TITLES[404][0], "Não há nada com este endereço.", []
    if isinstance(error, PermissionDenied):
        return 403, TITLES[403][0], "Esta requisição não é permitida.", []
    if isinstance(error, exceptions.APIException):
        status = int(error.status_code)
        return status, TITLES.get(status, TITLES[500])[0], str(error.detail), []
    return 500, TITLES[500][0], "Algo falhou aqui dentro. Já fomos avisados; tente de novo em instantes.", []


def _fields(detail: Any, path: str = "") -> list[dict[str, str]]:
    """DRF's nested errors as a flat list."""
    if isinstance(detail, dict):
        return [line for name, inner in detail.items()
                for line in _fields(inner, path if name == "non_field_errors" else f"{path}.{name}".lstrip("."))]  # fmt: skip
    if isinstance(detail, list) and any(isinstance(inner, dict | list) for inner in detail):
        return [line for number, inner in enumerate(detail) for line in _fields(inner, f"{path}.{number}") if inner]
    messages = detail if isinstance(detail, list) else [detail]
    return [{"field": path or "body", "message": str(message)} for message in messages]


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class PageQuery(Shape):
    """What every list takes."""

    cursor = serializers.CharField(
        required=False, max_length=CURSOR_CHARACTERS_MAX, help_text="O `next_cursor` da página anterior."
    )
    limit = serializers.IntegerField(
        required=False, default=PAGE_SIZE, min_value=1, max_value=PAGE_SIZE_MAX, help_text="Quantos por página."
    )


def write_cursor(position: Sequence[str | int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(position), separators=(",", ":")).encode()).decode().rstrip("=")


def read_cursor(cursor: str, *kinds: Callable[[Any], Any]) -> list[Any]:
    """The position of a cursor, each part read by its kind. Raises ApiError for one that we never gave."""
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(position, list) or len(position) != len(kinds):
            raise ValueError
        return [kind(part) for kind, part in zip(kinds, position, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        text = "Este cursor não vale. Use o next_cursor da página anterior."
        raise ApiError(400, text, code="invalid_cursor", param="cursor") from error


def row_id(part: Any) -> int:
    if not isinstance(part, int) or not 0 <= part <= ID_MAX:
        raise ValueError
    return part


def page_of(
    rows: QuerySet[Any], query: dict[str, Any], *, kind: Callable[[Any], Any] = row_id, is_oldest_first: bool = False
) -> dict[str, Any]:
    """One page by primary key, newest first unless told. `kind` reads the key back from a cursor."""
    rows = rows.order_by("pk" if is_oldest_first else "-pk")
    if query.get("cursor"):
        [last] = read_cursor(query["cursor"], kind)
        rows = rows.filter(pk__gt=last) if is_oldest_first else rows.filter(pk__lt=last)
    found = list(rows[: query["limit"] + 1])
    page = found[: query["limit"]]
    cursor = None
    if len(found) > len(page):
        last = page[-1].pk
        cursor = write_cursor([last if isinstance(last, int) else str(last)])
    return {"data": page, "next_cursor": cursor}


def page_shape(row: type[Shape]) -> type[Shape]:
    """The shape of a page of such rows."""
    name = row.__name__.removesuffix("Answer")
    fields = {
        "data": row(many=True),
        "next_cursor": serializers.CharField(allow_null=True, help_text="Para a próxima página; null na última."),
        "example": {"data": [row.example], "next_cursor": None},
        "__module__": row.__module__,
    }
    return type(f"{name}PageAnswer", (Shape,), fields)
