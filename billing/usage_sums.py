"""Usage added up for pages, files and the API, read from the days (`UsageDay`, `TagDay`), never from usage records.

`UsageDay` knows key, project, route and provider, so these combine freely. `TagDay` knows a tag and a route only, because a call
may carry many tags: with a tag, the other filters and groupings have no answer (`TagStandsAlone`), and a sum over tags counts a
call once per tag that it carries.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils.translation import gettext, gettext_noop

from accounts.models import ApiKey, Organization, Project
from accounts.tenancy import current_tenant
from billing.figures import tell_day_of_year
from billing.pricing import MEDIA
from billing.units import media_from, tell_media

MEDIA_SUMS = ", ".join(f"sum({name})::bigint" for name, _ in MEDIA)
GROUPS = {
    "day": "day",
    "route": "route_name",
    "key": "api_key_id",
    "project": "project_id",
    "provider": "provider_name",
    "member": "member_id",
    "tag": "tag",
}
GONE = {
    "key": gettext_noop("Chave removida"),
    "project": gettext_noop("Projeto removido"),
    "member": gettext_noop("Pessoa removida"),
}
TAG_GROUPS = ("day", "route", "tag")  # what a tag combines with
NO_PROJECT = gettext_noop("Sem projeto")
NO_MEMBER = gettext_noop("Sem autor")  # keys that nobody made, or whose maker is gone
NO_PROVIDER = gettext_noop("Nenhum provedor")  # answered by the cache, or failed before one was asked


class TagStandsAlone(ValueError):
    """A tag was to be combined with something else than days and models."""


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which usage; what is empty does not filter. `project_id` 0: calls of keys without a project."""

    route_name: str = ""
    api_key_id: int | None = None
    project_id: int | None = None
    provider_name: str = ""
    tag: str = ""

    @property
    def is_empty(self) -> bool:
        return self == UsageFilter()

    @property
    def is_by_tag(self) -> bool:
        return bool(self.tag)


