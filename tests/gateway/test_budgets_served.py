"""Budgets against real processes: calls that run at the same time in two gateways never outrun a limit, and the four books agree
afterwards: usage records, the wallet, the budget's window, and what the upstream itself has counted."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import anthropic
import httpx
import openai
import pytest

from accounts.keys import mint_key
from accounts.models import ApiKey, Project
from billing import budgets
from billing.models import Budget, BudgetSpend, Hold, TagDay, UsageDay, UsageRecord
from billing.money import BRL, CENTAVO
from billing.pricing import PriceList, UnitPrice, Usage, price_usage
from gateway.models import Fallback, Route
from tests.examples import IN_FORCE_SECONDS
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body, count_rows

MODEL, CHEAP, EMBEDDER = "budget/dear", "budget/cheap", "budget/embed"
UNITS = {"input": "10", "output": "30"}
MAX_TOKENS = 1_000
_names = itertools.count(1)


@pytest.fixture(scope="module")
def other(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The second process, with the settings of production."""
    other = Gateway(tmp_path_factory.mktemp("other"), GATEWAY_SNAPSHOT_SECONDS="1.0")
    other.start()
    yield other
    assert other.stop() == 0
    assert "Traceback" not in other.log.read_text()


@pytest.fixture(scope="module")
def gateways(world: World, other: Gateway) -> list[Gateway]:
    """Two processes that serve the same models."""
    world.route("openai", "gpt-4o-mini", name=MODEL, units=UNITS)
    world.route("groq", "llama-3.1-8b-instant", name=CHEAP, units={"input": "0.1", "output": "0.3"})
    world.route("openai", "text-embedding-3-small", name=EMBEDDER, units={"input": "100"}, surface="embeddings")
    some = world.tenant()
    for gateway in (world.gateway, other):
        world.await_served(some, MODEL, CHEAP, EMBEDDER, gateway=gateway)
    return [world.gateway, other]


@pytest.fixture
def tenant(world: World) -> Iterator[Tenant]:
    world.sandbox.post("/llm/__reset")
    yield world.tenant(brl="500.00", requests_per_minute=100_000)
    world.sandbox.post("/llm/__reset")


def ask(gateway: Gateway, secret: str, model: str = MODEL, **fields: Any) -> httpx.Response:
    body = chat_body(model, **{"max_tokens": MAX_TOKENS, **fields})
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {secret}"}, timeout=30)


def limit(tenant: Tenant, *, nanos: int, scope: str = "key", **given: Any) -> Budget:
    subject = tenant.key.pk if scope == "key" else 0
    return budgets.set_budget(
        tenant.wallet.organization, by=None,
        **{"scope": scope, "subject_id": subject, "window": "day", "limit_nanos": nanos, **given},
    )  # fmt: skip


def await_refused(gateways: list[Gateway], secret: str, **fields: Any) -> dict[str, Any]:
    """Until both gateways know the budget; what the second said of it."""
    began = time.monotonic()
    for gateway in gateways:
        while (answer := ask(gateway, secret, **fields)).status_code != 403:
            assert time.monotonic() - began < IN_FORCE_SECONDS, answer.text
            time.sleep(0.02)
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == "budget_exceeded", error
    return error


def afford(world: World, tenant: Tenant, budget: Budget, more: int) -> set[Any]:
    """A limit so much above what was spent before the gateways knew of it, and an upstream that has seen nobody yet. The ids of the
    calls until now."""
    [spent] = BudgetSpend.everywhere.filter(budget=budget).values_list("spent_nanos", flat=True)
    assert budgets.change_budget(budget, limit_nanos=spent + more, is_hard=True, alert_percents=[])
    world.sandbox.post("/llm/__reset")
    return {record.pk for record in tenant.records()}


def nanos(amount: object) -> int:
    return int(Decimal(str(amount)) * BRL)


def storm(
    world: World, gateways: list[Gateway], secrets: list[str], *, calls: int, admitted: int, **fields: Any
) -> list[httpx.Response]:
    """So many calls at once over both processes, the upstream answering nobody until all are decided."""
    world.sandbox.script("openai", "stall", times=-1)

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            tasks = [
                asyncio.create_task(
                    client.post(
                        f"{gateways[place % 2].url}/v1/chat/completions", json=chat_body(MODEL, max_tokens=MAX_TOKENS, **fields),
                        headers={"authorization": f"Bearer {secrets[place % len(secrets)]}"},
                    )
                )
                for place in range(calls)
            ]  # fmt: skip
            while sum(task.done() for task in tasks) < calls - admitted or (await stalled(client)) < admitted:
                assert sum(task.done() for task in tasks) <= calls - admitted, [task.result().text for task in tasks if task.done()]
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
            assert sum(task.done() for task in tasks) == calls - admitted and await stalled(client) == admitted
            await client.delete(f"{world.sandbox.url}/llm/__script")
            await client.post(f"{world.sandbox.url}/llm/__release", json={})
            return await asyncio.gather(*tasks)

    async def stalled(client: httpx.AsyncClient) -> int:
        return int((await client.get(f"{world.sandbox.url}/llm/__ledger", params={"limit": 1})).json()["stalled"])

    return asyncio.run(asyncio.wait_for(run(), 60))


