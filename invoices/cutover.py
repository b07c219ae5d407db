"""Which money was invoiced as it came, and so may not be invoiced again as it is consumed: the sums of a policy that changed.

Every real of a wallet came with a lot, and belongs to the policy of the day on which it came. Lots are used first in, first out
(`billing.ledger`), so how far the wallet's counter of paid use had come when a month closed says which lots that month consumed.

| the money came | consumed under monthly | consumed under per_topup |
|---|---|---|
| before the first policy | in the monthly note | in a monthly note: nobody else invoiced it |
| under monthly | in the monthly note | in a monthly note of what is left of old lots |
| under per_topup | not again: its top-up is invoiced | not again |

What was consumed beyond the money there is a debt, paid first by whatever comes next:

| the debt is of calls | paid by money that came under monthly | under per_topup |
|---|---|---|
| under monthly: in that month's note at once | nothing more | that top-up's note is lower by it |
| under per_topup: in no note yet | in the note of the month in which it is paid | in that top-up's note |
| before the first policy: never ours | nothing more | in that top-up's note, which is whole: it is what was paid |

A debt that promotional money paid changes nothing: of monthly it was invoiced when served, of per_topup it never is. Debts and what
pays them are matched first in, first out, in the sequence in which they were booked.

So, when month N has closed, of all consumption told until then (net − promotional, `billing.billable`), this much is no monthly
note's, where "top-up money" is money that came under per_topup:

    covered(N) = top-up money used + debts of per_topup that no paid money has paid
               − other debts that top-up money has paid − what went back of top-ups after it was used

and a month's note is of what is told − covered − what earlier notes have. The last term: a dispute of a top-up whose money is
used cancels its note (`invoices.returns`); its consumption is again in no note, until other money pays it. A cumulative sum keeps
itself right: where a refund that a bank refused puts used money back to an older lot, the next month carries the difference.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from django.db import connection

from billing.billable import returns_of
from invoices.models import InvoicePolicy, Issuer
from invoices.sql import read_sql
from tokia.clock import SAO_PAULO, Month


class Era(Enum):
    NONE = "none"  # before the first policy
    MONTHLY = InvoicePolicy.Kind.MONTHLY.value
    TOP_UP = InvoicePolicy.Kind.TOP_UP.value


@dataclass(frozen=True, slots=True)
class Eras:
    """The policies as days: (first day, kind), oldest first."""

    starts: tuple[tuple[dt.date, Era], ...]

    def on(self, day: dt.date) -> Era:
        found = Era.NONE
        for starts_on, era in self.starts:
            if starts_on <= day:
                found = era
        return found

    def at(self, instant: dt.datetime) -> Era:
        return self.on(instant.astimezone(SAO_PAULO).date())

    @property
    def first_on(self) -> dt.date | None:
        return self.starts[0][0] if self.starts else None

    @property
    def has_top_ups(self) -> bool:
        return any(era is Era.TOP_UP for _, era in self.starts)


def eras_of(issuer: Issuer) -> Eras:
    """An issuer's policies; before its first one, those of the issuers before it: the wallets are the same."""
    rows = list(InvoicePolicy.objects.order_by("starts_on", "pk"))
    own = [row for row in rows if row.issuer_id == issuer.pk]
    older = [row for row in rows if row.issuer_id != issuer.pk and (not own or row.starts_on < own[0].starts_on)]
    return Eras(tuple((row.starts_on, Era(row.kind)) for row in [*older, *own]))


# ── Debts and what paid them ─────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Debt:
    at: dt.datetime
    era: Era  # of the calls; of a dispute: of the top-up that was disputed
    nanos: int
    is_told: bool = True  # by a close until the month that is looked at


@dataclass(frozen=True, slots=True)
class Settlement:
    at: dt.datetime
    era: Era | None  # of the money that paid it; None: promotional
    nanos: int
    entry_id: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    debt: Debt
    paid_by: Settlement | None
    nanos: int


def match(debts: Sequence[Debt], settlements: Sequence[Settlement]) -> list[Piece]:
    """First in, first out, both as booked."""
    pieces: list[Piece] = []
    queue = [[settlement, settlement.nanos] for settlement in sorted(settlements, key=lambda s: s.at)]
    for debt in sorted(debts, key=lambda d: d.at):
        left = debt.nanos
        while left and queue:
            settlement, rest = queue[0]
            assert isinstance(settlement, Settlement) and isinstance(rest, int)
            amount = min(left, rest)
            pieces.append(Piece(debt, settlement, amount))
            left -= amount
            queue[0][1] = rest - amount
            if rest == amount:
                queue.pop(0)
        if left:
            pieces.append(Piece(debt, None, left))
    return pieces


