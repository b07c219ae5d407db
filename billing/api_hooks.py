"""`/api/v1/hooks` and `/events`: signed messages to the organization's own addresses, and what they tell."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts.operations import ATOMIC, ApiCall, Resource, operation
from billing.hooks import NAME_MAX, TYPES, change_hook, create_hook, remove_hook, replay, rotate_secret, send_test
from billing.models import Event, Hook, HookDelivery
from tokia.manners import Flag, PageQuery, Shape, Text, page_of, page_shape

TAG = "Webhooks"


# ── Hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class HookBody(Shape):
    url = Text(max_length=500, help_text="https, num endereço público.")
    types = serializers.ListField(
        child=serializers.ChoiceField(choices=list(TYPES)), required=False, max_length=len(TYPES),
        help_text="Os acontecimentos que manda; vazio: todos, também os que vierem a existir.",
    )  # fmt: skip
    name = Text(required=False, allow_blank=True, max_length=NAME_MAX)
    example: Any = {"url": "https://acme.com.br/tokia", "types": ["wallet.low_balance"], "name": "financeiro"}


class HookPatch(HookBody):
    is_active = Flag(required=False, help_text="true religa, sem as falhas de antes.")
    example = {"is_active": True}


class HookAnswer(Shape):
    id = serializers.IntegerField()
    name = serializers.CharField()
    url = serializers.CharField()
    types = serializers.ListField(child=serializers.CharField())
    is_active = serializers.BooleanField()
    failing_since = serializers.DateTimeField(allow_null=True, help_text="Desde quando nada é aceito.")
    disabled_at = serializers.DateTimeField(allow_null=True, help_text="Quando a Tokia o desligou, por falhas.")
    disabled_reason = serializers.CharField()
    created_at = serializers.DateTimeField()
    example: Any = {
        "id": 2, "name": "financeiro", "url": "https://acme.com.br/tokia", "types": ["wallet.low_balance"], "is_active": True,
        "failing_since": None, "disabled_at": None, "disabled_reason": "", "created_at": "2026-11-22T12:00:00Z",
    }  # fmt: skip


class HookCreatedAnswer(HookAnswer):
    secret = serializers.CharField(help_text="Para conferir a assinatura (Standard Webhooks). Não aparece outra vez.")
    example = HookAnswer.example | {"secret": "whsec_<base64>"}


class HooksResource(Resource):
    @operation(
        "list_hooks", scope="hooks.read", tag=TAG, summary="Listar webhooks", text="Do mais novo ao mais antigo.",
        query=PageQuery, answer=page_shape(HookAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        return page_of(Hook.objects.all(), call.query)

    @operation(
        "create_hook", scope="hooks.write", tag=TAG, summary="Criar webhook", status=201,
        text="O segredo vem só nesta resposta. Endereços que não são públicos são recusados.",
        body=HookBody, answer=HookCreatedAnswer, creates=ATOMIC,
    )  # fmt: skip
    def post(self, call: ApiCall) -> Any:
        hook, secret = create_hook(call.organization, by=call.caller.user, **call.body)
        hook.secret = secret  # for this answer only
        return hook


class HookResource(Resource):
    @operation(
        "get_hook", scope="hooks.read", tag=TAG, summary="Ver um webhook", text="Sem o segredo.", answer=HookAnswer, problems=(404,)
    )
    def get(self, call: ApiCall, hook_id: int) -> Any:
        return _find(hook_id)

    @operation(
        "change_hook", scope="hooks.write", tag=TAG, summary="Mudar um webhook",
        text="Só o que for mandado muda. O que está na fila vai para o endereço novo.",
        body=HookPatch, answer=HookAnswer, problems=(404,),
    )  # fmt: skip
    def patch(self, call: ApiCall, hook_id: int) -> Any:
        return change_hook(_find(hook_id), **call.body)

    @operation(
        "remove_hook", scope="hooks.write", tag=TAG, summary="Remover um webhook", status=204,
        text="Com tudo que está na fila e o registro das entregas.", problems=(404,),
    )  # fmt: skip
    def delete(self, call: ApiCall, hook_id: int) -> None:
        remove_hook(_find(hook_id))


class HookRotationResource(Resource):
    @operation(
        "rotate_hook_secret", scope="hooks.write", tag=TAG, summary="Trocar o segredo de um webhook",
        text="O segredo novo vem só nesta resposta; por 24 horas as mensagens vão assinadas com os dois.",
        answer=HookCreatedAnswer, creates=ATOMIC, problems=(404,),
    )  # fmt: skip
    def post(self, call: ApiCall, hook_id: int) -> Any:
        hook = _find(hook_id)
        secret = rotate_secret(hook)
        hook.secret = secret  # for this answer only
        return hook


def _find(hook_id: int) -> Hook:
    return get_object_or_404(Hook.objects, pk=hook_id)


# ── Deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────
class DeliveryAnswer(Shape):
    id = serializers.IntegerField()
    hook_id = serializers.IntegerField()
    event_id = serializers.IntegerField(allow_null=True, help_text="null: um teste.")
    type = serializers.CharField()
    message_id = serializers.UUIDField(help_text="O `webhook-id`, o mesmo em todas as tentativas.")
    status = serializers.ChoiceField(choices=HookDelivery.Status.choices)
    attempts = serializers.IntegerField()
    due_at = serializers.DateTimeField(allow_null=True, help_text="A próxima tentativa.")
    sent_at = serializers.DateTimeField(allow_null=True, help_text="A última.")
    status_code = serializers.IntegerField(allow_null=True, help_text="O que o endereço respondeu.")
    error = serializers.CharField()
    elapsed_ms = serializers.IntegerField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    example = {
        "id": 31, "hook_id": 2, "event_id": 18, "type": "wallet.low_balance",
        "message_id": "01935c5e-8a00-7000-8000-000000000004", "status": "delivered", "attempts": 1, "due_at": None,
        "sent_at": "2026-11-22T12:00:01Z", "status_code": 204, "error": "", "elapsed_ms": 84,
        "delivered_at": "2026-11-22T12:00:01Z", "created_at": "2026-11-22T12:00:00Z",
    }  # fmt: skip


class DeliveryQuery(PageQuery):
    status = serializers.ChoiceField(required=False, choices=HookDelivery.Status.choices)


class DeliveriesResource(Resource):
    @operation(
        "list_deliveries", scope="hooks.read", tag=TAG, summary="Listar entregas de um webhook",
        text="Da mais nova à mais antiga, por 30 dias.", query=DeliveryQuery, answer=page_shape(DeliveryAnswer), problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, hook_id: int) -> Any:
        found = HookDelivery.objects.filter(hook=_find(hook_id)).select_related("event")
        if "status" in call.query:
            found = found.filter(status=call.query["status"])
        return page_of(found, call.query)


class HookTestResource(Resource):
    @operation(
        "test_hook", scope="hooks.write", tag=TAG, summary="Mandar um teste", status=201,
        text="Uma mensagem `ping`, em segundos; o resultado aparece nas entregas.",
        answer=DeliveryAnswer, creates=ATOMIC, problems=(404,),
    )  # fmt: skip
    def post(self, call: ApiCall, hook_id: int) -> Any:
        return send_test(_find(hook_id))


class DeliveryReplayResource(Resource):
    @operation(
        "replay_delivery", scope="hooks.write", tag=TAG, summary="Entregar de novo",
        text="A mesma mensagem, com o mesmo `webhook-id` e todas as tentativas pela frente.",
        answer=DeliveryAnswer, problems=(404,),
    )  # fmt: skip
    def post(self, call: ApiCall, hook_id: int, delivery_id: int) -> Any:
        found = HookDelivery.objects.select_related("event").filter(hook=_find(hook_id))
        return replay(get_object_or_404(found, pk=delivery_id))


# ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class EventAnswer(Shape):
    id = serializers.IntegerField()
    type = serializers.CharField()
    level = serializers.ChoiceField(choices=Event.Level.choices)
    data = serializers.DictField(source="payload", help_text="O que o webhook manda em `data`; dinheiro em texto, em reais.")
    created_at = serializers.DateTimeField()
    example = {
        "id": 18, "type": "wallet.low_balance", "level": "warning", "data": {"available": "19.98", "threshold": "20.00"},
        "created_at": "2026-11-22T12:00:00Z",
    }  # fmt: skip


class EventQuery(PageQuery):
    type = serializers.ChoiceField(required=False, choices=list(TYPES))


class EventsResource(Resource):
    @operation(
        "list_events", scope="hooks.read", tag=TAG, summary="Listar acontecimentos",
        text="O que houve, do mais novo ao mais antigo: o mesmo que os webhooks mandam.",
        query=EventQuery, answer=page_shape(EventAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        found = Event.objects.all()
        if "type" in call.query:
            found = found.filter(type=call.query["type"])
        return page_of(found, call.query)


class EventResource(Resource):
    @operation(
        "get_event", scope="hooks.read", tag=TAG, summary="Ver um acontecimento", text="Pelo id.",
        answer=EventAnswer, problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, event_id: int) -> Any:
        return get_object_or_404(Event.objects, pk=event_id)
