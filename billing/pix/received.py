"""A Pix received, as the bank tells it: parsed once, refused when it is not what the API promises. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing.money import from_brl, to_brl
from billing.pix.errors import PspUnavailable

END_TO_END_ID = re.compile(r"[a-zA-Z0-9]{32}", re.ASCII)
TXID = re.compile(r"[a-zA-Z0-9]{1,35}", re.ASCII)
AMOUNT = re.compile(r"\d{1,10}\.\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Devolucao:
    """Money that went, or is going, back to the payer."""

    id: str
    rtr_id: str  # the bank's, 32 characters; the id where the bank gives none
    amount_nanos: int
    nature: str  # ORIGINAL, or MED_… where the payer's bank took it
    status: str  # EM_PROCESSAMENTO, DEVOLVIDO, NAO_REALIZADO
    reason: str


@dataclass(frozen=True, slots=True)
class ReceivedPix:
    """One payment."""

    end_to_end_id: str
    txid: str
    amount_nanos: int
    amount: str  # as the bank writes it
    paid_at: dt.datetime
    devolucoes: tuple[Devolucao, ...]


def parse_pix(pix: Mapping[str, Any]) -> ReceivedPix:
    """Raises PspUnavailable for what is no Pix: then nothing is known, and the bank is asked again later."""
    try:
        end_to_end_id, amount, txid = pix["endToEndId"], pix["valor"], pix.get("txid") or ""
        if not END_TO_END_ID.fullmatch(end_to_end_id) or not AMOUNT.fullmatch(amount) or (txid and not TXID.fullmatch(txid)):
            raise ValueError
        amount_nanos = from_brl(amount)
        if amount_nanos == 0:
            raise ValueError
        paid_at = dt.datetime.fromisoformat(pix["horario"])
        return ReceivedPix(
            end_to_end_id=end_to_end_id, txid=txid, amount_nanos=amount_nanos, amount=amount,
            paid_at=paid_at if paid_at.tzinfo else paid_at.replace(tzinfo=dt.UTC),
            devolucoes=tuple(read_devolucao(devolucao) for devolucao in listed(pix.get("devolucoes"))),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise PspUnavailable("the bank told a Pix that is none") from error


def read_devolucao(told: Mapping[str, Any]) -> Devolucao:
    """Raises KeyError, TypeError or ValueError for what is none."""
    if not AMOUNT.fullmatch(told["valor"]):
        raise ValueError("valor")
    return Devolucao(
        id=str(told["id"]), rtr_id=str(told.get("rtrId") or told["id"]), amount_nanos=from_brl(told["valor"]),
        nature=str(told.get("natureza") or "ORIGINAL"), status=str(told["status"]), reason=str(told.get("motivo") or "")[:200],
    )  # fmt: skip


def listed(told: object) -> list[Mapping[str, Any]]:
    """`devolucoes` is an array; the specification's own example has an object."""
    items = told if isinstance(told, list) else [told] if told else []
    return [item for item in items if isinstance(item, Mapping)]


def amount_text(amount_nanos: int) -> str:
    """Nanos → the API's "150.00"."""
    return f"{to_brl(amount_nanos):.2f}"
