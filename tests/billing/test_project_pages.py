"""Pages of projects, and what keys and people show of money: spent, budgets, last use, limits."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.keys import change_key
from accounts.models import ApiKey, Project
from accounts.projects import archive_project, create_project
from billing import budgets
from billing.models import Budget
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.make import make_key, make_usage, make_wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def text(client: Client, url: str) -> str:
    return client.get(url).content.decode().replace("\xa0", " ")


def test_it_shows_keys_spend_and_budget_of_each_project(client: Client, cast: Cast) -> None:
    wallet = make_wallet(organization=cast.acme, brl="100")
    site = create_project(cast.acme, by=cast.alice, name="Site")
    inside, _ = make_key(organization=cast.acme, user=cast.alice, name="dentro", project=site)
    outside, _ = make_key(organization=cast.acme, user=cast.bob, name="fora")
    for key, project_id, brl in ((inside, site.pk, 3), (inside, site.pk, 4), (outside, None, 5)):
        make_usage(wallet=wallet, gross_nanos=brl * BRL, api_key_id=key.pk, project_id=project_id, route_name="acme/modelo")
    budgets.set_budget(cast.acme, by=None, scope="project", subject_id=site.pk, window="month", limit_nanos=50 * BRL)
    client.force_login(cast.bob)  # a developer may look
    page = text(client, "/app/projetos/")
    assert re.search(r"Site.*?R\$ 7,00.*?R\$ 7,00 de R\$ 50,00 por mês.*?Sem projeto.*?R\$ 5,00", page, re.DOTALL)
    assert "Criar projeto" not in page
    page = text(client, f"/app/projetos/{site.pk}/")
    assert "dentro" in page and "fora" not in page and "acme/modelo" in page and "R$ 7,0000" in page and "100%" in page
    assert "Renomear" not in page and "Trazer" not in page
    client.force_login(cast.carol)
    assert "Criar chave" not in text(client, f"/app/projetos/{site.pk}/")


def test_it_makes_renames_archives_and_restores(client: Client, cast: Cast) -> None:
    client.force_login(cast.alice)
    page = client.post("/app/projetos/novo/", {"name": "Site"}, follow=True).content.decode()
    site = Project.everywhere.get()
    assert "Projeto “Site” criado." in page and site.created_by == cast.alice
    assert "Já existe" in client.post("/app/projetos/novo/", {"name": "site"}, follow=True).content.decode()
    url = f"/app/projetos/{site.pk}/"
    client.post(f"{url}renomear/", {"name": "Loja"})
    client.post(f"{url}arquivar/", {"typed": "Site"})  # its old name
    site.refresh_from_db()
    assert (site.name, site.archived_at) == ("Loja", None)
    key, _ = make_key(organization=cast.acme, user=cast.alice, project=site)
    page = client.post(f"{url}arquivar/", {"typed": "Loja"}, follow=True).content.decode()
    assert "arquivado" in page and "project_archived" in page and "Restaurar" in page
    assert "Projeto arquivado" in text(client, "/app/chaves/")
    assert "Arquivados (1)" in text(client, "/app/projetos/")
    client.post(f"{url}restaurar/")
    site.refresh_from_db()
    assert site.archived_at is None and ApiKey.everywhere.get(pk=key.pk).status == "active"


def test_only_owners_and_administrators_manage_projects(client: Client, cast: Cast) -> None:
    site = create_project(cast.acme, by=None, name="Site")
    key, _ = make_key(organization=cast.acme, user=cast.bob)
    url = f"/app/projetos/{site.pk}/"
    for person in (cast.bob, cast.carol):
        client.force_login(person)
        for act in ("/app/projetos/novo/", f"{url}renomear/", f"{url}arquivar/", f"{url}restaurar/", f"{url}chaves/"):
            assert client.post(act, {"name": "Meu", "typed": "Site", "key": key.pk}).status_code == 403, act
    assert Project.everywhere.get().name == "Site" and ApiKey.everywhere.get(pk=key.pk).project is None


def test_a_key_is_brought_in_and_only_ours(client: Client, cast: Cast) -> None:
    site = create_project(cast.acme, by=None, name="Site")
    key, _ = make_key(organization=cast.acme, user=cast.bob, name="solta")
    foreign, _ = make_key(organization=cast.globex, user=cast.charlie)
    client.force_login(cast.alice)
    url = f"/app/projetos/{site.pk}/chaves/"
    assert "solta" in text(client, f"/app/projetos/{site.pk}/")
    for wrong in (foreign.pk, "", "9" * 30, "x", "²"):
        assert client.post(url, {"key": wrong}).status_code == 404
    assert "Chave “solta” movida" in client.post(url, {"key": key.pk}, follow=True).content.decode()
    key.refresh_from_db()
    assert key.project == site
    archive_project(site)
    other, _ = make_key(organization=cast.acme)
    assert "arquivado" in client.post(url, {"key": other.pk}, follow=True).content.decode()
    assert ApiKey.everywhere.get(pk=other.pk).project is None


def test_a_key_is_made_with_project_limits_scopes_and_a_budget(client: Client, cast: Cast) -> None:
    make_wallet(organization=cast.acme)
    site = create_project(cast.acme, by=None, name="Site")
    client.force_login(cast.alice)
    page = text(client, f"/app/chaves/nova/?projeto={site.pk}")
    assert f'<option value="{site.pk}" selected>' in page and "Limite de gasto" in page and "Ver orçamentos" in page
    data = {
        "name": "robô", "project": site.pk, "spend_limit": "150,00", "requests_per_minute": "60", "tokens_per_minute": "90000",
        "concurrent_calls": "4", "scopes": ["usage.read", "call"], "scopes_shown": "True",
    }  # fmt: skip
    assert "Copie agora." in client.post("/app/chaves/nova/", data).content.decode()
    key = ApiKey.everywhere.get()
    assert (key.project, key.requests_per_minute, key.tokens_per_minute, key.concurrent_calls) == (site, 60, 90_000, 4)
    assert key.scopes == ["call", "usage.read"]
    budget = Budget.everywhere.get()
    assert (budget.scope, budget.subject_id, budget.window, budget.limit_nanos, budget.is_hard) == (
        "key",
        key.pk,
        "month",
        150 * BRL,
        True,
    )
    page = text(client, "/app/chaves/")
    for part in (
        "Site",
        "Sem uso",
        "R$ 0,00 de R$ 150,00 por mês",
        "60 req./min",
        "90.000 tokens/min",
        "4 ao mesmo tempo",
        "Administra",
    ):
        assert part in page, part
    make_usage(wallet=make_wallet(organization=cast.acme, brl="0"), gross_nanos=160 * BRL, api_key_id=key.pk)
    budgets.count_spends(cast.acme)
    page = text(client, "/app/chaves/")
    assert "Limite atingido" in page and "Usada hoje" in page and "R$ 160,00 de R$ 150,00" in page


def test_a_key_is_not_made_without_its_budget(client: Client, cast: Cast) -> None:
    client.force_login(cast.alice)
    for wrong in (
        {"spend_limit": "0"},
        {"spend_limit": "abc"},
        {"tokens_per_minute": "0"},
        {"concurrent_calls": "-1"},
        {"project": "77"},
    ):
        page = client.post("/app/chaves/nova/", {"name": "x", **wrong})
        assert page.status_code == 200 and "Copie agora." not in page.content.decode(), wrong
    assert ApiKey.everywhere.count() == Budget.everywhere.count() == 0


def test_nobody_gives_a_key_more_than_they_may(client: Client, cast: Cast) -> None:
    client.force_login(cast.bob)  # develops
    page = text(client, "/app/chaves/nova/")
    assert 'value="usage.read"' in page and 'value="members.write"' not in page and 'value="billing.top_up"' not in page
    for scopes in (["members.write"], ["call", "nada"]):
        answer = client.post("/app/chaves/nova/", {"name": "x", "scopes": scopes, "scopes_shown": "True"})
        assert "Copie agora." not in answer.content.decode()
    none = client.post("/app/chaves/nova/", {"name": "x", "scopes_shown": "True"})
    assert "Escolha ao menos uma permissão" in none.content.decode() and ApiKey.everywhere.count() == 0
    hers, _ = make_key(organization=cast.acme, user=cast.alice, name="dela")
    client.force_login(cast.alice)
    his, _ = make_key(organization=cast.acme, user=cast.bob, name="dele")
    page = text(client, f"/app/chaves/{his.pk}/mudar/")
    assert 'value="members.write"' not in page  # a key manages in its maker's name
    answer = client.post(
        f"/app/chaves/{his.pk}/mudar/", {"name": "dele", "scopes": ["call", "members.write"], "scopes_shown": "True"}
    )
    assert answer.status_code == 200
    client.post(f"/app/chaves/{hers.pk}/mudar/", {"name": "dela", "scopes": ["members.write"], "scopes_shown": "True"})
    his.refresh_from_db()
    hers.refresh_from_db()
    assert (his.scopes, hers.scopes) == (["call"], ["members.write"])


def test_a_key_changes_project_and_limits_and_keeps_an_archived_one(client: Client, cast: Cast) -> None:
    old, new = create_project(cast.acme, by=None, name="Velho"), create_project(cast.acme, by=None, name="Novo")
    key, _ = make_key(organization=cast.acme, user=cast.alice, name="k", project=old, tokens_per_minute=5)
    archive_project(old)
    client.force_login(cast.alice)
    url = f"/app/chaves/{key.pk}/mudar/"
    assert f'<option value="{old.pk}" selected>' in text(client, url)
    client.post(url, {"name": "k2", "project": old.pk, "concurrent_calls": "3"})
    key.refresh_from_db()
    assert (key.name, key.project, key.tokens_per_minute, key.concurrent_calls) == ("k2", old, None, 3)
    client.post(url, {"name": "k2", "project": new.pk})
    key.refresh_from_db()
    assert key.project == new and change_key(key, project=None) and key.project_id is None


def test_a_key_turns_to_a_new_secret_after_its_name_is_typed(client: Client, cast: Cast) -> None:
    key, secret = make_key(organization=cast.acme, user=cast.alice, name="produção")
    client.force_login(cast.alice)
    url = f"/app/chaves/{key.pk}/girar/"
    assert "continua o mesmo" in client.post(url, {"typed": "outra"}, follow=True).content.decode()
    answer = client.post(url, {"typed": "produção"})
    found = re.search(r"sk-tokia-[0-9A-Za-z]{49}", answer.content.decode())
    assert found and found[0] != secret and "no-store" in answer["Cache-Control"]
    key.refresh_from_db()
    assert key.suffix == found[0][-4:] and key.status == "active"
    client.force_login(cast.bob)
    assert client.post(url, {"typed": "produção"}).status_code == 404


def test_the_team_page_shows_what_each_person_spent(client: Client, cast: Cast) -> None:
    wallet = make_wallet(organization=cast.acme, brl="100")
    for user, brl in ((cast.bob, 3), (cast.bob, 4), (cast.alice, 5)):
        key, _ = make_key(organization=cast.acme, user=user)
        make_usage(wallet=wallet, gross_nanos=brl * BRL, api_key_id=key.pk)
    client.force_login(cast.alice)
    page = text(client, "/app/equipe/")
    assert re.search(r"alice@acme.*?R\$ 5,00", page, re.DOTALL) and re.search(r"bob@acme.*?R\$ 7,00", page, re.DOTALL)
    assert "R$ 0,00" in page  # Carol
