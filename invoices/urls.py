"""Where notas fiscais are found."""

from __future__ import annotations

from django.urls import include, path

from invoices import views, webhook

urlpatterns = [
    path("app/notas/", views.invoice_list, name="invoices"),
    path("app/notas/<int:invoice_id>/", views.invoice, name="invoice"),
    path("app/notas/<int:invoice_id>/nota.xml", views.invoice_xml, name="invoice_xml"),
    path("app/notas/<int:invoice_id>/nota.pdf", views.invoice_pdf, name="invoice_pdf"),
    path("app/notas/<int:invoice_id>/enviar/", views.resend, name="resend_invoice"),
    path("app/notas/<int:invoice_id>/reemitir/", views.reissue, name="reissue_invoice"),
    path("app/notas/dados/", views.fiscal_data, name="fiscal_data"),
    path("app/notas/recarga/<str:reference>/", views.top_up_note, name="top_up_note"),
    path("app/notas/meses/<str:month>.zip", views.month_zip, name="invoice_month_zip"),
    path("webhooks/focus/", webhook.receive, name="focus_webhook"),
    path("api/v1/", include("invoices.api")),
]
