"""Money through `/api/v1`: prices, wallet, budgets, usage, automatic top-ups, files."""

from __future__ import annotations

from typing import Any

from billing import exports
from billing.models import Export
from billing.money import BRL
from tests.api.world import World, ask, told
from tests.make import make_price, make_route, make_usage
from tokia import clock


def get(world: World, path: str) -> Any:
    answer = ask("get", f"/api/v1/{path}", secret=world.acme.secret)
    assert answer.status_code == 200, answer.content
    return told(answer)


def test_it_tells_everybody_the_prices(world: World) -> None:
    route = make_route(name="openai/gpt-test")
    make_price(route=route, units={"input": "1.605", "output": "6.42"})
    answer = ask("get", "/api/v1/prices?model=openai/gpt-test")
    assert answer.status_code == 200
    found = told(answer)
    assert found["currency"] == "BRL" and found["version"] and found["upcoming"] == []
    [model] = found["models"]
    prices = {line["unit"]: (line["price_brl"], line["price_nanos"], line["per_units"]) for line in model["prices"]}
    assert prices == {"input": ("1.605", 1_605_000_000, 1_000_000), "output": ("6.42", 6_420_000_000, 1_000_000)}
    assert told(ask("get", "/api/v1/prices?model=no/such"))["models"] == []
    assert ask("get", "/api/v1/prices", authorization="Bearer sk-tokia-x").status_code == 401


def test_it_adds_usage_up_by_whatever_is_asked(world: World) -> None:
    acme = world.acme
    for number in range(3):
        make_usage(
            wallet=acme.wallet, gross_nanos=(number + 1) * BRL, route_name="a/a", api_key_id=7, provider_name="openai",
            tags=["x", "y"] if number else None,
        )  # fmt: skip
    for group in ("day", "model", "key", "project", "provider"):
        usage = get(world, f"usage?group_by={group}")
        assert sum(line["net_nanos"] for line in usage["data"]) == usage["totals"]["net_nanos"] == 7 * BRL, group
        assert sum(line["calls"] for line in usage["data"]) == 4 and usage["is_complete"]
    assert [line["net_nanos"] for line in get(world, "usage?group_by=model")["data"]] == [6 * BRL, BRL]
    assert get(world, "usage?group_by=model&limit=1")["is_complete"] is False
    tags = {line["group"]: line["net_nanos"] for line in get(world, "usage?group_by=tag&model=a/a")["data"]}
    assert tags == {"x": 5 * BRL, "y": 5 * BRL}
    assert get(world, "usage?key_id=7&model=a/a&provider=openai")["totals"]["calls"] == 3
    assert get(world, "usage?project_id=0")["totals"]["calls"] == 3
    assert get(world, "usage?first_on=2026-01-01&last_on=2026-01-31")["data"] == []
    assert get(world, "wallet")["month"]["gross_nanos"] == 7 * BRL


def test_it_lists_calls_newest_first_with_filters(world: World) -> None:
    acme = world.acme
    ids = []
    for number in range(5):
        id_ = clock.new_id()
        ids.append(str(id_))
        make_usage(
            wallet=acme.wallet, gross_nanos=BRL, id_=id_, route_name=f"m/{number % 2}", api_key_id=7, tags=[f"t{number}"],
            outcome="failed" if number == 4 else "completed",
        )  # fmt: skip
    assert [line["id"] for line in get(world, "activity")["data"]] == [*reversed(ids), str(acme.call_id)]
    first = get(world, "activity?limit=2&key_id=7")
    make_usage(wallet=acme.wallet, gross_nanos=BRL, api_key_id=7)
    second = get(world, f"activity?limit=2&key_id=7&cursor={first['next_cursor']}")
    third = get(world, f"activity?limit=2&key_id=7&cursor={second['next_cursor']}")
    assert [line["id"] for page in (first, second, third) for line in page["data"]] == [*reversed(ids)]
    assert third["next_cursor"] is None
    assert [line["id"] for line in get(world, "activity?model=m/1")["data"]] == [ids[3], ids[1]]
    assert [line["id"] for line in get(world, "activity?tag=t2")["data"]] == [ids[2]]
    assert [line["id"] for line in get(world, "activity?outcome=failed")["data"]] == [ids[4]]
    assert [line["id"] for line in get(world, f"activity?project_id={acme.project.pk}")["data"]] == [str(acme.call_id)]
    assert get(world, f"activity/{ids[0]}")["quantities"] == {"input_tokens": 10, "output_tokens": 5, "requests": 1}
    assert get(world, "activity?last_on=2026-01-31")["data"] == []


