"""The days add up to the calls, whatever the calls were, by every grouping and filter."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import Project
from accounts.tenancy import tenant
from billing import statements
from billing.models import TagDay, UsageDay, UsageRecord, Wallet
from billing.money import BRL
from billing.pricing import Usage
from billing.usage_sums import TagStandsAlone, UsageFilter, routes_used, tags_used, totals, usage_by
from tests.make import make_key, make_organization, make_usage, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
ROUTES, TAGS, PROVIDERS = ("a/one", "b/two", "c/three"), ("vendas", "suporte", "p=1"), ("openai", "google", "")
PROMPT = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "audio_input_tokens", "image_input_tokens")
ANSWER = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")


def id_days_ago(days: float) -> Any:
    import uuid

    moment = clock.now() - dt.timedelta(days=days)
    return uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (clock.new_id().int & ((1 << 80) - 1)))


@pytest.fixture(params=[1, 2, 3])
def wallet(request: pytest.FixtureRequest, db: None) -> Wallet:
    """A wallet with random calls of nine days: free, failed, tagged, owed, discounted."""
    rng = random.Random(request.param)
    print("seed", request.param)
    make_volume_plan()
    organization = make_organization()
    wallet = make_wallet(organization=organization, brl="300", promo_brl="20")
    keys = [make_key(organization=organization)[0] for _ in range(3)]
    projects = [None, *(Project.everywhere.create(organization=organization, name=name).pk for name in ("site", "app"))]
    for _ in range(60):
        has_failed = rng.random() < 0.15
        usage = Usage(**{name: rng.randrange(200) for name in (*PROMPT, *ANSWER)}, images=rng.randrange(3))
        make_usage(
            wallet=wallet, gross_nanos=0 if has_failed else rng.randrange(20 * BRL), id_=id_days_ago(rng.random() * 9), usage=usage,
            outcome="failed" if has_failed else "completed", status_code=502 if has_failed else 200, api_key_id=rng.choice(keys).pk,
            project_id=rng.choice(projects), route_name=rng.choice(ROUTES), provider_name=rng.choice(PROVIDERS),
            tags=rng.sample(TAGS, rng.randrange(3)) or None, latency_ms=rng.randrange(5_000),
        )  # fmt: skip
    wallet.refresh_from_db()
    return wallet


def days() -> dict[str, Any]:
    today = clock.today_in_brazil()
    return {"first_on": today - dt.timedelta(days=6), "last_on": today - dt.timedelta(days=1)}


def raw_sums(wallet: Wallet, group: Callable[[UsageRecord], list[Any]], **only: Any) -> dict[Any, tuple[int, ...]]:
    """The same from the calls themselves, added up here."""
    sums: dict[Any, list[int]] = defaultdict(lambda: [0] * 6)
    for record in UsageRecord.everywhere.filter(wallet=wallet, **only):
        on = record.created_at.astimezone(clock.SAO_PAULO).date()
        if not days()["first_on"] <= on <= days()["last_on"]:
            continue
        for line in group(record):
            prompt, answer = (sum(getattr(record, name) for name in names) for names in (PROMPT, ANSWER))
            figures = (1, record.outcome == "failed", record.gross_nanos, record.net_nanos, prompt, answer)
            sums[line] = [have + more for have, more in zip(sums[line], figures, strict=True)]
    return {line: tuple(figures) for line, figures in sums.items()}


GROUPS: dict[str, Callable[[UsageRecord], list[Any]]] = {
    "day": lambda record: [record.created_at.astimezone(clock.SAO_PAULO).date()],
    "route": lambda record: [record.route_name],
    "key": lambda record: [record.api_key_id],
    "project": lambda record: [record.project_id or 0],
    "provider": lambda record: [record.provider_name],
    "tag": lambda record: record.tags or [],
}


def test_every_grouping_and_filter_is_the_sum_of_its_calls(wallet: Wallet) -> None:
    key_id = UsageRecord.everywhere.filter(wallet=wallet).values_list("api_key_id", flat=True)[0]
    filters: list[tuple[UsageFilter, dict[str, Any]]] = [
        (UsageFilter(), {}),
        (UsageFilter(route_name="a/one"), {"route_name": "a/one"}),
        (UsageFilter(api_key_id=key_id, provider_name="google"), {"api_key_id": key_id, "provider_name": "google"}),
        (UsageFilter(project_id=0), {"project_id": None}),
        (UsageFilter(tag="vendas"), {"tags__contains": ["vendas"]}),
        (UsageFilter(tag="vendas", route_name="b/two"), {"tags__contains": ["vendas"], "route_name": "b/two"}),
    ]
    with tenant(wallet.organization):
        for only, raw in filters:
            for group, of in GROUPS.items():
                try:
                    lines = usage_by(group, only=only, **days())
                except TagStandsAlone:
                    assert (only.tag and group in ("key", "project", "provider")) or (group == "tag" and not only.tag)
                    continue
                told = {
                    line.group: (line.calls, line.failed, line.gross_nanos, line.net_nanos, line.input_tokens, line.output_tokens)
                    for line in lines
                }
                expected = raw_sums(wallet, (lambda record: ["vendas"]) if group == "tag" and only.tag else of, **raw)
                assert told == expected, (group, only)
            whole = totals(only=only, **days())
            assert (whole.calls, whole.net_nanos) == tuple(
                sum(figures[at] for figures in raw_sums(wallet, GROUPS["day"], **raw).values()) for at in (0, 3)
            )


def test_the_statement_is_the_sum_of_its_calls(wallet: Wallet) -> None:
    today = clock.today_in_brazil()
    with tenant(wallet.organization):
        shown = statements.statement(**days())
        whole = statements.statement(first_on=today - dt.timedelta(days=20), last_on=today)
    paid = {
        on: sum(figures)
        for on, figures in _paid_by_day(wallet).items()
        if days()["first_on"] <= on <= days()["last_on"]
    }  # fmt: skip
    assert {row.on: row.out_nanos for row in shown.rows if row.kind == "usage"} == paid
    assert whole.opening_nanos == 0 and whole.closing_nanos == wallet.posted_nanos
    balances = {row.on: row.balance_nanos for row in whole.rows if row.on < days()["first_on"]}
    assert shown.opening_nanos == (balances[max(balances)] if balances else 0)
    assert shown.closing_nanos == shown.opening_nanos - sum(paid.values())


def _paid_by_day(wallet: Wallet) -> dict[dt.date, list[int]]:
    found: dict[dt.date, list[int]] = defaultdict(list)
    for record in UsageRecord.everywhere.filter(wallet=wallet):
        found[record.created_at.astimezone(clock.SAO_PAULO).date()].append(record.paid_nanos + record.promo_nanos)
    return found


def test_an_opening_after_other_months_and_debts_needs_no_calls() -> None:
    """The usage after a period is taken by month: debts and the rest of the month by day."""
    wallet = make_wallet(brl="10")
    for ago, gross in ((95, 1), (62, 2), (61, 3), (33, 2), (32, 9), (3, 1), (0, 2)):  # 8 owed from the 32nd day on
        make_usage(wallet=wallet, gross_nanos=gross * BRL, id_=id_days_ago(ago))
    today = clock.today_in_brazil()
    with tenant(wallet.organization):
        whole = statements.statement(first_on=today - dt.timedelta(days=200), last_on=today)
        for first, last in ((120, 100), (96, 70), (65, 61), (61, 40), (40, 33), (33, 10), (32, 32), (5, 0)):
            part = statements.statement(first_on=today - dt.timedelta(days=first), last_on=today - dt.timedelta(days=last))
            before = [row.in_nanos - row.out_nanos for row in whole.rows if row.on < today - dt.timedelta(days=first)]
            assert part.opening_nanos == sum(before), (first, last)
    wallet.refresh_from_db()
    assert whole.closing_nanos == wallet.posted_nanos


def test_names_come_in_order_and_only_the_tenants(wallet: Wallet) -> None:
    make_usage(wallet=make_wallet(brl="1"), gross_nanos=1, route_name="stranger/x", tags=["estranha"])
    with tenant(wallet.organization):
        assert routes_used() == sorted(ROUTES)
        assert tags_used() == sorted(TAGS)
        assert tags_used(tags_max=1) == sorted(TAGS)[:1]
    with tenant(make_organization()):
        assert (routes_used(), tags_used()) == ([], [])
    assert UsageDay.everywhere.filter(organization=wallet.organization).exists() and TagDay.everywhere.exists()
