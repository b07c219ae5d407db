"""Where accounts' part of `/api/v1` is found."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts import api_keys, api_members, api_organization, api_projects

urlpatterns: list[URLPattern] = [
    path("caller", api_organization.CallerResource.as_view(), name="api_caller"),
    path("organization", api_organization.OrganizationResource.as_view(), name="api_organization"),
    path("keys", api_keys.KeysResource.as_view(), name="api_keys"),
    path("keys/<int:key_id>", api_keys.KeyResource.as_view(), name="api_key"),
    path("keys/<int:key_id>/rotate", api_keys.KeyRotationResource.as_view(), name="api_rotate_key"),
    path("projects", api_projects.ProjectsResource.as_view(), name="api_projects"),
    path("projects/<int:project_id>", api_projects.ProjectResource.as_view(), name="api_project"),
    path("projects/<int:project_id>/archive", api_projects.ProjectArchiveResource.as_view(), name="api_archive_project"),
    path("projects/<int:project_id>/restore", api_projects.ProjectRestoreResource.as_view(), name="api_restore_project"),
    path("members", api_members.MembersResource.as_view(), name="api_members"),
    path("members/<int:member_id>", api_members.MemberResource.as_view(), name="api_member"),
    path("invitations", api_members.InvitationsResource.as_view(), name="api_invitations"),
    path("invitations/<int:invitation_id>", api_members.InvitationResource.as_view(), name="api_invitation"),
]
