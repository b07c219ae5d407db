"""Billing's pages and the bank's door."""

from django.urls import include, path

from billing import refund_views, usage_views, views
from billing.pix import webhook

urlpatterns = [
    path("app/recarregar/", views.top_up, name="top_up"),
    path("app/recarregar/<uuid:charge_id>/", views.charge, name="charge"),
    path("app/recarregar/<uuid:charge_id>/situacao/", views.charge_status, name="charge_status"),
    path("app/recarregar/<uuid:charge_id>/conferir/", views.check_charge, name="check_charge"),
    path("app/recargas/", refund_views.top_ups, name="top_ups"),
    path("app/recargas/lista/", refund_views.top_ups_list, name="top_ups_list"),
    path("app/recargas/<int:lot_id>/devolver/", refund_views.refund_top_up, name="refund_top_up"),
    path("app/extrato/", usage_views.statement, name="statement"),
    path("app/extrato/extrato.csv", usage_views.statement_csv, name="statement_csv"),
    path("app/uso/", usage_views.usage, name="usage"),
    path("app/requisicoes/", usage_views.requests, name="requests"),
    path("app/requisicoes/<uuid:call_id>/", usage_views.request_detail, name="request_detail"),
    path("api/v1/", include("billing.api")),
    path("webhooks/pix/<str:secret>/pix", webhook.receive, name="pix_webhook"),
    path("webhooks/pix/<str:secret>", webhook.receive),
]
