"""How numbers, money, dates and states are written for a customer: one filter per form (`{% load tokia %}`).

Money filters take integer nano-reais (R$ 1 = 10⁹); an empty value gives "—". The space after R$ does not break (U+00A0)
and the minus (U+2212) stands before it. On an English page: `R$ 1,234.56`, `61.4 M`, `22 Nov 2026`; the forms in the
docstrings are the Portuguese ones.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django import forms, template
from django.utils import dateformat
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from billing.figures import in_marks, tell_count, tell_day
from billing.reais import tell_reais
from tokia import clock
from tokia.language import is_english

register = template.Library()

BRL = 10**9
Integer = int | str | None  # a template hands "" for what its context lacks
EMPTY = "—"
NBSP = "\u00a0"
_ICONS = Path(__file__).resolve().parent.parent / "static" / "tokia" / "vendor" / "lucide"


def _mark() -> str:
    """What stands before the decimals."""
    return "." if is_english() else ","


def _reais(nanos: int, decimals: int, *, floor: bool = False) -> str:
    """`R$ 1.234,56`: half away from zero, or towards minus infinity with `floor`."""
    step = BRL // 10**decimals
    sign = "−" if nanos < 0 else ""
    units = nanos // step if floor else (abs(nanos) + step // 2) // step
    units = abs(units)
    if units == 0:
        sign = ""
    whole, rest = divmod(units, 10**decimals)
    return f"{sign}R${NBSP}{tell_count(whole)}{_mark()}{rest:0{decimals}d}"


@register.filter
def brl(nanos: Integer) -> str:
    """Money of a cent or more: `R$ 1.234,56`, `−R$ 10,00`."""
    return EMPTY if nanos in (None, "") else _reais(int(nanos), 2)


@register.filter
def centavos(amount: Integer) -> str:
    """Money of documents, which is in centavos: `R$ 1.234,56`."""
    return EMPTY if amount in (None, "") else _reais(int(amount) * (BRL // 100), 2)


@register.filter
def saldo(nanos: Integer) -> str:
    """A balance: rounded down, so that it never promises a cent that isn't there."""
    return EMPTY if nanos in (None, "") else _reais(int(nanos), 2, floor=True)


@register.filter
def brl_fino(nanos: Integer) -> str:
    """The cost of one call: 4 decimals, and `< R$ 0,0001` where they would show nothing."""
    if nanos in (None, ""):
        return EMPTY
    nanos = int(nanos)
    if 0 < nanos < BRL // 10_000:
        return f"<{NBSP}R${NBSP}0{_mark()}0001"
    return _reais(nanos, 4)


@register.filter
def gasto(nanos: Integer) -> str:
    """What was spent: `R$ 1.234,56`; under a centavo its decimals, so that little is not told as nothing."""
    return brl_fino(nanos) if nanos and 0 < int(nanos) < BRL // 100 else brl(nanos)


@register.filter
def brl_exato(nanos: Integer) -> str:
    """All nine decimals, for a title or a detail page."""
    return EMPTY if nanos in (None, "") else _reais(int(nanos), 9)


@register.filter
def brl_mtok(nanos: Integer) -> str:
    """A price per million tokens: 2 decimals, 4 under one real."""
    if nanos in (None, ""):
        return EMPTY
    nanos = int(nanos)
    return _reais(nanos, 4 if 0 < nanos < BRL else 2)


@register.filter
def reais(amount: str | None) -> str:
    """An amount as files and events carry it, "12.060900000": `R$ 12,0609`, all decimals where four would hide something."""
    if not amount:
        return EMPTY
    return in_marks(tell_reais(amount))


@register.filter
def usd(nanos: Integer) -> str:
    """A price in nano-dollars: `US$ 2,50`; 4 decimals under one dollar."""
    return brl_mtok(nanos).replace("R$", "US$")


@register.filter
def num(value: Integer) -> str:
    return EMPTY if value in (None, "") else ("−" if int(value) < 0 else "") + tell_count(abs(int(value)))


@register.filter
def compacto(value: Integer) -> str:
    """Integers in cards: `48.219`, `61,4 mi`, `1,2 bi`. Truncated, never rounded up to the next unit."""
    if value in (None, ""):
        return EMPTY
    value = int(value)
    for unit, name in ((10**9, "B"), (10**6, "M")) if is_english() else ((10**9, "bi"), (10**6, "mi")):
        if value >= unit:
            tenths = value * 10 // unit
            whole, tenth = divmod(tenths, 10)
            return f"{tell_count(whole)}{f'{_mark()}{tenth}' if tenth else ''}{NBSP}{name}"
    return num(value)


