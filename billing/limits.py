"""What bounds an organization's calls and top-ups, told in words: its LimitProfile's, else the settings'; and its keys' own."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from django.utils.translation import gettext, gettext_noop

from accounts.models import ApiKey, Organization
from billing.figures import tell_brl, tell_count
from billing.top_ups import bounds_of

NO_LIMIT = gettext_noop("sem limite")


@dataclass(frozen=True, slots=True)
class EffectiveLimit:
    """`is_shared`: a LimitProfile says so; else it is everybody's."""

    name: str
    value: str
    is_shared: bool
    is_inner: bool = False  # our own affair, never a customer's: a margin


def effective_limits(organization: Organization) -> list[EffectiveLimit]:
    shared, bounds = organization.limit_profile, bounds_of(organization)

    def calls(label: str, name: str, otherwise: str = "") -> EffectiveLimit:
        said = getattr(shared, name, None)
        return EffectiveLimit(label, tell_count(said) if said else otherwise or gettext(NO_LIMIT), bool(said))

    each = gettext("{count} por chave").format(count=tell_count(settings.REQUESTS_PER_MINUTE))

    def says(name: str) -> bool:
        return getattr(shared, name, None) is not None

    return [
        calls(gettext("Requisições por minuto"), "requests_per_minute", each),
        calls(gettext("Tokens por minuto"), "tokens_per_minute"),
        calls(gettext("Chamadas ao mesmo tempo"), "concurrent_calls"),
        EffectiveLimit(gettext("Recarga mínima"), tell_brl(bounds.min_nanos), says("top_up_min_nanos")),
        EffectiveLimit(gettext("Recarga máxima"), tell_brl(bounds.max_nanos), says("top_up_max_nanos")),
        EffectiveLimit(gettext("Recargas em aberto"), str(bounds.open_max), says("open_charges_max")),
        EffectiveLimit("Ajuste de margem", tell_percent(shared.margin_bps if shared else 0), shared is not None, is_inner=True),
    ]


def key_limits(organization: Organization) -> list[tuple[ApiKey, str, str, str]]:
    """Live keys with limits of their own: requests, tokens and calls at a time, as they bind: the lower of key and organization."""
    shared = organization.limit_profile
    names = ("requests_per_minute", "tokens_per_minute", "concurrent_calls")
    rows = []
    live = ApiKey.everywhere.filter(organization=organization, kind=ApiKey.Kind.MADE, status=ApiKey.Status.ACTIVE)
    for key in live.order_by("name"):
        own = [getattr(key, name) for name in names]
        if any(own):
            told = [_lower(limit, getattr(shared, name, None)) for limit, name in zip(own, names, strict=True)]
            rows.append((key, told[0], told[1], told[2]))
    return rows


def _lower(own: int | None, shared: int | None) -> str:
    if own is None:
        return gettext("os da empresa")
    if not shared or shared >= own:
        return tell_count(own)
    return gettext("{count} (da empresa; a chave pede {own})").format(count=tell_count(shared), own=tell_count(own))


def tell_percent(bps: int) -> str:
    """Hundredths of a percent as people write them: `-3%`, `2,5%`."""
    text = f"{Decimal(bps) / 100:f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%".replace(".", ",")