def check_books(world: World, tenant: Tenant, budget: Budget, answers: list[httpx.Response], *, before: set[Any]) -> None:
    """Records, wallet, window and the upstream's own ledger tell the same."""
    served = [answer for answer in answers if answer.status_code == 200]
    await_true(lambda: not Hold.everywhere.filter(wallet=tenant.wallet).exists())
    records = [record for record in tenant.records() if record.pk not in before]
    assert Counter(str(record.pk) for record in records) == Counter(answer.headers["x-request-id"] for answer in served)
    assert {record.outcome for record in records} == {"completed"}
    assert sum(record.net_nanos for record in records) == sum(nanos(answer.json()["usage"]["cost"]) for answer in served)
    [window] = BudgetSpend.everywhere.filter(budget=budget)
    net = sum(record.net_nanos for record in tenant.records())
    assert (window.spent_nanos, window.held_nanos) == (net, 0)
    wallet = tenant.fresh()
    assert (wallet.posted_nanos, wallet.held_nanos) == (500 * BRL - net, 0)
    seen = world.sandbox.ledger()["calls"]
    assert len(seen) == len(served)
    assert sum(call["usage"]["completion_tokens"] for call in seen) == sum(record.output_tokens for record in records)
    assert sum(call["usage"]["prompt_tokens"] for call in seen) == sum(record.input_tokens for record in records)


def test_two_hundred_calls_on_a_key_budget_for_twenty_are_twenty(world: World, gateways: list[Gateway], tenant: Tenant) -> None:
    budget = limit(tenant, nanos=CENTAVO)
    needed = nanos(await_refused(gateways, tenant.secret)["budget"]["needed"])
    assert MAX_TOKENS * 30_000 < needed < MAX_TOKENS * 30_000 + 10**6  # the answer, and a short question
    before = afford(world, tenant, budget, 20 * needed)
    answers = storm(world, gateways, [tenant.secret], calls=200, admitted=20)
    assert Counter(answer.status_code for answer in answers) == {200: 20, 403: 180}
    for answer in answers:
        if answer.status_code == 403:
            told = answer.json()["error"]["budget"]
            assert (told["id"], told["scope"], told["name"]) == (budget.pk, "key", "teste")
            assert nanos(told["needed"]) == needed and nanos(told["left"]) < needed
    check_books(world, tenant, budget, answers, before=before)


def test_keys_share_the_budget_of_their_organization_and_tags_have_their_own(
    world: World, gateways: list[Gateway], tenant: Tenant
) -> None:
    organization = tenant.wallet.organization
    secrets = [tenant.secret, *(mint_key(organization, user=None, name=f"k{n}", requests_per_minute=10_000)[1] for n in (1, 2))]
    budget = limit(tenant, nanos=CENTAVO, scope="organization", window="month")
    for secret in secrets:
        needed = nanos(await_refused(gateways, secret)["budget"]["needed"])
    before = afford(world, tenant, budget, 7 * needed)
    answers = storm(world, gateways, secrets, calls=30, admitted=7)
    check_books(world, tenant, budget, answers, before=before)

    budgets.stop_budget(budget)
    by_tag = limit(tenant, nanos=CENTAVO, scope="tag", tag="lote:7")
    await_refused(gateways, tenant.secret, tags=["lote:7"])
    before = afford(world, tenant, by_tag, 4 * needed)
    [early] = BudgetSpend.everywhere.filter(budget=by_tag).values_list("spent_nanos", flat=True)
    answers = storm(world, gateways, secrets, calls=20, admitted=4, tags=["outra", "lote:7"])
    spent = [record for record in tenant.records() if record.pk not in before]
    assert len(spent) == 4 and all(record.tags == ["outra", "lote:7"] for record in spent)
    [window] = BudgetSpend.everywhere.filter(budget=by_tag)
    assert (window.spent_nanos, window.held_nanos) == (early + sum(record.net_nanos for record in spent), 0)
    budgets.count_all_spends()  # a gateway that had not heard of the budget yet may have served a call beside the window
    window.refresh_from_db()
    [day] = TagDay.everywhere.filter(organization=organization, tag="lote:7")
    assert day.calls >= 4 and day.net_nanos == window.spent_nanos
    assert ask(gateways[0], tenant.secret, tags=["outra"]).status_code == 200  # no budget is of that


