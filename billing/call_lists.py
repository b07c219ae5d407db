"""Which calls a list shows: the filters of the page and of the file, over the tenant's usage records."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization
from billing import usage_sums
from billing.models import UsageRecord
from billing.money import from_brl
from billing.periods import Period
from billing.usage_sums import UsageFilter
from tokia.clock import SAO_PAULO, instant_of

SITUATIONS: dict[str, tuple[str | Promise, dict[str, Any]]] = {
    "sucesso": (_("Sucesso"), {"outcome": UsageRecord.Outcome.COMPLETED}),
    "interrompida": (_("Interrompida pelo provedor"), {"outcome": UsageRecord.Outcome.CUT}),
    "cancelada": (_("Cancelada por você"), {"outcome": UsageRecord.Outcome.CANCELLED}),
    "falhou": (_("Falhou, não cobrada"), {"outcome": UsageRecord.Outcome.FAILED}),
    "erro-do-cliente": (_("Erro da chamada (4xx)"), {"outcome": UsageRecord.Outcome.FAILED, "status_code__lt": 500}),
    "limite": (_("Limite de requisições (429)"), {"outcome": UsageRecord.Outcome.FAILED, "status_code": 429}),
    "erro-do-provedor": (_("Erro do provedor (5xx)"), {"outcome": UsageRecord.Outcome.FAILED, "status_code__gte": 500}),
}
FAILED_SITUATIONS = ("falhou", "erro-do-cliente", "limite", "erro-do-provedor")
AMOUNT = re.compile(r"\d{1,9}(?:[.,]\d{1,9})?", re.ASCII)
# How a call went, beside its outcome.
WAYS: dict[str, tuple[str | Promise, dict[str, Any]]] = {
    "nova-tentativa": (_("Com nova tentativa"), {"attempts__1__isnull": False}),
    "cache": (_("Resposta do cache"), {"usage_source": UsageRecord.UsageSource.CACHE}),
    "chave-propria": (_("Com chave própria"), {"is_own_key": True}),
}


@dataclass(frozen=True, slots=True)
class CallFilter:
    """What is empty does not filter. What nobody can have matches nothing."""

    route_name: str = ""
    api_key_id: int | None = None
    project_id: int | None = None  # 0: without a project
    tag: str = ""
    situation: str = ""
    way: str = ""
    call_id: uuid.UUID | None = None
    cost_min_nanos: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == CallFilter()

    @property
    def is_known_by_days(self) -> bool:
        """`UsageDay` counts exactly what it matches."""
        return not (self.tag or self.way or self.call_id or self.cost_min_nanos) and self.situation in ("", "falhou")

    def as_json(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in self.__slots__}
        return {name: str(value) if name == "call_id" else value for name, value in given.items() if value not in ("", None)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> CallFilter:
        wanted = dict(given)
        if "call_id" in wanted:
            wanted["call_id"] = uuid.UUID(wanted["call_id"])
        return cls(**wanted)


def read_filter(query: Mapping[str, str]) -> CallFilter:
    """From a page's address."""
    key, project, wanted = (query.get(name, "").strip() for name in ("chave", "projeto", "id"))
    return CallFilter(
        route_name=query.get("modelo", "")[:100],
        api_key_id=_number(key),
        project_id=_number(project),
        tag=query.get("etiqueta", "").strip()[:64],
        situation=query.get("situacao", "") if query.get("situacao", "") in SITUATIONS else "",
        way=query.get("caminho", "") if query.get("caminho", "") in WAYS else "",
        call_id=(id_of(wanted) or uuid.UUID(int=0)) if wanted else None,
        cost_min_nanos=_nanos(query.get("custo", "").strip()),
    )


def _nanos(text: str) -> int | None:
    """Reais as a person types them, "0,05"; what can't be read does not filter."""
    return from_brl(text.replace(",", ".")) or None if AMOUNT.fullmatch(text) else None


def _number(text: str) -> int | None:
    if not text:
        return None
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else -1


def find_calls(organization: Organization, only: CallFilter) -> QuerySet[UsageRecord]:
    found = UsageRecord.everywhere.filter(organization=organization)
    if only.route_name:
        found = found.filter(route_name=only.route_name)
    if only.api_key_id is not None:
        found = found.filter(api_key_id=only.api_key_id)
    if only.project_id is not None:
        found = found.filter(project_id=only.project_id or None)
    if only.tag:
        found = found.filter(tags__contains=[only.tag])
    if only.situation:
        found = found.filter(**SITUATIONS[only.situation][1])
    if only.way:
        found = found.filter(**WAYS[only.way][1])
    if only.cost_min_nanos:
        found = found.filter(net_nanos__gte=only.cost_min_nanos)
    return found.filter(pk=only.call_id) if only.call_id else found


def known_days(organization: Organization, only: CallFilter, period: Period) -> dict[dt.date, int] | None:
    """Which days of a period have calls that the filter may match, and at most how many, as the sums by day know it; None where
    they know no more than that there were calls. So what nobody has is not looked for, and what few have in their days alone."""
    if only.call_id or not (only.route_name or only.api_key_id is not None or only.project_id is not None or only.tag):
        return None
    known = UsageFilter(route_name=only.route_name, api_key_id=only.api_key_id, project_id=only.project_id)
    if only.tag:
        known = UsageFilter(route_name=only.route_name, tag=only.tag)
    return usage_sums.days_with(
        organization, only=known, first_on=period.first_on, last_on=period.last_on, is_failed=only.situation in FAILED_SITUATIONS
    )


def within_days(
    found: QuerySet[UsageRecord], days: Iterable[dt.date], *, before: uuid.UUID | None, after: uuid.UUID | None
) -> QuerySet[UsageRecord]:
    """Only from the first to the last of the days that have calls, newest first from `before`, or oldest first from `after`."""
    limit = _day_of(after or before)
    wanted = [day for day in days if limit is None or (day >= limit if after else day <= limit)]
    if not wanted:
        return found.none()
    first, last = min(wanted), max(wanted)
    starts, ends = (dt.datetime.combine(day, dt.time(), SAO_PAULO) for day in (first, last + dt.timedelta(days=1)))
    return found.filter(id__gte=first_id_at(starts), id__lt=first_id_at(ends))


def _day_of(id_: uuid.UUID | None) -> dt.date | None:
    """The day of a call's id; None for what is no id of ours."""
    try:
        return instant_of(id_).astimezone(SAO_PAULO).date() if id_ else None
    except (ValueError, OverflowError):
        return None


def id_of(text: str) -> uuid.UUID | None:
    """A call's id as a person pastes it, with or without the API's prefix; None when it is none."""
    try:
        return uuid.UUID(text.rsplit("_", 1)[-1].removeprefix("chatcmpl-"))
    except ValueError:
        return None


def first_id_at(instant: dt.datetime) -> uuid.UUID:
    """No id made later is smaller."""
    return uuid.UUID(int=int(instant.timestamp() * 1000) << 80)
