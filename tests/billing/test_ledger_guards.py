"""Who may not write what: the application's role, and triggers that stop the owner too."""

from __future__ import annotations

import os
from collections.abc import Callable

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, ProgrammingError, connection, transaction
from django.utils import timezone
from psycopg import sql

from accounts.models import SnapshotVersion
from billing import holds
from billing.models import Price, PriceVersion, VolumePlan, VolumeTier
from billing.money import BRL
from tests.make import make_hold, make_price, make_session, make_usage, make_volume_plan, make_wallet

LEDGER_TABLES = (
    "billing_wallet", "billing_lot", "billing_hold", "billing_expiredhold", "billing_gatewaysession", "billing_ledgerentry",
    "billing_posting", "billing_usagerecord", "billing_monthspend", "billing_settledbatch", "billing_usagerecord_default",
)  # fmt: skip
APPEND_ONLY = ("billing_ledgerentry", "billing_posting", "billing_usagerecord", "billing_settledbatch", "billing_expiredhold")


def run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def this_months_partition() -> str:
    return f"billing_usagerecord_{timezone.localdate():%Y_%m}"


@pytest.mark.django_db
@pytest.mark.parametrize("table", LEDGER_TABLES)
def test_the_applications_role_only_reads_the_ledger(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchall() == [("tokia_app",)]
        cursor.execute(f"SELECT 1 FROM {table} LIMIT 1")
    for statement in ("DELETE FROM {}", "UPDATE {} SET id = id", "INSERT INTO {} DEFAULT VALUES", "TRUNCATE {}", "DROP TABLE {}"):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            run(statement.format(table))


@pytest.mark.django_db
def test_the_applications_role_writes_no_partition_and_calls_no_inner_function() -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        run(f"DELETE FROM {this_months_partition()}")
    with pytest.raises(ProgrammingError, match="permission denied"):
        run("SELECT billing_bring_in(1, 1, 1, 'world:pix', 'paid', NULL)")
    with pytest.raises(ProgrammingError, match="permission denied"):
        run("SELECT billing_expire(ARRAY[]::uuid[])")


@pytest.mark.django_db
def test_every_function_that_runs_as_its_owner_pins_its_search_path() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
            " AND NOT coalesce(proconfig, '{}') @> ARRAY['search_path=public, pg_temp']"
        )
        assert cursor.fetchall() == []
        cursor.execute("SELECT count(*) FROM pg_proc WHERE prosecdef AND proname LIKE 'billing\\_%'")
        assert cursor.fetchone() >= (14,)


def test_the_owner_too_only_appends(committed_db: None) -> None:
    wallet, session = make_wallet(brl="10"), make_session()
    make_usage(wallet=wallet)
    make_hold(wallet=wallet, session=session)
    holds.close_session(session)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        for table in (*APPEND_ONLY, this_months_partition()):
            for statement in ("UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
                with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                    owner.execute(sql.SQL(statement).format(sql.Identifier(table)))


@pytest.mark.django_db
def test_a_published_price_version_never_changes() -> None:
    version = make_price(route="acme/one")
    price = Price.objects.filter(version=version).first()
    assert price is not None
    attempts: list[Callable[[], object]] = [
        lambda: PriceVersion.objects.filter(pk=version.pk).update(note="outra"),
        lambda: PriceVersion.objects.filter(pk=version.pk).update(status=PriceVersion.Status.DRAFT),
        lambda: Price.objects.filter(pk=price.pk).update(amount_nanos=1),
        lambda: Price.objects.filter(pk=price.pk).delete(),
        lambda: version.delete(),
        lambda: make_price(route="acme/two", version=version),
    ]
    for attempt in attempts:
        with pytest.raises(IntegrityError, match="is published"), transaction.atomic():
            attempt()


@pytest.mark.django_db
def test_a_draft_may_change_and_go() -> None:
    book = make_price(route="acme/one").book
    draft = PriceVersion.objects.create(book=book, number=99)
    make_price(route="acme/two", version=draft)
    Price.objects.filter(version=draft).update(amount_nanos=1)
    with pytest.raises(IntegrityError, match="is published"), transaction.atomic():
        Price.objects.filter(version=draft).update(version=book.versions.get(number=1))
    draft.delete()
    assert not PriceVersion.objects.filter(number=99).exists()


@pytest.mark.django_db
def test_a_published_volume_plan_only_comes_in_force_and_out() -> None:
    plan = make_volume_plan()
    VolumePlan.objects.filter(pk=plan.pk).update(is_default=False)
    attempts: list[Callable[[], object]] = [
        lambda: VolumePlan.objects.filter(pk=plan.pk).update(name="outro"),
        lambda: VolumeTier.objects.filter(plan=plan).update(discount_bps=9_999),
        lambda: VolumeTier.objects.filter(plan=plan).delete(),
        lambda: VolumeTier.objects.create(plan=plan, above_nanos=1, discount_bps=1),
        lambda: plan.delete(),
    ]
    for attempt in attempts:
        with pytest.raises(IntegrityError, match="is published"), transaction.atomic():
            attempt()


@pytest.mark.django_db
def test_a_new_price_moves_the_catalogs_version() -> None:
    def number() -> int:
        return SnapshotVersion.objects.get(pk="catalog").number

    before = number()
    make_price(route="acme/one")
    after = number()
    assert after > before
    make_wallet(brl="1")
    assert number() == after


def test_the_checks_hold_below_the_functions(committed_db: None) -> None:
    wallet = make_wallet(brl="10")
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        for change in (
            "held_nanos = posted_nanos + 1",
            "held_nanos = -1",
            "overdraft_nanos = -1",
            "promo_nanos = posted_nanos + 1",
        ):
            with pytest.raises(psycopg.errors.CheckViolation):
                owner.execute(sql.SQL("UPDATE billing_wallet SET {} WHERE id = %s").format(sql.SQL(change)), [wallet.pk])


@pytest.mark.django_db
def test_a_negative_amount_is_refused() -> None:
    wallet = make_wallet(brl="10")
    for amount in (-BRL, -1):
        with pytest.raises(DatabaseError), transaction.atomic():
            make_usage(wallet=wallet, gross_nanos=amount)
