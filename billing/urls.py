"""Billing's pages and the bank's door."""

from django.urls import include, path

from billing import (
    budget_views,
    discount_views,
    key_views,
    project_views,
    promotion_views,
    refund_views,
    usage_views,
    views,
)
from billing.pix import webhook

urlpatterns = [
    path("app/chaves/", key_views.keys, name="keys"),
    path("app/chaves/nova/", key_views.create_key, name="create_key"),
    path("app/chaves/<int:key_id>/mudar/", key_views.change, name="change_key"),
    path("app/chaves/<int:key_id>/girar/", key_views.rotate, name="rotate_key"),
    path("app/chaves/<int:key_id>/revogar/", key_views.revoke, name="revoke_key"),
    path("app/projetos/", project_views.projects, name="projects"),
    path("app/projetos/novo/", project_views.add_project, name="add_project"),
    path("app/projetos/<int:project_id>/", project_views.project, name="project"),
    path("app/projetos/<int:project_id>/renomear/", project_views.rename, name="rename_project"),
    path("app/projetos/<int:project_id>/arquivar/", project_views.archive, name="archive_project"),
    path("app/projetos/<int:project_id>/restaurar/", project_views.restore, name="restore_project"),
    path("app/projetos/<int:project_id>/chaves/", project_views.take_key, name="take_key"),
    path("app/orcamentos/", budget_views.budgets, name="budgets"),
    path("app/orcamentos/novo/", budget_views.create_budget, name="create_budget"),
    path("app/orcamentos/<int:budget_id>/mudar/", budget_views.edit_budget, name="change_budget"),
    path("app/orcamentos/<int:budget_id>/encerrar/", budget_views.end_budget, name="end_budget"),
    path("app/recarregar/", views.top_up, name="top_up"),
    path("app/recarregar/<uuid:charge_id>/", views.charge, name="charge"),
    path("app/recarregar/<uuid:charge_id>/situacao/", views.charge_status, name="charge_status"),
    path("app/recarregar/<uuid:charge_id>/conferir/", views.check_charge, name="check_charge"),
    path("app/cupom/", promotion_views.code, name="code"),
    path("app/indicacao/", promotion_views.referral, name="referral"),
    path("app/recargas/", refund_views.top_ups, name="top_ups"),
    path("app/recargas/lista/", refund_views.top_ups_list, name="top_ups_list"),
    path("app/recargas/<int:lot_id>/devolver/", refund_views.refund_top_up, name="refund_top_up"),
    path("app/extrato/", usage_views.statement, name="statement"),
    path("app/extrato/extrato.csv", usage_views.statement_csv, name="statement_csv"),
    path("app/desconto/", discount_views.discount, name="discount"),
    path("app/uso/", usage_views.usage, name="usage"),
    path("app/requisicoes/", usage_views.requests, name="requests"),
    path("app/requisicoes/<uuid:call_id>/", usage_views.request_detail, name="request_detail"),
    path("api/v1/", include("billing.api")),
    path("", include("billing.hook_urls")),
    path("webhooks/pix/<str:secret>/pix", webhook.receive, name="pix_webhook"),
    path("webhooks/pix/<str:secret>", webhook.receive),
]
