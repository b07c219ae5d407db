"""The playground's pages: who may open them, what they know, and that their key is nowhere but in one answer."""

from __future__ import annotations

import json
import logging
import re

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import Client

from accounts.models import ApiKey, LimitProfile, Organization, User
from billing.money import BRL, from_brl
from billing.pricebooks import price_lists
from billing.pricing import price_ceiling
from gateway.models import Provider, RoutingRule, RuleStep
from gateway.playground import playables
from tests.cast import Cast, make_cast
from tests.make import make_price, make_provider, make_route, make_usage, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
PAGE, KEY = "/app/playground/", "/app/playground/chave/"


@pytest.fixture
def cast(db: None) -> Cast:
    cache.clear()
    provider = make_provider()
    small = make_route(name="teste/pequeno", provider=provider, display_name="Pequeno", capabilities=["json"])
    large = make_route(name="teste/grande", provider=provider, display_name="Grande", capabilities=["vision"])
    make_price(route=small, units={"input": "1", "output": "2"})
    make_price(route=large, units={"input": "10", "output": "40", "reasoning": "60", "request": "0.01"})
    make_route(name="teste/sem-preco", provider=provider)
    make_price(route=make_route(name="teste/vetores", provider=provider, surface="embeddings"), units={"input": "1"})
    rule = RoutingRule.objects.create(name="tokia/dupla", display_name="Dupla")
    for position, route in enumerate((small, large)):
        RuleStep.objects.create(rule=rule, route=route, position=position)
    return make_cast()


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def facts(html: str) -> dict[str, dict[str, object]]:
    found = re.search(r'<script id="fatos" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found
    told: dict[str, dict[str, object]] = json.loads(found[1])["models"]
    return told


def chosen(html: str) -> str:
    found = re.search(r'<option value="([^"]+)" selected', html)
    return found[1] if found else ""


def test_it_offers_chat_models_on_sale_and_virtual_ones(cast: Cast) -> None:
    page = as_(cast.bob).get(PAGE)
    html = page.content.decode()
    assert list(facts(html)) == ["tokia/dupla", "teste/grande", "teste/pequeno"]
    assert "Escolha automática" in html and "teste/vetores" not in html and "teste/sem-preco" not in html
    assert "O playground precisa de JavaScript" in html
    assert "sk-tokia-" not in html


def test_it_bounds_a_call_by_the_gateways_own_ceiling_at_the_organizations_prices(cast: Cast) -> None:
    profile = LimitProfile.objects.create(name="caro", requests_per_minute=9, tokens_per_minute=9, margin_bps=1_000)
    Organization.objects.filter(pk=cast.acme.pk).update(limit_profile=profile)
    found = {model.name: model for model in playables(Organization.objects.get(pk=cast.acme.pk))}
    prices = price_lists()["teste/grande"].adjusted(1_000)
    ceiling = found["teste/grande"].ceiling
    assert ceiling.output_nanos == 66 * BRL and ceiling.request_nanos == from_brl("0.011")
    for tokens in (1, 333, 12_345):
        shown = -(-tokens * ceiling.input_nanos // 10**6) + -(-tokens * ceiling.output_nanos // 10**6) + ceiling.request_nanos
        assert 0 <= shown - price_ceiling(prices, input_tokens=tokens, output_tokens=tokens) <= 2
    assert found["tokia/dupla"].ceiling == ceiling  # the dearest of them
    assert found["tokia/dupla"].has_vision and found["tokia/dupla"].has_json


def test_it_opens_with_the_model_of_an_address_or_of_a_call(cast: Cast) -> None:
    bob = as_(cast.bob)
    assert chosen(bob.get(PAGE, {"modelo": "teste/pequeno"}).content.decode()) == "teste/pequeno"
    gone = bob.get(PAGE, {"modelo": "teste/<b>sumiu"}).content.decode()
    assert "não está à venda agora" in gone and "<b>sumiu" not in gone
    call_id = clock.new_id()
    make_usage(wallet=make_wallet(organization=cast.acme), id_=call_id, route_name="teste/pequeno", surface="chat")
    assert chosen(bob.get(PAGE, {"requisicao": str(call_id)}).content.decode()) == "teste/pequeno"
    assert chosen(as_(cast.charlie).get(PAGE, {"requisicao": str(call_id)}).content.decode()) != "teste/pequeno"
    assert bob.get(PAGE, {"requisicao": "nenhuma"}).status_code == 200


def test_it_hands_out_a_key_that_nothing_keeps(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bob = as_(cast.bob)
    answer = bob.post(KEY)
    secret = answer.json()["key"]
    assert "no-store" in answer["Cache-Control"]
    key = ApiKey.everywhere.get(created_by=cast.bob)
    assert (key.kind, key.organization, key.scopes, key.name) == ("playground", cast.acme, ["call"], "Playground: Bob")
    assert secret not in caplog.text
    for page in (PAGE, "/app/chaves/", "/app/uso/", "/app/requisicoes/", "/app/"):
        assert secret not in bob.get(page).content.decode()
    bob.logout()
    key.refresh_from_db()
    assert key.status == ApiKey.Status.REVOKED


def test_it_hands_no_key_to_who_may_not(cast: Cast) -> None:
    assert Client().post(KEY).status_code == 302
    assert as_(cast.carol).get(PAGE).status_code == 403
    assert as_(cast.carol).post(KEY).status_code == 403
    assert as_(cast.bob).get(KEY).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.bob)
    assert strict.post(KEY).status_code == 403
    Organization.objects.filter(pk=cast.acme.pk).update(is_suspended=True)
    suspended = as_(cast.bob).post(KEY)
    assert (suspended.status_code, "suspensa" in suspended.json()["error"]["message"]) == (403, True)
    assert not ApiKey.everywhere.filter(kind="playground").exists()


def test_it_hands_out_only_so_many_keys_a_minute(cast: Cast) -> None:
    bob = as_(cast.bob)
    assert {bob.post(KEY).status_code for _ in range(10)} == {200}
    assert {bob.post(KEY).status_code for _ in range(3)} <= {200, 429}
    assert ApiKey.everywhere.filter(kind="playground").count() == 1


def test_it_lets_only_this_page_call_the_gateway(cast: Cast) -> None:
    bob = as_(cast.bob)
    assert f"connect-src 'self' {settings.GATEWAY_URL}" in bob.get(PAGE)["Content-Security-Policy"]
    assert settings.GATEWAY_URL not in bob.get("/app/chaves/")["Content-Security-Policy"]


def test_it_tells_what_a_stopped_call_cost_to_its_own_organization(cast: Cast) -> None:
    call_id = clock.new_id()
    make_usage(wallet=make_wallet(organization=cast.acme), id_=call_id, gross_nanos=1_234_567)
    told = as_(cast.bob).get(f"/app/playground/custo/{call_id}/")
    assert told.json() == {"net_nanos": "1234567", "tokens": {"prompt": 10, "completion": 5}}
    assert as_(cast.charlie).get(f"/app/playground/custo/{call_id}/").status_code == 404


def test_it_says_so_where_nothing_is_on_sale(cast: Cast) -> None:
    Provider.objects.update(is_active=False)
    assert "Nenhum modelo de conversa à venda agora" in as_(cast.bob).get(PAGE).content.decode()
