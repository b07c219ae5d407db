"""The chain over the books: whatever is changed, added or removed behind the functions' back is found and named."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from billing import holds, ledger, seals
from billing.models import LedgerEntry, LedgerSeal, SealCheck, UsageRecord, Wallet
from billing.money import BRL
from tests.conftest import ROOT
from tests.make import make_call, make_top_up, make_usage, make_wallet
from tests.stores import stores

ENTRY_COLUMNS = "id, kind, reference, reverses_id, reason, actor, created_at"
POSTING_COLUMNS = "id, entry_id, wallet_id, source, destination, amount_nanos"


@contextmanager
def behind_the_back() -> Iterator[psycopg.Connection]:
    """As a superuser who has put the triggers to sleep."""
    with psycopg.connect(stores.postgres.superuser_url) as other:
        other.execute("SET session_replication_role = replica")
        yield other


@pytest.fixture
def books(committed_db: None) -> Iterator[Wallet]:
    """A few entries of each sort, sealed. Afterwards they are as they were: the invariants look at them again."""
    wallet = make_wallet(brl="50", promo_brl="5")
    holds.settle([make_call(wallet=wallet, gross_nanos=BRL), make_call(wallet=wallet, gross_nanos=2 * BRL),
                  make_call(wallet=wallet, gross_nanos=0, outcome="failed")])  # fmt: skip
    make_usage(wallet=wallet, gross_nanos=0, outcome="failed", tags=["café", 'a,b\\"c'])
    ledger.correct(wallet, amount_nanos=-BRL, reason='ajuste "à mão"\nem duas linhas', actor="ana")
    seals.seal_entries()
    yield wallet


def test_a_chain_is_as_long_as_the_books_and_holds(books: Wallet) -> None:
    assert LedgerSeal.objects.count() == LedgerEntry.objects.count() + UsageRecord.everywhere.filter(entry_id=None).count() == 6
    assert seals.verify() == (6, None)
    assert seals.seal_entries() == 0 == seals.seal_entries(everything=True)
    make_top_up(wallet=books)
    assert seals.seal_entries() == 1 and seals.verify() == (7, None)
    assert seals.head().text.startswith("nº 7 · ")


def test_a_digest_is_sha256_of_what_it_says(books: Wallet) -> None:
    """By hand: the texts from PostgreSQL, the rest here."""
    previous = bytes(32)
    with connection.cursor() as cursor:
        cursor.execute("SET timezone = 'UTC'")
        for link in LedgerSeal.objects.order_by("seq"):
            lines = []
            if link.entry_id is not None:
                cursor.execute(f"SELECT ROW({ENTRY_COLUMNS})::text FROM billing_ledgerentry WHERE id = %s", [link.entry_id])
                lines += [line for (line,) in cursor.fetchall()]
                cursor.execute(f"SELECT ROW({POSTING_COLUMNS})::text FROM billing_posting WHERE entry_id = %s ORDER BY id",
                               [link.entry_id])  # fmt: skip
                lines += [line for (line,) in cursor.fetchall()]
            columns = _usage_columns()
            cursor.execute(
                f"SELECT ROW({columns})::text FROM billing_usagerecord"
                " WHERE entry_id = %s OR (entry_id IS NULL AND id = %s) ORDER BY id",
                [link.entry_id, link.call_id],
            )
            lines += [line for (line,) in cursor.fetchall()]
            previous = hashlib.sha256(previous + hashlib.sha256("\n".join(lines).encode()).digest()).digest()
            assert bytes(link.digest) == previous, link.seq
        cursor.execute("RESET timezone")


def _usage_columns() -> str:
    """Those of version 1: all that the table has. A column that comes later belongs to a version of its own."""
    text = (ROOT / "billing" / "sql" / "seals.sql").read_text()
    start = text.index("u.id, u.organization_id")
    columns = text[start : text.index(")::text AS line")].replace("u.", "")
    named = {column.strip() for column in columns.split(",")}
    assert named == {field.column for field in UsageRecord._meta.concrete_fields}, "a new column needs a new version of the text"
    return columns


CHANGES = {
    "an entry's reason": "UPDATE billing_ledgerentry SET reason = reason || ' ' WHERE kind = 'correction'",
    "an entry's instant": "UPDATE billing_ledgerentry SET created_at = created_at + interval '1 microsecond' WHERE kind = 'grant'",
    "an entry's reference": "UPDATE billing_ledgerentry SET reference = reference || '1' WHERE kind = 'top_up'",
    "a posting's amount": "UPDATE billing_posting SET amount_nanos = amount_nanos + 1 WHERE source = 'world:pix'",
    "a posting's book": "UPDATE billing_posting SET source = 'world:stripe' WHERE source = 'world:pix'",
    "a call's cost": "UPDATE billing_usagerecord SET cost_nanos = 1 WHERE net_nanos > 0",
    "a call's model": "UPDATE billing_usagerecord SET route_name = 'test/mode1' WHERE net_nanos > 0",
    "a free call's outcome": "UPDATE billing_usagerecord SET outcome = 'completed' WHERE entry_id IS NULL",
    "a free call's tag": "UPDATE billing_usagerecord SET tags = ARRAY['café', 'a', 'b\\\"c'] WHERE tags IS NOT NULL",
    "a posting gone": "DELETE FROM billing_posting WHERE source = 'promo:grants'",
    "a call gone": "DELETE FROM billing_usagerecord WHERE id = "
                   "(SELECT min(id::text)::uuid FROM billing_usagerecord WHERE net_nanos > 0)",
    "a free call gone": "DELETE FROM billing_usagerecord WHERE entry_id IS NULL",
    "a posting more": "INSERT INTO billing_posting (entry_id, source, destination, amount_nanos)"
                      " SELECT max(id), 'a', 'b', 1 FROM billing_ledgerentry",
    "a link's digest": "UPDATE billing_ledgerseal SET digest = set_byte(digest, 31, get_byte(digest, 31) # 1) WHERE seq = 3",
    "two links swapped": "UPDATE billing_ledgerseal SET digest = (SELECT digest FROM billing_ledgerseal WHERE seq = 2)"
                         " WHERE seq = 3",
    "a link gone": "DELETE FROM billing_ledgerseal WHERE seq = 2",
    "an entry gone": "DELETE FROM billing_posting p USING billing_ledgerentry e WHERE e.id = p.entry_id AND e.kind = 'correction';"
                     "DELETE FROM billing_ledgerentry WHERE kind = 'correction'",
}  # fmt: skip


def test_every_change_is_found(books: Wallet) -> None:
    """Each one is undone by a rollback of its own: the verifier reads over the same connection."""
    holding = seals.verify()
    assert holding == (6, None)
    for what, statement in CHANGES.items():
        with behind_the_back() as other:
            _at, broken = _verify_over(other, statement)
        assert broken is not None, f"nobody found {what}"
        assert 1 <= broken.seq <= 6 and str(broken.seq) in broken.detail
    assert seals.verify() == holding


def _verify_over(other: psycopg.Connection, statement: str) -> tuple[int, seals.Broken | None]:
    """What the verifier says after a change that is not kept."""
    import contextlib

    class Undo(Exception):
        pass

    found: tuple[int, seals.Broken | None] = (0, None)
    with contextlib.suppress(Undo), other.transaction():
        for part in statement.split(";"):
            assert other.execute(part).rowcount > 0, part
        with pytest.MonkeyPatch.context() as patch:
            rows = other.execute("SELECT seq, entry_id, call_id, version, digest, sealed_at FROM billing_ledgerseal").fetchall()
            links = [
                LedgerSeal(seq=seq, entry_id=entry, call_id=call, version=version, digest=digest, sealed_at=at)
                for seq, entry, call, version, digest, at in rows
            ]
            patch.setattr(LedgerSeal, "objects", _Listed(links))
            patch.setattr(ledger, "call_table", lambda query, *args: other.execute(query, args).fetchall())
            found = seals.verify()
        raise Undo
    return found


class _Listed:
    """As much of a manager as the verifier asks."""

    def __init__(self, links: list[LedgerSeal]) -> None:
        self.links = sorted(links, key=lambda link: link.seq)

    def filter(self, *, seq__gt: int) -> _Listed:
        return _Listed([link for link in self.links if link.seq > seq__gt])

    def order_by(self, name: str) -> list[LedgerSeal]:
        return self.links


def test_an_entry_that_commits_late_is_sealed_later(books: Wallet) -> None:
    """Its number is older than those that are sealed already."""
    with psycopg.connect(stores.postgres.superuser_url) as slow:
        [(number,)] = slow.execute("SELECT nextval('billing_ledgerentry_id_seq')").fetchall()
        make_top_up(wallet=books, brl="7")
        assert seals.seal_entries() == 1
        other = make_wallet(brl="0")
        slow.execute(
            "INSERT INTO billing_ledgerentry (id, kind, reference, reason, actor, created_at)"
            " VALUES (%s, 'correction', 'late', '', '', clock_timestamp())", [number]
        )  # fmt: skip
        slow.execute(
            "INSERT INTO billing_posting (entry_id, source, destination, amount_nanos) VALUES (%s, 'corrections', 'world:pix', 1)",
            [number],
        )
        assert seals.seal_entries() == 0, "it is not committed"
        assert other.posted_nanos == 0
    assert seals.seal_entries() == 1
    last = LedgerSeal.objects.order_by("-seq")[0]
    assert last.entry_id == number and seals.verify() == (last.seq, None)


def test_two_sealers_make_one_chain(books: Wallet) -> None:
    for _ in range(6):
        make_top_up(wallet=books, brl="1")
    made: list[int] = []

    def seal() -> None:
        made.append(seals.seal_entries())
        connection.close()

    both = [threading.Thread(target=seal) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert sum(made) == 6 and seals.verify() == (12, None)


def test_the_tables_refuse_changes_even_to_their_owner(books: Wallet) -> None:
    with psycopg.connect(stores.postgres.owner_url) as owner:
        for statement in (
            "UPDATE billing_ledgerseal SET version = 2",
            "DELETE FROM billing_ledgerseal",
            "TRUNCATE billing_ledgerseal",
            "TRUNCATE billing_monthclose CASCADE",
            "TRUNCATE billing_dayclose",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation), owner.transaction():
                owner.execute(statement)
    with psycopg.connect(stores.postgres.app_url) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("INSERT INTO billing_ledgerseal (seq, entry_id, version, digest, sealed_at) VALUES (99, 99, 1, '', now())")


def test_the_nights_check_goes_on_where_it_stopped_and_tells_its_head(books: Wallet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seals, "CHECK_AT_ONCE", 2)
        first = seals.check_chain(seconds=1e-9)
        second = seals.check_chain(seconds=1e-9)
    assert (first.first_seq, first.last_seq, second.first_seq, second.last_seq) == (1, 2, 3, 4)
    assert seals.check_chain().last_seq == 6 and seals.check_chain().first_seq == 1
    told = [record for record in caplog.records if record.message == "the ledger's seal"]
    assert getattr(told[0], "digest", "") == seals.head().digest.hex()
    assert not SealCheck.objects.exclude(broken_seq=None).exists()


def test_a_chain_that_was_made_anew_is_known_by_an_old_head(books: Wallet) -> None:
    seals.check_chain()
    SealCheck.objects.filter(broken_seq=None).update(head_digest=bytes(32))  # as if another chain had been there that night
    check = seals.check_chain()
    assert check.broken_seq == 6 and "refeita" in check.detail


def test_the_command_says_whether_it_holds(books: Wallet, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("verify_ledger", "--selar")
    assert "6 elos conferem" in capsys.readouterr().out
    with behind_the_back() as other:
        other.execute("UPDATE billing_ledgerentry SET reason = 'outro' WHERE kind = 'correction'")
    with pytest.raises(SystemExit) as stopped:
        call_command("verify_ledger")
    assert stopped.value.code == 1
    entry = LedgerEntry.objects.get(kind="correction")
    assert f"lançamento {entry.pk}" in capsys.readouterr().err
