from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import Membership, Role
from accounts.roles import PERMISSIONS, may, requires
from tests.cast import Cast, make_cast

MATRIX = {
    "keys.manage": {Role.OWNER, Role.ADMIN, Role.DEVELOPER},
    "keys.manage_all": {Role.OWNER, Role.ADMIN},
    "experiments.manage": {Role.OWNER, Role.ADMIN, Role.DEVELOPER},
    "own_keys.read": {Role.OWNER, Role.ADMIN, Role.DEVELOPER},
    "own_keys.manage": {Role.OWNER, Role.ADMIN},
    "hooks.manage": {Role.OWNER, Role.ADMIN, Role.DEVELOPER},
    "projects.manage": {Role.OWNER, Role.ADMIN},
    "budgets.manage": {Role.OWNER, Role.ADMIN, Role.FINANCE},
    "usage.read": {Role.OWNER, Role.ADMIN, Role.DEVELOPER, Role.FINANCE},
    "billing.top_up": {Role.OWNER, Role.ADMIN, Role.FINANCE},
    "billing.statement": {Role.OWNER, Role.ADMIN, Role.FINANCE},
    "billing.refund": {Role.OWNER, Role.ADMIN, Role.FINANCE},
    "team.manage": {Role.OWNER, Role.ADMIN},
    "organization.manage": {Role.OWNER, Role.ADMIN},
    "organization.fiscal": {Role.OWNER, Role.ADMIN, Role.FINANCE},
}
PAGES = {
    "/app/": "usage.read",
    "/app/chaves/": "keys.manage",
    "/app/chaves/nova/": "keys.manage",
    "/app/projetos/": "usage.read",
    "/app/orcamentos/": "usage.read",
    "/app/orcamentos/novo/": "budgets.manage",
    "/app/avisos/": "usage.read",
    "/app/configuracoes/avisos/": "billing.statement",
    "/app/webhooks/": "hooks.manage",
    "/app/webhooks/novo/": "hooks.manage",
    "/app/equipe/": "team.manage",
    "/app/configuracoes/empresa/": "organization.fiscal",
    "/app/recarregar/": "billing.top_up",
    "/app/extrato/": "billing.statement",
    "/app/uso/": "usage.read",
    "/app/requisicoes/": "usage.read",
    "/app/experimentos/": "usage.read",
    "/app/experimentos/novo/": "experiments.manage",
    "/app/chaves-de-provedores/": "own_keys.read",
    "/app/chaves-de-provedores/nova/": "own_keys.manage",
}


def test_it_gives_each_role_its_permissions() -> None:
    assert set().union(*PERMISSIONS.values()) == set(MATRIX)
    for permission, allowed in MATRIX.items():
        assert {role for role in Role if may(Membership(role=role), permission)} == allowed


def test_it_takes_no_unknown_permission_for_a_no() -> None:
    with pytest.raises(KeyError):
        may(Membership(role=Role.OWNER), "keys.mange")
    with pytest.raises(KeyError):
        requires("keys.mange")


@pytest.mark.django_db
@pytest.mark.parametrize("role", list(Role))
def test_it_opens_each_page_to_its_roles_and_shows_the_same_menu(client: Client, role: Role) -> None:
    cast = make_cast()
    Membership.everywhere.filter(user=cast.bob).update(role=role)
    client.force_login(cast.bob)
    menu = client.get("/app/").content.decode()
    for url, permission in PAGES.items():
        response = client.get(url)
        is_allowed = role in MATRIX[permission]
        assert response.status_code == (200 if is_allowed else 403), url
        if url.count("/") == 3:
            assert (f'href="{url}"' in menu) is is_allowed, url
        if not is_allowed:
            assert "Peça a Alice" in response.content.decode()


@pytest.mark.django_db
def test_it_sends_strangers_to_sign_in_and_people_without_an_organization_to_open_one(client: Client) -> None:
    response = client.get("/app/chaves/")
    assert response.status_code == 302 and response["Location"] == "/conta/entrar/?next=/app/chaves/"
    cast: Cast = make_cast()
    Membership.everywhere.filter(user=cast.bob).delete()
    client.force_login(cast.bob)
    response = client.get("/app/chaves/")
    assert response.status_code == 302 and response["Location"] == "/app/comecar/"
