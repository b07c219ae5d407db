"""`/api/v1/keys`: API keys. A secret is in one answer only, the one to the request that made it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts.forms import ROUTE
from accounts.keys import change_key, mint_key, new_scopes, revoke_key, rotate_key
from accounts.models import ApiKey, Project
from accounts.operations import ATOMIC, ApiCall, Resource, operation
from accounts.scopes import CALL, SCOPES, check_scopes
from tokia import clock
from tokia.manners import ID_MAX, ApiError, Flag, Integer, PageQuery, Shape, Text, page_of, page_shape

ROUTES_MAX = 500
CACHE_SECONDS_MAX = 86_400
STATUSES = ("active", "paused", "expired", "revoked")


class KeyPatch(Shape):
    name = Text(max_length=60, help_text="Para reconhecer depois.")
    project_id = Integer(required=False, allow_null=True, help_text="O projeto em que suas chamadas contam; null: nenhum.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(SCOPES)), required=False, min_length=1, max_length=len(SCOPES),
        help_text="O que ela pode. No máximo o que pode quem a cria.",
    )  # fmt: skip
    models = serializers.ListField(
        child=serializers.RegexField(ROUTE, max_length=100), required=False, max_length=ROUTES_MAX,
        help_text="Os modelos que pode chamar; vazio: todos.",
    )  # fmt: skip
    requests_per_minute = Integer(required=False, allow_null=True, min_value=1, max_value=100_000)
    tokens_per_minute = Integer(required=False, allow_null=True, min_value=1, max_value=2_000_000_000)
    concurrent_calls = Integer(required=False, allow_null=True, min_value=1, max_value=100_000)
    stores_responses = Flag(required=False, help_text="Se /v1/responses guarda respostas quando a chamada não diz.")
    cache_seconds = Integer(
        required=False, allow_null=True, min_value=1, max_value=CACHE_SECONDS_MAX,
        help_text="Por quanto tempo chamadas iguais recebem a mesma resposta; null: não.",
    )  # fmt: skip
    example = {"name": "produção", "requests_per_minute": 600, "models": ["openai/gpt-4o-mini"]}


class KeyBody(KeyPatch):
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Quando deixa de valer; null: nunca.")
    example = {"name": "produção", "project_id": 3, "scopes": ["call"], "requests_per_minute": 600}

    def validate_expires_at(self, at: dt.datetime | None) -> dt.datetime | None:
        if at is not None and at <= clock.now():
            raise serializers.ValidationError("Escolha um instante no futuro.")
        return at


class KeyAnswer(Shape):
    id = serializers.IntegerField()
    name = serializers.CharField()
    start = serializers.CharField(source="prefix", help_text="O começo do segredo, para reconhecer.")
    end = serializers.CharField(source="suffix", help_text="O fim do segredo.")
    status = serializers.SerializerMethodField()
    project_id = serializers.IntegerField(allow_null=True)
    created_by_id = serializers.IntegerField(allow_null=True, help_text="Quem criou; null: não existe mais.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=list(SCOPES)))
    models = serializers.ListField(child=serializers.CharField(), source="allowed_routes")
    requests_per_minute = serializers.IntegerField(allow_null=True, help_text="null: o limite da empresa.")
    tokens_per_minute = serializers.IntegerField(allow_null=True)
    concurrent_calls = serializers.IntegerField(allow_null=True)
    stores_responses = serializers.BooleanField()
    cache_seconds = serializers.IntegerField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)
    example: Any = {
        "id": 12, "name": "produção", "start": "sk-tokia-4fG", "end": "x9Qz", "status": "active", "project_id": 3,
        "created_by_id": 3, "scopes": ["call"], "models": [], "requests_per_minute": 600, "tokens_per_minute": None,
        "concurrent_calls": None, "stores_responses": False, "cache_seconds": None, "expires_at": None,
        "created_at": "2026-11-22T12:00:00Z", "revoked_at": None,
    }  # fmt: skip

    def get_status(self, key: ApiKey) -> str:
        if key.status == ApiKey.Status.ACTIVE and key.paused_at is not None:
            return "paused"
        if key.status == ApiKey.Status.ACTIVE and key.expires_at is not None and key.expires_at <= clock.now():
            return "expired"
        return str(key.status)

    get_status.__annotations__["return"] = str


class KeyCreatedAnswer(KeyAnswer):
    secret = serializers.CharField(help_text="A chave inteira. Guarde agora: não aparece outra vez.")
    example = KeyAnswer.example | {"secret": "sk-tokia-<49 letras e números>"}


class KeyQuery(PageQuery):
    status = serializers.ChoiceField(required=False, choices=STATUSES)
    project_id = serializers.IntegerField(required=False, min_value=1, max_value=ID_MAX, help_text="Só as deste projeto.")


def keys_of(call: ApiCall) -> QuerySet[ApiKey]:
    """Those that the caller may see: a developer's own, everybody's for whoever manages them all."""
    made = ApiKey.objects.filter(kind=ApiKey.Kind.MADE)
    return made if call.caller.may("keys.manage_all") else made.filter(created_by=call.caller.user)


def _find(call: ApiCall, key_id: int) -> ApiKey:
    return get_object_or_404(keys_of(call).select_related("organization"), pk=key_id)


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    """A body by the names of the row. Raises ApiError for a project that isn't the organization's."""
    fields = {name: value for name, value in body.items() if name not in ("project_id", "models")}
    if "models" in body:
        fields["allowed_routes"] = body["models"]
    if "project_id" in body:
        fields["project"] = Project.objects.filter(pk=body["project_id"]).first() if body["project_id"] is not None else None
        if fields["project"] is None and body["project_id"] is not None:
            raise ApiError(400, "Este projeto não existe.", code="unknown_project", param="project_id")
    return fields


class KeysResource(Resource):
    @operation(
        "list_keys", scope="keys.read", tag="Chaves", summary="Listar chaves",
        text="Da mais nova à mais antiga, sem segredos. Quem só administra as próprias vê só as suas.",
        query=KeyQuery, answer=page_shape(KeyAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        keys = keys_of(call)
        now = clock.now()
        match call.query.get("status"):
            case "active":
                keys = keys.filter(Q(expires_at=None) | Q(expires_at__gt=now), status=ApiKey.Status.ACTIVE, paused_at=None)
            case "paused":
                keys = keys.filter(status=ApiKey.Status.ACTIVE, paused_at__isnull=False)
            case "expired":
                keys = keys.filter(status=ApiKey.Status.ACTIVE, expires_at__lte=now, paused_at=None)
            case "revoked":
                keys = keys.filter(status=ApiKey.Status.REVOKED)
        if "project_id" in call.query:
            keys = keys.filter(project=call.query["project_id"])
        return page_of(keys, call.query)

    @operation(
        "create_key", scope="keys.write", tag="Chaves", summary="Criar chave", status=201,
        text="O segredo vem só nesta resposta. As permissões da nova chave são no máximo as de quem a cria; sem `scopes`, `call`.",
        body=KeyBody, answer=KeyCreatedAnswer, creates=ATOMIC,
    )  # fmt: skip
    def post(self, call: ApiCall) -> Any:
        fields = _fields(call.body)
        allowed = call.caller.scopes | ({CALL} if call.caller.key is None and call.caller.may("keys.manage") else set())
        fields["scopes"] = check_scopes(fields.get("scopes", [CALL]), allowed=allowed)
        key, secret = mint_key(call.organization, user=call.caller.user, **fields)
        key.secret = secret  # type: ignore[attr-defined]  # for this answer only
        return key


class KeyResource(Resource):
    @operation(
        "get_key",
        scope="keys.read",
        tag="Chaves",
        summary="Ver uma chave",
        text="Sem o segredo.",
        answer=KeyAnswer,
        problems=(404,),
    )
    def get(self, call: ApiCall, key_id: int) -> Any:
        return _find(call, key_id)

    @operation(
        "change_key", scope="keys.write", tag="Chaves", summary="Mudar uma chave",
        text="Só o que for mandado muda; vale nas chamadas em até 2 segundos. Permissões de administração só são dadas por quem"
        " criou a chave: ela age em nome dessa pessoa.",
        body=KeyPatch, answer=KeyAnswer, problems=(404, 409),
    )  # fmt: skip
    def patch(self, call: ApiCall, key_id: int) -> Any:
        key = _find(call, key_id)
        fields = _fields(call.body)
        if "scopes" in fields:
            allowed = call.caller.scopes | ({CALL} if call.caller.key is None else set())
            fields["scopes"] = new_scopes(key, fields["scopes"], by=call.caller.user, allowed=allowed)
        if not change_key(key, **fields):
            raise ApiError(409, "Esta chave foi revogada.", code="key_revoked")
        return key

    @operation(
        "revoke_key", scope="keys.write", tag="Chaves", summary="Revogar uma chave", status=204,
        text="Para sempre. As chamadas com ela param em até 2 segundos. Revogar de novo não muda nada.", problems=(404,),
    )  # fmt: skip
    def delete(self, call: ApiCall, key_id: int) -> None:
        revoke_key(_find(call, key_id))


class KeyRotationResource(Resource):
    @operation(
        "rotate_key", scope="keys.write", tag="Chaves", summary="Trocar o segredo de uma chave",
        text="A mesma chave, com limites, orçamentos e histórico; o segredo antigo deixa de valer em até 2 segundos. Para trocar"
        " sem parar, crie outra chave e revogue esta depois. A de administração só quem criou troca.",
        answer=KeyCreatedAnswer, creates=ATOMIC, problems=(404,),
    )  # fmt: skip
    def post(self, call: ApiCall, key_id: int) -> Any:
        key = _find(call, key_id)
        key.secret = rotate_key(key, by=call.caller.user)  # type: ignore[attr-defined]  # for this answer only
        return key