@register.filter
def dur(milliseconds: Integer) -> str:
    """`412 ms`, `1,31 s`, `2 min 05 s`."""
    if milliseconds in (None, ""):
        return EMPTY
    ms = int(milliseconds)
    if ms < 1_000:
        return f"{ms}{NBSP}ms"
    if ms < 60_000:
        whole, cents = divmod(ms // 10, 100)
        return f"{whole}{_mark()}{cents:02d}{NBSP}s"
    minutes, seconds = divmod(ms // 1_000, 60)
    return f"{tell_count(minutes)}{NBSP}min{NBSP}{seconds:02d}{NBSP}s"


@register.filter
def pct(basis_points: Integer) -> str:
    """Hundredths of a percent: 9994 → `99,94%`, 500 → `5%`."""
    if basis_points in (None, ""):
        return EMPTY
    sign = "−" if int(basis_points) < 0 else ""
    whole, rest = divmod(abs(int(basis_points)), 100)
    tail = f"{_mark()}{rest:02d}".rstrip("0") if rest else ""
    return f"{sign}{tell_count(whole)}{tail}%"


@register.filter
def said(text: str | None) -> str:
    """A text that a row keeps, in the reader's language where it has one (a model's description, a source): what is stored is
    Portuguese, and what an administrator wrote since stays it. A number in it that stands alone is written anew."""
    if not text or not is_english():
        return text or ""
    return in_marks(text) if re.fullmatch(r"(?:U?[SR]?S?\$\s)?[\d.,]+\s?%?", text) else gettext(text)


def _in_brazil(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(clock.SAO_PAULO)


@register.filter
def data(moment: dt.datetime | dt.date | None) -> str:
    """`22/11/2026`, in Brasília's time."""
    if not moment:
        return EMPTY
    if isinstance(moment, dt.datetime):
        moment = _in_brazil(moment)
    return tell_day(moment)


@register.filter
def hora(moment: dt.datetime | None) -> str:
    """`22/11 14:32:08`, in Brasília's time."""
    if not moment:
        return EMPTY
    moment = _in_brazil(moment)
    return dateformat.format(moment, "j M H:i:s") if is_english() else moment.strftime("%d/%m %H:%M:%S")


@register.filter
def ha(moment: dt.datetime | None) -> SafeString | str:
    """Relative under 24 hours ("há 3 min") with the absolute instant in the title; the date beyond."""
    if not moment:
        return EMPTY
    seconds = (clock.now() - moment).total_seconds()
    if seconds < 0 or seconds >= 86_400:
        text = data(moment)
    elif seconds < 60:
        text = "now" if is_english() else "agora"
    else:
        count = f"{int(seconds // 60)}{NBSP}min" if seconds < 3_600 else f"{int(seconds // 3_600)}{NBSP}h"
        text = f"{count} ago" if is_english() else f"há {count}"
    absolute = f"{data(moment)} {_in_brazil(moment):%H:%M:%S}"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), absolute, text)


@register.filter
def pick(mapping: Mapping[Any, Any], key: object) -> Any:
    """What a mapping has under a key, 0 where nothing: `{{ member_nanos|pick:member.user_id|brl }}`."""
    return mapping.get(key, 0)


@register.filter
def tax_id(value: str | None) -> str:
    """`12.ABC.345/01DE-35` or `111.444.777-35` from the bare form."""
    if not value:
        return EMPTY
    if len(value) == 14:
        return f"{value[:2]}.{value[2:5]}.{value[5:8]}/{value[8:12]}-{value[12:]}"
    if len(value) == 11:
        return f"{value[:3]}.{value[3:6]}.{value[6:9]}-{value[9:]}"
    return value


@register.filter
def tax_id_mascarado(value: str | None) -> str:
    """A CPF outside its owner's own settings: `***.444.777-**`. A CNPJ is public and stays whole."""
    if value and len(value) == 11:
        return f"***.{value[3:6]}.{value[6:9]}-**"
    return tax_id(value)


@cache
def _icon_body(name: str) -> str:
    svg = (_ICONS / f"{name}.svg").read_text()
    body = re.search(r"<svg[^>]*>(.*)</svg>", svg, re.DOTALL)
    assert body, f"{name}.svg is not an svg"
    return " ".join(body.group(1).split())


@register.simple_tag
def icon(name: str, classes: str = "size-4") -> SafeString:
    """A lucide icon inlined, coloured by its text. Decoration only: the words beside it carry the meaning."""
    return format_html(
        '<svg class="{} shrink-0" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
        'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">{}</svg>',
        classes,
        mark_safe(_icon_body(name)),  # noqa: S308 - a vendored file of ours
    )


_CONTROLS: tuple[tuple[type[forms.Widget], str], ...] = (
    (forms.CheckboxSelectMultiple, "checkbox checkbox-sm"),
    (forms.RadioSelect, "radio radio-sm"),
    (forms.CheckboxInput, "checkbox checkbox-sm checkbox-primary mt-0.5"),
    (forms.Textarea, "textarea"),
    (forms.Select, "select"),
    (forms.Widget, "input"),
)


@register.filter
def control(field: forms.BoundField) -> SafeString:
    """A form field's control in our dress, red while it has an error."""
    widget = field.field.widget
    base = next(classes for kind, classes in _CONTROLS if isinstance(widget, kind))
    kind = base.split()[0]
    widget.attrs.pop("placeholder" if widget.attrs.get("placeholder") == field.label else "", None)
    given = widget.attrs.get("class", "")
    return field.as_widget(attrs={"class": f"{base} {kind}-error {given}".strip() if field.errors else f"{base} {given}".strip()})


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """The page's query string with some parameters changed, the empty ones dropped (`?modelo=…&pagina=2`)."""
    parameters = context["request"].GET.copy()
    for name, value in changes.items():
        if value in (None, ""):
            parameters.pop(name, None)
        else:
            parameters[name] = str(value)
    return f"?{parameters.urlencode()}"
