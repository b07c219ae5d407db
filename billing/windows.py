"""Windows of budgets, and which budgets cover a call. Pure, without Django: gateways ask it for every call.

A window is a day, a week from Monday or a calendar month in America/Sao_Paulo; `billing_window_start` says the same in SQL.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from billing.money import format_brl, format_fine_brl
from tokia.clock import SAO_PAULO

PER = {"day": "por dia", "week": "por semana", "month": "por mês"}
IN_PORTUGUESE = {"organization": "empresa inteira", "project": "projeto", "member": "pessoa", "key": "chave", "tag": "etiqueta"}
PER_IN_ENGLISH = {"day": "daily", "week": "weekly", "month": "monthly"}
IN_ENGLISH = {"organization": "the whole organization", "project": "project", "member": "person", "key": "key", "tag": "tag"}


@dataclass(frozen=True, slots=True)
class Cover:
    """A budget in force as gateways remember it."""

    id: int
    scope: str  # of Budget.Scope
    subject_id: int  # of the project, person or key; 0: none
    tag: str
    window: str
    limit_nanos: int
    is_hard: bool
    label: str  # 'projeto “Site”', as people read it


def covering(
    covers: Iterable[Cover], *, api_key_id: int, project_id: int | None, member_id: int | None, tags: Collection[str] = ()
) -> list[Cover]:
    """The budgets that a call is taken from, soft ones too. `member_id`: who made the key."""
    subjects = {"organization": 0, "project": project_id, "member": member_id, "key": api_key_id}
    return [cover for cover in covers if (cover.tag in tags if cover.scope == "tag" else subjects[cover.scope] == cover.subject_id)]


def window_start(window: str, at: dt.datetime) -> dt.date:
    """The first day of the window around an instant."""
    day = at.astimezone(SAO_PAULO).date()
    if window == "week":
        return day - dt.timedelta(days=day.weekday())
    return day.replace(day=1) if window == "month" else day


def renews_on(window: str, starts_on: dt.date) -> dt.date:
    """The first day of the next window: it renews at midnight, Brasília time."""
    if window == "month":
        return (starts_on + dt.timedelta(days=31)).replace(day=1)
    return starts_on + dt.timedelta(days=7 if window == "week" else 1)


def name_of(cover: Cover) -> str:
    """Of the project, person, key or tag; empty for the whole organization."""
    return cover.label.partition(" “")[2].removesuffix("”")


def tell_refusal(cover: Cover, *, needed_nanos: int, left_nanos: int, at: dt.datetime) -> tuple[str, str]:
    """Why a hard budget refuses a call, with its numbers, in Portuguese and English."""
    renews = renews_on(cover.window, window_start(cover.window, at))
    needed, left, limit = format_fine_brl(needed_nanos, is_up=True), format_fine_brl(left_nanos), format_brl(cover.limit_nanos)
    name = name_of(cover)
    whose = f"{IN_ENGLISH[cover.scope]} “{name}”" if name else IN_ENGLISH[cover.scope]
    return (
        f"Orçamento atingido ({cover.label}, {PER[cover.window]}): esta chamada pode custar até {needed} e há {left} livres de"
        f" {limit}. Renova em {renews:%d/%m/%Y}, à 0h de Brasília.",
        f"Budget exceeded ({whose}, {PER_IN_ENGLISH[cover.window]}): this call may cost up to {needed} and {left} of {limit}"
        f" are left. It renews on {renews:%Y-%m-%d} at midnight in Brasília.",
    )
