"""Sound, pictures, characters and searches in the ledger: kept bucket by bucket, settled once, shown to whoever pays."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client

from accounts.tenancy import tenant
from billing import costs, exchange, holds, price_changes, pricebooks, statements
from billing.models import ProviderCost, UsageRecord, Wallet
from billing.money import BRL
from billing.pricebooks import PriceLine
from billing.pricing import PriceList, UnitPrice, Usage, price_usage
from billing.reconcile import find_violations
from billing.units import tell_media, tell_per
from billing.wallets import wallet_of
from gateway.models_list import _pricing
from tests.cast import Cast, make_cast
from tests.make import make_call, make_hold, make_key, make_price, make_route, make_top_up, make_wallet
from tokia import clock, showcase

pytestmark = pytest.mark.django_db
EVERYTHING = Usage(**{name: number for number, name in enumerate(Usage.__struct_fields__, start=1)})


@pytest.fixture(autouse=True)
def adds_up(db: None) -> object:
    yield
    assert find_violations() == []


def buckets_of(record: UsageRecord) -> Usage:
    return Usage(**{name: getattr(record, name) for name in Usage.__struct_fields__})


def test_it_keeps_every_bucket_apart() -> None:
    wallet = make_wallet(brl="10")
    call = make_call(wallet=wallet, gross_nanos=2 * BRL, id_=make_hold(wallet=wallet, brl="3"), usage=EVERYTHING)
    assert holds.settle([call]) == holds.settle([call])  # a replay gives the figures again
    record = UsageRecord.everywhere.get(pk=call.id)
    assert buckets_of(record) == EVERYTHING
    wallet.refresh_from_db()
    assert (wallet.posted_nanos, wallet.held_nanos, record.net_nanos) == (8 * BRL, 0, 2 * BRL)


def test_what_a_settlement_does_not_name_is_zero() -> None:
    wallet = make_wallet()
    call = make_call(wallet=wallet, gross_nanos=BRL, usage=Usage(input_tokens=7, images=2))
    row = call.as_json()
    assert set(row) & set(Usage.__struct_fields__) == {"input_tokens", "images"}
    holds.settle([call])
    assert buckets_of(UsageRecord.everywhere.get(pk=call.id)) == Usage(input_tokens=7, images=2)


def test_every_partition_has_the_columns_in_the_parents_order() -> None:
    """The default partition's rows move into a month's with SELECT *."""
    columns = "SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    with connection.cursor() as cursor:
        cursor.execute("SELECT relid::text FROM pg_partition_tree('billing_usagerecord')")
        tables = [name for (name,) in cursor.fetchall()]
        assert len(tables) > 2
        found = set()
        for table in tables:
            cursor.execute(columns, [table])
            found.add(tuple(cursor.fetchone()[0]))
    [names] = found
    assert {"audio_seconds", "searches"} <= set(names)


# ── What people read ─────────────────────────────────────────────────────────────────────────────────────────────────
UNITS = {"input": "10", "audio_input": "160", "image_output": "320", "image": "0.40", "audio_second": "1.94", "character": "0.09",
         "search": "0.02"}  # fmt: skip
SPENT = Usage(input_tokens=1_500, audio_input_tokens=50, image_output_tokens=1_056, images=3, audio_seconds=61, characters=1_234,
              searches=1)  # fmt: skip
TOLD = "50 tokens de áudio na entrada, 1.056 tokens de imagem na saída, 3 imagens, 61 segundos de áudio, 1.234 caracteres, 1 busca"


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def record(cast: Cast) -> UsageRecord:
    wallet = wallet_of(cast.acme)
    make_top_up(wallet=wallet, brl="100.00")
    key, _ = make_key(organization=cast.acme, user=cast.alice)
    version = make_price(route="test/media", units=UNITS)
    gross = price_usage(pricebooks.price_lists()["test/media"], SPENT)
    call = make_call(
        wallet=wallet, gross_nanos=gross, route_name="test/media", api_key_id=key.pk, price_version_id=version.pk, usage=SPENT,
        surface="images",
    )  # fmt: skip
    holds.settle([call])
    return UsageRecord.everywhere.get(pk=call.id)


def page_of(cast: Cast, path: str) -> str:
    client = Client()
    client.force_login(cast.alice)
    return client.get(path).content.decode()


def test_the_statement_tells_what_was_no_text(cast: Cast, record: UsageRecord) -> None:
    today = clock.today_in_brazil()
    with tenant(cast.acme):
        [row] = [row for row in statements.statement(first_on=today, last_on=today).rows if row.kind == "usage"]
        [line] = statements.usage_by("route", first_on=today, last_on=today)
    assert row.media == line.media_text == TOLD
    assert (line.input_tokens, line.output_tokens) == (1_550, 1_056)
    assert TOLD in page_of(cast, "/app/extrato/")
    assert f"1 requisição ({TOLD});" in page_of(cast, "/app/extrato/extrato.csv")


@pytest.mark.parametrize("path", ["/app/uso/", "/app/uso/?por=day", "/app/requisicoes/"])
def test_usage_and_calls_tell_it_too(cast: Cast, record: UsageRecord, path: str) -> None:
    assert TOLD in page_of(cast, path)


def test_a_text_call_shows_none_of_it(cast: Cast) -> None:
    holds.settle([make_call(wallet=make_wallet(organization=cast.acme), gross_nanos=5, usage=Usage(input_tokens=5))])
    for path in ("/app/extrato/", "/app/uso/", "/app/requisicoes/"):
        page = page_of(cast, path)
        assert "segundos de áudio" not in page and "imagens" not in page


def test_a_calls_price_is_shown_unit_by_unit(cast: Cast, record: UsageRecord) -> None:
    page = page_of(cast, f"/app/requisicoes/{record.pk}/")
    for shown in ("1.056 imagem na saída", "R$\u00a00,4000/imagem", "R$\u00a01,94/hora", "R$\u00a00,0900/1.000 caracteres",
                  "R$\u00a00,0200/busca", "R$\u00a0320,00/1M", "R$\u00a00,032872222222222"):  # fmt: skip
        assert shown in page, shown
    wallet = Wallet.everywhere.get(pk=record.wallet_id)
    assert wallet.posted_nanos == 100 * BRL - record.gross_nanos


def test_words_count() -> None:
    assert tell_media({"images": 1, "audio_seconds": 1, "input_tokens": 9}) == "1 imagem, 1 segundo de áudio"
    assert tell_media({}) == ""
    pairs = [("input", 1_000_000), ("image", 1), ("image", 10), ("input", 1_000), ("request", 1_000)]
    assert [tell_per(*pair) for pair in pairs] == ["/1M", "/imagem", "/10 imagens", "/1.000", "/1.000 requisições"]


def test_the_list_of_models_has_openrouters_names() -> None:
    units = {
        "input": UnitPrice(10 * BRL), "output": UnitPrice(30 * BRL), "audio_input": UnitPrice(160 * BRL),
        "audio_output": UnitPrice(320 * BRL), "image_input": UnitPrice(20 * BRL), "image_output": UnitPrice(40 * BRL),
        "image": UnitPrice(BRL // 5 * 2, 0, 1), "audio_second": UnitPrice(2 * BRL, 0, 3_600), "character": UnitPrice(BRL, 0, 1_000),
        "search": UnitPrice(BRL // 50, 0, 1), "request": UnitPrice(BRL // 100, 0, 1),
    }  # fmt: skip
    assert _pricing(PriceList(1, "v1", units)) == {
        "currency": "BRL", "prompt": "0.00001", "completion": "0.00003", "audio": "0.00016", "audio_output": "0.00032",
        "image_token": "0.00002", "image_output": "0.00004", "image": "0.4", "audio_second": "0.000555555555555556",
        "character": "0.001", "web_search": "0.02", "request": "0.01",
    }  # fmt: skip


def test_the_showcase_tells_what_else_a_model_is_priced_by() -> None:
    make_price(
        route=make_route(name="test/draws", surface="images"), units={"input": "10", "image": "0.40", "audio_second": "1.94"}
    )
    [offer] = showcase.offers()
    assert offer.others == [("Imagem", 400_000_000, "/imagem"), ("Tempo de áudio", 1_940_000_000, "/hora")]
    assert "Imagem <span" in Client().get("/modelos/").content.decode()


def test_a_draft_follows_a_cost_that_is_said_per_other_units() -> None:
    exchange.enter_rate(rate=Decimal(5), by="test", reason="cotação de teste")
    costs.declare_costs([("groq", "whisper", {"audio_second": Decimal(1)})])
    line = PriceLine(route_name="groq/whisper", provider_name="groq", upstream_model="whisper", markup=Decimal(2))
    old = pricebooks.publish_version(pricebooks.draft_version(lines=[line]), by="test")
    ProviderCost.objects.update(per_units=60, usd=1)
    assert pricebooks.costs_that_differ() == {("groq/whisper", "audio_second")}
    new = pricebooks.draft_from_current()
    [change] = price_changes.diff_versions(old, new)
    assert (change.kind, change.percent, change.old_per, change.new_per) == ("up", Decimal(5_900), "/hora", "/minuto")
