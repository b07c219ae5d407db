"""PTAX as the Banco Central's Olinda serves it: OData functions, alias parameters in the query, decimals in the JSON.

Quotes are made up, the same for everyone: business days of Brazil's banks, around R$ 5.34, today's only after 13:10 in
Brasília. Values are integers of 1/10,000 real; no float is involved.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections import deque
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from tokia.sandbox.asgi import Json, Request, Response, json_response

PREFIX = "/olinda/servico/PTAX/versao/v1/odata/"
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
CENTER = 53_400  # 1/10,000 real
SWING = 600
SPREAD = 6
PUBLISHED_AT = dt.time(13, 10)
FIRST_DAY = dt.date(1999, 1, 4)
FIXED_HOLIDAYS = ((1, 1), (4, 21), (5, 1), (9, 7), (10, 12), (11, 2), (11, 15), (11, 20), (12, 25))
EASTER_HOLIDAYS = (-48, -47, -2, 60)  # carnival (two days), Good Friday, Corpus Christi
FIELDS = ("cotacaoCompra", "cotacaoVenda", "dataHoraCotacao")


class BadQuery(Exception):
    """What Olinda answers with 400."""


@dataclass
class Olinda:
    """The service and its controls: `POST /olinda/__rate`, `DELETE /olinda/__rate`."""

    rates: dict[dt.date, tuple[int, int] | None] = field(default_factory=dict)  # (compra, venda); None: no quote
    fixed_rate: tuple[int, int] | None = None
    outages: deque[int] = field(default_factory=deque)  # statuses to answer first

    async def serve(self, request: Request) -> Response:
        if request.path == "/olinda/__rate":
            return self._control(request)
        if self.outages:
            return Response(status=self.outages.popleft(), body=b"<html>indisponivel</html>", content_type="text/html")
        try:
            return self._query(request)
        except BadQuery as error:
            # Olinda wraps its errors in a comment; a client that expects JSON must not trip over it.
            text = f'/*{{\n  "codigo" : 400,\n  "mensagem" : "{error}"\n}}*/'
            return Response(status=400, body=text.encode(), content_type="text/plain;charset=UTF-8")

    def _query(self, request: Request) -> Response:
        match = re.fullmatch(rf"{re.escape(PREFIX)}(CotacaoDolarDia|CotacaoDolarPeriodo)\((.*)\)", request.path)
        if request.method != "GET" or match is None:
            return Response(status=404, body=b"Not Found", content_type="text/plain")
        function, arguments = match[1], _read_arguments(match[2], request.query)
        if function == "CotacaoDolarDia":
            first = last = _read_date(arguments, "dataCotacao")
        else:
            first, last = _read_date(arguments, "dataInicial"), _read_date(arguments, "dataFinalCotacao")
        query = request.query
        unknown = {name for name in query if not name.startswith("@")} - {"$top", "$skip", "$orderby", "$format", "$select"}
        if unknown:
            raise BadQuery(f"Parâmetro inválido: {sorted(unknown)[0]}")
        if query.get("$format", "json") != "json":
            raise BadQuery("Formato não suportado pelo sandbox; use $format=json")
        rows = self._rows(first, last)
        field_name, _, direction = query.get("$orderby", "dataHoraCotacao").partition(" ")
        if field_name not in FIELDS or direction not in ("", "asc", "desc"):
            raise BadQuery("Parâmetro inválido: $orderby")
        rows.sort(key=lambda row: row[field_name], reverse=direction == "desc")
        skip, top = _read_count(query, "$skip", 0), _read_count(query, "$top", len(rows))
        selected = [name for name in query.get("$select", ",".join(FIELDS)).split(",") if name in FIELDS]
        values = ",".join(_as_json(row, selected) for row in rows[skip : skip + top])
        context = f"https://was-p.bcnet.bcb.gov.br{PREFIX}$metadata#_{function}"
        if "$select" in query:
            context += f"({','.join(selected)})"
        body = f'{{"@odata.context":"{context}","value":[{values}]}}'
        return Response(
            body=body.encode(),
            content_type="application/json;odata.metadata=minimal",
            headers={"odata-version": "4.0"},
        )

    def _rows(self, first: dt.date, last: dt.date) -> list[dict[str, str]]:
        now = dt.datetime.now(SAO_PAULO)
        newest = now.date() if now.time() >= PUBLISHED_AT else now.date() - dt.timedelta(days=1)
        day, rows = max(first, FIRST_DAY), []
        last = min(last, max([newest, *self.rates]))
        while day <= last:
            quote = self._quote_of(day)
            if quote is not None:
                bid, ask = (f"{value // 10_000}.{value % 10_000:04d}" for value in quote)
                rows.append({"cotacaoCompra": bid, "cotacaoVenda": ask, "dataHoraCotacao": f"{day} {_time_of(day)}"})
            day += dt.timedelta(days=1)
        return rows

    def _quote_of(self, day: dt.date) -> tuple[int, int] | None:
        if day in self.rates:
            return self.rates[day]
        if not is_business_day(day):
            return None
        if self.fixed_rate is not None:
            return self.fixed_rate
        # A slow triangle wave of ±SWING over 120 days, and a small jump of the day's own.
        phase = day.toordinal() % 120
        wave = SWING - abs(phase - 60) * SWING // 30
        jump = int.from_bytes(hashlib.sha256(day.isoformat().encode()).digest()[:2]) % 201 - 100
        ask = CENTER + wave + jump
        return ask - SPREAD, ask

    def _control(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.rates.clear()
            self.outages.clear()
            self.fixed_rate = None
        elif request.method == "POST":
            body = request.json_object()
            if "status" in body:
                self.outages.extend([int(body["status"])] * int(body.get("times", 1)))
            if "venda" in body or body.get("missing"):
                self._set_rate(body)
        return json_response(
            {
                "rates": {str(day): quote for day, quote in self.rates.items()},
                "fixed": self.fixed_rate,
                "outages": list(self.outages),
                "unit": "1/10000 real",
            }
        )

    def _set_rate(self, body: dict[str, Json]) -> None:
        """`{"venda": "5.5000", "compra"?, "date"?}`: that day's quote, or every business day's when no date is given."""
        quote = None
        if not body.get("missing"):
            ask = _ten_thousandths(str(body["venda"]))
            quote = (_ten_thousandths(str(body["compra"])) if "compra" in body else ask - SPREAD, ask)
        if "date" in body:
            self.rates[dt.date.fromisoformat(body["date"])] = quote
        else:
            self.fixed_rate = quote


def is_business_day(day: dt.date) -> bool:
    """A day on which Brazil's banks open."""
    if day.weekday() >= 5 or (day.month, day.day) in FIXED_HOLIDAYS:
        return False
    easter = _easter_of(day.year)
    return day not in {easter + dt.timedelta(days=offset) for offset in EASTER_HOLIDAYS}


