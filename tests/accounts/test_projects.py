"""Projects: names that are free, keys that come and go, an archive that can be undone."""

from __future__ import annotations

import pytest

from accounts import projects
from accounts.errors import AccountsError, NameTaken, ProjectArchived, TooMany
from accounts.keys import revoke_key
from accounts.models import ApiKey, Project, SnapshotVersion
from accounts.projects import archive_project, create_project, move_key, rename_project, restore_project
from tests.make import make_key, make_organization

pytestmark = pytest.mark.django_db


def test_a_name_is_taken_once_per_organization_whatever_its_case() -> None:
    ours, theirs = make_organization(), make_organization()
    site = create_project(ours, by=None, name="  Site   novo ")
    assert site.name == "Site novo"
    for taken in ("Site novo", "SITE NOVO", " site  NOVO"):
        with pytest.raises(NameTaken):
            create_project(ours, by=None, name=taken)
    assert create_project(theirs, by=None, name="Site novo").pk
    other = create_project(ours, by=None, name="Outro")
    with pytest.raises(NameTaken):
        rename_project(other, name="site NOVO")
    rename_project(site, name="SITE NOVO")  # its own name in another case
    assert site.name == "SITE NOVO"
    for wrong in ("", "   ", "x" * 61):
        with pytest.raises(AccountsError):
            create_project(ours, by=None, name=wrong)


def test_an_archived_project_comes_back_where_its_name_is_still_free() -> None:
    ours = make_organization()
    site = create_project(ours, by=None, name="Site")
    assert archive_project(site) and not archive_project(site)
    assert site.archived_at is not None
    heir = create_project(ours, by=None, name="Site")
    with pytest.raises(NameTaken):
        restore_project(site)
    rename_project(heir, name="Outro")
    assert restore_project(site) and not restore_project(site)
    assert site.archived_at is None


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "PROJECTS_MAX", 2)
    ours = make_organization()
    first = create_project(ours, by=None, name="1")
    create_project(ours, by=None, name="2")
    with pytest.raises(TooMany):
        create_project(ours, by=None, name="3")
    archive_project(first)
    create_project(ours, by=None, name="3")
    with pytest.raises(TooMany):
        restore_project(first)


def test_keys_move_between_projects_of_their_organization_only() -> None:
    ours = make_organization()
    key, _ = make_key(organization=ours)
    site, archived = create_project(ours, by=None, name="Site"), create_project(ours, by=None, name="Velho")
    archive_project(archived)
    foreign = create_project(make_organization(), by=None, name="Deles")
    assert move_key(key, project=site) and key.project_id == site.pk
    with pytest.raises(ProjectArchived):
        move_key(key, project=archived)
    with pytest.raises(Project.DoesNotExist):
        move_key(key, project=foreign)
    assert move_key(key, project=None)
    assert ApiKey.everywhere.get(pk=key.pk).project is None
    revoke_key(key)
    assert not move_key(key, project=site)
    with pytest.raises(ProjectArchived):
        make_key(organization=ours, project=archived)


def test_gateways_hear_of_every_change() -> None:
    ours = make_organization()

    def number() -> int:
        return SnapshotVersion.objects.get(subject="callers").number

    site = create_project(ours, by=None, name="Site")
    before = number()
    archive_project(site)
    assert number() > before
    before = number()
    restore_project(site)
    assert number() > before
