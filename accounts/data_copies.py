"""Copies of what is kept (LGPD, art. 18 II and V): asked for here, written by `tokia.data_files`, kept DATA_COPY_DAYS."""

from __future__ import annotations

import base64
import datetime as dt

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext

from accounts import audit
from accounts.errors import NotAllowed
from accounts.models import DataCopy, Membership, Organization, Role, User
from tokia import clock, sealing

TRIES_MAX = 3
FORGOTTEN_AFTER_DAYS = 30


@transaction.atomic
def ask_for_own(user: User) -> DataCopy:
    """The one under way, where there is one."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    return _ask(user, None)


@transaction.atomic
def ask_for_organization(by: Membership) -> DataCopy:
    """Raises NotAllowed: everything of an organization goes to its owners alone."""
    Organization.objects.select_for_update(no_key=True).get(pk=by.organization_id)
    if Membership.everywhere.filter(pk=by.pk).values_list("role", flat=True).first() != Role.OWNER:
        raise NotAllowed(gettext("Só um Dono pode pedir a cópia dos dados da empresa."))
    return _ask(by.user, by.organization)


def _ask(user: User, organization: Organization | None) -> DataCopy:
    waiting = DataCopy.everywhere.filter(user=user, organization=organization, status=DataCopy.Status.WAITING).first()
    if waiting is not None:
        return waiting
    copy = DataCopy.everywhere.create(id=clock.new_id(), user=user, organization=organization, created_at=clock.now())
    if organization is None:
        audit.note_everywhere("personal_data_exported", user=user)
    else:
        audit.note("organization_data_exported", organization=organization, user=user)
    return copy


def copies_of(user: User, *, organization: Organization | None) -> QuerySet[DataCopy]:
    """What this person asked for, newest first, without the files."""
    return DataCopy.everywhere.filter(user=user, organization=organization).defer("file").order_by("-created_at")[:10]


def keep_file(copy: DataCopy, content: bytes) -> None:
    """The file is whole: sealed under the organization's key, a person's own under the general one."""
    if copy.organization_id is not None:
        sealed = sealing.seal(content, organization_id=copy.organization_id)
    else:
        sealed = sealing.encrypt(base64.b64encode(content).decode())
    expires = clock.now() + dt.timedelta(days=settings.DATA_COPY_DAYS)
    DataCopy.everywhere.filter(pk=copy.pk).update(status=DataCopy.Status.DONE, file=sealed, bytes=len(content), expires_at=expires)


def open_file(copy: DataCopy) -> bytes | None:
    """The ZIP; None where it isn't ready, or is over."""
    if copy.status != DataCopy.Status.DONE or copy.file is None or copy.expires_at is None or copy.expires_at <= clock.now():
        return None
    if copy.organization_id is not None:
        return sealing.unseal(bytes(copy.file), organization_id=copy.organization_id)
    return base64.b64decode(sealing.decrypt(bytes(copy.file)))


def purge() -> int:
    """For a task: drop files whose time is over, and rows that nobody looks at any more."""
    now = clock.now()
    over = DataCopy.everywhere.filter(status=DataCopy.Status.DONE, expires_at__lte=now)
    count = over.update(status=DataCopy.Status.EXPIRED, file=None)
    forgotten = DataCopy.everywhere.exclude(status__in=(DataCopy.Status.WAITING, DataCopy.Status.DONE))
    forgotten.filter(created_at__lt=now - dt.timedelta(days=FORGOTTEN_AFTER_DAYS)).delete()
    return count