# ── A wallet's books when a month had closed ─────────────────────────────────────────────────────────────────────────
@dataclass(slots=True)
class Books:
    ends_at: dt.datetime  # of the month
    used_nanos: int = 0
    lots: list[tuple[int, Era, int]] = field(default_factory=list)  # (entry, era, size), as they are used
    debts: list[Debt] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    undone_nanos: int = 0  # what went back of top-ups after it was used

    def used_of(self, era: Era) -> int:
        """How much of the lots that came in an era was used."""
        left, used = self.used_nanos, 0
        for _, of, size in self.lots:
            eaten = min(max(left, 0), size)
            left -= eaten
            used += eaten if of is era else 0
        return used

    def pieces(self) -> list[Piece]:
        return match(self.debts, self.settlements)

    def covered(self) -> int:
        """What of all consumption told so far is no monthly note's (see above)."""
        owed = lowered = 0
        for piece in self.pieces():
            by = piece.paid_by
            is_paid = by is not None and by.era is not None and by.at < self.ends_at
            if piece.debt.era is Era.TOP_UP:
                owed += piece.nanos if piece.debt.is_told and not is_paid else 0
            elif is_paid and by is not None and by.era is Era.TOP_UP:
                lowered += piece.nanos
        return self.used_of(Era.TOP_UP) + owed - lowered - self.undone_nanos

    def invoiced_debts(self) -> dict[int, int]:
        """By the top-up that paid them: debts that a monthly note has already."""
        found: dict[int, int] = {}
        for piece in self.pieces():
            by = piece.paid_by
            if by is not None and by.era is Era.TOP_UP and piece.debt.era is Era.MONTHLY:
                found[by.entry_id] = found.get(by.entry_id, 0) + piece.nanos
        return found


def books_of(wallet_id: int, *, eras: Eras, month: Month | None = None) -> Books:
    """As they stood when the month had closed; without one, as they stand now. (Refunds and disputes are as of today: what they
    change is carried.)"""
    books = Books(month.ends_at() if month else dt.datetime.max.replace(tzinfo=dt.UTC))
    returns = returns_of([wallet_id])
    disputed = {found.reference: found.entry_id for found in returns}
    back: dict[int, int] = {}
    for found in returns:
        if found.entry_id is not None:
            back[found.entry_id] = back.get(found.entry_id, 0) + found.nanos
    taken: dict[int, int] = {}
    lots: dict[int, tuple[dt.datetime, int]] = {}
    stuck: list[tuple[dt.datetime, int, int]] = []
    for what, at, of, amount, identity in _rows(wallet_id, month):
        match what:
            case "used":
                books.used_nanos = amount
            case "lot":
                lots[identity] = at, amount
            case "taken":
                taken[identity] = amount
            case "debt":
                books.debts.append(Debt(at, eras.on(of), amount, bool(identity)))
            case "disputed":
                stuck.append((at, amount, identity))
            case "settled":
                books.settlements.append(Settlement(at, eras.at(at), amount, identity))
            case "forgiven":
                books.settlements.append(Settlement(at, None, amount, identity))
    books.lots = [(entry, eras.at(at), size) for entry, (at, size) in sorted(lots.items())]
    references = _references([identity for _, _, identity in stuck])
    for at, amount, identity in stuck:
        top_up = disputed.get(references[identity])
        books.debts.append(Debt(at, eras.at(lots[top_up][0] if top_up in lots else at), amount))
    for entry, era, _ in books.lots:
        if era is Era.TOP_UP:
            books.undone_nanos += max(back.get(entry, 0) - taken.get(entry, 0), 0)
    return books


def _rows(wallet_id: int, month: Month | None) -> list[tuple[str, dt.datetime, dt.date, int, int]]:
    last = month or Month.current()
    with connection.cursor() as cursor:
        cursor.execute(
            read_sql("cutover"),
            {
                "wallet": wallet_id, "month": last.first_on, "next": last.next().first_on, "ends_at": last.ends_at(),
                "is_now": month is None,
            },
        )  # fmt: skip
        return list(cursor.fetchall())


def _references(entry_ids: list[int]) -> dict[int, str]:
    if not entry_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, reference FROM billing_ledgerentry WHERE id = ANY(%s)", [entry_ids])
        return dict(cursor.fetchall())
