"""Pages of what is told, and of who is told."""

from django.urls import path

from billing import alert_views, hook_views

DELIVERY = "app/webhooks/<int:hook_id>/entregas/<int:delivery_id>/"

urlpatterns = [
    path("app/avisos/", alert_views.alerts, name="alerts"),
    path("app/avisos/<int:event_id>/dispensar/", alert_views.dismiss, name="dismiss_alert"),
    path("app/configuracoes/avisos/", alert_views.choices, name="alert_choices"),
    path("app/webhooks/", hook_views.listing, name="hooks"),
    path("app/webhooks/novo/", hook_views.add, name="add_hook"),
    path("app/webhooks/<int:hook_id>/", hook_views.hook, name="hook"),
    path("app/webhooks/<int:hook_id>/mudar/", hook_views.change, name="change_hook"),
    path("app/webhooks/<int:hook_id>/ligar/", hook_views.switch, name="switch_hook"),
    path("app/webhooks/<int:hook_id>/testar/", hook_views.send_test, name="test_hook"),
    path("app/webhooks/<int:hook_id>/segredo/", hook_views.rotate, name="rotate_hook"),
    path("app/webhooks/<int:hook_id>/remover/", hook_views.remove, name="remove_hook"),
    path(DELIVERY, hook_views.delivery, name="hook_delivery"),
    path(f"{DELIVERY}situacao/", hook_views.delivery_status, name="hook_delivery_status"),
    path(f"{DELIVERY}reenviar/", hook_views.replay, name="replay_hook_delivery"),
]
