"""What comes back: an NFS-e, and the events of one. Read, not believed: `invoices.dps.sign.verify` says whether it is whole. Pure.

Hostile XML is refused before it is read (`markup.parse_xml`). A ValueError means the document is not what it was taken for.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from invoices.dps.ids import CANCEL_KIND, REPLACED_KIND, check_access_key
from invoices.dps.markup import NS, Element, name_of, parse_xml, text_of

# Cancelled by the issuer, since another note took its place, after an analysis, by the city itself.
CANCELLING_KINDS = frozenset({CANCEL_KIND, REPLACED_KIND, "105104", "305101"})
_MONEY = re.compile(r"([0-9]{1,15})(?:\.([0-9]{2}))?", re.ASCII)
_EVENT_KIND = re.compile(r"e([0-9]{6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Nfse:
    """A note that exists. Money in centavos; `issued_at` is when the tax office processed it."""

    access_key: str  # equals `Id` behind its "NFS"
    number: str
    issued_at: dt.datetime
    dps_id: str  # of the DPS inside; what ties it to an Invoice
    environment: str  # "1" production, "2" restricted
    competence_on: dt.date
    city_code: str
    issuer_tax_id: str
    issuer_name: str
    taker_tax_id: str  # empty where the taker is not told by a Brazilian registration
    taker_name: str
    amount_centavos: int  # vServ
    net_centavos: int  # vLiq: less what the taker withholds
    iss_centavos: int
    description: str
    replaces: str  # the access key of the note it took the place of; mostly empty


@dataclass(frozen=True, slots=True)
class NfseEvent:
    """What happened to a note."""

    id: str
    kind: str  # six digits
    access_key: str
    happened_at: dt.datetime
    code: str
    reason: str
    replaced_by: str  # the access key of the note that took its place; mostly empty

    @property
    def is_cancelling(self) -> bool:
        return self.kind in CANCELLING_KINDS


def read_nfse(xml: bytes) -> Nfse:
    """Raises ValueError."""
    inf = _only_child(parse_xml(xml), root="NFSe", name="infNFSe")
    access_key = check_access_key(_id_after(inf, "NFS"))
    dps = inf.find(f"{{{NS}}}DPS/{{{NS}}}infDPS")
    if dps is None:
        raise ValueError("An NFS-e without its DPS")
    return Nfse(
        access_key=access_key,
        number=_told(inf, "nNFSe"),
        issued_at=_instant(_told(inf, "dhProc")),
        dps_id=dps.get("Id") or "",
        environment=_told(dps, "tpAmb"),
        competence_on=dt.date.fromisoformat(_told(dps, "dCompet")),
        city_code=_told(dps, "cLocEmi"),
        issuer_tax_id=text_of(inf, "emit/CNPJ") or text_of(inf, "emit/CPF"),
        issuer_name=text_of(inf, "emit/xNome"),
        taker_tax_id=text_of(dps, "toma/CNPJ") or text_of(dps, "toma/CPF"),
        taker_name=text_of(dps, "toma/xNome"),
        amount_centavos=_centavos(_told(dps, "valores/vServPrest/vServ")),
        net_centavos=_centavos(_told(inf, "valores/vLiq")),
        iss_centavos=_centavos(text_of(inf, "valores/vISSQN") or "0"),
        description=_told(dps, "serv/cServ/xDescServ"),
        replaces=text_of(dps, "subst/chSubstda"),
    )


def read_event(xml: bytes) -> NfseEvent:
    """Raises ValueError."""
    inf = _only_child(parse_xml(xml), root="evento", name="infEvento")
    request = inf.find(f"{{{NS}}}pedRegEvento/{{{NS}}}infPedReg")
    if request is None:
        raise ValueError("An event without its request")
    told = [child for child in request if _EVENT_KIND.fullmatch(name_of(child))]
    if len(told) != 1:
        raise ValueError("An event says one thing")
    access_key, kind = check_access_key(_told(request, "chNFSe")), name_of(told[0])[1:]
    id_ = inf.get("Id") or ""
    if not id_.startswith(f"EVT{access_key}{kind}"):
        raise ValueError("The event's Id is of another note or kind")
    return NfseEvent(
        id=id_,
        kind=kind,
        access_key=access_key,
        happened_at=_instant(_told(inf, "dhProc")),
        code=text_of(told[0], "cMotivo"),
        reason=text_of(told[0], "xMotivo"),
        replaced_by=text_of(told[0], "chSubstituta"),
    )


def _only_child(document: Element, *, root: str, name: str) -> Element:
    """The one element of that name below the root, of the standard's namespace: a document with two of them says two things."""
    if document.tag != f"{{{NS}}}{root}":
        raise ValueError(f"Not a {root}")
    found = document.findall(f"{{{NS}}}{name}")
    if len(found) != 1:
        raise ValueError(f"A {root} has one {name}")
    return found[0]


def _id_after(element: Element, prefix: str) -> str:
    id_ = str(element.get("Id") or "")
    if not id_.startswith(prefix):
        raise ValueError(f"The Id does not begin with {prefix}")
    return id_.removeprefix(prefix)


def _told(element: Element, path: str) -> str:
    text = text_of(element, path)
    if not text:
        raise ValueError(f"{path} is not there")
    return text


def _instant(text: str) -> dt.datetime:
    instant = dt.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"An instant without its zone: {text}")
    return instant.astimezone(dt.UTC)


def _centavos(text: str) -> int:
    """TSDec15V2: reais, with both decimals or none."""
    match = _MONEY.fullmatch(text)
    if match is None:
        raise ValueError(f"Not an amount: {text}")
    return int(match[1]) * 100 + int(match[2] or 0)
