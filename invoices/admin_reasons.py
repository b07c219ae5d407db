"""Rows of rules in the admin: a change asks its reason, and its history says from what to what."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.admin_parts import may_change

# mypy: disable-error-code="misc,untyped-decorator"


class ReasonedForm(forms.ModelForm):  # type: ignore[type-arg]
    """A row of rules: its change asks a reason, and `check` says by field what stands against it."""

    reason = forms.CharField(label="Motivo", min_length=5, max_length=200, widget=UnfoldAdminTextInputWidget)

    def check(self) -> dict[str, str]:
        return {}

    def _post_clean(self) -> None:
        """After the row has the typed values: Django's own place for rules that need the whole row."""
        super()._post_clean()
        if self.errors.keys() <= {NON_FIELD_ERRORS}:
            wrong = self.check()
            if wrong:  # in words, instead of the name of the database's constraint
                self.errors.pop(NON_FIELD_ERRORS, None)
            for field, told in wrong.items():
                self.add_error(field if field in self.fields else None, told)


class Reasoned(ModelAdmin):
    """Rules with a history: what changed, from what to what, and why."""

    list_per_page = 50

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return may_change(request, self)

    def get_fields(self, request: HttpRequest, obj: object = None) -> list[str]:
        fields = [str(name) for name in super().get_fields(request, obj) if name != "reason"]
        return [*fields, "reason"] if self._may_write(request, obj) else fields

    def _may_write(self, request: HttpRequest, obj: object) -> bool:
        return bool(self.has_change_permission(request, obj) if obj else self.has_add_permission(request))

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> str:
        told = []
        for name in form.changed_data:
            if name != "reason":
                before, after = (_said(form, name, value) for value in (form.initial.get(name), form.cleaned_data[name]))
                told.append(f"{form.fields[name].label or name}: {before} → {after}")
        return f"{'Criado' if add else 'Mudado'}: {'; '.join(told) or 'nada'}. Motivo: {form.cleaned_data['reason']}"[:2_000]


def _said(form: Any, name: str, value: Any) -> str:
    choices = dict(getattr(form.fields[name], "choices", ()) or ())
    return str(choices.get(value, value)) if value not in (None, "") else "vazio"
