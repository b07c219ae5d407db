"""The row of an automatic top-up: what people set, how far its caps are, and how it ends. Who pays when is `automatic`.

| state | is_on | next_try_at |
|---|---|---|
| on | yes | empty, or past |
| waiting after a failure | yes | later: 15 minutes, then 1 hour, then 6 hours |
| off by a person | no | empty |
| switched off by us, `paused_reason` says why | no | empty |
"""

from __future__ import annotations

import datetime as dt

from django.core import signing
from django.db import transaction
from django.db.models import Sum
from django.urls import reverse
from django.utils.translation import gettext, gettext_noop

from accounts import audit
from billing import events
from billing.cards.declines import AUTHENTICATION, FOR_GOOD
from billing.cards.errors import AutoTopUpRefused, CardRefused
from billing.figures import tell_brl
from billing.kept_texts import OFF_AFTER, OFF_AT_ONCE
from billing.models import AutoTopUp, Card, CardPayment, Wallet
from billing.money import CENTAVO, to_brl
from billing.top_ups import bounds_of
from tokia import clock

IN_FLIGHT = (CardPayment.Status.OPENING, CardPayment.Status.PENDING)
RETRY_SECONDS = (900, 3_600, 21_600)
OFF_SALT = "billing.auto_top_up.off"
OFF_LINK_DAYS = 90
DEFAULTS = {"threshold": 50, "amount": 200, "day_max": 1_000, "month_max": 5_000}  # reais, as the form suggests


# ── What people set ──────────────────────────────────────────────────────────────────────────────────────────────────
def auto_top_up_of(wallet: Wallet) -> AutoTopUp | None:
    return AutoTopUp.everywhere.select_related("card", "wallet__organization").filter(wallet=wallet).first()


def set_up(
    wallet: Wallet, *, card: Card, threshold_nanos: int, amount_nanos: int, day_max_nanos: int, month_max_nanos: int, by: str
) -> AutoTopUp:
    """Switch it on with these amounts; earlier failures are forgotten. Raises AutoTopUpRefused, CardRefused."""
    _check(
        wallet,
        threshold_nanos=threshold_nanos,
        amount_nanos=amount_nanos,
        day_max_nanos=day_max_nanos,
        month_max_nanos=month_max_nanos,
    )
    if card.organization_id != wallet.organization_id or card.status != Card.Status.ACTIVE:
        raise CardRefused(gettext("Escolha um cartão salvo."))
    auto, _ = AutoTopUp.everywhere.update_or_create(
        wallet=wallet,
        defaults={
            "is_on": True, "card": card, "threshold_nanos": threshold_nanos, "amount_nanos": amount_nanos,
            "day_max_nanos": day_max_nanos, "month_max_nanos": month_max_nanos, "failures": 0, "paused_reason": "",
            "next_try_at": None, "changed_by": by[:150],
        },
    )  # fmt: skip
    told = {"use": gettext_noop("ligada"), "amount": _reais(amount_nanos)}
    audit.act("auto_top_up_changed", organization=wallet.organization, detail=told)
    return auto


def _check(wallet: Wallet, *, threshold_nanos: int, amount_nanos: int, day_max_nanos: int, month_max_nanos: int) -> None:
    bounds = bounds_of(wallet.organization)
    if any(nanos % CENTAVO for nanos in (threshold_nanos, amount_nanos, day_max_nanos, month_max_nanos)):
        raise AutoTopUpRefused(gettext("Os valores têm no máximo duas casas decimais."), param="amount")
    if not bounds.min_nanos <= amount_nanos <= bounds.max_nanos:
        refusal = gettext("De {least} a {most} por recarga.")
        least, most = tell_brl(bounds.min_nanos), tell_brl(bounds.max_nanos)
        raise AutoTopUpRefused(refusal.format(least=least, most=most), param="amount")
    if threshold_nanos <= 0:
        raise AutoTopUpRefused(gettext("O saldo que dispara a recarga precisa ser maior que zero."), param="threshold")
    if day_max_nanos < amount_nanos:
        raise AutoTopUpRefused(gettext("O máximo por dia não pode ser menor que uma recarga."), param="day_max")
    if month_max_nanos < day_max_nanos:
        raise AutoTopUpRefused(gettext("O máximo por mês não pode ser menor que o máximo por dia."), param="month_max")


def switch_off(wallet: Wallet, *, by: str, reason: str = "") -> bool:
    """Off at once; a payment already sent to the bank still counts. `reason`: why we did it, for the customer; empty for a
    person's own wish. False where it was off."""
    with transaction.atomic():
        auto = (
            AutoTopUp.everywhere.select_for_update(of=("self",))
            .select_related("wallet__organization")
            .filter(wallet=wallet)
            .first()
        )
        if auto is None or not auto.is_on:
            return False
        _off(auto, by=by, reason=reason)
    return True


