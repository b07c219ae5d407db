"""`/api/v1/cards`, `/card-top-ups`, `/auto-top-up`: money in by card. A card's number never comes near the API."""

from __future__ import annotations

import uuid
from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts.operations import STEPS, ApiCall, Resource, operation, read_uuid
from billing.api_money import Brl, Nanos, both, fields_in_brl
from billing.cards import auto_top_ups, payments
from billing.models import AutoTopUp, Card, CardPayment
from billing.money import BRL
from billing.wallets import wallet_of
from tokia.manners import ID_MAX, ApiError, Integer, PageQuery, Shape, page_of, page_shape

TAG = "Saldo e recargas"


# ── Cards ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class CardAnswer(Shape):
    id = serializers.IntegerField()
    brand = serializers.CharField(source="brand_name")
    last4 = serializers.CharField(help_text="O final do número.")
    exp_month = serializers.IntegerField()
    exp_year = serializers.IntegerField()
    is_default = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    example = {
        "id": 6, "brand": "Visa", "last4": "4242", "exp_month": 8, "exp_year": 2030, "is_default": True,
        "created_at": "2026-11-22T12:00:00Z",
    }  # fmt: skip


class CardsResource(Resource):
    @operation(
        "list_cards", scope="billing.read", tag=TAG, summary="Listar cartões salvos",
        text="Cartões são salvos e removidos no painel; o número fica só com a Stripe.",
        query=PageQuery, answer=page_shape(CardAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        return page_of(Card.objects.filter(status=Card.Status.ACTIVE), call.query)


# ── Top-ups by card ──────────────────────────────────────────────────────────────────────────────────────────────────
class CardTopUpBody(Shape):
    amount_brl = Brl(source="amount_nanos", help_text="Em reais, com até duas casas: `100.00`.")
    example = {"amount_brl": "100.00"}


class CardTopUpAnswer(Shape):
    id = serializers.UUIDField()
    how = serializers.ChoiceField(choices=CardPayment.How.choices)
    status = serializers.ChoiceField(choices=CardPayment.Status.choices, help_text="paid: já está no saldo.")
    amount_brl, amount_nanos = Brl(source="amount_nanos", help_text="O pedido."), Nanos()
    received_brl, received_nanos = Brl(source="received_nanos", help_text="O recebido, que é o creditado."), Nanos()
    page_url = serializers.CharField(help_text="Onde uma pessoa paga; vazio fora de pending.")
    paid_with = serializers.CharField(help_text="O cartão, como `Visa •••• 4242`.")
    failure = serializers.CharField(help_text="Por que foi recusada.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)
    example = {
        "id": "01935c5e-8a00-7000-8000-000000000005", "how": "checkout", "status": "pending", **both("amount", 100 * BRL),
        **both("received", 0), "page_url": "https://checkout.stripe.com/c/pay/cs_…", "paid_with": "", "failure": "",
        "created_at": "2026-11-22T12:00:00Z", "expires_at": "2026-11-22T13:00:00Z", "paid_at": None,
    }  # fmt: skip


class CardTopUpQuery(PageQuery):
    status = serializers.ChoiceField(required=False, choices=CardPayment.Status.choices)


class CardTopUpsResource(Resource):
    @operation(
        "list_card_top_ups", scope="billing.read", tag=TAG, summary="Listar recargas por cartão",
        text="Também as automáticas; da mais nova à mais antiga.", query=CardTopUpQuery, answer=page_shape(CardTopUpAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        found = CardPayment.objects.all()
        if "status" in call.query:
            found = found.filter(status=call.query["status"])
        page = page_of(found, call.query, kind=read_uuid)
        return page | {"data": [tell_payment(payment) for payment in page["data"]]}

    @operation(
        "create_card_top_up", scope="billing.top_up", tag=TAG, summary="Recarregar por cartão", status=201,
        text="Devolve o endereço da página da Stripe em que uma pessoa digita o cartão e paga. O saldo entra sozinho.",
        body=CardTopUpBody, answer=CardTopUpAnswer, creates=STEPS, problems=(502, 503),
    )  # fmt: skip
    def post(self, call: ApiCall) -> Any:
        wallet = wallet_of(call.organization)
        with fields_in_brl():
            return tell_payment(payments.open_checkout(wallet, amount_nanos=call.body["amount_nanos"], by=call.caller.user))


class CardTopUpResource(Resource):
    @operation(
        "get_card_top_up", scope="billing.read", tag=TAG, summary="Ver uma recarga por cartão", text="Para saber se já foi paga.",
        answer=CardTopUpAnswer, problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, card_top_up_id: uuid.UUID) -> Any:
        return tell_payment(get_object_or_404(CardPayment.objects, pk=card_top_up_id))


def tell_payment(payment: CardPayment) -> dict[str, Any]:
    names = [name for name in CardTopUpAnswer().fields if not name.endswith("_brl")]
    told = {name: getattr(payment, name) for name in names}
    return told | {"page_url": payment.page_url if payment.status == CardPayment.Status.PENDING else ""}


# ── Automatic top-ups ────────────────────────────────────────────────────────────────────────────────────────────────
class AutoTopUpBody(Shape):
    card_id = Integer(min_value=1, max_value=ID_MAX, help_text="Um cartão salvo.")
    threshold_brl = Brl(source="threshold_nanos", help_text="Quando o saldo ficar abaixo disto…")
    amount_brl = Brl(source="amount_nanos", help_text="…recarrega isto…")
    day_max_brl = Brl(source="day_max_nanos", help_text="…até isto por dia…")
    month_max_brl = Brl(source="month_max_nanos", help_text="…e isto por mês.")
    example = {"card_id": 6, "threshold_brl": "50.00", "amount_brl": "200.00", "day_max_brl": "1000.00", "month_max_brl": "5000.00"}


class AutoTopUpAnswer(Shape):
    is_on = serializers.BooleanField()
    card_id = serializers.IntegerField(allow_null=True)
    threshold_brl, threshold_nanos = Brl(source="threshold_nanos", allow_null=True), Nanos(allow_null=True)
    amount_brl, amount_nanos = Brl(source="amount_nanos", allow_null=True), Nanos(allow_null=True)
    day_max_brl, day_max_nanos = Brl(source="day_max_nanos", allow_null=True), Nanos(allow_null=True)
    month_max_brl, month_max_nanos = Brl(source="month_max_nanos", allow_null=True), Nanos(allow_null=True)
    failures = serializers.IntegerField(help_text="Falhas seguidas.")
    paused_reason = serializers.CharField(help_text="Por que a Tokia a desligou; vazio: foi uma pessoa, ou está ligada.")
    next_try_at = serializers.DateTimeField(allow_null=True)
    example = {
        "is_on": True, "card_id": 6, **both("threshold", 50 * BRL), **both("amount", 200 * BRL), **both("day_max", 1_000 * BRL),
        **both("month_max", 5_000 * BRL), "failures": 0, "paused_reason": "", "next_try_at": None,
    }  # fmt: skip


class AutoTopUpResource(Resource):
    @operation(
        "get_auto_top_up", scope="billing.read", tag=TAG, summary="Ver a recarga automática",
        text="Desligada e sem valores enquanto ninguém a configurou.", answer=AutoTopUpAnswer,
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        found = auto_top_ups.auto_top_up_of(wallet_of(call.organization))
        return found or AutoTopUp(wallet=wallet_of(call.organization))

    @operation(
        "set_auto_top_up", scope="billing.top_up", tag=TAG, summary="Ligar a recarga automática",
        text="Com estes valores e este cartão; falhas de antes são esquecidas. No máximo uma recarga por vez, dentro dos tetos.",
        body=AutoTopUpBody, answer=AutoTopUpAnswer,
    )  # fmt: skip
    def put(self, call: ApiCall) -> Any:
        amounts = {name: value for name, value in call.body.items() if name != "card_id"}
        card = Card.objects.filter(pk=call.body["card_id"], status=Card.Status.ACTIVE).first()
        if card is None:
            raise ApiError(400, "Escolha um cartão salvo.", code="unknown_card", param="card_id")
        with fields_in_brl():
            return auto_top_ups.set_up(wallet_of(call.organization), card=card, by=call.caller.actor, **amounts)

    @operation(
        "switch_off_auto_top_up", scope="billing.top_up", tag=TAG, summary="Desligar a recarga automática", status=204,
        text="Na hora. Um pagamento já enviado ao banco ainda conta. Desligar de novo não muda nada.",
    )  # fmt: skip
    def delete(self, call: ApiCall) -> None:
        auto_top_ups.switch_off(wallet_of(call.organization), by=call.caller.actor)
