"""`/api/v1/exports`: files of statement, usage and calls, made in the background and fetched when they are whole."""

from __future__ import annotations

import uuid
from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts.operations import ATOMIC, ApiCall, Resource, operation
from billing import exports
from billing.api_days import read_days
from billing.api_wallet import page_by_time
from billing.call_lists import CallFilter
from billing.export_tables import Wanted
from billing.models import Export
from billing.sheets import stream
from billing.usage_sums import UsageFilter
from tokia.manners import ID_MAX, ApiError, Integer, PageQuery, Shape, Text, page_shape

TAG = "Uso"
FORMS = [(form.value, form.label) for form in (Export.Form.PLAIN, Export.Form.SHEET)]


class ExportBody(Shape):
    kind = serializers.ChoiceField(choices=Export.Kind.choices, help_text="statement precisa também de `billing.read`.")
    form = serializers.ChoiceField(
        choices=FORMS,
        required=False,
        default=Export.Form.PLAIN,
        help_text="plain: `,` e ponto decimal; sheet: planilhas do Brasil.",
    )
    first_on = serializers.DateField(required=False, help_text="O primeiro dia; sem ele, 30 dias até o último.")
    last_on = serializers.DateField(required=False, help_text="O último dia, incluído; sem ele, hoje.")
    model = Text(required=False, max_length=100)
    key_id = Integer(required=False, min_value=1, max_value=ID_MAX)
    project_id = Integer(required=False, min_value=1, max_value=ID_MAX)
    example = {"kind": "usage", "first_on": "2026-11-01", "last_on": "2026-11-22"}


class ExportAnswer(Shape):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=Export.Kind.choices)
    form = serializers.ChoiceField(choices=Export.Form.choices, help_text="ofx: as do painel.")
    status = serializers.ChoiceField(choices=Export.Status.choices, help_text="done: pode ser baixado.")
    percent = serializers.IntegerField()
    rows = serializers.IntegerField(source="rows_done", help_text="Linhas prontas.")
    bytes = serializers.IntegerField()
    error = serializers.CharField()
    created_at = serializers.DateTimeField()
    done_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="Até quando é guardado.")
    example = {
        "id": "01935c5e-8a00-7000-8000-000000000006", "kind": "usage", "form": "plain", "status": "running", "percent": 42,
        "rows": 42_000, "bytes": 0, "error": "", "created_at": "2026-11-22T12:00:00Z", "done_at": None, "expires_at": None,
    }  # fmt: skip


class ExportsResource(Resource):
    @operation(
        "list_exports", scope="usage.read", tag=TAG, summary="Listar exportações", text="Da mais nova à mais antiga.",
        query=PageQuery, answer=page_shape(ExportAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        return page_by_time(_visible(call), call.query)

    @operation(
        "create_export", scope="usage.read", tag=TAG, summary="Pedir uma exportação", status=201,
        text="A mesma, enquanto está na fila, é a mesma linha. Acompanhe pelo id; pronta, baixe o arquivo.",
        body=ExportBody, answer=ExportAnswer, creates=ATOMIC,
    )  # fmt: skip
    def post(self, call: ApiCall) -> Any:
        return exports.open_export(call.organization, _wanted(call), by=call.caller.user)


class ExportResource(Resource):
    @operation(
        "get_export", scope="usage.read", tag=TAG, summary="Ver uma exportação", text="Com o quanto já está pronto.",
        answer=ExportAnswer, problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, export_id: uuid.UUID) -> Any:
        return get_object_or_404(_visible(call), pk=export_id)


class ExportFileResource(Resource):
    @operation(
        "get_export_file", scope="usage.read", tag=TAG, summary="Baixar uma exportação",
        text="O arquivo inteiro; 409 enquanto não está pronto ou depois que expirou.",
        media="text/csv", problems=(404, 409),
    )  # fmt: skip
    def get(self, call: ApiCall, export_id: uuid.UUID) -> Any:
        found = get_object_or_404(_visible(call), pk=export_id)
        if found.status != Export.Status.DONE:
            text = f"Esta exportação não pode ser baixada: {found.get_status_display().lower()}."
            raise ApiError(409, text, code="export_not_ready")
        response = stream(Wanted.of(found).name, exports.read_file(found), content_type="text/csv; charset=utf-8")
        response["Content-Length"] = str(found.bytes)
        return response


def _visible(call: ApiCall) -> Any:
    found = Export.objects.all()
    return found if "billing.read" in call.caller.scopes else found.exclude(kind=Export.Kind.STATEMENT)


def _wanted(call: ApiCall) -> Wanted:
    """Raises ApiError for filters and forms that the table doesn't take."""
    asked = call.body
    kind, form = Export.Kind(asked["kind"]), Export.Form(asked["form"])
    first_on, last_on = read_days(asked)
    filters = [name for name in ("model", "key_id", "project_id") if name in asked]
    if kind == Export.Kind.STATEMENT:
        call.caller.require("billing.read")
        if filters:
            raise ApiError(400, "O extrato não tem este filtro.", param=filters[0])
        return Wanted(kind, form, first_on, last_on)
    if kind == Export.Kind.USAGE:
        only = UsageFilter(route_name=asked.get("model", ""), api_key_id=asked.get("key_id"), project_id=asked.get("project_id"))
        return Wanted(kind, form, first_on, last_on, only=only)
    return Wanted(kind, form, first_on, last_on, calls=CallFilter(**_call_filter(asked)))


def _call_filter(asked: dict[str, Any]) -> dict[str, Any]:
    names = {"model": "route_name", "key_id": "api_key_id", "project_id": "project_id"}
    return {column: asked[name] for name, column in names.items() if name in asked}
