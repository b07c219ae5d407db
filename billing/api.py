"""Where billing's part of `/api/v1` is found."""

from __future__ import annotations

from django.urls import URLPattern, path

from billing import api_budgets, api_cards, api_exports, api_hooks, api_usage, api_wallet

urlpatterns: list[URLPattern] = [
    path("wallet", api_wallet.WalletResource.as_view(), name="api_wallet"),
    path("statement", api_wallet.StatementResource.as_view(), name="api_statement"),
    path("top-ups", api_wallet.TopUpsResource.as_view(), name="api_top_ups"),
    path("top-ups/<uuid:top_up_id>", api_wallet.TopUpResource.as_view(), name="api_top_up"),
    path("cards", api_cards.CardsResource.as_view(), name="api_cards"),
    path("card-top-ups", api_cards.CardTopUpsResource.as_view(), name="api_card_top_ups"),
    path("card-top-ups/<uuid:card_top_up_id>", api_cards.CardTopUpResource.as_view(), name="api_card_top_up"),
    path("auto-top-up", api_cards.AutoTopUpResource.as_view(), name="api_auto_top_up"),
    path("refunds", api_wallet.RefundsResource.as_view(), name="api_refunds"),
    path("budgets", api_budgets.BudgetsResource.as_view(), name="api_budgets"),
    path("budgets/<int:budget_id>", api_budgets.BudgetResource.as_view(), name="api_budget"),
    path("budgets/<int:budget_id>/stop", api_budgets.BudgetStopResource.as_view(), name="api_stop_budget"),
    path("usage", api_usage.UsageResource.as_view(), name="api_usage"),
    path("activity", api_usage.ActivitiesResource.as_view(), name="api_activities"),
    path("activity/<uuid:call_id>", api_usage.ActivityResource.as_view(), name="api_activity"),
    path("exports", api_exports.ExportsResource.as_view(), name="api_exports"),
    path("exports/<uuid:export_id>", api_exports.ExportResource.as_view(), name="api_export"),
    path("exports/<uuid:export_id>/file", api_exports.ExportFileResource.as_view(), name="api_export_file"),
    path("hooks", api_hooks.HooksResource.as_view(), name="api_hooks"),
    path("hooks/<int:hook_id>", api_hooks.HookResource.as_view(), name="api_hook"),
    path("hooks/<int:hook_id>/rotate", api_hooks.HookRotationResource.as_view(), name="api_rotate_hook"),
    path("hooks/<int:hook_id>/test", api_hooks.HookTestResource.as_view(), name="api_test_hook"),
    path("hooks/<int:hook_id>/deliveries", api_hooks.DeliveriesResource.as_view(), name="api_deliveries"),
    path(
        "hooks/<int:hook_id>/deliveries/<int:delivery_id>/replay",
        api_hooks.DeliveryReplayResource.as_view(), name="api_replay_delivery",
    ),
    path("events", api_hooks.EventsResource.as_view(), name="api_events"),
    path("events/<int:event_id>", api_hooks.EventResource.as_view(), name="api_event"),
]  # fmt: skip
