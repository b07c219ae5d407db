from __future__ import annotations

import datetime as dt
import re
import uuid

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import Organization
from accounts.tenancy import tenant
from billing.money import BRL
from gateway.models import Credential, Provider, Route
from tests.cast import Cast, make_cast
from tests.make import make_key, make_price, make_provider, make_route, make_usage, make_volume_plan, make_wallet
from tokia import clock, overview, showcase

pytestmark = pytest.mark.django_db
ENGLISH = re.compile(
    r"\b(sign in|sign up|log ?in|password|submit|search apps|type to search|settings|required|welcome|loading|next|previous|"
    r"delete|save|cancel|home|dashboard|balance|please|error|page|account|email address)\b", re.IGNORECASE
)  # fmt: skip


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def id_days_ago(days: float) -> uuid.UUID:
    moment = clock.now() - dt.timedelta(days=days)
    return uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (clock.new_id().int & ((1 << 80) - 1)))


def words(page: str) -> str:
    """What a person reads: without code, tags and scripts."""
    page = re.sub(r"<(script|code|pre|svg|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    page = re.sub(r"<span[^>]*material-symbols[^>]*>[^<]*</span>", " ", page)  # icons by name
    return re.sub(r"<[^>]+>", " ", page)


# ── The shop window ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_shows_what_is_on_sale_and_says_what_is_simulated(client: Client) -> None:
    real, simulated = make_provider(), make_provider()
    Provider.objects.filter(pk=simulated.pk).update(is_simulated=True)
    demo = make_route(name="tokia/demo", provider=real, display_name="Pequeno", is_featured=True)
    mini = make_route(name="openai/gpt-5-mini", provider=simulated, display_name="GPT-5 mini", is_featured=True)
    make_route(name="openai/priceless", display_name="Sem preço")
    gone = make_route(name="openai/gone", display_name="Sem chave")
    make_price(route=demo, units={"input": "0.02", "output": "0.04"})
    make_price(route=mini, units={"input": "1.51", "cached_input": "0.151", "output": "12.10"})
    make_price(route=gone)
    Credential.objects.filter(provider__deployments__route=gone).update(is_active=False)
    for url in ("/", "/modelos/"):
        page = client.get(url).content.decode()
        assert "GPT-5 mini" in page and "R$\u00a01,51" in page and "R$\u00a00,1510" in page and "R$\u00a012,10" in page
        assert page.count(">Modelo de demonstração<") == 1 and page.count(">Simulado<") == 1
        assert "Sem preço" not in page and "Sem chave" not in page
    assert "tokia/demo" in client.get("/").content.decode()


def test_it_filters_and_orders_the_catalog(client: Client) -> None:
    for name, price, tools in (("a/cheap", "1", []), ("b/dear", "9", ["tools"])):
        make_price(route=make_route(name=name, maker=name[0].upper(), capabilities=tools), units={"input": price, "output": price})

    def shown(query: str) -> list[str]:
        return re.findall(r">([ab]/\w+)</code>", client.get(f"/modelos/?{query}").content.decode())

    assert shown("") == ["a/cheap", "b/dear"]
    assert shown("busca=DEAR") == ["b/dear"]
    assert shown("provedor=A") == ["a/cheap"]
    assert shown("capacidade=tools") == ["b/dear"]
    assert shown("ordem=entrada") == ["a/cheap", "b/dear"]
    page = client.get("/modelos/?busca=zzz").content.decode()
    assert "Nada encontrado com esses filtros." in page
    part = client.get("/modelos/?busca=dear", headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div id="tabela">')


def test_it_prices_a_million_whatever_the_line_is_per() -> None:
    route = make_route()
    make_price(route=route, units={"input": "2", "output": "6"})
    [offer] = showcase.offers()
    assert (offer.input_nanos, offer.cached_nanos, offer.output_nanos) == (2 * BRL, None, 6 * BRL)
    Route.objects.filter(pk=route.pk).update(surface=Route.Surface.EMBEDDINGS)
    assert showcase.offers()[0].output_nanos is None


def test_it_serves_the_landing_page_without_a_single_model(client: Client) -> None:
    page = client.get("/").content.decode()
    assert 'id="precos"' not in page and "Criar conta grátis" in page
    assert "Nenhum modelo à venda agora" in client.get("/modelos/").content.decode()
    assert client.head("/").status_code == 200


# ── The overview ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_leads_through_three_steps_and_notices_the_first_call(client: Client, cast: Cast) -> None:
    client.force_login(cast.alice)
    assert "0 de 3 concluídos" in client.get("/app/").content.decode()
    wallet = make_wallet(organization=cast.acme)
    key, _ = make_key(organization=cast.acme, user=cast.alice)
    page = client.get("/app/").content.decode()
    assert "2 de 3 concluídos" in page and "Aguardando sua primeira requisição" in page
    waiting = client.get("/app/parcial/primeira-chamada/")
    assert waiting.status_code == 200 and 'hx-trigger="every 2s"' in waiting.content.decode()
    make_usage(wallet=wallet, gross_nanos=0, outcome="failed", status_code=402, error_code="insufficient_balance")
    failed = client.get("/app/parcial/primeira-chamada/")
    assert failed.status_code == 200 and "erro 402" in failed.content.decode()
    make_usage(wallet=wallet, gross_nanos=1_900_000, route_name="tokia/demo", api_key_id=key.pk)
    worked = client.get("/app/parcial/primeira-chamada/")
    assert worked.status_code == 286 and worked["HX-Trigger"] == "saldo-mudou"
    assert "Funcionou! tokia/demo, 15 tokens, R$\u00a00,0019." in worked.content.decode()
    assert "every 2s" not in worked.content.decode()
    assert "Comece em 3 passos" not in client.get("/app/").content.decode()


def test_it_puts_the_steps_away(client: Client, cast: Cast) -> None:
    client.force_login(cast.alice)
    client.post("/app/parcial/passos/")
    assert "Comece em 3 passos" not in client.get("/app/").content.decode()


def test_it_adds_the_month_up_and_tells_the_next_discount(client: Client, cast: Cast) -> None:
    make_volume_plan(tiers=((500 * BRL, 500),))
    wallet = make_wallet(organization=cast.acme, brl="1000.00")
    key, _ = make_key(organization=cast.acme, user=cast.alice, name="produção")
    make_usage(wallet=wallet, gross_nanos=100 * BRL, api_key_id=key.pk)
    make_usage(wallet=wallet, gross_nanos=23_450_000_000, api_key_id=key.pk)
    client.force_login(cast.alice)
    page = client.get("/app/").content.decode()
    assert "R$\u00a0123,45" in page and "<strong>R$\u00a0376,55</strong> para 5% de desconto" in page
    assert "R$\u00a0876,55" in page  # the balance
    assert page.count(">produção</td>") == 2 and "100% com sucesso" in page
    assert 'class="bar bar-0"' in page and "chart.umd" not in page
    assert client.get("/app/?dias=7").status_code == client.get("/app/?dias=x").status_code == 200


def test_it_tells_how_long_the_balance_lasts_after_three_days_of_use(cast: Cast) -> None:
    wallet = make_wallet(organization=cast.acme, brl="1000.00")
    with tenant(cast.acme):
        for days in (0, 1):
            make_usage(wallet=wallet, gross_nanos=7 * BRL, id_=id_days_ago(days))
        assert overview.lasts(available_nanos=30 * BRL) == ""
        make_usage(wallet=wallet, gross_nanos=7 * BRL, id_=id_days_ago(2))
        assert overview.lasts(available_nanos=30 * BRL) == "10 dias"
        assert overview.lasts(available_nanos=3 * BRL) == "24 horas"
        assert overview.lasts(available_nanos=1_000_000) == "menos de 1 hora"
        assert overview.lasts(available_nanos=0) == ""


def test_it_shows_one_banner_the_weightiest(client: Client, cast: Cast) -> None:
    client.force_login(cast.alice)
    Organization.objects.filter(pk=cast.acme.pk).update(tax_id="")
    assert "Complete o CNPJ" in client.get("/app/").content.decode()
    wallet = make_wallet(organization=cast.acme, brl="25.00")
    make_usage(wallet=wallet, gross_nanos=10 * BRL)
    page = client.get("/app/").content.decode()
    assert "Saldo baixo: R$\u00a015,00." in page and "Complete o CNPJ" not in page
    make_usage(wallet=wallet, gross_nanos=15 * BRL)
    assert "Seu saldo acabou" in client.get("/app/").content.decode()
    Organization.objects.filter(pk=cast.acme.pk).update(is_suspended=True, suspended_reason="Fraude")
    page = client.get("/app/").content.decode()
    assert "Conta suspensa" in page and "Fraude" in page and "Seu saldo acabou" not in page


def test_it_shows_the_same_balance_in_chip_and_card(client: Client, cast: Cast) -> None:
    make_wallet(organization=cast.acme, brl="412.87")
    client.force_login(cast.bob)
    part = client.get("/app/parcial/saldo/").content.decode()
    assert part.count("R$\u00a0412,87") == 2 and 'hx-swap-oob="true"' in part
    assert "/app/recarregar/" not in part  # a developer can't top up


# ── All pages ────────────────────────────────────────────────────────────────────────────────────────────────────────
PUBLIC = ("/", "/modelos/", "/termos/", "/privacidade/", "/conta/entrar/", "/conta/cadastro/", "/conta/senha/esqueci/",
          "/conta/senha/esqueci/enviado/", "/conta/senha/pronta/", "/conta/inativa/", "/nada/")  # fmt: skip
SIGNED_IN = ("/app/", "/app/chaves/", "/app/chaves/nova/", "/app/equipe/", "/app/configuracoes/empresa/", "/app/comecar/?nova=1",
             "/conta/senha/trocar/", "/conta/sair/", "/app/recarregar/", "/app/extrato/", "/app/uso/",
             "/app/requisicoes/", "/app/projetos/", "/app/orcamentos/", "/app/orcamentos/novo/?de=tag",
             "/app/configuracoes/limites/")  # fmt: skip


def test_it_speaks_portuguese_and_allows_nothing_inline(client: Client, cast: Cast, settings: Settings) -> None:
    make_price(route=make_route(display_name="Modelo"))
    make_usage(wallet=make_wallet(organization=cast.acme))
    for person, urls in ((None, PUBLIC), (cast.alice, SIGNED_IN)):
        if person:
            client.force_login(person)
        for url in urls:
            response = client.get(url)
            page = response.content.decode()
            assert '<html lang="pt-BR">' in page, url
            found = ENGLISH.findall(words(page))
            assert not found, (url, found)
            policy = response["Content-Security-Policy"]
            assert "unsafe" not in policy and "default-src 'none'" in policy and "script-src 'self';" in policy + ";", url
            assert "form-action 'self'" in policy and "frame-ancestors 'none'" in policy


def test_it_relaxes_the_policy_under_admin_alone(client: Client, cast: Cast) -> None:
    cast.alice.is_staff = cast.alice.is_superuser = True
    cast.alice.save()
    client.force_login(cast.alice)
    page = client.get("/admin/")
    assert "'unsafe-eval'" in page["Content-Security-Policy"]
    found = ENGLISH.findall(words(page.content.decode()))
    assert not found, found
    assert "unsafe" not in client.get("/administrador/")["Content-Security-Policy"]


def test_it_tells_a_failure_of_ours_without_a_context(client: Client) -> None:
    from django.test import RequestFactory
    from django.views.defaults import server_error

    response = server_error(RequestFactory().get("/"))
    assert response.status_code == 500 and "Algo falhou do nosso lado." in response.content.decode()
