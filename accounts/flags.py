"""Features of the pages that an administrator turns on and off without a deploy: for all, for some organizations, for a part.

Each process reads all flags at once and believes what it read for a second: a change is followed everywhere within two. What is
not in REGISTRY is no flag. The gateway's calls know no flags: what is sold is in the catalog and the prices.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec

from django.db import transaction
from django.http import Http404
from django.http.response import HttpResponseBase

from accounts.errors import AccountsError
from accounts.models import FeatureFlag, FeatureFlagChange, Organization, User
from accounts.roles import MemberRequest
from tokia import clock

BELIEVED_SECONDS = 1.0
REASON_LENGTH_MIN = 5
Mode = FeatureFlag.Mode
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Flag:
    """What an administrator reads, and how it is until somebody decides."""

    label: str
    told: str
    is_on: bool


REGISTRY: Mapping[str, Flag] = {
    "playground": Flag(
        "Playground", "A página /app/playground/, onde se conversa com os modelos no navegador, e o item do menu.", True
    ),
    "referrals": Flag("Indicações", "A página /app/indicacao/, com o link de indicação da empresa, e os links para ela.", True),
}


class UnknownFlag(KeyError):
    """No flag of that name is declared: a typing mistake must not read as "off"."""


class FlagRefused(AccountsError):
    """A change without a reason, or one that says nothing."""

    code = "flag_refused"
    status = 400


@dataclass(frozen=True, slots=True)
class Rule:
    mode: str
    percent: int
    organization_ids: frozenset[int]


@dataclass(slots=True)
class _Memory:
    rules: Mapping[str, Rule]
    read_at: float  # monotonic


_memory: _Memory | None = None


def is_on(name: str, *, organization: Organization | None = None) -> bool:
    """Whether a feature is on for an organization; without one, whether it is on for everybody. Raises UnknownFlag."""
    flag = _declared(name)
    rule = _rules().get(name)
    if rule is None or rule.mode == Mode.DEFAULT:
        return flag.is_on
    if rule.mode in (Mode.EVERYBODY, Mode.NOBODY):
        return rule.mode == Mode.EVERYBODY
    if organization is None:
        return rule.mode == Mode.PART and rule.percent == 100
    if organization.pk in rule.organization_ids:
        return True
    return rule.mode == Mode.PART and share_of(name, organization.pk) < rule.percent * 100


def share_of(name: str, organization_id: int) -> int:
    """Where an organization stands between 0 and 9 999 for a flag: always the same, and another for each flag. Who is within 10 %
    is within 20 % too."""
    return int.from_bytes(hashlib.sha256(f"{name}:{organization_id}".encode()).digest()[:8]) % 10_000


def gated(
    name: str,
) -> Callable[
    [Callable[Concatenate[MemberRequest, P], HttpResponseBase]], Callable[Concatenate[MemberRequest, P], HttpResponseBase]
]:
    """A member's page that is not there (404) while its flag is off; goes under `requires`. Raises UnknownFlag as it is written."""
    _declared(name)

    def decorate(
        view: Callable[Concatenate[MemberRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[MemberRequest, P], HttpResponseBase]:
        @wraps(view)
        def guarded(request: MemberRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not is_on(name, organization=request.membership.organization):
                raise Http404
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def set_flag(
    name: str, *, mode: str, by: User, reason: str, percent: int = 0, organization_ids: Collection[int] = ()
) -> FeatureFlag:
    """Change a flag, with a row of its history. Raises UnknownFlag, FlagRefused."""
    _declared(name)
    if mode not in Mode.values or not 0 <= percent <= 100:
        raise FlagRefused("Escolha uma situação e uma parte entre 0 e 100%.")
    if len(reason.strip()) < REASON_LENGTH_MIN:
        raise FlagRefused(f"Escreva o motivo, com {REASON_LENGTH_MIN} letras ou mais.")
    if mode == Mode.CHOSEN and not organization_ids:
        raise FlagRefused("Escolha ao menos uma empresa.")
    ids = sorted(set(organization_ids)) if mode in (Mode.CHOSEN, Mode.PART) else []
    percent = percent if mode == Mode.PART else 0
    with transaction.atomic():
        FeatureFlag.objects.get_or_create(name=name)
        flag = FeatureFlag.objects.select_for_update().get(name=name)
        before = tell(flag)
        if (flag.mode, flag.percent, flag.organization_ids) == (mode, percent, ids):
            raise FlagRefused("Nada mudou.")
        flag.mode, flag.percent, flag.organization_ids = mode, percent, ids
        flag.changed_at, flag.changed_by = clock.now(), by.email[:150]
        flag.save()
        FeatureFlagChange.objects.create(
            flag=flag, before=before, after=tell(flag), organization_ids=ids, reason=reason.strip()[:300], changed_by=by.email[:150]
        )
    forget()
    return flag


def ensure_rows() -> None:
    """A row for each declared flag, for the admin's list."""
    FeatureFlag.objects.bulk_create([FeatureFlag(name=name) for name in REGISTRY], ignore_conflicts=True)


def tell(flag: FeatureFlag) -> str:
    """How a flag is set, in words."""
    label = str(Mode(flag.mode).label)
    chosen = len(flag.organization_ids)
    told = f"{chosen} empresa{'' if chosen == 1 else 's'}"
    if flag.mode == Mode.CHOSEN:
        return f"{label}: {told}"
    if flag.mode == Mode.PART:
        return f"{label}: {flag.percent}%" + (f", e mais {told}" if chosen else "")
    if flag.mode == Mode.DEFAULT and flag.name in REGISTRY:
        return f"{label}: {'ligado' if REGISTRY[flag.name].is_on else 'desligado'}"
    return label


def forget() -> None:
    """Read again at the next question: after a change, in the process that made it."""
    global _memory
    _memory = None


def _declared(name: str) -> Flag:
    try:
        return REGISTRY[name]
    except KeyError:
        raise UnknownFlag(name) from None


def _rules() -> Mapping[str, Rule]:
    global _memory
    memory, now = _memory, time.monotonic()
    if memory is None or now - memory.read_at >= BELIEVED_SECONDS:
        rows = FeatureFlag.objects.values_list("name", "mode", "percent", "organization_ids")
        memory = _memory = _Memory({name: Rule(mode, percent, frozenset(ids)) for name, mode, percent, ids in rows}, now)
    return memory.rules
