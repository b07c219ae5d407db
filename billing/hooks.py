"""Hooks: addresses of customers' own that are told of events. Messages and their sending: `billing/hook_deliveries.py`."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext

from accounts import audit
from accounts.models import Organization, User
from billing.errors import BillingError
from billing.events import LEVELS
from billing.hook_secrets import ROTATION, mint_secret, sealed
from billing.models import Hook, HookDelivery
from tokia import clock
from tokia.outbound import parse_url

HOOKS_MAX = 20  # per organization
NAME_MAX = 60
TYPES: tuple[str, ...] = tuple(LEVELS)


class HookRefused(BillingError):
    """What was asked of a hook can't be; `param` names the field."""

    code = "hook_refused"
    status = 400


class TooManyHooks(HookRefused):
    code = "too_many_hooks"
    status = 409


def list_hooks(organization: Organization) -> list[Hook]:
    return list(Hook.everywhere.filter(organization=organization).order_by("id"))


def create_hook(
    organization: Organization, *, url: str, types: Collection[str] = (), name: str = "", by: User | None = None
) -> tuple[Hook, str]:
    """A hook and its secret, which is never told again. No types: all of them, later ones too.

    Raises AddressRefused (`tokia.outbound`), HookRefused for an unknown type, TooManyHooks.
    """
    url, types, name = _checked_url(url), _checked_types(types), _checked_name(name)
    secret = mint_secret()
    with transaction.atomic():
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)  # two at once don't pass HOOKS_MAX
        if Hook.everywhere.filter(organization=organization).count() >= HOOKS_MAX:
            raise TooManyHooks(
                gettext("Cada empresa tem até {count} webhooks. Remova um antes de criar outro.").format(count=HOOKS_MAX)
            )
        hook = Hook.everywhere.create(
            organization=organization, url=url, types=types, name=name, created_by=by,
            secret=sealed(secret, organization_id=organization.pk),
        )  # fmt: skip
        audit.act("hook_created", organization=organization, detail=_told(hook))
    return hook, secret


def _told(hook: Hook) -> dict[str, str]:
    """How the audit log names it: of the address only the host, for paths and queries carry secrets."""
    return {"name": hook.name, "url": urlsplit(hook.url).hostname or ""}


def change_hook(
    hook: Hook,
    *,
    url: str | None = None,
    types: Collection[str] | None = None,
    name: str | None = None,
    is_active: bool | None = None,
) -> Hook:
    """Change what is given. Turned on again, it starts without its failures. Raises AddressRefused and HookRefused.

    Messages that wait go to the new address; those of a hook turned off wait until it is on again, or are given up.
    """
    changes: dict[str, object] = {}
    if url is not None:
        changes["url"] = _checked_url(url)
    if types is not None:
        changes["types"] = _checked_types(types)
    if name is not None:
        changes["name"] = _checked_name(name)
    if is_active is not None:
        changes["is_active"] = is_active
        if is_active:
            changes |= {"failing_since": None, "disabled_at": None, "disabled_reason": ""}
    if changes:
        Hook.everywhere.filter(pk=hook.pk).update(**changes)
        hook.refresh_from_db()
        audit.act("hook_changed", organization=hook.organization, detail=_told(hook))
    return hook


def remove_hook(hook: Hook) -> None:
    """Gone, with all that was sent there."""
    audit.act("hook_removed", organization=hook.organization, detail=_told(hook))
    hook.delete()


def rotate_secret(hook: Hook) -> str:
    """A new secret, told once. For 24 hours the former signs beside it, so that a receiver may change when it likes."""
    secret = mint_secret()
    with transaction.atomic():
        locked = Hook.everywhere.select_for_update().get(pk=hook.pk)
        locked.previous_secret, locked.previous_ends_at = bytes(locked.secret), clock.now() + ROTATION
        locked.secret = sealed(secret, organization_id=locked.organization_id)
        locked.save(update_fields=["secret", "previous_secret", "previous_ends_at"])
        audit.act("hook_secret_changed", organization=locked.organization, detail=_told(locked))
    hook.refresh_from_db()
    return secret


def send_test(hook: Hook) -> HookDelivery:
    """A `ping`, due at once. Raises HookRefused where the hook is off."""
    if not hook.is_active:
        raise HookRefused(gettext("Ligue o webhook antes de enviar um teste."))
    return HookDelivery.everywhere.create(hook=hook, due_at=clock.now())


def list_deliveries(hook: Hook, *, before_id: int | None = None, status: str = "", limit: int = 50) -> list[HookDelivery]:
    """The newest first; `before_id` is the last one of the page before."""
    found = HookDelivery.everywhere.filter(hook=hook).select_related("event").order_by("-id")
    if status:
        found = found.filter(status=status)
    return list(found.filter(pk__lt=before_id)[:limit] if before_id else found[:limit])


def replay(delivery: HookDelivery) -> HookDelivery:
    """The same message once more, under the same id, with all its retries before it. Raises HookRefused where the hook is off."""
    hook = Hook.everywhere.get(pk=delivery.hook_id)
    if not hook.is_active:
        raise HookRefused(gettext("Ligue o webhook antes de reenviar."))
    now = clock.now()
    # One that a worker is sending is left to it: two copies never travel at once.
    HookDelivery.everywhere.filter(Q(leased_until=None) | Q(leased_until__lte=now), pk=delivery.pk).update(
        status=HookDelivery.Status.DUE, attempts=0, due_at=now, delivered_at=None, leased_until=None
    )
    delivery.refresh_from_db()
    return delivery


def _checked_url(url: str) -> str:
    url = url.strip()
    parse_url(url)
    return url


def _checked_types(types: Collection[str]) -> list[str]:
    unknown = sorted(set(types) - set(TYPES))
    if unknown:
        raise HookRefused(gettext("Não existe o aviso {name}.").format(name=repr(unknown[0])), param="types")
    return [type for type in TYPES if type in types]


def _checked_name(name: str) -> str:
    name = name.strip()
    if len(name) > NAME_MAX:
        raise HookRefused(gettext("O nome tem até {count} letras.").format(count=NAME_MAX), param="name")
    return name