def test_it_changes_and_stops_budgets(world: World) -> None:
    acme = world.acme
    path = f"/api/v1/budgets/{acme.budget.pk}"
    changed = told(ask("patch", path, secret=acme.secret, body={"limit_brl": "2.00"}))
    assert (changed["limit_brl"], changed["spent_brl"], changed["left_brl"], changed["spent_percent"]) == (
        "2.00",
        "1.00",
        "1.00",
        50,
    )
    assert changed["alert_percents"] == [80, 100] and changed["is_hard"] is True
    stopped = told(ask("post", f"{path}/stop", secret=acme.secret))
    assert stopped["is_active"] is False and get(world, "budgets")["data"] == []
    assert [line["id"] for line in get(world, "budgets?is_active=false")["data"]] == [acme.budget.pk]
    again = ask("patch", path, secret=acme.secret, body={"limit_brl": "3.00"})
    assert (again.status_code, told(again)["code"]) == (409, "budget_stopped")
    day = {"window": "day", "limit_brl": "1.00"}
    wrong: list[dict[str, Any]] = [
        day | {"scope": "tag"}, day | {"scope": "organization", "subject_id": 1}, day | {"scope": "key"}, day | {"scope": "planet"},
        day | {"scope": "organization", "window": "year"}, day | {"scope": "organization", "limit_brl": "0.00"},
    ]  # fmt: skip
    for body in wrong:
        assert ask("post", "/api/v1/budgets", secret=acme.secret, body=body).status_code == 400, body


def test_it_names_the_amount_that_is_refused(world: World) -> None:
    refused = ask("post", "/api/v1/top-ups", secret=world.acme.secret, body={"amount_brl": "1.00"})
    assert refused.status_code == 400 and told(refused)["errors"][0]["field"] == "amount_brl"
    body = {"card_id": world.acme.card.pk, "threshold_brl": "50.00", "amount_brl": "200.00", "day_max_brl": "100.00",
            "month_max_brl": "500.00"}  # fmt: skip
    refused = ask("put", "/api/v1/auto-top-up", secret=world.acme.secret, body=body)
    assert refused.status_code == 400 and told(refused)["errors"][0]["field"] == "day_max_brl"
    assert get(world, "auto-top-up")["is_on"] is False
    on = told(ask("put", "/api/v1/auto-top-up", secret=world.acme.secret, body=body | {"day_max_brl": "400.00"}))
    assert on["is_on"] and on["amount_brl"] == "200.00" and get(world, "auto-top-up") == on
    assert ask("delete", "/api/v1/auto-top-up", secret=world.acme.secret).status_code == 204
    assert get(world, "auto-top-up")["is_on"] is False


def test_it_makes_files_in_the_background(world: World) -> None:
    acme = world.acme
    made = told(ask("post", "/api/v1/exports", secret=acme.secret, body={"kind": "requests"}))
    assert made["status"] == "waiting"
    early = ask("get", f"/api/v1/exports/{made['id']}/file", secret=acme.secret)
    assert (early.status_code, told(early)["code"]) == (409, "export_not_ready")
    assert exports.run_exports(seconds=20) == 1
    file = ask("get", f"/api/v1/exports/{made['id']}/file", secret=acme.secret)
    assert file["Content-Type"].startswith("text/csv") and str(acme.call_id) in file.content.decode()
    assert len(file.content) == get(world, f"exports/{made['id']}")["bytes"]
    only_usage = acme.key_with("usage.read")
    statement = {"kind": "statement"}
    refused = ask("post", "/api/v1/exports", secret=only_usage, body=statement)
    assert (refused.status_code, told(refused)["code"]) == (403, "scope_missing")
    theirs = told(ask("post", "/api/v1/exports", secret=acme.secret, body=statement))
    assert ask("get", f"/api/v1/exports/{theirs['id']}", secret=only_usage).status_code == 404
    assert Export.everywhere.filter(organization=acme.organization).count() == 3