EVERYTHING = UsageFilter()


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What a day, a model, a key… used; failed calls count as calls."""

    group: Any  # a date, a route's, provider's or tag's name, a key's or project's id
    label: str
    calls: int
    failed: int
    gross_nanos: int
    net_nanos: int
    input_tokens: int  # all of the prompt, cached or not, of whatever kind
    cached_input_tokens: int | None  # None by tag
    output_tokens: int  # reasoning, sound and pictures included
    latency_ms: int | None  # mean; None by tag
    media: dict[str, int] = field(default_factory=dict)  # quantities that are no text tokens, by bucket; none that is zero

    @property
    def media_text(self) -> str:
        return tell_media(self.media)


def usage_by(
    group: str,
    *,
    first_on: dt.date,
    last_on: dt.date,
    only: UsageFilter = UsageFilter(),
    organization: Organization | None = None,
    lines_max: int | None = None,
) -> list[UsageLine]:
    """Usage from the first to the last day, both included, by one of GROUPS; days in order, others dearest first.

    Of the tenant, unless an organization is given. Raises TagStandsAlone for a tag with another filter than a route.
    """
    by_tag = group == "tag" or only.is_by_tag
    where, arguments = conditions(only, by_tag=by_tag, group=group)
    query = (
        f"SELECT {GROUPS[group]} AS line, {_TAG_SUMS if by_tag else _DAY_SUMS}"  # noqa: S608
        f" FROM {table_of(group, by_tag=by_tag)}"
        f" WHERE organization_id = %s AND day BETWEEN %s AND %s{where}"
        f" GROUP BY line ORDER BY {'line' if group == 'day' else 'net DESC, line'}{' LIMIT %s' if lines_max else ''}"
    )
    owner = organization or current_tenant()
    with connection.cursor() as cursor:
        cursor.execute(query, [owner.pk, first_on, last_on, *arguments, *([lines_max] if lines_max else [])])
        found = cursor.fetchall()
    names = names_of(group, owner)
    return [UsageLine(line, label_of(group, line, names), *[*figures, media_from(media)]) for line, *figures, media in found]


# All of the prompt and all of the answer, of whatever kind.
PROMPT_TOKENS = "input_tokens + cached_input_tokens + cache_write_tokens + audio_input_tokens + image_input_tokens"
ANSWER_TOKENS = "output_tokens + reasoning_tokens + audio_output_tokens + image_output_tokens"
_DAY_SUMS = (
    "sum(calls)::bigint, sum(failed)::bigint, sum(gross_nanos)::bigint, sum(net_nanos)::bigint AS net,"
    f" sum({PROMPT_TOKENS})::bigint, sum(cached_input_tokens)::bigint, sum({ANSWER_TOKENS})::bigint,"
    f" round(sum(latency_ms) / sum(calls))::int, ARRAY[{MEDIA_SUMS}]"
)
_TAG_SUMS = (
    "sum(calls)::bigint, sum(failed)::bigint, sum(gross_nanos)::bigint, sum(net_nanos)::bigint AS net, sum(input_tokens)::bigint,"
    f" NULL::bigint, sum(output_tokens)::bigint, NULL::int, ARRAY[{', '.join(['0'] * len(MEDIA))}]"
)


def table_of(group: str, *, by_tag: bool) -> str:
    """What a query by this group reads. A member is the maker of the key."""
    if group == "member":
        return (
            "(SELECT d.*, coalesce(k.created_by_id, 0) AS member_id FROM billing_usageday d"
            " LEFT JOIN accounts_apikey k ON k.id = d.api_key_id) days"
        )
    return "billing_tagday" if by_tag else "billing_usageday"


def conditions(only: UsageFilter, *, by_tag: bool, group: str) -> tuple[str, list[Any]]:
    if by_tag and (group not in TAG_GROUPS or only.provider_name or only.api_key_id is not None or only.project_id is not None):
        raise TagStandsAlone("A tag combines with days and models only.")
    wanted = {
        "route_name": only.route_name or None,
        "api_key_id": only.api_key_id,
        "project_id": only.project_id,
        "provider_name": only.provider_name or None,
        "tag": only.tag or None,
    }
    given = {column: value for column, value in wanted.items() if value is not None}
    return "".join(f" AND {column} = %s" for column in given), list(given.values())


def totals(*, first_on: dt.date, last_on: dt.date, only: UsageFilter = UsageFilter()) -> UsageLine:
    """The period in one line; its group and label are empty."""
    return add_up(usage_by("day", first_on=first_on, last_on=last_on, only=only))


def add_up(lines: Sequence[UsageLine]) -> UsageLine:
    """Lines of which each call is in one (any grouping but by tag) as one line."""
    calls = sum(line.calls for line in lines)
    is_by_tag = any(line.latency_ms is None for line in lines)
    return UsageLine(
        group=None, label="", calls=calls, failed=sum(line.failed for line in lines),
        gross_nanos=sum(line.gross_nanos for line in lines), net_nanos=sum(line.net_nanos for line in lines),
        input_tokens=sum(line.input_tokens for line in lines),
        cached_input_tokens=None if is_by_tag else sum(line.cached_input_tokens or 0 for line in lines),
        output_tokens=sum(line.output_tokens for line in lines),
        latency_ms=None if is_by_tag or not calls else sum((line.latency_ms or 0) * line.calls for line in lines) // calls,
        media={name: total for name, _ in MEDIA if (total := sum(line.media.get(name, 0) for line in lines))},
    )  # fmt: skip


def days_with(
    organization: Organization, *, only: UsageFilter, first_on: dt.date, last_on: dt.date, is_failed: bool
) -> dict[dt.date, int]:
    """How many calls each day has of these, by day, days without any left out; all of them, or those that failed."""
    table = "billing_tagday" if only.is_by_tag else "billing_usageday"
    where, arguments = conditions(only, by_tag=only.is_by_tag, group="day")
    column = "failed" if is_failed else "calls"
    query = (
        f"SELECT day, sum({column})::bigint FROM {table} WHERE organization_id = %s AND day BETWEEN %s AND %s{where}"  # noqa: S608
        f" GROUP BY day HAVING sum({column}) > 0 ORDER BY day"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [organization.pk, first_on, last_on, *arguments])
        return dict(cursor.fetchall())


def routes_used(organization: Organization | None = None) -> list[str]:
    """Every model that was ever called, by name: one look into the index per name."""
    return _names_used("billing_usageday", "route_name", organization or current_tenant())


def tags_used(organization: Organization | None = None, *, tags_max: int = 200) -> list[str]:
    """The first tags by name. An organization may have a tag per person of its own: the page's field suggests, it does not list."""
    return _names_used("billing_tagday", "tag", organization or current_tenant(), names_max=tags_max)


def _names_used(table: str, column: str, organization: Organization, *, names_max: int = 1_000) -> list[str]:
    query = f"""
        WITH RECURSIVE found AS (
          (SELECT {column} AS name FROM {table} WHERE organization_id = %(organization)s ORDER BY {column} LIMIT 1)
          UNION ALL
          SELECT (SELECT t.{column} FROM {table} t WHERE t.organization_id = %(organization)s AND t.{column} > found.name
                  ORDER BY t.{column} LIMIT 1)
          FROM found WHERE found.name IS NOT NULL
        )
        SELECT name FROM found WHERE name IS NOT NULL LIMIT %(names_max)s"""  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(query, {"organization": organization.pk, "names_max": names_max})
        return [name for (name,) in cursor.fetchall()]


def names_of(group: str, organization: Organization) -> dict[int, str]:
    if group == "key":
        return dict(ApiKey.everywhere.filter(organization=organization).values_list("id", "name"))
    if group == "project":
        return dict(Project.everywhere.filter(organization=organization).values_list("id", "name")) | {0: gettext(NO_PROJECT)}
    if group == "member":
        makers = ApiKey.everywhere.filter(organization=organization).exclude(created_by=None)
        people = makers.values_list("created_by_id", "created_by__name", "created_by__email").distinct()
        return {pk: name or email for pk, name, email in people} | {0: gettext(NO_MEMBER)}
    return {}


def label_of(group: str, line: Any, names: dict[int, str]) -> str:
    if isinstance(line, dt.date):
        return tell_day_of_year(line)
    if isinstance(line, int):
        return names.get(line) or gettext(GONE[group])
    return str(line) or gettext(NO_PROVIDER)
