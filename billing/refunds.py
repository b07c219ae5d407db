"""A top-up on its way back to where it came from: who may ask, until when, how much. The parent of both ways (PIX, card).

A customer returns what is unused of a top-up by one click within REFUND_SELF_DAYS; later a person of ours does. Promotional money,
adjustments and what calls hold never go back. The bank decides in its own time: what became of it is the Refund's status, and the
events `refund.done` and `refund.refused`.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.db.models import F, Q
from django.utils.translation import gettext, gettext_noop

from accounts import audit
from billing import ledger, refund_books
from billing.cards import refunds as card_refunds
from billing.errors import PspUnavailable
from billing.figures import tell_brl, tell_day
from billing.models import CardPayment, Lot, Refund, Wallet
from billing.money import CENTAVO, format_brl
from billing.pix import refunds as pix_refunds
from billing.refund_books import LIVE, RefundRefused
from tokia import clock

log = logging.getLogger("billing.refunds")

PIX, CARD = "pix", "card"
CUSTOMER_REASON = gettext_noop("Devolução pedida pelo cliente.")
ASK_PEOPLE = gettext_noop("Fale com o suporte: uma pessoa confere e devolve.")
LINES_MAX = 100
BATCH = 200
ASK_AFTER_SECONDS = 50  # the sweep runs each minute


@dataclass(frozen=True, slots=True)
class TopUpLine:
    """A top-up as its owner sees it: what is left, what may go back by one click, and why not where it may not."""

    lot: Lot
    origin: str  # PIX or CARD
    is_card: bool  # else by PIX, at the bank or through Stripe
    remaining_nanos: int  # neither used nor on its way back
    refundable_nanos: int  # of it, in whole centavos and not held by calls
    until_on: dt.date  # the last day of the one click, Brazil's
    refusal: str  # empty: one click is enough
    refunds: list[Refund]

    @property
    def is_under_way(self) -> bool:
        return any(refund.status in LIVE for refund in self.refunds)


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def refund_lot(
    lot: Lot, *, amount_nanos: int, by: str, reason: str = "", is_staff: bool = False, refund_id: uuid.UUID | None = None
) -> Refund:
    """Hold unused money of a top-up, then ask the bank (or Stripe) to return it to its origin.

    `refund_id` makes a repeated request the same one: two clicks are one refund. Staff may go beyond the customer's days and give
    their reason, which the payer reads. The bank's silence is no error: the sweep goes on. Raises RefundRefused.
    """
    payment = _payment_named(lot)
    refund_id = refund_id or uuid.uuid4()

    def check() -> None:
        refusal = "" if is_staff else _refusal(lot, but=Q(pk=refund_id))
        if refusal:
            raise RefundRefused(refusal)
        told = {"amount": format_brl(amount_nanos), "lot": lot.pk, "reason": reason}
        audit.act("refund_asked", organization=lot.wallet.organization, detail=told)

    refund = refund_books.open_refund(
        lot, refund_id=refund_id, amount_nanos=amount_nanos, by=by, reason=reason or ("" if is_staff else CUSTOMER_REASON),
        check=check, **payment,
    )  # fmt: skip
    return ask_again(refund) if refund.status == Refund.Status.HELD and refund.asked_at is None else refund


def ask_again(refund: Refund) -> Refund:
    """How a refund under way stands, asked now. Raises PspUnavailable (StripeUnavailable is one)."""
    is_card = refund.paid_by == CARD
    if refund.status == Refund.Status.HELD:
        return card_refunds.ask_refund(refund) if is_card else pix_refunds.ask_refund(refund)
    if refund.status == Refund.Status.PROCESSING:
        return card_refunds.read_refund(refund) if is_card else pix_refunds.read_refund(refund)
    return refund


def origin_of(lot: Lot) -> str:
    """Where a lot's money came from, and so goes back to; empty for what nobody paid."""
    if lot.kind != Lot.Kind.PAID or lot.entry.kind != lot.entry.Kind.TOP_UP:
        return ""
    return {"pix": PIX, "stripe": CARD}.get(lot.entry.reference.partition(":")[0], "")


def _payment_named(lot: Lot) -> dict[str, object]:
    """What names the payment in the Refund's row. Raises RefundRefused for money that its origin takes no more."""
    origin = origin_of(lot)
    if not origin:
        raise RefundRefused(gettext("Só o que sobrou de uma recarga pode ser devolvido. Bônus e ajustes não voltam."))
    if origin == PIX:
        if _is_over(lot):
            raise RefundRefused(gettext("O PIX só pode ser devolvido em até 90 dias."))
        return {"end_to_end_id": pix_refunds.end_to_end_id_of(lot)}
    payment = card_refunds.payment_of(lot)
    if payment is None:
        raise RefundRefused(_and_ask(gettext("Não encontramos o pagamento desta recarga.")))
    if card_refunds.is_disputed(payment):
        raise RefundRefused(gettext("O titular do cartão contestou esta compra: ela não pode ser devolvida por aqui."))
    return {"card_payment": payment}