def test_budgets_projects_and_scopes_are_in_force_in_both_processes(gateways: list[Gateway], tenant: Tenant) -> None:
    def await_all(holds: Callable[[httpx.Response], bool]) -> None:
        began = time.monotonic()
        for gateway in gateways:
            while not holds(answer := ask(gateway, tenant.secret, max_tokens=2)):
                assert time.monotonic() - began < IN_FORCE_SECONDS, answer.text
                time.sleep(0.02)

    def says(code: str) -> Callable[[httpx.Response], bool]:
        return lambda answer: answer.status_code == 403 and answer.json()["error"]["code"] == code

    def is_served(answer: httpx.Response) -> bool:
        return answer.status_code == 200

    site = Project.everywhere.create(organization=tenant.wallet.organization, name="Site")
    ApiKey.everywhere.filter(pk=tenant.key.pk).update(project=site)
    budget = limit(tenant, nanos=CENTAVO, scope="project", subject_id=site.pk)
    assert await_refused(gateways, tenant.secret)["budget"]["name"] == "Site"
    await_all(is_served)  # two tokens cost less than a centavo
    budgets.stop_budget(budget)
    began = time.monotonic()
    for gateway in gateways:
        while ask(gateway, tenant.secret).status_code != 200:
            assert time.monotonic() - began < IN_FORCE_SECONDS
    assert {record.project_id for record in tenant.records()} == {site.pk}
    Project.everywhere.filter(pk=site.pk).update(archived_at=budget.created_at)
    await_all(says("project_archived"))
    Project.everywhere.filter(pk=site.pk).update(archived_at=None)
    await_all(is_served)
    ApiKey.everywhere.filter(pk=tenant.key.pk).update(scopes=["usage.read"])
    await_all(says("scope_missing"))
    models = httpx.get(f"{gateways[0].url}/v1/models", headers=tenant.headers)
    assert says("scope_missing")(models)
    ApiKey.everywhere.filter(pk=tenant.key.pk).update(scopes=["call", "usage.read"])
    await_all(is_served)


def test_every_surface_tells_the_numbers(world: World, gateways: list[Gateway], tenant: Tenant) -> None:
    url, key = gateways[0].url, tenant.secret
    budget = limit(tenant, nanos=CENTAVO, window="week")
    await_refused(gateways, key)
    world.sandbox.post("/llm/__reset")
    before = len(tenant.records())
    portuguese = ask(gateways[0], key).json()["error"]
    assert portuguese["type"] == "billing_error"
    for part in ("Orçamento atingido (chave “teste”, por semana)", "pode custar até R$ 0,03", "livres de R$\xa00,01", "Renova em "):
        assert part in portuguese["message"]
    english = {"accept-language": "en"}
    with openai.OpenAI(api_key=key, base_url=f"{url}/v1", default_headers=english) as client:
        said = "Budget exceeded (key “teste”, weekly): this call may cost up to R$ 0,03"
        refusals: list[openai.PermissionDeniedError] = []
        for call in (
            lambda: client.chat.completions.create(**chat_body(MODEL, max_tokens=MAX_TOKENS)),
            lambda: client.chat.completions.create(**chat_body(MODEL, max_tokens=MAX_TOKENS), stream=True),
            lambda: client.chat.completions.create(**chat_body(MODEL)),  # no budget cuts an answer
            lambda: client.responses.create(model=MODEL, input="oi", max_output_tokens=MAX_TOKENS),
            lambda: client.completions.create(model=MODEL, prompt="oi", max_tokens=MAX_TOKENS),
            lambda: client.embeddings.create(model=EMBEDDER, input="um texto " * 200),
        ):
            with pytest.raises(openai.PermissionDeniedError) as refused:
                call()
            refusals.append(refused.value)
        assert all(refusal.code == "budget_exceeded" and "Budget exceeded (key" in str(refusal) for refusal in refusals)
        assert said in str(refusals[0])
        assert all(refusal.body["budget"]["id"] == budget.pk for refusal in refusals)  # type: ignore[index]
    with anthropic.Anthropic(api_key=key, base_url=url) as claude, pytest.raises(anthropic.PermissionDeniedError) as denied:
        claude.messages.create(model=MODEL, max_tokens=MAX_TOKENS, messages=[{"role": "user", "content": "oi"}])
    body: Any = denied.value.body
    assert (body["error"]["type"], body["error"]["details"]["error_code"]) == ("permission_error", "budget_exceeded")
    assert body["error"]["details"]["budget"]["window"] == "week"
    assert world.sandbox.ledger()["calls"] == [] and len(tenant.records()) == before
    assert not Hold.everywhere.filter(wallet=tenant.wallet).exists()


