"""How our keys at providers are doing: noted by gateways, tried by workers (`credential_probes`), shown in the admin.

A row of CredentialHealth: dead (`dead_at`): no gateway uses the key, until a worker finds that its provider takes it again, or a
person says to try. Suspect (a `dead_reason` without `dead_at`): refused with a 403, which may have been about one model; used on,
until a worker has tried it.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.models import Credential, CredentialHealth, OwnKey, OwnKeyHealth
from tokia import clock

MAY_BE_OF_ONE_MODEL = "403"
TAKEN_AGAIN = "200"
REASONS = {
    "401": "chave inválida ou revogada",
    "402": "sem saldo no provedor",
    "403": "acesso negado pelo provedor",
    "429": "cota do provedor esgotada",
}


def tell_reason(code: str) -> str:
    """Of a refusal, by its HTTP status, in words."""
    return REASONS.get(code, "recusada pelo provedor")


def sync(refused: Mapping[int, str], limits: Mapping[int, Mapping[str, int]]) -> frozenset[int]:
    """Write what a gateway noted; gives who is dead. `refused`: credential → HTTP status; negative: OwnKey,
    with 200 where it works again."""
    now = clock.now()
    ours = {id_: code for id_, code in refused.items() if id_ > 0}
    for pk in Credential.objects.filter(pk__in=ours).values_list("pk", flat=True):
        reason = f"{ours[pk]}: {tell_reason(ours[pk])}"
        health, _ = CredentialHealth.objects.get_or_create(credential_id=pk)
        is_suspect = ours[pk] == MAY_BE_OF_ONE_MODEL
        found = CredentialHealth.objects.filter(pk=health.pk, dead_at=None)
        found.update(dead_reason=reason, dead_at=None if is_suspect else now)
    own = {-id_: code for id_, code in refused.items() if id_ < 0}
    for pk in OwnKey.everywhere.filter(pk__in=own).values_list("pk", flat=True):
        fields = {"refused_at": now, "refused_reason": tell_reason(own[pk])}
        if own[pk] == TAKEN_AGAIN:
            fields = {"refused_at": None, "refused_reason": "", "checked_at": now}
        OwnKeyHealth.everywhere.update_or_create(own_key_id=pk, defaults=fields)
    if limits:
        known = Credential.objects.filter(pk__in=limits).values_list("pk", flat=True)
        rows = [CredentialHealth(credential_id=pk, limits=dict(limits[pk]), limits_at=now) for pk in known]
        CredentialHealth.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["credential"], update_fields=["limits", "limits_at"]
        )
    return frozenset(CredentialHealth.objects.exclude(dead_at=None).values_list("pk", flat=True))
