"""`/api/v1/usage` and `/activity`: what was used, added up by day, and every call."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts.operations import ApiCall, Resource, operation, read_uuid
from billing import statements
from billing.api_days import DaysQuery, read_days, starts_at
from billing.api_money import Brl, Nanos, both
from billing.call_story import attempts_of
from billing.models import UsageRecord
from billing.pricing import BUCKETS
from billing.usage_sums import GROUPS, TagStandsAlone, UsageFilter, UsageLine, totals, usage_by
from tokia.manners import ID_MAX, ApiError, PageQuery, Shape, page_of, page_shape

TAG = "Uso"
LINES = 1_000
LINES_MAX = 10_000
NAMES = {"model": "route", **{name: name for name in GROUPS if name != "route"}}  # as told → as the verbs know it


# ── Sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
class UsageQuery(DaysQuery):
    group_by = serializers.ChoiceField(choices=list(NAMES), required=False, default="day")
    model = serializers.CharField(required=False, max_length=100)
    key_id = serializers.IntegerField(required=False, min_value=1, max_value=ID_MAX)
    project_id = serializers.IntegerField(
        required=False, min_value=0, max_value=ID_MAX, help_text="0: o uso de chaves sem projeto."
    )
    provider = serializers.CharField(required=False, max_length=40)
    tag = serializers.CharField(required=False, max_length=64, help_text="Combina só com dias e modelos.")
    limit = serializers.IntegerField(required=False, default=LINES, min_value=1, max_value=LINES_MAX)


class UsageSumShape(Shape):
    calls = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Das chamadas, as que falharam.")
    gross_brl, gross_nanos = Brl(source="gross_nanos", help_text="Antes do desconto por volume."), Nanos()
    net_brl, net_nanos = Brl(source="net_nanos", help_text="O que custou."), Nanos()
    input_tokens = serializers.IntegerField()
    cached_input_tokens = serializers.IntegerField(allow_null=True, help_text="Dos de entrada, os do cache; null por etiqueta.")
    output_tokens = serializers.IntegerField()
    latency_ms = serializers.IntegerField(allow_null=True, help_text="Média; null por etiqueta.")
    quantities = serializers.DictField(
        child=serializers.IntegerField(), source="media", help_text="O que não é token de texto: imagens, segundos de áudio…"
    )


class UsageLineShape(UsageSumShape):
    group = serializers.CharField(help_text="O dia, o nome, ou o id em texto; projeto 0: nenhum.")
    label = serializers.CharField(help_text="Para gente: o nome da chave, do projeto…")


class UsageAnswer(Shape):
    first_on = serializers.DateField()
    last_on = serializers.DateField()
    group_by = serializers.ChoiceField(choices=list(NAMES))
    totals = UsageSumShape()
    data = UsageLineShape(many=True)
    is_complete = serializers.BooleanField(help_text="false: há mais linhas que `limit`; estas são as mais caras.")
    _sum = {
        "calls": 931, "failed": 2, **both("gross", 29_109_811_683), **both("net", 27_654_321_099), "input_tokens": 1_203_441,
        "cached_input_tokens": 80_000, "output_tokens": 402_118, "latency_ms": 812, "quantities": {"images": 3},
    }  # fmt: skip
    example = {
        "first_on": "2026-11-22", "last_on": "2026-11-22", "group_by": "model", "totals": _sum, "is_complete": True,
        "data": [_sum | {"group": "openai/gpt-4o-mini", "label": "openai/gpt-4o-mini"}],
    }  # fmt: skip


class UsageResource(Resource):
    @operation(
        "get_usage", scope="usage.read", tag=TAG, summary="Uso somado",
        text="Por dia, modelo, chave, projeto, provedor ou etiqueta, com filtros que combinam. Somas exatas, prontas assim que a"
        " chamada é liquidada. Uma chamada com várias etiquetas conta em cada uma.",
        query=UsageQuery, answer=UsageAnswer,
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        first_on, last_on = read_days(call.query)
        asked, limit = call.query, call.query["limit"]
        only = UsageFilter(
            route_name=asked.get("model", ""), api_key_id=asked.get("key_id"), project_id=asked.get("project_id"),
            provider_name=asked.get("provider", ""), tag=asked.get("tag", ""),
        )  # fmt: skip
        group = asked["group_by"]
        try:
            lines = usage_by(NAMES[group], first_on=first_on, last_on=last_on, only=only, lines_max=limit + 1)
            total = totals(first_on=first_on, last_on=last_on, only=only)
        except TagStandsAlone as error:
            raise ApiError(400, "A etiqueta combina só com dias e modelos.", param="tag") from error
        return {
            "first_on": first_on, "last_on": last_on, "group_by": group, "totals": total,
            "data": [tell_line(line) for line in lines[:limit]], "is_complete": len(lines) <= limit,
        }  # fmt: skip


def tell_line(line: UsageLine) -> dict[str, Any]:
    group = line.group.isoformat() if isinstance(line.group, dt.date) else str(line.group)
    return {name: getattr(line, name) for name in UsageLine.__slots__} | {"group": group}


# ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class ActivityQuery(DaysQuery, PageQuery):
    model = serializers.CharField(required=False, max_length=100)
    key_id = serializers.IntegerField(required=False, min_value=1, max_value=ID_MAX)
    project_id = serializers.IntegerField(required=False, min_value=1, max_value=ID_MAX)
    provider = serializers.CharField(required=False, max_length=40)
    tag = serializers.CharField(required=False, max_length=64)
    outcome = serializers.ChoiceField(required=False, choices=UsageRecord.Outcome.choices)


class ActivityAnswer(Shape):
    id = serializers.UUIDField(help_text="O `x-request-id` da chamada.")
    at = serializers.DateTimeField(source="created_at")
    key_id = serializers.IntegerField(source="api_key_id")
    project_id = serializers.IntegerField(allow_null=True)
    tags = serializers.SerializerMethodField()
    surface = serializers.CharField(help_text="chat, embeddings…; `batch:chat` num lote.")
    model = serializers.CharField(source="route_name")
    provider = serializers.CharField(source="provider_name", help_text="Vazio: do cache, ou falhou antes.")
    outcome = serializers.ChoiceField(choices=UsageRecord.Outcome.choices)
    status_code = serializers.IntegerField()
    error_code = serializers.CharField()
    gross_brl, gross_nanos = Brl(source="gross_nanos"), Nanos()
    net_brl, net_nanos = Brl(source="net_nanos", help_text="O que custou."), Nanos()
    quantities = serializers.SerializerMethodField(help_text="O que foi medido, sem o que é zero.")
    first_token_ms = serializers.IntegerField(allow_null=True)
    latency_ms = serializers.IntegerField()
    is_stream = serializers.BooleanField()
    is_own_key = serializers.BooleanField(help_text="Servida com uma chave da empresa no provedor.")
    example: Any = {
        "id": "01935c5e-8a00-7000-8000-000000000003", "at": "2026-11-22T12:00:00Z", "key_id": 12, "project_id": 3,
        "tags": ["cliente-42"], "surface": "chat", "model": "openai/gpt-4o-mini", "provider": "openai", "outcome": "completed",
        "status_code": 200, "error_code": "", **both("gross", 31_266_900), **both("net", 29_703_555),
        "quantities": {"input_tokens": 1_203, "output_tokens": 402}, "first_token_ms": 210, "latency_ms": 1_820,
        "is_stream": True, "is_own_key": False,
    }  # fmt: skip

    def get_tags(self, record: UsageRecord) -> list[str]:
        return record.tags or []

    def get_quantities(self, record: UsageRecord) -> dict[str, int]:
        return {name: getattr(record, name) for name, _ in BUCKETS if getattr(record, name)}


class AttemptShape(Shape):
    provider = serializers.CharField()
    upstream_model = serializers.CharField()
    is_good = serializers.BooleanField()
    failure = serializers.CharField(help_text="Por que falhou, em palavras.")
    status = serializers.IntegerField(help_text="HTTP; 0: nenhuma resposta.")
    ms = serializers.IntegerField()
    is_own_key = serializers.BooleanField()


class ActivityDetailAnswer(ActivityAnswer):
    finish_reason = serializers.CharField()
    usage_source = serializers.ChoiceField(choices=UsageRecord.UsageSource.choices)
    paid_brl, paid_nanos = Brl(source="paid_nanos", help_text="Do custo, o pago com recargas."), Nanos()
    promo_brl, promo_nanos = Brl(source="promo_nanos", help_text="O pago com bônus."), Nanos()
    overdraft_brl, overdraft_nanos = Brl(source="overdraft_nanos", help_text="O que ficou devido."), Nanos()
    price_version_id = serializers.IntegerField()
    entry_id = serializers.IntegerField(allow_null=True)
    attempts = AttemptShape(many=True, source="story", help_text="Quem foi chamado, em sequência.")
    example = ActivityAnswer.example | {
        "finish_reason": "stop", "usage_source": "upstream", **both("paid", 29_703_555), **both("promo", 0), **both("overdraft", 0),
        "price_version_id": 3, "entry_id": 8_812,
        "attempts": [
            {"provider": "openai", "upstream_model": "gpt-4o-mini", "is_good": True, "failure": "", "status": 200, "ms": 1_820,
             "is_own_key": False}
        ],
    }  # fmt: skip


class ActivitiesResource(Resource):
    @operation(
        "list_activity", scope="usage.read", tag=TAG, summary="Listar requisições",
        text="Cada chamada de `/v1` que terminou, da mais nova à mais antiga, com filtros. Sem período: os últimos 30 dias.",
        query=ActivityQuery, answer=page_shape(ActivityAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        first_on, last_on = read_days(call.query)
        found = statements.calls().filter(
            id__gte=_first_id(starts_at(first_on)), id__lt=_first_id(starts_at(last_on + dt.timedelta(days=1)))
        )
        names = {"model": "route_name", "key_id": "api_key_id", "project_id": "project_id", "provider": "provider_name"}
        for name, column in (names | {"outcome": "outcome"}).items():
            if name in call.query:
                found = found.filter(**{column: call.query[name]})
        if "tag" in call.query:
            found = found.filter(tags__contains=[call.query["tag"]])
        return page_of(found, call.query, kind=read_uuid)


class ActivityResource(Resource):
    @operation(
        "get_activity", scope="usage.read", tag=TAG, summary="Ver uma requisição",
        text="O que custou e por quê, quem foi chamado e o que respondeu. O conteúdo da conversa não é guardado.",
        answer=ActivityDetailAnswer, problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, call_id: uuid.UUID) -> Any:
        record = get_object_or_404(UsageRecord.objects, pk=call_id)
        record.story = attempts_of(record)  # type: ignore[attr-defined]  # for this answer only
        return record


def _first_id(instant: dt.datetime) -> uuid.UUID:
    """No id made before this instant is greater."""
    return uuid.UUID(int=int(instant.timestamp() * 1_000) << 80)
