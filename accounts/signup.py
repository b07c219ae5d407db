"""From a person to an organization."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db import transaction
from django.utils.translation import gettext, gettext_noop

from accounts import audit
from accounts.cities import city_of, nearest_city, tell_city
from accounts.errors import TooMany, UnknownCity
from accounts.models import Membership, Organization, Role, User
from accounts.tax_ids import parse_cnpj, parse_cpf

ORGANIZATIONS_MAX = 20  # that one person owns
# What the audit log calls each.
_PARTICULARS = {
    "name": gettext_noop("razão social ou nome"),
    "trade_name": gettext_noop("nome fantasia"),
    "tax_id": gettext_noop("CNPJ ou CPF"),
    "tax_id_kind": gettext_noop("documento"),
    "invoice_email": gettext_noop("e-mail para notas"),
    "municipal_registration": gettext_noop("inscrição municipal"),
    "address": gettext_noop("endereço"),
}


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

    Raises InvalidTaxId, UnknownCity, TooMany.
    """
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if Membership.everywhere.filter(user=user, role=Role.OWNER).count() >= ORGANIZATIONS_MAX:
        raise TooMany(gettext("Uma pessoa pode ser dona de até {count} empresas.").format(count=ORGANIZATIONS_MAX))
    organization = Organization()
    _write(organization, identity)
    membership = Membership.everywhere.create(organization=organization, user=user, role=Role.OWNER)
    audit.note("organization_opened", organization=organization, user=user)
    return membership


def identify(organization: Organization, *, identity: Identity) -> None:
    """New particulars for an organization; a changed tax id is checked again, a changed address too.

    Raises InvalidTaxId, UnknownCity.
    """
    before = {name: getattr(organization, name) for name in _PARTICULARS}
    _write(organization, identity)
    changed = [told for name, told in _PARTICULARS.items() if getattr(organization, name) != before[name]]
    if changed:
        audit.act("fiscal_data_changed", organization=organization, detail={"changed": changed})


def check_city(name: str, state: str) -> None:
    """A note needs the municipality's code, so its name must be one of the 5 571. An address may be half told until then.

    Raises UnknownCity, with the name that was probably meant.
    """
    if not name.strip() or not state.strip() or city_of(name, state) is not None:
        return
    near = nearest_city(name, state)
    if near:
        text = gettext("Não há município “{name}” em {state}. Você quis dizer {near}?")
    else:
        text = gettext("Não há município “{name}” em {state}. Confira o nome e a UF.")
    told = text.format(name=name.strip(), state=state.strip().upper(), near=tell_city(near) if near else "")
    raise UnknownCity(told, param="address.city")


def _write(organization: Organization, identity: Identity) -> None:
    kind = Organization.TaxIdKind(identity.tax_id_kind)
    parse = parse_cnpj if kind == Organization.TaxIdKind.CNPJ else parse_cpf
    organization.tax_id = parse(identity.tax_id) if identity.tax_id.strip() else ""
    organization.tax_id_kind = kind
    organization.name = identity.name.strip()
    organization.trade_name = identity.trade_name.strip()
    organization.invoice_email = identity.invoice_email.strip().lower()
    organization.municipal_registration = identity.municipal_registration.strip()
    address = {name: value.strip() for name, value in identity.address.items() if value.strip()}
    if address != organization.address:
        check_city(address.get("city", ""), address.get("state", ""))
    organization.address = address
    organization.save()
