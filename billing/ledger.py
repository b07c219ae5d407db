"""Top-ups, grants, corrections, reversals and refunds: the only writers of money that is not usage.

Bookkeeping. A book is an address; a posting moves a positive amount from a source to another book, so an entry balances by
construction. With W the wallet's id:

| event | postings |
|---|---|
| top-up of A | `world:pix` or `world:stripe` → `wallet:W` A; and, where W owes, `wallet:W` → `overdraft:W` min(A, owed) |
| grant of A | `promo:grants` → `wallet:W` A; and what W owes, as above |
| usage of a batch, net N | `wallet:W` → `revenue:usage` what W had; `overdraft:W` → `revenue:usage` the rest |
| refund of A | `wallet:W` → the top-up's world A, out of the hold |
| dispute of A (MED, chargeback) | `wallet:W` → the top-up's world what is there and not held; `overdraft:W` → the rest |
| dispute of A that we won | the top-up's world → `wallet:W` A, as a lot; and what W owes, as above |
| promotional money expires | `wallet:W` → `promo:expired` |
| correction | `corrections` → `wallet:W`, or `wallet:W` → `corrections` |
| reversal | the mirror of the entry; of a top-up whose money is spent: `overdraft:W` → its world the part not there |

So at every instant posted = Σ in − Σ out of `wallet:W`, and overdraft (what the customer owes us) = Σ out − Σ in of
`overdraft:W`. All money that comes in goes through the wallet, so the amount from a world is the amount received, the lot of a
top-up has that amount too, and what it paid of an overdraft counts as used. A dispute takes first what is left of the lot that it
disputes, then other paid money, then promotional money; what calls hold stays held, and is owed. A top-up may be disputed in parts,
any number of times.

Lots: what came in at once, paid or promo. Usage takes promo first, then paid, by the wallet's two counters of use; a lot's
remaining follows from them in id order. Posted = Σ (amount − withdrawn) of the lots − both counters.

Idempotency: the reference comes from the business fact (`pix:<endToEndId>`). The same reference with the same amount is the same
entry; with another it raises ReferenceReused, an alarm.
Lock order, for every money path: gateway session, wallets in id order, the rest. The functions do it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.db import DatabaseError, OperationalError, connection

from billing.errors import LedgerUnavailable, NotReversible, translate
from billing.models import LedgerEntry, Lot, Posting, Wallet

WORLD_PIX = "world:pix"
WORLD_STRIPE = "world:stripe"
PROMO_GRANTS = "promo:grants"
CORRECTIONS = "corrections"
REVENUE_USAGE = "revenue:usage"
_REVERSIBLE = (LedgerEntry.Kind.TOP_UP, LedgerEntry.Kind.GRANT, LedgerEntry.Kind.CORRECTION)


def call_function(name: str, *args: Any) -> Any:
    """The scalar answer of one of the ledger's SQL functions. Raises the BillingErrors of `billing.errors`."""
    rows = call_table(f"SELECT {name}({', '.join(['%s'] * len(args))})", *args)
    return rows[0][0]


def call_table(query: str, *args: Any) -> list[tuple[Any, ...]]:
    """The rows of a query on the ledger's functions. Raises the BillingErrors of `billing.errors`.

    LedgerUnavailable: no answer; where it was a commit, its outcome is unknown, and the same call may be made again.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, args)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    except DatabaseError as error:
        if (ours := translate(error)) is not None:
            raise ours from error
        if isinstance(error, OperationalError):
            raise LedgerUnavailable("O livro de saldos não respondeu. Tente de novo em instantes.") from error
        raise


def post_entry(
    *,
    kind: LedgerEntry.Kind,
    reference: str,
    wallet: Wallet,
    amount_nanos: int,
    book: str,
    lot_kind: Lot.Kind | None = None,
    expires_at: dt.datetime | None = None,
    reason: str = "",
    actor: str = "",
    reverses: LedgerEntry | None = None,
) -> LedgerEntry:
    """Book `amount_nanos` from `book` into the wallet (> 0, as a lot, paid unless said otherwise) or out of it (< 0).

    The same reference again is the same entry. Money that comes in pays the overdraft first. Raises ReferenceReused,
    InsufficientBalance (more should leave than is available), UnknownWallet, NotReversible.
    """
    entry_id = call_function(
        "billing_post_entry", kind.value, reference, wallet.pk, amount_nanos, book, lot_kind.value if lot_kind else None,
        expires_at, reason, actor, reverses.pk if reverses else None,
    )  # fmt: skip
    return LedgerEntry.objects.get(pk=entry_id)


def grant(
    wallet: Wallet, *, amount_nanos: int, reference: str, actor: str, reason: str = "", expires_at: dt.datetime | None = None
) -> LedgerEntry:
    """Give promotional money, used before paid money, never refunded. It expires, but never before an older grant's rest."""
    return post_entry(
        kind=LedgerEntry.Kind.GRANT, reference=reference, wallet=wallet, amount_nanos=amount_nanos, book=PROMO_GRANTS,
        lot_kind=Lot.Kind.PROMO, expires_at=expires_at, reason=reason, actor=actor,
    )  # fmt: skip


