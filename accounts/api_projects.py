"""`/api/v1/projects`: parts of the organization with keys, budgets and reports of their own."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q
from django.shortcuts import get_object_or_404
from rest_framework import serializers

from accounts.models import ApiKey, Project
from accounts.operations import ATOMIC, ApiCall, Resource, operation
from accounts.projects import NAME_CHARACTERS_MAX, archive_project, create_project, rename_project, restore_project
from tokia.manners import PageQuery, Shape, Text, page_of, page_shape

TAG = "Projetos"


class ProjectBody(Shape):
    name = Text(max_length=NAME_CHARACTERS_MAX, help_text="Único entre os projetos não arquivados da empresa.")
    example = {"name": "Atendimento"}


class ProjectAnswer(Shape):
    id = serializers.IntegerField()
    name = serializers.CharField()
    active_keys = serializers.IntegerField(help_text="Chaves que não foram revogadas.")
    created_by_id = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    archived_at = serializers.DateTimeField(allow_null=True, help_text="Arquivado, suas chaves são recusadas.")
    example = {
        "id": 3, "name": "Atendimento", "active_keys": 2, "created_by_id": 3, "created_at": "2026-11-22T12:00:00Z",
        "archived_at": None,
    }  # fmt: skip


class ProjectQuery(PageQuery):
    is_archived = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="Só os arquivados, ou só os outros."
    )


class ProjectsResource(Resource):
    @operation(
        "list_projects", scope="projects.read", tag=TAG, summary="Listar projetos", text="Do mais novo ao mais antigo.",
        query=ProjectQuery, answer=page_shape(ProjectAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        projects = _projects()
        if call.query["is_archived"] is not None:
            projects = projects.filter(archived_at__isnull=not call.query["is_archived"])
        return page_of(projects, call.query)

    @operation(
        "create_project", scope="projects.write", tag=TAG, summary="Criar projeto", status=201,
        text="Depois crie chaves com o `project_id` dele.", body=ProjectBody, answer=ProjectAnswer, creates=ATOMIC,
    )  # fmt: skip
    def post(self, call: ApiCall) -> Any:
        return _find(create_project(call.organization, by=call.caller.user, name=call.body["name"]).pk)


class ProjectResource(Resource):
    @operation(
        "get_project", scope="projects.read", tag=TAG, summary="Ver um projeto", text="Arquivado ou não.",
        answer=ProjectAnswer, problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, project_id: int) -> Any:
        return _find(project_id)

    @operation(
        "rename_project", scope="projects.write", tag=TAG, summary="Renomear um projeto",
        text="Os relatórios continuam os mesmos.", body=ProjectBody, answer=ProjectAnswer, problems=(404, 409),
    )  # fmt: skip
    def patch(self, call: ApiCall, project_id: int) -> Any:
        project = _find(project_id)
        if "name" in call.body:
            rename_project(project, name=call.body["name"])
        return _find(project_id)


class ProjectArchiveResource(Resource):
    @operation(
        "archive_project", scope="projects.write", tag=TAG, summary="Arquivar um projeto",
        text="As chaves dele são recusadas com 403 `project_archived` em até 2 segundos. Arquivar de novo não muda nada.",
        answer=ProjectAnswer, problems=(404,),
    )  # fmt: skip
    def post(self, call: ApiCall, project_id: int) -> Any:
        archive_project(_find(project_id))
        return _find(project_id)


class ProjectRestoreResource(Resource):
    @operation(
        "restore_project", scope="projects.write", tag=TAG, summary="Restaurar um projeto",
        text="As chaves voltam a servir em até 2 segundos.", answer=ProjectAnswer, problems=(404, 409),
    )  # fmt: skip
    def post(self, call: ApiCall, project_id: int) -> Any:
        restore_project(_find(project_id))
        return _find(project_id)


def _projects() -> Any:
    active = Count("api_keys", filter=Q(api_keys__status=ApiKey.Status.ACTIVE))
    return Project.objects.select_related("organization").annotate(active_keys=active)


def _find(project_id: int) -> Project:
    found: Project = get_object_or_404(_projects(), pk=project_id)
    return found
