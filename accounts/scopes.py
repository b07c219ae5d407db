"""What an API key may do: "call" serves `/v1`, every other scope opens operations of `/api/v1`.

| scope              | opens                                                | given by whoever may (`accounts.roles`) |
|--------------------|------------------------------------------------------|------------------------------|
| call               | `/v1`: calls of models, paid by the wallet           | keys.manage                  |
| organization.read  | the organization's data                              | usage.read                   |
| organization.write | change them                                          | organization.fiscal          |
| projects.read      | projects                                             | usage.read                   |
| projects.write     | create, rename, archive, restore them                | projects.manage              |
| keys.read          | keys, never their secrets                            | keys.manage                  |
| keys.write         | create, change, rotate, revoke them                  | keys.manage                  |
| members.read       | members and invitations                              | team.manage                  |
| members.write      | invite, change roles, remove                         | team.manage                  |
| budgets.read       | budgets and what is spent of them                    | usage.read                   |
| budgets.write      | create, change, stop them                            | budgets.manage               |
| billing.read       | wallet, statement, top-ups, refunds                  | billing.statement            |
| billing.top_up     | open PIX charges                                     | billing.top_up               |
| usage.read         | usage and calls                                      | usage.read                   |
| hooks.read         | hooks, their deliveries, events                      | hooks.manage                 |
| hooks.write        | create, change, remove hooks; deliver again          | hooks.manage                 |

A key acts in the name of who created it: it may do what its scopes say and what that person's role still allows, so a demotion
reaches the keys too. A person who left leaves keys that call, never keys that manage.
Who creates a key gives it at most what they may do themselves; a key at most what it may do itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.errors import ScopeMissing, UnknownScope
from accounts.models import Membership
from accounts.roles import may

CALL = "call"


@dataclass(frozen=True, slots=True)
class Scope:
    """`label` and `text` are for the keys page; `permission` is what the person who gives it needs."""

    name: str
    label: str | Promise
    text: str | Promise
    permission: str


_TABLE = (
    Scope(CALL, _("Chamar modelos"), _("Usa /v1 e gasta o saldo."), "keys.manage"),
    Scope("organization.read", _("Ver dados da empresa"), _("Nome, documento e endereço."), "usage.read"),
    Scope(
        "organization.write", _("Mudar dados da empresa"), _("Nome fantasia, e-mail de notas e endereço."), "organization.fiscal"
    ),
    Scope("projects.read", _("Ver projetos"), _("Lista e detalhes."), "usage.read"),
    Scope("projects.write", _("Mudar projetos"), _("Criar, renomear, arquivar e restaurar."), "projects.manage"),
    Scope("keys.read", _("Ver chaves"), _("Nunca o segredo."), "keys.manage"),
    Scope("keys.write", _("Mudar chaves"), _("Criar, mudar, trocar e revogar."), "keys.manage"),
    Scope("members.read", _("Ver a equipe"), _("Membros e convites."), "team.manage"),
    Scope("members.write", _("Mudar a equipe"), _("Convidar, mudar papéis e remover."), "team.manage"),
    Scope("budgets.read", _("Ver orçamentos"), _("Limites e o que já foi gasto."), "usage.read"),
    Scope("budgets.write", _("Mudar orçamentos"), _("Criar, mudar e parar."), "budgets.manage"),
    Scope("billing.read", _("Ver saldo e extrato"), _("Saldo, extrato, recargas e devoluções."), "billing.statement"),
    Scope("billing.top_up", _("Recarregar"), _("Gerar cobranças PIX."), "billing.top_up"),
    Scope("usage.read", _("Ver uso"), _("Uso somado e cada requisição."), "usage.read"),
    Scope("hooks.read", _("Ver webhooks"), _("Endereços, entregas e acontecimentos."), "hooks.manage"),
    Scope("hooks.write", _("Mudar webhooks"), _("Criar, mudar, remover e entregar de novo."), "hooks.manage"),
)
SCOPES: dict[str, Scope] = {scope.name: scope for scope in _TABLE}


def scopes_of(membership: Membership) -> frozenset[str]:
    """All that a person may do and so give to a key."""
    return frozenset(scope.name for scope in _TABLE if may(membership, scope.permission))


def check_scopes(wanted: Iterable[str], *, allowed: Collection[str]) -> list[str]:
    """The scopes to store: in the table's order, each once. `allowed` is what the giver may do (`scopes_of` for a person).

    Raises UnknownScope for none at all or one that isn't in the table, ScopeMissing for one that the giver hasn't.
    """
    asked = set(wanted)
    unknown = sorted(asked - SCOPES.keys())
    if unknown or not asked:
        told = gettext("Permissão desconhecida: {scope}.").format(scope=unknown[0]) if unknown else ""
        raise UnknownScope(told or gettext("Escolha ao menos uma permissão."), param="scopes")
    missing = [name for name in SCOPES if name in asked and name not in allowed]
    if missing:
        raise ScopeMissing(
            gettext("Você não pode dar uma permissão que não tem: {scope}.").format(scope=missing[0]), param="scopes"
        )
    return [name for name in SCOPES if name in asked]