def correct(
    wallet: Wallet, *, amount_nanos: int, reason: str, actor: str, reference: str = "", lot_kind: Lot.Kind | None = None
) -> LedgerEntry:
    """A person credits (> 0) or debits (< 0) a wallet, with a reason. Without a reference, each call is an entry of its own."""
    if not reason.strip():
        raise ValueError("A correction needs a reason.")
    return post_entry(
        kind=LedgerEntry.Kind.CORRECTION, reference=reference or f"correction:{uuid.uuid4()}", wallet=wallet,
        amount_nanos=amount_nanos, book=CORRECTIONS, lot_kind=lot_kind, reason=reason, actor=actor,
    )  # fmt: skip


def reverse_entry(entry: LedgerEntry, *, reason: str, actor: str) -> LedgerEntry:
    """Book the mirror of a top-up, grant or correction; again, it is the same reversal.

    A top-up that the bank took back takes what is there, and the rest becomes overdraft; anything else needs the money there
    (InsufficientBalance). Raises NotReversible for usage, refunds, expiries and reversals: those are corrected.
    """
    if entry.kind not in _REVERSIBLE:
        raise NotReversible("Só recargas, bônus e ajustes podem ser estornados. Use um ajuste.")
    wallet, book, amount_nanos = _movement(entry)
    return post_entry(
        kind=LedgerEntry.Kind.REVERSAL, reference=f"reversal:{entry.pk}", wallet=wallet, amount_nanos=-amount_nanos, book=book,
        lot_kind=Lot.Kind.PROMO if book == PROMO_GRANTS else None, reason=reason, actor=actor, reverses=entry,
    )  # fmt: skip


def reserve_refund(refund_id: uuid.UUID, *, lot: Lot, amount_nanos: int) -> None:
    """Hold unused money of a paid lot for a refund. Safe to repeat. Raises InsufficientBalance, ReferenceReused,
    HoldAlreadyResolved (this refund was settled), UnknownWallet (no paid lot)."""
    call_function("billing_reserve_refund", refund_id, lot.pk, amount_nanos)


def settle_refund(refund_id: uuid.UUID, *, actor: str, reason: str, reference: str = "", book: str = WORLD_PIX) -> LedgerEntry:
    """The bank gave the money back, or Stripe (`book`). Safe to repeat. Raises HoldAlreadyResolved when nothing is held."""
    entry_id = call_function("billing_settle_refund", refund_id, reference or f"refund:{refund_id}", actor, reason, book)
    return LedgerEntry.objects.get(pk=entry_id)


def release_refund(refund_id: uuid.UUID) -> bool:
    """The bank did not give it back: free the money. False where the refund held nothing."""
    return bool(call_function("billing_release_refund", refund_id))


def lot_remaining(lot: Lot) -> int:
    """What usage, refunds and expiry have left of a lot, in nanos, refunds under way not counted."""
    rows = call_table("SELECT remaining FROM billing_lots(%s) WHERE lot_id = %s", lot.wallet_id, lot.pk)
    return int(rows[0][0])


def expire_promo() -> int:
    """Take back what is left of grants whose time is over; returns how many gave something. For a task."""
    return int(call_function("billing_expire_promo"))


def _movement(entry: LedgerEntry) -> tuple[Wallet, str, int]:
    """Which wallet an entry moved, against which book, by how much (in: > 0). What paid an overdraft stays within."""
    postings = list(Posting.objects.filter(entry=entry).select_related("wallet"))
    wallet = postings[0].wallet
    if wallet is None:
        raise NotReversible("Este lançamento não é de uma carteira.")
    ours = {f"wallet:{wallet.pk}", f"overdraft:{wallet.pk}"}
    outward = [posting for posting in postings if not {posting.source, posting.destination} <= ours]
    book = next(iter({outward[0].source, outward[0].destination} - ours))
    amount = sum(posting.amount_nanos if posting.source == book else -posting.amount_nanos for posting in outward)
    return wallet, book, amount
