"""A worker's rounds of our keys at providers: those that were refused are tried, and balances are read where they are told."""

from __future__ import annotations

import contextlib
import logging

from django.db.models import Q

from gateway.circuit_reports import CircuitsUnavailable, close_circuit
from gateway.models import Credential, CredentialHealth
from gateway.provider_accounts import REFUSED, UNKNOWN, ProviderAway, can_be_tried, read_balance, tells_balance, try_key
from gateway.secrets import SecretUnreadable, decrypt
from tokia import clock

log = logging.getLogger(__name__)


def probe_credentials(*, only_suspects: bool = False) -> tuple[int, int]:
    """Try the keys that were refused; gives how many live again and how many are dead from now on.

    What its provider can't be asked, or can't be tried, is used again: the next call tells.
    """
    chosen = Q(dead_at=None) & ~Q(dead_reason="")
    if not only_suspects:
        chosen |= Q(dead_at__isnull=False)
    revived = died = 0
    for health in CredentialHealth.objects.filter(chosen, credential__is_active=True).select_related("credential__provider"):
        probe = _try(health.credential)
        rows = CredentialHealth.objects.filter(pk=health.pk, dead_at=health.dead_at)
        if probe == REFUSED and health.dead_at is None:
            died += rows.update(dead_at=clock.now())
        elif probe == REFUSED or (probe == UNKNOWN and can_be_tried(health.credential.provider)):
            continue
        else:
            revived += rows.update(dead_at=None, dead_reason="")
            close_circuits(health.pk)
    if revived or died:
        log.warning("credentials tried", extra={"revived": revived, "dead": died})
    return revived, died


def _try(credential: Credential) -> str:
    try:
        return try_key(credential.provider, decrypt(bytes(credential.secret))).verdict
    except SecretUnreadable:
        return UNKNOWN


def revive(credential: Credential) -> None:
    """Every gateway uses the key again within a second, at all its models; refused once more, it is dead once more."""
    CredentialHealth.objects.filter(pk=credential.pk).update(dead_at=None, dead_reason="")
    close_circuits(credential.pk, *credential.provider.deployments.values_list("pk", flat=True))


def close_circuits(credential_id: int, *deployment_ids: int) -> None:
    """Of the credential, and of what it serves. Negative: a customer's own key. Where Valkey is away its pause ends by itself."""
    for deployment_id in (0, *deployment_ids):
        with contextlib.suppress(CircuitsUnavailable):
            close_circuit(deployment_id, credential_id)


def read_balances() -> int:
    """What is left at the accounts of providers that tell; gives how many."""
    count = 0
    for credential in Credential.objects.filter(is_active=True, provider__is_active=True).select_related("provider"):
        if not tells_balance(credential.provider):
            continue
        try:
            seen = read_balance(credential.provider, decrypt(bytes(credential.secret)))
        except (ProviderAway, SecretUnreadable):
            log.warning("balance not told", extra={"credential": credential.pk})
            continue
        fields = {"balance": seen.amount, "balance_currency": seen.currency, "balance_at": clock.now()}
        CredentialHealth.objects.update_or_create(credential=credential, defaults=fields)
        count += 1
    return count
