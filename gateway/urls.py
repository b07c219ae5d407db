"""The gateway's pages in the dashboard. `/v1` is not here: `gateway.asgi` serves it."""

from django.urls import path

from gateway import experiment_views, own_key_views, playground_views

urlpatterns = [
    path("app/playground/", playground_views.page, name="playground"),
    path("app/playground/chave/", playground_views.open_key, name="playground_key"),
    path("app/playground/custo/<uuid:call_id>/", playground_views.cost, name="playground_cost"),
    path("app/chaves-de-provedores/", own_key_views.listing, name="own_keys"),
    path("app/chaves-de-provedores/nova/", own_key_views.add, name="add_own_key"),
    path("app/chaves-de-provedores/<int:own_key_id>/uso/", own_key_views.change_use, name="change_own_key_use"),
    path("app/chaves-de-provedores/<int:own_key_id>/testar/", own_key_views.check, name="check_own_key"),
    path("app/chaves-de-provedores/<int:own_key_id>/remover/", own_key_views.remove, name="remove_own_key"),
    path("app/experimentos/", experiment_views.listing, name="experiments"),
    path("app/experimentos/novo/", experiment_views.draft, name="draft_experiment"),
    path("app/experimentos/<int:experiment_id>/", experiment_views.detail, name="experiment"),
    path("app/experimentos/<int:experiment_id>/mudar/", experiment_views.change, name="change_experiment"),
    path("app/experimentos/<int:experiment_id>/iniciar/", experiment_views.start, name="start_experiment"),
    path("app/experimentos/<int:experiment_id>/encerrar/", experiment_views.end, name="end_experiment"),
    path("app/experimentos/<int:experiment_id>/excluir/", experiment_views.delete, name="delete_experiment"),
    path("app/experimentos/<int:experiment_id>/resultados.csv", experiment_views.results_csv, name="experiment_csv"),
]