def test_a_fallback_that_fits_serves_and_a_soft_budget_refuses_nobody(
    world: World, gateways: list[Gateway], tenant: Tenant
) -> None:
    soft = limit(tenant, nanos=CENTAVO, scope="organization", is_hard=False)
    hard = limit(tenant, nanos=2 * CENTAVO)
    await_refused(gateways, tenant.secret)
    answer = ask(gateways[0], tenant.secret, models=[CHEAP])
    assert (answer.status_code, answer.headers["x-tokia-model"]) == (200, CHEAP)
    record = tenant.records()[-1]
    assert record.routing is not None and {"reason": "budget", "route": MODEL} in record.routing["skipped"]
    budgets.stop_budget(hard)
    deadline = time.monotonic() + IN_FORCE_SECONDS
    while ask(gateways[0], tenant.secret).status_code != 200:
        assert time.monotonic() < deadline
    [window] = BudgetSpend.everywhere.filter(budget=soft)
    assert (window.spent_nanos, window.held_nanos) == (sum(record.net_nanos for record in tenant.records()), 0)


def test_tags_are_recorded_whichever_way_they_come(world: World, gateways: list[Gateway], tenant: Tenant) -> None:
    url, headers = gateways[0].url, tenant.headers

    def post(path: str, body: dict[str, Any], tags: str = "") -> list[str] | None:
        answer = httpx.post(f"{url}{path}", json=body, headers={**headers, **({"x-tokia-tags": tags} if tags else {})}, timeout=20)
        assert answer.status_code == 200, answer.text
        return UsageRecord.everywhere.get(pk=answer.headers["x-request-id"]).tags

    chat, few = "/v1/chat/completions", {"max_tokens": 4}
    assert post(chat, chat_body(MODEL, **few)) is None
    assert post(chat, chat_body(MODEL, **few, tags=["b", "c"]), "a, b") == ["a", "b", "c"]
    assert post(chat, chat_body(MODEL, **few, tags=["x"], models=[CHEAP])) == ["x"]
    assert post("/v1/messages", {"model": MODEL, "messages": [{"role": "user", "content": "oi"}], **few, "tags": ["m"]}) == ["m"]
    assert post("/v1/responses", {"model": MODEL, "input": "oi", "max_output_tokens": 20, "tags": ["r"]}) == ["r"]
    assert post("/v1/embeddings", {"model": EMBEDDER, "input": "oi", "tags": ["e"]}, "h") == ["h", "e"]
    wrong = httpx.post(f"{url}{chat}", json=chat_body(MODEL, tags=["com espaço"]), headers=headers)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "tags")
    asked = [json.loads(call["body"]) for call in world.sandbox.ledger()["calls"] if isinstance(call.get("body"), str)]
    assert all("tags" not in body for body in asked)
    days = UsageDay.everywhere.filter(organization=tenant.wallet.organization)
    assert sum(day.calls for day in days) == len(tenant.records())


def test_prices_are_adjusted_for_the_organization(world: World, gateways: list[Gateway], tenant: Tenant) -> None:
    from accounts.models import LimitProfile, Organization
    from billing.price_lines import price_lines

    shared = LimitProfile.objects.create(name=f"m{next(_names)}", requests_per_minute=9_999, tokens_per_minute=9**9, margin_bps=333)
    Organization.objects.filter(pk=tenant.wallet.organization_id).update(limit_profile=shared)
    began = time.monotonic()

    def shown(gateway: Gateway) -> str:
        item = httpx.get(f"{gateway.url}/v1/models/{MODEL}", headers=tenant.headers).json()
        return str(item["pricing"]["completion"])

    for gateway in gateways:
        while shown(gateway) != "0.000030999":
            assert time.monotonic() - began < IN_FORCE_SECONDS
    prices = PriceList(1, "v1", {"input": UnitPrice(10_333_000_000), "output": UnitPrice(30_999_000_000)})
    answer = ask(gateways[1], tenant.secret, max_tokens=30)
    [record] = tenant.records()
    usage = Usage(input_tokens=record.input_tokens, output_tokens=record.output_tokens)
    assert record.margin_bps == 333 and record.gross_nanos == price_usage(prices, usage) <= (record.hold_nanos or 0)
    assert nanos(answer.json()["usage"]["cost"]) == record.net_nanos
    total = sum(line.amount for line in price_lines(record)) * BRL
    assert -(-total // 1) == record.gross_nanos
    assert count_rows("billing_hold") == 0


def test_a_fallback_of_the_catalog_is_no_way_around_a_budget(world: World, gateways: list[Gateway], tenant: Tenant) -> None:
    """It is for failures: who asks for the dear model and can't pay it is told so."""
    fallback = Fallback.objects.create(route=Route.objects.get(name=MODEL), target=Route.objects.get(name=CHEAP))
    limit(tenant, nanos=CENTAVO)
    await_refused(gateways, tenant.secret)
    fallback.delete()
