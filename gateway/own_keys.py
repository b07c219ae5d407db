"""Customers' own keys at providers: kept sealed under the organization's key, tried at their provider, used by nobody else's calls.

A key goes in and never comes out again: its last four characters are shown. Where it is sent is the provider's row's address, never
the customer's to say.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.core.cache import cache
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import Organization, User
from billing.pricebooks import own_key_percents
from gateway.credential_probes import close_circuits
from gateway.models import OwnKey, OwnKeyHealth, Provider
from gateway.provider_accounts import REFUSED, TAKEN, Probe, try_key
from gateway.secrets import SecretUnreadable, reseal, seal, unseal
from tokia import clock
from tokia.errors import TokiaError

log = logging.getLogger(__name__)
TRIES_PER_MINUTE = 10  # of an organization, at providers
SECRET_MIN, SECRET_MAX = 8, 4_000  # AWS session tokens are long
# Hosts of our own: their address is ours alone, so that nobody else's key is known there.
OURS_ALONE = ("local", "vllm", "ollama")


class OwnKeyRefused(TokiaError):
    """What can't be done with a key, in words for whoever tried. `param`: "provider" or "secret"."""

    code = "own_key_refused"
    status = 409


def providers_for_own_keys() -> QuerySet[Provider]:
    """Who serves anything now, under an address that knows keys of more customers than us (Azure's is of our own resource)."""
    found = Provider.objects.filter(is_active=True, deployments__is_active=True, deployments__route__is_active=True)
    return found.exclude(dialect=Provider.Dialect.AZURE).exclude(slug__in=OURS_ALONE).distinct().order_by("name")


def store_own_key(
    organization: Organization, *, user: User | None, provider: Provider, label: str, secret: str, use: str = OwnKey.Use.FIRST
) -> OwnKey:
    """Try it at its provider, then keep it; every gateway uses it within two seconds.

    Raises OwnKeyRefused: refused by its provider, no key by its form, a second one for this provider, too many tries.
    """
    secret = secret.strip()
    if not SECRET_MIN <= len(secret) <= SECRET_MAX or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise OwnKeyRefused(_("Isto não parece uma chave: copie de novo, inteira e sem espaços."), param="secret")
    _refuse_second(organization, provider)
    probe = _try(organization, provider, secret)
    if probe.verdict == REFUSED:
        told = _("{provider} recusou esta chave ({reason}). Nada foi guardado.")
        raise OwnKeyRefused(told.format(provider=provider.name, reason=in_words(probe.reason)), param="secret")
    with transaction.atomic():
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)  # two presses at once see each other
        _refuse_second(organization, provider)
        own_key = OwnKey.everywhere.create(
            organization=organization, provider=provider, label=label, created_by=user, use=OwnKey.Use(use), last4=secret[-4:],
            secret=seal(secret.encode(), organization_id=organization.pk),
        )  # fmt: skip
        OwnKeyHealth.everywhere.create(own_key=own_key, checked_at=clock.now() if probe.verdict == TAKEN else None)
        audit.act("own_key_added", organization=organization, detail={"provider": provider.name, "name": label})
    return own_key


def _refuse_second(organization: Organization, provider: Provider) -> None:
    if OwnKey.everywhere.filter(organization=organization, provider=provider).exists():
        told = _("Já há uma chave para {provider}. Remova-a antes de guardar outra.")
        raise OwnKeyRefused(told.format(provider=provider.name), param="provider")


def change_use(own_key: OwnKey, *, use: str) -> None:
    """Raises ValueError for a use that there is not."""
    OwnKey.everywhere.filter(pk=own_key.pk).update(use=OwnKey.Use(use))
    own_key.refresh_from_db()
    told = {"provider": own_key.provider.name, "name": own_key.label, "use": own_key.get_use_display()}
    audit.act("own_key_changed", organization=own_key.organization, detail=told)


def remove_own_key(own_key: OwnKey) -> None:
    """For ever. Every gateway stops using it within two seconds; a call that is under way ends with it."""
    if OwnKey.everywhere.filter(pk=own_key.pk).delete()[0]:
        told = {"provider": own_key.provider.name, "name": own_key.label}
        audit.act("own_key_removed", organization=own_key.organization, detail=told)


def check_own_key(own_key: OwnKey) -> Probe:
    """Try it at its provider, and keep what it said. Raises OwnKeyRefused: too many tries, or a key that can't be opened."""
    try:
        secret = unseal(bytes(own_key.secret), organization_id=own_key.organization_id).decode()
    except SecretUnreadable:
        log.error("own key can't be opened: was a key of ENCRYPTION_KEYS dropped too early?", extra={"own_key": own_key.pk})
        raise OwnKeyRefused(_("Não conseguimos abrir esta chave. Remova-a e guarde de novo.")) from None
    probe = _try(own_key.organization, own_key.provider, secret)
    now = clock.now()
    if probe.verdict == TAKEN:
        told = {"refused_at": None, "refused_reason": "", "checked_at": now}
    elif probe.verdict == REFUSED:
        told = {"refused_at": now, "refused_reason": probe.reason, "checked_at": now}
    else:
        return probe
    OwnKeyHealth.everywhere.update_or_create(own_key=own_key, defaults=told)
    if probe.verdict == TAKEN:  # the next call uses it again
        close_circuits(-own_key.pk)
    return probe


def _try(organization: Organization, provider: Provider, secret: str) -> Probe:
    """Raises OwnKeyRefused after TRIES_PER_MINUTE: nobody tries found keys through us."""
    name = f"own-key-tries:{organization.pk}"
    tries = int(cache.get(name, 0))
    if tries >= TRIES_PER_MINUTE:
        raise OwnKeyRefused(_("Muitas tentativas. Espere um minuto."))
    cache.set(name, tries + 1, 60)
    return try_key(provider, secret)


def reseal_own_keys() -> int:
    """Every key, under the newest of ENCRYPTION_KEYS; gives how many. Safe to repeat."""
    count = 0
    for own_key in OwnKey.everywhere.order_by("pk").iterator(chunk_size=100):
        sealed = reseal(bytes(own_key.secret), organization_id=own_key.organization_id)
        count += OwnKey.everywhere.filter(pk=own_key.pk).update(secret=sealed)
    return count


def in_words(reason: str) -> str:
    """Why a provider refused, in the reader's language. Texts of `gateway.credential_health.tell_reason`, which the hot path
    writes and rows keep: Portuguese there."""
    return _(reason) if reason else ""


@dataclass(frozen=True, slots=True)
class OwnKeyShare:
    """What a call with an own key costs, in percent of the list price: from the cheapest model to the dearest."""

    least: int
    most: int

    @property
    def is_free(self) -> bool:
        return self.most == 0

    def __str__(self) -> str:
        """ "5% do preço de tabela", "de 0 a 5% …"."""
        if self.is_free:
            return _("sem taxa")
        if self.least == self.most:
            return _("{percent}% do preço de tabela").format(percent=self.most)
        return _("de {least} a {most}% do preço de tabela, conforme o modelo").format(least=self.least, most=self.most)


def read_fee() -> OwnKeyShare | None:
    """None without a published price."""
    percents = own_key_percents()
    return OwnKeyShare(*percents) if percents else None
