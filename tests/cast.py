"""The people of the tests. Alice owns Acme, Bob is her developer, Carol her finance; Charlie owns Globex and sees nothing of Acme.

`cast = make_cast()` writes them to the database; every password is `PASSWORD`.
"""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import Membership, Organization, Role, User
from tokia import clock

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Cast:
    acme: Organization
    globex: Organization
    alice: User
    bob: User
    carol: User
    charlie: User


def make_person(name: str, *, organization: Organization, role: Role) -> User:
    user = User.objects.create_user(
        f"{name.lower()}@{organization.name.lower()}.com.br", PASSWORD, name=name, accepted_terms_at=clock.now()
    )
    from allauth.account.models import EmailAddress  # needs the app registry

    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    Membership.everywhere.create(organization=organization, user=user, role=role)
    return user


def make_cast() -> Cast:
    acme = Organization.objects.create(name="Acme", tax_id="11222333000181")
    globex = Organization.objects.create(name="Globex", tax_id="12ABC34501DE35")
    return Cast(
        acme=acme,
        globex=globex,
        alice=make_person("Alice", organization=acme, role=Role.OWNER),
        bob=make_person("Bob", organization=acme, role=Role.DEVELOPER),
        carol=make_person("Carol", organization=acme, role=Role.FINANCE),
        charlie=make_person("Charlie", organization=globex, role=Role.OWNER),
    )