def _off(auto: AutoTopUp, *, by: str, reason: str) -> None:
    auto.is_on, auto.next_try_at, auto.paused_reason, auto.changed_by = False, None, reason[:200], by[:150]
    auto.save()
    told = {"use": gettext_noop("desligada"), "why": reason}
    audit.act("auto_top_up_changed", organization=auto.wallet.organization, detail=told)
    if reason:
        events.tell(
            auto.wallet.organization, "auto_top_up.off", reference=f"auto_top_up.off:{auto.pk}:{clock.new_id()}",
            payload={"amount": _reais(auto.amount_nanos), "reason": reason},
        )  # fmt: skip


# ── By one click, from a mail ────────────────────────────────────────────────────────────────────────────────────────
def off_path(wallet_id: int) -> str:
    """A page of one button, for whoever holds the link."""
    return reverse("auto_top_up_off", args=[signing.dumps(wallet_id, salt=OFF_SALT)])


def wallet_of_link(token: str) -> Wallet | None:
    """None for a link that is not ours, or older than OFF_LINK_DAYS."""
    try:
        wallet_id = signing.loads(token, salt=OFF_SALT, max_age=dt.timedelta(days=OFF_LINK_DAYS))
    except signing.BadSignature:
        return None
    return Wallet.everywhere.select_related("organization").filter(pk=wallet_id).first()


# ── Caps ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def spent_since(wallet_id: int, first_on: dt.date) -> int:
    """What automatic top-ups took, or may be taking, since the start of a day in Brazil, in nanos."""
    since = dt.datetime.combine(first_on, dt.time(), clock.SAO_PAULO)
    taken = CardPayment.everywhere.filter(
        wallet_id=wallet_id, how=CardPayment.How.AUTO, created_at__gte=since, status__in=(*IN_FLIGHT, CardPayment.Status.PAID)
    )
    return int(taken.aggregate(total=Sum("amount_nanos"))["total"] or 0)


def cap_reached(auto: AutoTopUp) -> str:
    """ "day" or "month" where another top-up would pass the cap; empty where it fits."""
    today = clock.today_in_brazil()
    if spent_since(auto.wallet_id, today) + auto.amount_nanos > auto.day_max_nanos:
        return "day"
    if spent_since(auto.wallet_id, today.replace(day=1)) + auto.amount_nanos > auto.month_max_nanos:
        return "month"
    return ""


def tell_cap(auto: AutoTopUp, cap: str) -> None:
    """Once a day, or once a month."""
    today = clock.today_in_brazil()
    since, most = (today, auto.day_max_nanos) if cap == "day" else (today.replace(day=1), auto.month_max_nanos)
    events.tell(
        auto.wallet.organization, "auto_top_up.capped", reference=f"auto_top_up.capped:{auto.pk}:{cap}:{since}",
        payload={"amount": _reais(auto.amount_nanos), "cap": cap, "limit": _reais(most)},
    )  # fmt: skip


# ── How a payment ended ──────────────────────────────────────────────────────────────────────────────────────────────
def note_success(payment: CardPayment) -> None:
    """In the transaction that credits the payment."""
    auto = AutoTopUp.everywhere.select_for_update(of=("self",)).filter(wallet_id=payment.wallet_id).first()
    if auto is not None:
        auto.failures, auto.next_try_at = 0, None
        auto.save(update_fields=["failures", "next_try_at"])
    events.tell(
        payment.wallet.organization, "auto_top_up.done", reference=f"auto_top_up.done:{payment.id}",
        payload={"amount": _reais(payment.received_nanos), "card": payment.paid_with, "off_path": off_path(payment.wallet_id)},
    )  # fmt: skip


def note_failure(payment: CardPayment, *, failures_max: int) -> None:
    """In the transaction that fails the payment: wait longer each time, and give up after `failures_max`, or at once for a card
    that will never do. A bank that wants to see the person is told with a link to its page."""
    auto = (
        AutoTopUp.everywhere.select_for_update(of=("self",))
        .select_related("wallet__organization")
        .filter(wallet_id=payment.wallet_id)
    ).first()
    if auto is None:
        return
    auto.failures += 1
    pause = RETRY_SECONDS[min(auto.failures, len(RETRY_SECONDS)) - 1]
    auto.next_try_at = clock.now() + dt.timedelta(seconds=pause)
    auto.save(update_fields=["failures", "next_try_at"])
    needs_person = payment.decline_code == AUTHENTICATION
    events.tell(
        auto.wallet.organization, "auto_top_up.failed", reference=f"auto_top_up.failed:{payment.id}",
        payload={
            "amount": _reais(payment.amount_nanos), "reason": payment.failure, "decline_code": payment.decline_code,
            **({"confirm_path": reverse("card_payment", args=[payment.id])} if needs_person else {}),
        },
    )  # fmt: skip
    if auto.is_on and (auto.failures >= failures_max or payment.decline_code in FOR_GOOD):
        shape = OFF_AFTER if auto.failures > 1 else OFF_AT_ONCE
        _off(auto, by="billing", reason=shape.format(count=auto.failures, reason=payment.failure))


def _reais(nanos: int) -> str:
    return f"{to_brl(nanos):.2f}"
