"""Months that are over, for tests of what is invoiced: events of the past through billing's own verbs, then dated back.

`Past(organization)` acts at a moment that the test says: `past.top_up("100", at)`, `past.use(nanos, at, route=…)`. What it returns
is the ledger's. It needs `committed_db`: the dates are written by the superuser on another connection.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Self

import psycopg

from accounts.models import Organization
from billing import closing, ledger
from billing.holds import Settled
from billing.models import LedgerEntry, Lot, MonthClose, Wallet
from billing.money import from_brl
from billing.wallets import wallet_of
from invoices.models import InvoicePolicy, Issuer, TaxTerms
from tests.make import make_top_up, make_usage
from tests.stores import stores
from tokia import clock
from tokia.clock import SAO_PAULO, Month

MONTHLY, TOP_UP = InvoicePolicy.Kind.MONTHLY, InvoicePolicy.Kind.TOP_UP


def month_ago(number: int) -> Month:
    month = Month.current()
    for _ in range(number):
        month = Month.of(month.starts_at() - dt.timedelta(days=1))
    return month


def moment(month: Month, day: int = 10, hour: int = 12) -> dt.datetime:
    return dt.datetime.combine(month.first_on.replace(day=day), dt.time(hour), SAO_PAULO)


def id_at(at: dt.datetime) -> uuid.UUID:
    return uuid.UUID(int=(int(at.timestamp() * 1000) << 80) | (clock.new_id().int & ((1 << 80) - 1)))


def make_issuer(*policies: tuple[Month, InvoicePolicy.Kind], **fields: object) -> Issuer:
    """An active issuer with rates of its own and these policies; without any, it invoices consumption for ever."""
    given = {"name": "Tokia Tecnologia Ltda", "tax_id": "11444777000161", "city_code": "3106200", **fields}
    issuer = Issuer.objects.create(**given)
    TaxTerms.objects.create(issuer=issuer, starts_on=dt.date(2020, 1, 1), regime=TaxTerms.Regime.NORMAL)
    for month, kind in policies or ((Month(dt.date(2020, 1, 1)), MONTHLY),):
        InvoicePolicy.objects.create(issuer=issuer, starts_on=month.first_on, kind=kind)
    return issuer


class Past:
    """One organization's wallet, opened long ago, and the hand that dates what it books."""

    def __init__(self, organization: Organization, *, since: Month, other: psycopg.Connection | None = None) -> None:
        self.other = other or psycopg.connect(stores.postgres.superuser_url, autocommit=True)
        self.other.execute("SET session_replication_role = replica")
        self.organization = organization
        self.wallet = wallet_of(organization)
        self.other.execute("UPDATE billing_wallet SET created_at = %s WHERE id = %s", [moment(since, 1, 1), self.wallet.pk])
        self.wallet.refresh_from_db()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.other.close()

    def top_up(self, brl: str, at: dt.datetime) -> Lot:
        entry = make_top_up(wallet=self.wallet, brl=brl)
        self.date(entry.pk, at)
        return Lot.everywhere.select_related("entry", "wallet__organization").get(entry=entry)

    def grant(self, brl: str, at: dt.datetime) -> LedgerEntry:
        entry = ledger.grant(self.wallet, amount_nanos=from_brl(brl), reference=f"grant:{uuid.uuid4()}", actor="test")
        self.date(entry.pk, at)
        return entry

    def use(self, nanos: int, at: dt.datetime, *, route: str = "test/model", booked_at: dt.datetime | None = None) -> Settled:
        """One call of `at`; late where it is booked in another month."""
        before = self._last_entry()
        settled = make_usage(wallet=self.wallet, gross_nanos=nanos, id_=id_at(at), route_name=route)
        self.other.execute(
            "UPDATE billing_ledgerentry SET created_at = %s WHERE id > %s AND kind = 'usage'", [booked_at or at, before]
        )
        return settled

    def refund(self, lot: Lot, brl: str, at: dt.datetime, *, is_done: bool = True) -> None:
        from billing.models import Refund
        from billing.refund_books import finish_refund, open_refund

        before = self._last_entry()
        refund = open_refund(
            lot,
            refund_id=uuid.uuid4(),
            amount_nanos=from_brl(brl),
            by="test",
            reason="teste",
            end_to_end_id=lot.entry.reference[4:36],
        )
        finish_refund(refund, status=Refund.Status.DONE if is_done else Refund.Status.REFUSED)
        self.other.execute("UPDATE billing_ledgerentry SET created_at = %s WHERE id > %s AND kind = 'refund'", [at, before])

    def dispute(self, lot: Lot, brl: str, at: dt.datetime) -> LedgerEntry:
        """The payer's bank takes (part of) a PIX back, as `billing.pix.refunds` books it."""
        from billing import events

        reference = f"med:{uuid.uuid4().hex}"
        entry = ledger.post_entry(
            kind=LedgerEntry.Kind.DISPUTE, reference=reference, wallet=self.wallet, amount_nanos=-from_brl(brl),
            book=ledger.WORLD_PIX, actor="banco", reverses=lot.entry,
        )  # fmt: skip
        payload = {"amount": brl, "paid_by": "pix", "status": "lost", "reference": lot.entry.reference.removeprefix("pix:")}
        events.tell(self.organization, "dispute.opened", reference=reference, payload=payload)
        self.date(entry.pk, at)
        return entry

    def date(self, entry_id: int, at: dt.datetime) -> None:
        self.other.execute("UPDATE billing_ledgerentry SET created_at = %s WHERE id = %s", [at, entry_id])
        self.other.execute("UPDATE billing_lot SET created_at = %s WHERE entry_id = %s", [at, entry_id])

    def close(self, month: Month) -> MonthClose:
        return closing.close_month(Wallet.everywhere.get(pk=self.wallet.pk), month)

    def _last_entry(self) -> int:
        [last] = self.other.execute("SELECT coalesce(max(id), 0) FROM billing_ledgerentry").fetchone() or (0,)
        return int(last)


__all__ = ["MONTHLY", "TOP_UP", "Past", "id_at", "make_issuer", "moment", "month_ago"]
