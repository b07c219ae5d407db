"""The tomador of a document, from what its organization told of itself. What is missing is asked for, never guessed."""

from __future__ import annotations

import re

from django.utils.translation import gettext

from accounts.cities import city_of
from accounts.models import Organization
from invoices.dps.document import Taker
from invoices.errors import Incomplete
from invoices.kept_texts import FIELDS, keep_lack

ADDRESS_NEEDED = ("postal_code", "street", "number", "district", "city", "state")  # a document can't do without (TCEndereco)
_CEP = re.compile(r"[0-9]{8}", re.ASCII)


def taker_of(organization: Organization) -> Taker:
    """Raises Incomplete (TAKER), naming the first missing field ("taker.postal_code")."""
    missing = _missing(organization)
    if missing:
        raise Incomplete(keep_lack(missing), problem_code="TAKER", param=f"taker.{missing[0]}")
    taker = Taker(tax_id=organization.tax_id, name=organization.name.strip(), email=organization.invoice_email)
    address = _address(organization)
    city = city_of(address.get("city", ""), address.get("state", ""))
    if city is None:  # a CPF without an address
        return taker
    return Taker(
        tax_id=taker.tax_id, name=taker.name, email=taker.email, city_code=city.code,
        postal_code=_digits(address["postal_code"]), street=address["street"], number=address["number"],
        complement=address.get("complement", ""), district=address["district"],
    )  # fmt: skip


def missing_fields(organization: Organization) -> list[str]:
    """What an invoice can't be issued without, as its reader calls it, in the order of the form. Empty: nothing is missing."""
    return [gettext(FIELDS[name]) for name in _missing(organization)]


def _missing(organization: Organization) -> list[str]:
    """A CNPJ needs its whole address (E0235); a CPF may have none, but not half of one."""
    missing = [name for name, value in (("name", organization.name), ("tax_id", organization.tax_id)) if not value.strip()]
    address = _address(organization)
    if len(organization.tax_id) == 11 and not any(address.values()):
        return missing
    missing += [name for name in ADDRESS_NEEDED if not address.get(name)]
    if "postal_code" not in missing and not _CEP.fullmatch(_digits(address["postal_code"])):
        missing.append("postal_code")
    has_city = "city" not in missing and "state" not in missing
    if has_city and city_of(address["city"], address["state"]) is None:  # no such municipality: the document needs its code
        missing.append("city")
    return missing


def _address(organization: Organization) -> dict[str, str]:
    return {name: str(value or "").strip() for name, value in (organization.address or {}).items()}


def _digits(text: str) -> str:
    return re.sub(r"[\s.-]", "", text)
