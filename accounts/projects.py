"""Projects: parts of an organization with keys, budgets and reports of their own.

Archived, a project's keys are refused with 403 `project_archived`; restored, they serve again. Nothing of it is ever deleted.
"""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext

from accounts import audit
from accounts.errors import AccountsError, NameTaken, TooMany
from accounts.keys import change_key
from accounts.models import ApiKey, Organization, Project, User
from tokia import clock

PROJECTS_MAX = 100  # that are not archived, per organization
NAME_CHARACTERS_MAX = 60


@transaction.atomic
def create_project(organization: Organization, *, by: User | None, name: str) -> Project:
    """Raises NameTaken, TooMany, and AccountsError for a name that is none."""
    _lock(organization)
    name = _free_name(organization, name)
    _check_room(organization)
    project = Project.everywhere.create(organization=organization, name=name, created_by=by)
    audit.act("project_created", organization=organization, detail={"name": name})
    return project


@transaction.atomic
def rename_project(project: Project, *, name: str) -> None:
    """Reports keep its past: they know it by its id. Raises NameTaken, and AccountsError for a name that is none."""
    _lock(project.organization)
    Project.everywhere.filter(pk=project.pk).update(name=_free_name(project.organization, name, but=project))
    project.refresh_from_db()


def archive_project(project: Project) -> bool:
    """Its keys are refused within two seconds, until it is restored. False where it was archived before."""
    archived = Project.everywhere.filter(pk=project.pk, archived_at=None).update(archived_at=clock.now())
    project.refresh_from_db()
    if archived:
        audit.act("project_archived", organization=project.organization, detail={"name": project.name})
    return archived == 1


@transaction.atomic
def restore_project(project: Project) -> bool:
    """Its keys serve again within two seconds. False where it was not archived. Raises NameTaken, TooMany."""
    _lock(project.organization)
    project.refresh_from_db()
    if project.archived_at is None:
        return False
    _free_name(project.organization, project.name, but=project)
    _check_room(project.organization)
    Project.everywhere.filter(pk=project.pk).update(archived_at=None)
    project.refresh_from_db()
    audit.act("project_restored", organization=project.organization, detail={"name": project.name})
    return True


def move_key(key: ApiKey, *, project: Project | None) -> bool:
    """Into a project, or out of all: calls from now on are its own, those before stay where they were made.

    False for a key that was revoked. Raises ProjectArchived.
    """
    return change_key(key, project=project)


def _lock(organization: Organization) -> None:
    """One project at a time: two with one name, or one too many, must not both come in."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)


def _free_name(organization: Organization, name: str, *, but: Project | None = None) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise AccountsError(gettext("O nome tem de 1 a {count} caracteres.").format(count=NAME_CHARACTERS_MAX), param="name")
    others = Project.everywhere.filter(organization=organization, archived_at=None, name__iexact=name)
    if (others.exclude(pk=but.pk) if but else others).exists():
        raise NameTaken(gettext("Já existe um projeto “{name}”.").format(name=name), param="name")
    return name


def _check_room(organization: Organization) -> None:
    if Project.everywhere.filter(organization=organization, archived_at=None).count() >= PROJECTS_MAX:
        raise TooMany(gettext("A empresa já tem {count} projetos. Arquive algum antes.").format(count=PROJECTS_MAX))
