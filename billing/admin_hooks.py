"""What was told, and where it went. Looked at here; a message may be sent again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.decorators import action, display

from billing import hooks
from billing.admin_forms import ReasonForm
from billing.admin_parts import InfinitePaginator, LookOnly, act_page, posted
from billing.event_texts import tell_event
from billing.models import Event, EventMail, Hook, HookDelivery


@admin.register(Event)
class EventAdmin(LookOnly):
    list_display = ("created_at", "organization", "type", "level", "mailed_at", "mail_due_at", "mail_attempts", "seen_at")
    list_filter = ("type", "level")
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__tax_id", "reference")
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = readonly_fields = (
        "organization", "type", "level", "words", "payload", "reference", "created_at", "mail_due_at", "mail_attempts", "mailed_at",
        "readers", "seen_at",
    )  # fmt: skip

    @display(description="em palavras")  # type: ignore[untyped-decorator]
    def words(self, event: Event) -> str:
        words = tell_event(event)
        return f"{words.title}: {words.text}"

    @display(description="e-mails enviados")  # type: ignore[untyped-decorator]
    def readers(self, event: Event) -> str:
        return ", ".join(EventMail.everywhere.filter(event=event).values_list("email", flat=True)) or "nenhum"


@admin.register(Hook)
class HookAdmin(LookOnly):
    """A customer's address. Its secret is shown to nobody."""

    list_display = ("organization", "name", "url", "is_active", "failing_since", "disabled_at", "created_at")
    list_filter = ("is_active",)
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__tax_id", "url", "name")
    ordering = ("-id",)
    fields = readonly_fields = (
        "organization", "name", "url", "types", "is_active", "failing_since", "disabled_at", "disabled_reason", "previous_ends_at",
        "created_by", "created_at",
    )  # fmt: skip


@admin.register(HookDelivery)
class HookDeliveryAdmin(LookOnly):
    list_display = ("created_at", "organization", "type_text", "status", "attempts", "status_code", "sent_at", "due_at")
    list_filter = ("status",)
    list_select_related = ("hook__organization", "event")
    search_fields = ("hook__organization__name", "hook__url", "message_id")
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = readonly_fields = (
        "hook", "event", "message_id", "status", "attempts", "due_at", "leased_until", "sent_at", "status_code", "error", "answer",
        "elapsed_ms", "delivered_at", "created_at",
    )  # fmt: skip
    actions_detail = ("send_again",)

    @display(description="empresa")  # type: ignore[untyped-decorator]
    def organization(self, delivery: HookDelivery) -> Any:
        return delivery.hook.organization

    @display(description="aviso")  # type: ignore[untyped-decorator]
    def type_text(self, delivery: HookDelivery) -> str:
        return delivery.type

    @action(description="Reenviar", url_path="reenviar", permissions=["repair"])  # type: ignore[untyped-decorator]
    def send_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        delivery = get_object_or_404(HookDelivery.everywhere.select_related("hook__organization"), pk=object_id)

        def act(_: dict[str, Any]) -> str:
            hooks.replay(delivery)
            return "De volta à fila, com o mesmo webhook-id."

        facts = (("Empresa", delivery.hook.organization), ("Endereço", delivery.hook.url), ("Aviso", delivery.type))
        return act_page(
            self,
            request,
            delivery,
            title="Reenviar a mensagem",
            button="Reenviar",
            form=ReasonForm(posted(request)),
            act=act,
            facts=facts,
        )
