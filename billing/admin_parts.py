"""What billing's admin pages share: rows that only verbs write, the page between a button and its act, money as people read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold import paginator
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing.money import BRL, CENTAVO, format_brl, to_brl
from tokia.errors import TokiaError

ROWS_COUNTED_MAX = 10_000
FINEST = BRL // 10_000  # what four decimals can show


class LookOnly(ModelAdmin):  # type: ignore[misc]
    """Rows that only verbs write. Whoever may change the model may act on it (`repair`)."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return may_change(request, self)


class LookOnlyInline(TabularInline):  # type: ignore[misc]
    extra = 0
    can_delete = False
    show_change_link = True
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class InfinitePaginator(paginator.InfinitePaginator):  # type: ignore[misc]
    """For tables too large to count at every look: from page to page, with an honest "cerca de" or "mais de" beside it.

    The name is Unfold's own: where a paginator is called so, the page's title leaves out the pretended count.
    """

    template_name = "admin/billing/pagination.html"

    @cached_property
    def estimate(self) -> int:
        """Rows as the planner sees them, to two digits; 0 where they are few enough to count."""
        rows = int(json.loads(self.object_list.explain(format="json"))[0]["Plan"]["Plan Rows"])
        if rows <= ROWS_COUNTED_MAX:
            return 0
        step: int = 10 ** (len(str(rows)) - 2)
        return rows // step * step

    @cached_property
    def counted(self) -> int:
        """Exact up to ROWS_COUNTED_MAX; one more says that there are more. Asked for only where the planner expects few."""
        return int(self.object_list.order_by()[: ROWS_COUNTED_MAX + 1].count())

    @property
    def has_more(self) -> bool:
        return self.counted > ROWS_COUNTED_MAX


def may_change(request: HttpRequest, admin_: ModelAdmin) -> bool:
    options = admin_.opts
    return bool(request.user.has_perm(f"{options.app_label}.change_{options.model_name}"))


def act_page(
    admin_: ModelAdmin,
    request: HttpRequest,
    object_: Any,
    *,
    title: str,
    button: str,
    form: forms.Form,
    act: Callable[[dict[str, Any]], str],
    facts: Sequence[tuple[str, object]] = (),
) -> HttpResponse:
    """The page between a button and its act: the facts, the form, then `act(cleaned_data)` → what happened.

    The act and its reason go to the object's history with who acted; a refusal of the verb is shown, nothing is logged.
    """
    dress(form)
    back = change_url(object_)
    if request.method == "POST" and form.is_valid():
        try:
            done = act(form.cleaned_data)
        except TokiaError as refusal:
            form.add_error(None, refusal.message)
        else:
            reason = form.cleaned_data.get("reason", "")
            admin_.log_change(request, object_, f"{button}: {done}" + (f" Motivo: {reason}" if reason else ""))
            messages.success(request, done)
            return redirect(back)
    context = {
        **admin_.admin_site.each_context(request),
        "title": title, "form": form, "button": button, "back": back, "facts": facts, "opts": admin_.opts,
    }  # fmt: skip
    return render(request, "admin/billing/act.html", context)


def dress(form: forms.Form) -> None:
    """Unfold's widgets on a plain form; the reason comes last."""
    form.order_fields([*(name for name in form.fields if name != "reason"), "reason"])
    for field in form.fields.values():
        attributes = {name: value for name, value in field.widget.attrs.items() if name != "class"}
        if isinstance(field.widget, forms.Textarea):
            field.widget = UnfoldAdminTextareaWidget(attrs=attributes)
        elif isinstance(field.widget, forms.TextInput | forms.NumberInput) and not isinstance(
            field.widget, forms.DateInput | forms.DateTimeInput
        ):
            field.widget = UnfoldAdminTextInputWidget(attrs=attributes)
        else:
            field.widget.attrs["class"] = "border border-base-200 rounded-default px-3 py-2 dark:bg-base-900 dark:border-base-700"
        field.widget.is_required = field.required


def posted(request: HttpRequest) -> QueryDict | None:
    """What binds a form; a form without fields is bound by an empty POST too."""
    return request.POST if request.method == "POST" else None


def who(request: HttpRequest) -> str:
    """Who acts, for the books."""
    return str(getattr(request.user, "email", request.user))


def change_url(object_: Any) -> str:
    return reverse(f"admin:{object_._meta.label_lower.replace('.', '_')}_change", args=[object_.pk])


def to(object_: Any, label: object = None) -> SafeString | str:
    """A link to an object's page; plain text where there is no object or no page."""
    if object_ is None:
        return "—"
    try:
        return format_html('<a class="text-primary-600 underline" href="{}">{}</a>', change_url(object_), label or object_)
    except NoReverseMatch:
        return str(label or object_)


def to_list(label: str, name: str, **query: object) -> SafeString | str:
    """A link to a filtered list."""
    try:
        address = reverse(f"admin:{name}_changelist")
    except NoReverseMatch:
        return label
    parameters = "&".join(f"{key}={value}" for key, value in query.items())
    return format_html('<a class="text-primary-600 underline" href="{}?{}">{}</a>', address, parameters, label)


def brl(nanos: int | None) -> str:
    return "—" if nanos is None else format_brl(nanos)


def exact(nanos: int | None) -> SafeString | str:
    """Centavos, or all that there is where that is less than one; all nine decimals on hover."""
    if nanos is None:
        return "—"
    return _with_decimals(nanos, full(nanos) if 0 < abs(nanos) < CENTAVO else format_brl(nanos))


def fine(nanos: int | None) -> SafeString | str:
    """The amount of one call: four decimals towards zero, or all that there is below them; all nine on hover."""
    if nanos is None:
        return "—"
    rest = abs(nanos) % FINEST if abs(nanos) >= FINEST else 0
    return _with_decimals(nanos, full(nanos - rest if nanos > 0 else nanos + rest))


def full(nanos: int) -> str:
    """All nine decimals, the trailing zeros beyond four dropped."""
    whole, decimals = divmod(abs(nanos), BRL)
    digits = f"{decimals:09d}".rstrip("0")
    return f"{'−' if nanos < 0 else ''}R$\u00a0{whole:,}".replace(",", ".") + f",{digits:0<4}"


def _with_decimals(nanos: int, text: str) -> SafeString:
    return format_html('<span title="R$ {}">{}</span>', f"{to_brl(nanos):f}".replace(".", ","), text)


def money_column(field: str, label: str, *, tell: Callable[[int | None], SafeString | str] = exact) -> Callable[..., Any]:
    """An admin's column or line that shows an amount in nanos."""

    @display(description=label)  # type: ignore[untyped-decorator]
    def show(admin_: ModelAdmin, object_: Any) -> SafeString | str:
        return tell(getattr(object_, field))

    return cast(Callable[..., Any], show)
