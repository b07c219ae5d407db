"""`/api/v1/wallet`, `/statement`, `/top-ups`, `/refunds`: money in, money there, money back."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts.operations import STEPS, ApiCall, Resource, operation, read_uuid
from billing import statements
from billing.api_days import DaysQuery, read_days
from billing.api_money import Brl, Nanos, both, fields_in_brl
from billing.charge_states import state_of
from billing.models import Charge, LedgerEntry, Refund
from billing.money import BRL
from billing.pix import charges
from billing.statements import StatementRow
from billing.wallets import wallet_of
from tokia.manners import ApiError, PageQuery, Shape, page_of, page_shape, read_cursor, row_id, write_cursor

TAG = "Saldo e recargas"


# ── Wallet ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class MonthShape(Shape):
    first_on = serializers.DateField(help_text="O primeiro dia do mês.")
    gross_brl, gross_nanos = Brl(source="gross_nanos", help_text="Antes do desconto por volume."), Nanos()
    net_brl, net_nanos = Brl(source="net_nanos", help_text="O que o uso custou."), Nanos()
    calls = serializers.IntegerField()
    discount_bps = serializers.IntegerField(help_text="O desconto da próxima chamada, em centésimos de %.")
    next_discount_bps = serializers.IntegerField(allow_null=True, help_text="O da próxima faixa; null na última.")
    to_next_brl, to_next_nanos = Brl(source="to_next_nanos", help_text="Quanto falta de bruto para ela."), Nanos()


class WalletAnswer(Shape):
    available_brl, available_nanos = Brl(source="available_nanos", help_text="O que se pode gastar agora."), Nanos()
    posted_brl, posted_nanos = Brl(source="posted_nanos", help_text="O saldo, com o que está reservado."), Nanos()
    held_brl, held_nanos = Brl(source="held_nanos", help_text="Reservado por chamadas em andamento e devoluções."), Nanos()
    promo_brl, promo_nanos = Brl(source="promo_nanos", help_text="Do saldo, o que é bônus."), Nanos()
    overdraft_brl, overdraft_nanos = Brl(source="overdraft_nanos", help_text="Devido, descontado da próxima recarga."), Nanos()
    month = MonthShape(help_text="O mês fiscal até agora.")
    example = {
        **both("available", 72_345_678_901), **both("posted", 73_345_678_901), **both("held", BRL), **both("promo", 0),
        **both("overdraft", 0),
        "month": {
            "first_on": "2026-11-01", **both("gross", 520 * BRL), **both("net", 519 * BRL), "calls": 48_213, "discount_bps": 500,
            "next_discount_bps": 800, **both("to_next", 1_480 * BRL),
        },
    }  # fmt: skip


class WalletResource(Resource):
    @operation(
        "get_wallet", scope="billing.read", tag=TAG, summary="Ver o saldo",
        text="O saldo deste instante, e o mês no plano de desconto por volume.", answer=WalletAnswer,
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        month = statements.month_to_date()
        return asdict(statements.balance()) | {
            "month": {
                "first_on": month.month.first_on, "gross_nanos": month.gross_nanos, "net_nanos": month.net_nanos,
                "calls": month.calls, "discount_bps": month.tier.discount_bps if month.tier else 0,
                "next_discount_bps": month.next_tier.discount_bps if month.next_tier else None,
                "to_next_nanos": month.to_next_nanos,
            }
        }  # fmt: skip


# ── Statement ────────────────────────────────────────────────────────────────────────────────────────────────────────
class StatementQuery(DaysQuery, PageQuery):
    kind = serializers.ChoiceField(required=False, choices=LedgerEntry.Kind.choices, help_text="Só lançamentos deste tipo.")


class StatementRowShape(Shape):
    on = serializers.DateField()
    at = serializers.DateTimeField(allow_null=True, help_text="null: o uso de um dia inteiro.")
    kind = serializers.ChoiceField(choices=LedgerEntry.Kind.choices)
    description = serializers.CharField()
    in_brl, in_nanos = Brl(source="in_nanos"), Nanos()
    out_brl, out_nanos = Brl(source="out_nanos"), Nanos()
    balance_brl, balance_nanos = Brl(source="balance_nanos", help_text="O saldo depois."), Nanos()
    entry_id = serializers.IntegerField(allow_null=True)
    reference = serializers.CharField(help_text="O fato lançado, como `pix:` e o E2E.")
    reason = serializers.CharField()
    calls = serializers.IntegerField(help_text="Do uso de um dia.")


class StatementAnswer(Shape):
    first_on = serializers.DateField()
    last_on = serializers.DateField()
    opening_brl, opening_nanos = Brl(source="opening_nanos", help_text="O saldo no começo do período."), Nanos()
    in_brl, in_nanos = Brl(source="in_nanos", help_text="Tudo que entrou nele."), Nanos()
    out_brl, out_nanos = Brl(source="out_nanos", help_text="Tudo que saiu."), Nanos()
    closing_brl, closing_nanos = Brl(source="closing_nanos", help_text="O saldo no fim."), Nanos()
    data = StatementRowShape(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Para a próxima página; null na última.")
    example = {
        "first_on": "2026-11-01", "last_on": "2026-11-22", **both("opening", 0), **both("in", 100 * BRL),
        **both("out", 27_654_321_099), **both("closing", 72_345_678_901), "next_cursor": None,
        "data": [
            {
                "on": "2026-11-22", "at": "2026-11-22T12:00:00Z", "kind": "top_up", "description": "Recarga PIX",
                **both("in", 100 * BRL), **both("out", 0), **both("balance", 100 * BRL), "entry_id": 41,
                "reference": "pix:E00000000202611221200aBcDeFgHiJk", "reason": "", "calls": 0,
            },
            {
                "on": "2026-11-22", "at": None, "kind": "usage", "description": "Uso de 22/11 — 931 requisições", **both("in", 0),
                **both("out", 27_654_321_099), **both("balance", 72_345_678_901), "entry_id": None, "reference": "", "reason": "",
                "calls": 931,
            },
        ],
    }  # fmt: skip


class StatementResource(Resource):
    @operation(
        "get_statement", scope="billing.read", tag=TAG, summary="Extrato",
        text="Do mais antigo ao mais novo; o uso, uma linha por dia. Abertura, entradas, saídas e fechamento são do período"
        " inteiro: abertura + entradas − saídas = fechamento.",
        query=StatementQuery, answer=StatementAnswer,
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        first_on, last_on = read_days(call.query)
        kinds = [call.query["kind"]] if "kind" in call.query else []
        told = statements.statement(first_on=first_on, last_on=last_on, kinds=kinds)
        places = _places(told.rows)
        start = _start(places, call.query.get("cursor"))
        end = start + call.query["limit"]
        return {
            "first_on": first_on, "last_on": last_on, "opening_nanos": told.opening_nanos, "in_nanos": told.in_nanos,
            "out_nanos": told.out_nanos, "closing_nanos": told.closing_nanos, "data": told.rows[start:end],
            "next_cursor": write_cursor(places[end - 1]) if end < len(told.rows) else None,
        }  # fmt: skip


def _places(rows: list[StatementRow]) -> list[tuple[str, int, int]]:
    """What names each row for good: its day, its entry (0: the day's usage), and which of the entry's rows it is."""
    places: list[tuple[str, int, int]] = []
    for row in rows:
        on, entry = row.on.isoformat(), row.entry_id or 0
        again = places[-1][2] + 1 if places and places[-1][:2] == (on, entry) else 0
        places.append((on, entry, again))
    return places


def _start(places: list[tuple[str, int, int]], cursor: str | None) -> int:
    if not cursor:
        return 0
    place = tuple(read_cursor(cursor, str, row_id, row_id))
    if place not in places:
        raise ApiError(400, "Este cursor é de outro período.", code="invalid_cursor", param="cursor")
    return places.index(place) + 1


# ── Top-ups ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class TopUpBody(Shape):
    amount_brl = Brl(source="amount_nanos", help_text="Em reais, com até duas casas: `100.00`.")
    example = {"amount_brl": "100.00"}


class PaymentShape(Shape):
    end_to_end_id = serializers.CharField()
    amount_brl, amount_nanos = Brl(source="amount_nanos"), Nanos()
    paid_at = serializers.DateTimeField()


class TopUpAnswer(Shape):
    id = serializers.UUIDField()
    status = serializers.ChoiceField(
        choices=Charge.Status.choices, help_text="opening: peça de novo; pending: aguarda o pagamento; paid: já está no saldo."
    )
    amount_brl, amount_nanos = Brl(source="amount_nanos", help_text="O pedido."), Nanos()
    received_brl, received_nanos = Brl(source="received_nanos", help_text="O pago, que é o creditado."), Nanos()
    brcode = serializers.CharField(help_text="O PIX copia e cola; vazio fora de pending.")
    payments = PaymentShape(many=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)
    sandbox_pay_url = serializers.CharField(allow_null=True, help_text="Só no sandbox: um POST aqui paga.")
    example = {
        "id": "01935c5e-8a00-7000-8000-000000000001", "status": "pending", **both("amount", 100 * BRL), **both("received", 0),
        "brcode": "00020126580014br.gov.bcb.pix…6304ABCD", "payments": [], "created_at": "2026-11-22T12:00:00Z",
        "expires_at": "2026-11-22T12:30:00Z", "paid_at": None, "sandbox_pay_url": None,
    }  # fmt: skip


class TopUpQuery(PageQuery):
    status = serializers.ChoiceField(required=False, choices=Charge.Status.choices)


class TopUpsResource(Resource):
    @operation(
        "list_top_ups", scope="billing.read", tag=TAG, summary="Listar recargas por PIX", text="Da mais nova à mais antiga.",
        query=TopUpQuery, answer=page_shape(TopUpAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        found = Charge.objects.all()
        if "status" in call.query:
            found = found.filter(status=call.query["status"])
        page = page_of(found, call.query, kind=read_uuid)
        return page | {"data": [tell_charge(charge) for charge in page["data"]]}

    @operation(
        "create_top_up", scope="billing.top_up", tag=TAG, summary="Recarregar por PIX", status=201,
        text="Gera a cobrança e devolve o copia e cola. O mesmo valor, enquanto aguarda pagamento, é a mesma cobrança. O saldo"
        " entra sozinho em segundos, sempre no valor pago.",
        body=TopUpBody, answer=TopUpAnswer, creates=STEPS, problems=(502, 503),
    )  # fmt: skip
    def post(self, call: ApiCall) -> Any:
        wallet = wallet_of(call.organization)
        with fields_in_brl():
            return tell_charge(charges.open_charge(wallet, amount_nanos=call.body["amount_nanos"], by=call.caller.user))


class TopUpResource(Resource):
    @operation(
        "get_top_up", scope="billing.read", tag=TAG, summary="Ver uma recarga por PIX", text="Para saber se já foi paga.",
        answer=TopUpAnswer, problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, top_up_id: uuid.UUID) -> Any:
        return tell_charge(get_object_or_404(Charge.objects, pk=top_up_id))


# What pages tell apart and programs need not: a rumour of a payment is none yet, and what went back afterwards was paid.
_STATUSES = {
    "awaiting": Charge.Status.PENDING, "confirming": Charge.Status.PENDING, "under_review": Charge.Status.PENDING,
    "other_amount": Charge.Status.PAID, "twice": Charge.Status.PAID, "returned": Charge.Status.PAID,
}  # fmt: skip


def tell_charge(charge: Charge) -> dict[str, Any]:
    """A charge as of now: one past its time is told expired before the sweep says so."""
    state = state_of(charge)
    status = _STATUSES.get(state.name)
    awaits = state.name == "awaiting"
    return {
        "id": charge.pk, "status": status or state.name, "amount_nanos": charge.amount_nanos,
        "received_nanos": charge.received_nanos, "brcode": charge.brcode if awaits else "", "payments": state.payments,
        "created_at": charge.created_at, "expires_at": charge.expires_at, "paid_at": charge.paid_at,
        "sandbox_pay_url": f"{settings.SANDBOX_URL}/bank/pay/{charge.txid}" if settings.SANDBOX_URL and awaits else None,
    }  # fmt: skip


# ── Refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class RefundAnswer(Shape):
    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Refund.Status.choices)
    amount_brl, amount_nanos = Brl(source="amount_nanos"), Nanos()
    entry_reference = serializers.CharField(source="lot.entry.reference", help_text="A recarga de onde saiu, como no extrato.")
    reason = serializers.CharField()
    bank_reason = serializers.CharField(help_text="O que o banco disse, se recusou.")
    created_at = serializers.DateTimeField()
    done_at = serializers.DateTimeField(allow_null=True)
    example = {
        "id": "01935c5e-8a00-7000-8000-000000000002", "status": "done", **both("amount", 40 * BRL),
        "entry_reference": "pix:E00000000202611221200aBcDeFgHiJk", "reason": "Devolução pedida pelo cliente.", "bank_reason": "",
        "created_at": "2026-11-22T12:00:00Z", "done_at": "2026-11-22T12:01:00Z",
    }  # fmt: skip


class RefundsResource(Resource):
    @operation(
        "list_refunds", scope="billing.read", tag=TAG, summary="Listar devoluções",
        text="O que voltou, ou está voltando, de recargas à sua origem; da mais nova à mais antiga.",
        query=PageQuery, answer=page_shape(RefundAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        ours = Refund.objects.filter(lot__wallet__organization=call.organization).select_related("lot__entry")
        return page_by_time(ours, call.query)


def page_by_time(rows: Any, query: dict[str, Any]) -> dict[str, Any]:
    """One page of rows whose ids don't sort by time, newest first."""
    rows = rows.order_by("-created_at", "-pk")
    if query.get("cursor"):
        at, last = read_cursor(query["cursor"], serializers.DateTimeField().to_internal_value, read_uuid)
        rows = rows.filter(created_at__lte=at).exclude(created_at=at, pk__gte=last)
    found = list(rows[: query["limit"] + 1])
    page = found[: query["limit"]]
    more = len(found) > len(page)
    cursor = write_cursor([page[-1].created_at.isoformat(), str(page[-1].pk)]) if more else None
    return {"data": page, "next_cursor": cursor}
