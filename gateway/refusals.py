"""Why money refuses a call, with the numbers: the wallet has too little, or a budget. Pure."""

from __future__ import annotations

import datetime as dt

import msgspec

from billing.money import format_fine_brl
from billing.windows import Cover, name_of, renews_on, tell_refusal, window_start
from gateway.errors import BudgetExceeded, InsufficientBalance
from gateway.pricetag import decimal_brl
from tokia import clock


def insufficient(needed: int, available: int, *, is_chat: bool = True) -> InsufficientBalance:
    most, left = format_fine_brl(needed, is_up=True), format_fine_brl(available)
    cure, english = (" ou diminua 'max_tokens'", " or lower 'max_tokens'") if is_chat else ("", "")
    return InsufficientBalance(
        f"Saldo insuficiente: esta chamada pode custar até {most} e há {left} disponíveis. Recarregue por PIX{cure}.",
        f"Insufficient balance: this call may cost up to {most} and {left} is available. Top up{english}.",
    )


def over_budget(cover: Cover, *, needed: int, left: int) -> BudgetExceeded:
    """For people and, as `error.budget`, for programs; amounts are in reais there."""
    at = clock.now()
    error = BudgetExceeded(*tell_refusal(cover, needed_nanos=needed, left_nanos=left, at=at))
    renews = dt.datetime.combine(renews_on(cover.window, window_start(cover.window, at)), dt.time(), clock.SAO_PAULO)
    told = {
        "id": cover.id, "scope": cover.scope, "name": name_of(cover) or None, "window": cover.window,
        "limit": msgspec.Raw(decimal_brl(cover.limit_nanos)), "left": msgspec.Raw(decimal_brl(left)),
        "needed": msgspec.Raw(decimal_brl(needed)), "currency": "BRL", "renews_at": renews.isoformat(),
    }  # fmt: skip
    error.budget_raw = msgspec.json.encode(told)
    return error