def _is_over(lot: Lot) -> bool:
    return origin_of(lot) == PIX and clock.now() - lot.created_at > pix_refunds.WINDOW


def sweep_refunds() -> int:
    """Ask again for refunds that nobody acknowledged, and how the others stand; each way stops at its first silence. Returns how
    many were asked."""
    silent = Q(asked_at=None) | Q(asked_at__lte=clock.now() - dt.timedelta(seconds=ASK_AFTER_SECONDS))
    asked = 0
    for by_card in (False, True):
        due = Refund.objects.filter(silent, status__in=LIVE, card_payment__isnull=not by_card)
        for refund in due.order_by(F("asked_at").asc(nulls_first=True))[:BATCH]:
            try:
                ask_again(refund)
                asked += 1
            except PspUnavailable as silence:
                log.warning("no answer about a refund", extra={"refund": str(refund.pk), "detail": str(silence)})
                break
    return asked


# ── Until when ───────────────────────────────────────────────────────────────────────────────────────────────────────
def last_day_of(lot: Lot) -> dt.date:
    """The last whole day, in Brazil, on which its owner may return it by one click; the day of the top-up does not count."""
    return lot.created_at.astimezone(clock.SAO_PAULO).date() + dt.timedelta(days=settings.REFUND_SELF_DAYS)


def refundable_nanos(lot: Lot) -> int:
    """What may go back of a lot, by whoever asks, in whole centavos; 0 where it can't."""
    try:
        _payment_named(lot)
    except RefundRefused:
        return 0
    return refund_books.left_of(lot)


def _refusal(lot: Lot, *, but: Q | None = None) -> str:
    """Why its owner can't return a lot by one click; empty where it can. Read under the wallet's lock before money is held."""
    if clock.today_in_brazil() > last_day_of(lot):
        over = gettext("O prazo de {count} dias terminou em {date}.")
        return _and_ask(over.format(count=settings.REFUND_SELF_DAYS, date=tell_day(last_day_of(lot))))
    try:
        _payment_named(lot)
    except RefundRefused as refused:
        return refused.message
    wallet = Wallet.everywhere.select_related("organization").get(pk=lot.wallet_id)
    if wallet.organization.is_suspended:
        return _and_ask(gettext("A conta está suspensa."))
    if wallet.overdraft_nanos:
        return _and_ask(gettext("Há um valor em aberto na conta."))
    live = Refund.objects.filter(lot=lot, status__in=LIVE)
    if (live.exclude(but) if but else live).exists():
        return gettext("Já há uma devolução desta recarga a caminho. Espere que ela termine.")
    return ""


def _and_ask(sentence: str) -> str:
    return f"{sentence} {gettext(ASK_PEOPLE)}"


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def top_ups_of(wallet: Wallet, *, limit: int = LINES_MAX) -> list[TopUpLine]:
    """The wallet's newest top-ups with what is left of each, and their refunds."""
    lots = Lot.everywhere.filter(wallet=wallet, kind=Lot.Kind.PAID, entry__kind="top_up")
    lots = lots.select_related("entry", "wallet__organization").prefetch_related("refunds").order_by("-id")[:limit]
    return [_line(lot, remaining=remaining) for lot, remaining in _with_remaining(wallet, lots)]


def top_up_of(lot: Lot) -> TopUpLine:
    return _line(lot, remaining=ledger.lot_remaining(lot))


def _with_remaining(wallet: Wallet, lots: Iterable[Lot]) -> list[tuple[Lot, int]]:
    remaining = dict(ledger.call_table("SELECT lot_id, remaining FROM billing_lots(%s)", wallet.pk))
    return [(lot, int(remaining.get(lot.pk, 0))) for lot in lots]


def _line(lot: Lot, *, remaining: int) -> TopUpLine:
    origin = origin_of(lot)
    free = min(remaining, lot.wallet.available_nanos)
    refundable = 0 if not origin or _is_over(lot) else max(free - free % CENTAVO, 0)
    newest_first = sorted(lot.refunds.all(), key=lambda refund: refund.created_at, reverse=True)
    payment = card_refunds.payment_of(lot) if origin == CARD else None
    return TopUpLine(
        lot=lot, origin=origin, is_card=payment is not None and payment.how != CardPayment.How.PIX, remaining_nanos=remaining,
        refundable_nanos=refundable, until_on=last_day_of(lot), refusal=_refusal(lot) if refundable else "", refunds=newest_first,
    )  # fmt: skip


def tell_refund(refund: Refund) -> str:
    """What the person who asked reads."""
    amount = tell_brl(refund.amount_nanos)
    shape = {
        Refund.Status.HELD: gettext("Devolução de {amount} pedida. O banco ainda não respondeu; perguntamos de novo sozinhos."),
        Refund.Status.PROCESSING: gettext("Devolução de {amount} pedida. O andamento aparece aqui."),
        Refund.Status.DONE: gettext("{amount} devolvidos à origem."),
        Refund.Status.REFUSED: gettext("O banco não fez a devolução de {amount}. O valor voltou ao seu saldo."),
    }[Refund.Status(refund.status)]
    return shape.format(amount=amount)
