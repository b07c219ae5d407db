"""From a person to an organization."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db import transaction

from accounts.errors import TooMany
from accounts.models import Membership, Organization, Role, User
from accounts.tax_ids import parse_cnpj, parse_cpf

ORGANIZATIONS_MAX = 20  # that one person owns


@dataclass(frozen=True, slots=True)
class Identity:
    """What an organization tells about itself. `tax_id` as typed; empty: to be completed later."""

    name: str
    tax_id: str = ""
    tax_id_kind: str = Organization.TaxIdKind.CNPJ
    trade_name: str = ""
    invoice_email: str = ""
    municipal_registration: str = ""
    address: dict[str, str] = field(default_factory=dict)


@transaction.atomic
def open_organization(user: User, *, identity: Identity) -> Membership:
    """A new organization with this person as its owner. Its wallet is opened by billing on first use.

    Raises InvalidTaxId, TooMany.
    """
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if Membership.everywhere.filter(user=user, role=Role.OWNER).count() >= ORGANIZATIONS_MAX:
        raise TooMany(f"Uma pessoa pode ser dona de até {ORGANIZATIONS_MAX} empresas.")
    organization = Organization()
    _write(organization, identity)
    return Membership.everywhere.create(organization=organization, user=user, role=Role.OWNER)


def identify(organization: Organization, *, identity: Identity) -> None:
    """New particulars for an organization; a changed tax id is checked again. Raises InvalidTaxId."""
    _write(organization, identity)


def _write(organization: Organization, identity: Identity) -> None:
    kind = Organization.TaxIdKind(identity.tax_id_kind)
    parse = parse_cnpj if kind == Organization.TaxIdKind.CNPJ else parse_cpf
    organization.tax_id = parse(identity.tax_id) if identity.tax_id.strip() else ""
    organization.tax_id_kind = kind
    organization.name = identity.name.strip()
    organization.trade_name = identity.trade_name.strip()
    organization.invoice_email = identity.invoice_email.strip().lower()
    organization.municipal_registration = identity.municipal_registration.strip()
    organization.address = {name: value.strip() for name, value in identity.address.items() if value.strip()}
    organization.save()
