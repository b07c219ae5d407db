"""The statement as OFX 1.0.2, for accounting programs: days that are over, in whole centavos, and the same lines at every export.

A program tells what it knows already by each line's FITID, so a line must never change: usage is told per closed day (`DayClose`),
and what comes late is a line of its own. Amounts are differences of the balance rounded down to the centavo, so they add up to the
balance exactly, and what a line has below a centavo stays for the next one.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection

from accounts.models import Organization
from accounts.tenancy import tenant
from billing import closing, statements
from billing.models import Wallet
from billing.money import CENTAVO
from billing.wallets import wallet_of
from tokia import clock
from tokia.clock import SAO_PAULO

HEADER = (
    "OFXHEADER:100\r\nDATA:OFXSGML\r\nVERSION:102\r\nSECURITY:NONE\r\nENCODING:USASCII\r\nCHARSET:1252\r\nCOMPRESSION:NONE\r\n"
    "OLDFILEUID:NONE\r\nNEWFILEUID:NONE\r\n\r\n"
)
_BALANCE_BEFORE = """
    SELECT coalesce((SELECT sum(CASE WHEN p.destination = 'wallet:' || %(wallet)s THEN p.amount_nanos ELSE -p.amount_nanos END)
                     FROM billing_posting p JOIN billing_ledgerentry e ON e.id = p.entry_id
                     WHERE p.wallet_id = %(wallet)s AND p.destination <> 'revenue:usage' AND e.created_at < %(starts)s
                       AND 'wallet:' || %(wallet)s IN (p.source, p.destination)), 0)
         - coalesce((SELECT sum(amount_nanos) FROM billing_dayclose WHERE wallet_id = %(wallet)s AND told_on < %(day)s), 0)
"""
NAME_MAX, MEMO_MAX = 32, 255


@dataclass(frozen=True, slots=True)
class Line:
    fitid: str
    at: dt.datetime
    nanos: int  # into the wallet: > 0
    name: str
    memo: str = ""
    kind: str = ""  # of LedgerEntry.Kind


def write_ofx(organization: Organization, *, first_on: dt.date, last_on: dt.date) -> bytes:
    """The file of the days from one to another, both included, as far as they are over."""
    wallet = wallet_of(organization)
    closing.close_days(wallet)
    last_on = min(last_on, closing.last_day_over())
    first_on = min(first_on, last_on)
    balance = _balance_before(wallet, first_on)
    told: list[str] = []
    for line in _lines(wallet, first_on=first_on, last_on=last_on):
        centavos = (balance + line.nanos) // CENTAVO - balance // CENTAVO
        balance += line.nanos
        if centavos:
            told.append(_transaction(line, centavos))
    ends_at = dt.datetime.combine(last_on, dt.time(23, 59, 59), SAO_PAULO)
    starts_at = dt.datetime.combine(first_on, dt.time(), SAO_PAULO)
    text = (
        "<OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>0<SEVERITY>INFO</STATUS>"
        f"<DTSERVER>{_instant(clock.now())}<LANGUAGE>POR<FI><ORG>TOKIA<FID>TOKIA</FI></SONRS></SIGNONMSGSRSV1>\r\n"
        "<BANKMSGSRSV1><STMTTRNRS><TRNUID>0<STATUS><CODE>0<SEVERITY>INFO</STATUS><STMTRS><CURDEF>BRL"
        f"<BANKACCTFROM><BANKID>TOKIA<ACCTID>{wallet.pk:08d}<ACCTTYPE>CHECKING</BANKACCTFROM>\r\n"
        f"<BANKTRANLIST><DTSTART>{_instant(starts_at)}<DTEND>{_instant(ends_at)}\r\n{''.join(told)}</BANKTRANLIST>\r\n"
        f"<LEDGERBAL><BALAMT>{_amount(balance // CENTAVO)}<DTASOF>{_instant(ends_at)}</LEDGERBAL>"
        "</STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>\r\n"
    )
    return (HEADER + text).encode("cp1252")


def _balance_before(wallet: Wallet, day: dt.date) -> int:
    """What the wallet had when a day began, usage as it was told by then."""
    starts_at = dt.datetime.combine(day, dt.time(), SAO_PAULO)
    with connection.cursor() as cursor:
        cursor.execute(_BALANCE_BEFORE, {"wallet": wallet.pk, "day": day, "starts": starts_at})
        return int(cursor.fetchall()[0][0])


def _lines(wallet: Wallet, *, first_on: dt.date, last_on: dt.date) -> list[Line]:
    with tenant(wallet.organization):
        moved = statements.entry_rows(first_on=first_on, last_on=last_on)
    lines = [
        Line(
            f"E{row.entry_id}{'-D' if row.settles_debt else ''}", row.at, row.in_nanos - row.out_nanos, row.description, row.reason,
            row.kind,
        )
        for row in moved
        if row.at is not None
    ]  # fmt: skip
    for day in closing.told_days(wallet, first_on=first_on, last_on=last_on):
        name = f"Uso de {day.day:%d/%m/%Y}" + (f" (complemento {day.number})" if day.number else "")
        noun = "requisição" if day.calls == 1 else "requisições"
        at = dt.datetime.combine(day.told_on, dt.time(23, 59, 59), SAO_PAULO)
        lines.append(Line(f"U{day.day:%Y%m%d}-{day.number}", at, -day.amount_nanos, name, f"{day.calls} {noun}", "usage"))
    return sorted(lines, key=lambda line: line.at.astimezone(SAO_PAULO).date())


def _transaction(line: Line, centavos: int) -> str:
    kind = "CREDIT" if centavos > 0 else "DEBIT"
    memo = f"<MEMO>{_plain(line.memo)[:MEMO_MAX]}" if line.memo else ""
    return (
        f"<STMTTRN><TRNTYPE>{kind}<DTPOSTED>{_instant(line.at)}<TRNAMT>{_amount(centavos)}<FITID>{line.fitid}"
        f"<NAME>{_plain(line.name)[:NAME_MAX]}{memo}</STMTTRN>\r\n"
    )


def _plain(text: str) -> str:
    """Without SGML's own signs, and without what the file's letters can't say: a cut in the middle of an entity would break it."""
    text = text.replace("&", "e").replace("<", "(").replace(">", ")").encode("cp1252", errors="replace").decode("cp1252")
    return " ".join(text.split())


def _amount(centavos: int) -> str:
    return f"{'-' if centavos < 0 else ''}{abs(centavos) // 100}.{abs(centavos) % 100:02d}"


def _instant(at: dt.datetime) -> str:
    return f"{at.astimezone(SAO_PAULO):%Y%m%d%H%M%S}[-3:BRT]"