def _easter_of(year: int) -> dt.date:
    """The Gregorian computus (Meeus, Jones, Butcher)."""
    century, rest = divmod(year, 100)
    shift = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - shift - rest % 4) % 7
    correction = (year % 19 + 11 * shift + 22 * weekday) // 451
    month, day = divmod(shift + weekday - 7 * correction + 114, 31)
    return dt.date(year, month, day + 1)


def _time_of(day: dt.date) -> str:
    """When that day's quote came out, 13:02 to 13:09, with milliseconds."""
    seed = int.from_bytes(hashlib.sha256(f"time {day}".encode()).digest()[:4])
    return f"13:0{2 + seed % 8}:{seed // 8 % 60:02d}.{seed // 480 % 1000}"


def _read_arguments(text: str, query: dict[str, str]) -> dict[str, str]:
    """`name=@alias,…` with `@alias='…'` in the query, or `name='…'`."""
    arguments = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        arguments[name.strip()] = query.get(value, "") if value.startswith("@") else value
    return arguments


def _read_date(arguments: dict[str, str], name: str) -> dt.date:
    match = re.fullmatch(r"'(\d{1,2})-(\d{1,2})-(\d{4})'", arguments.get(name, ""), re.ASCII)
    try:
        if match is None:
            raise ValueError
        return dt.date(int(match[3]), int(match[1]), int(match[2]))
    except ValueError:
        raise BadQuery(f"Parâmetro inválido: {name} (use 'MM-DD-AAAA')") from None


def _read_count(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise BadQuery(f"Parâmetro inválido: {name}")
    return int(text)


def _ten_thousandths(text: str) -> int:
    match = re.fullmatch(r"(\d{1,4})(?:\.(\d{1,4}))?", text, re.ASCII)
    if match is None:
        raise ValueError(f"a rate is like 5.3418, not {text!r}")
    return int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))


def _as_json(row: dict[str, str], selected: list[str]) -> str:
    """Decimals go out as they are: trailing zeros cut, as Olinda does, and never through a float."""
    members = []
    for name in selected:
        value = row[name]
        members.append(f'"{name}":"{value}"' if name == "dataHoraCotacao" else f'"{name}":{value.rstrip("0").rstrip(".")}')
    return "{" + ",".join(members) + "}"
