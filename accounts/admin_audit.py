"""The audit log, to look at and to search: nobody writes or removes a line here, nor anywhere else."""

from __future__ import annotations

import datetime as dt
import json

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from accounts.audit import KINDS
from accounts.models import AuditEvent


@admin.register(AuditEvent)
class AuditEventAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("created_at", "organization", "user", "what", "ip", "user_agent")
    list_select_related = ("organization", "user")
    search_fields = ("=kind", "user__email", "organization__tax_id")
    search_help_text = "E-mail de quem fez, CNPJ da empresa ou tipo"
    ordering = ("-id",)
    list_per_page = 50
    show_full_result_count = False
    fields = readonly_fields = ("created_at", "organization", "user", "what", "details", "ip", "user_agent", "redacted")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: object, request: HttpRequest | None = None) -> bool:
        return lookup == "organization__id__exact" or bool(super().lookup_allowed(lookup, value, request))

    @display(description="o quê")  # type: ignore[untyped-decorator]
    def what(self, event: AuditEvent) -> str:
        return KINDS.get(event.kind, event.kind)

    @display(description="detalhes")  # type: ignore[untyped-decorator]
    def details(self, event: AuditEvent) -> SafeString | str:
        """In letters as they are written: unfold's own shows "ã" as an escape."""
        return (
            format_html('<pre style="white-space: pre-wrap">{}</pre>', json.dumps(event.detail, ensure_ascii=False, indent=2))
            if event.detail
            else "—"
        )

    @display(description="sem dados pessoais desde")  # type: ignore[untyped-decorator]
    def redacted(self, event: AuditEvent) -> dt.datetime | None:
        return event.redacted_at
