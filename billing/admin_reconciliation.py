"""Where two sides differ: every difference is open or explained; what providers report; what we earn."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from unfold.decorators import action, display

from billing import differences, margins, provider_reports
from billing.admin_forms import ReasonForm
from billing.admin_parts import InfinitePaginator, LookOnly, LookOnlyInline, act_page, brl, exact, money_column, posted, who
from billing.models import Difference, ProviderCost, ProviderReport, ProviderReportLine, ReconciliationRun, UsageDay
from billing.periods import read_period
from billing.sheets import comma, plain, sheet
from tokia import clock
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"
STATUS_LABELS = {"Em aberto": "danger", "Explicada": "info", "Sumiu": "success"}


@admin.register(Difference)
class DifferenceAdmin(LookOnly):
    """Never deleted, never repaired here: a person explains, or both sides agree again."""

    list_display = ("reference", "subject", "kind", "ours", "theirs", "state", "fact_at", "last_seen_at")
    list_filter = ("status", "subject", "kind")
    search_fields = ("reference", "detail", "explanation")
    ordering = ("-last_seen_at", "-id")
    fields = readonly_fields = (
        "subject", "reference", "kind", "ours", "theirs", "gap", "detail", "fact_at", "first_seen_at", "last_seen_at", "state",
        "explanation", "explained_by", "explained_at", "gone_at",
    )  # fmt: skip
    actions_detail = ("explain",)
    actions_list = ("overview",)

    ours = money_column("ours_nanos", "na Tokia", tell=exact)
    theirs = money_column("theirs_nanos", "no outro lado", tell=exact)

    @display(description="diferença")
    def gap(self, row: Difference) -> str:
        return brl((row.ours_nanos or 0) - (row.theirs_nanos or 0))

    @display(description="situação", label=STATUS_LABELS)
    def state(self, row: Difference) -> str:
        return str(row.get_status_display())

    @action(description="Explicar", url_path="explicar", permissions=["repair"])
    def explain(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = get_object_or_404(Difference, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            differences.explain(row, explanation=data["reason"], by=who(request))
            return "Diferença explicada."

        return act_page(
            self, request, row, title=f"Explicar: {row}", button="Explicar", form=ReasonForm(posted(request)), act=act,
            facts=[("Na Tokia", exact(row.ours_nanos)), ("No outro lado", exact(row.theirs_nanos)), ("Visto", row.detail or "—")],
        )  # fmt: skip

    @action(description="Conciliação", url_path="conciliacao", permissions=["repair"])
    def overview(self, request: HttpRequest) -> HttpResponse:
        """What was compared last, and what each side had."""
        runs = [
            {
                "run": run, "ours": brl(run.ours_nanos), "theirs": brl(run.theirs_nanos),
                "has_sides": run.subject not in (Difference.Subject.INVARIANT, Difference.Subject.DOCUMENT),
                "open": Difference.objects.filter(subject=run.subject, status=Difference.Status.OPEN).count(),
            }
            for run in differences.last_runs()
        ]  # fmt: skip
        context = {**self.admin_site.each_context(request), "title": "Conciliação", "opts": self.opts, "runs": runs}
        return render(request, "admin/billing/comparisons.html", context)


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(LookOnly):
    list_display = ("started_at", "subject", "first_at", "last_at", "ours", "theirs", "differences", "failure", "took_ms")
    list_filter = ("subject",)
    ordering = ("-started_at",)
    paginator = InfinitePaginator
    ours = money_column("ours_nanos", "na Tokia", tell=brl)
    theirs = money_column("theirs_nanos", "no outro lado", tell=brl)


class ReportForm(forms.Form):
    provider = forms.ChoiceField(label="Provedor")
    file = forms.FileField(
        label="Relatório (CSV)",
        help_text="A exportação de uso ou de custos do provedor, ou colunas day, model, input_tokens, output_tokens, usd.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = {*ProviderCost.objects.values_list("provider_name", flat=True).distinct()}
        names |= {*UsageDay.everywhere.exclude(provider_name="").values_list("provider_name", flat=True).distinct()}
        field = self.fields["provider"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(name, name) for name in sorted(names)]


class LineInline(LookOnlyInline):
    model = ProviderReportLine
    fields = readonly_fields = ("day", "upstream_model", "input_tokens", "output_tokens", "usd")
    ordering = ("day", "upstream_model")
    show_change_link = False


@admin.register(ProviderReport)
class ProviderReportAdmin(LookOnly):
    list_display = ("provider_name", "first_on", "last_on", "rows", "usd", "imported_by", "imported_at")
    list_filter = ("provider_name",)
    ordering = ("-imported_at",)
    fields = readonly_fields = (
        "provider_name", "file_name", "first_on", "last_on", "rows", "usd", "imported_by", "imported_at",
    )  # fmt: skip
    inlines = (LineInline,)
    actions_list = ("upload",)
    actions_detail = ("compare",)

    @action(description="Importar relatório", url_path="importar", permissions=["repair"])
    def upload(self, request: HttpRequest) -> HttpResponse:
        form = ReportForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            file = form.cleaned_data["file"]
            try:
                report = provider_reports.import_report(
                    provider_name=form.cleaned_data["provider"], file_name=str(file.name), by=who(request),
                    content=file.read(provider_reports.FILE_BYTES_MAX + 1),
                )  # fmt: skip
            except TokiaError as refusal:
                form.add_error("file", refusal.message)
            else:
                found = Difference.objects.filter(
                    subject="provider", status="open", reference__startswith=f"{report.provider_name} "
                ).count()
                messages.success(request, f"Relatório importado: {report}. Diferenças em aberto deste provedor: {found}.")
                return redirect(reverse("admin:billing_providerreport_change", args=[report.pk]))
        dress_upload(form)
        context = {
            **self.admin_site.each_context(request), "title": "Importar relatório de provedor", "form": form, "opts": self.opts,
            "back": reverse("admin:billing_providerreport_changelist"),
        }  # fmt: skip
        return render(request, "admin/billing/upload.html", context)

    @action(description="Comparar de novo", url_path="comparar", permissions=["repair"])
    def compare(self, request: HttpRequest, object_id: str) -> HttpResponse:
        report = get_object_or_404(ProviderReport, pk=object_id)
        run = provider_reports.compare_report(report)
        messages.success(request, f"Comparado: {len(run.found)} diferenças.")
        return redirect(reverse("admin:billing_providerreport_change", args=[report.pk]))


def dress_upload(form: forms.Form) -> None:
    for field in form.fields.values():
        field.widget.attrs["class"] = "border border-base-200 rounded-default px-3 py-2 dark:bg-base-900 dark:border-base-700"


@admin.register(UsageDay)
class UsageDayAdmin(LookOnly):
    """What was added up; the report of what we earn is read from it."""

    list_display = ("day", "organization", "route_name", "provider_name", "calls", "net", "cost")
    list_filter = ("provider_name", "is_own_key")
    list_select_related = ("organization",)
    ordering = ("-day", "-id")
    paginator = InfinitePaginator
    actions_list = ("margins",)
    net = money_column("net_nanos", "cobrado")
    cost = money_column("cost_nanos", "custo")

    @action(description="Margem", url_path="margem", permissions=["repair"])
    def margins(self, request: HttpRequest) -> HttpResponse:
        """By model, provider, organization, day or month; `?formato=csv` as a file."""
        period = read_period(request.GET)
        group = request.GET.get("por", "modelo")
        if group not in margins.GROUPS:
            group = "modelo"
        lines = margins.margins_by(group, first_on=period.first_on, last_on=period.last_on)
        total = margins.total_of(lines)
        if request.GET.get("formato") == "csv":
            return _sheet(group, lines, first_on=period.first_on)
        context = {
            **self.admin_site.each_context(request), "title": "Margem", "opts": self.opts, "period": period, "group": group,
            "groups": [(key, label) for key, (label, _) in margins.GROUPS.items()], "label": margins.GROUPS[group][0],
            "rows": [_shown(line) for line in [*lines, total]],
            "unbilled": brl(margins.unbilled_nanos(first_on=period.first_on, last_on=period.last_on)),
            "today": clock.today_in_brazil(),
        }  # fmt: skip
        return render(request, "admin/billing/margins.html", context)


def _shown(line: margins.MarginLine) -> dict[str, object]:
    return {
        "label": line.label, "calls": f"{line.calls:,}".replace(",", "."), "gross": brl(line.gross_nanos),
        "net": brl(line.net_nanos), "promo": brl(line.promo_nanos), "cost": brl(line.cost_nanos), "margin": brl(line.margin_nanos),
        "percent": _percent(line.margin_bps), "is_loss": line.margin_nanos < 0,
    }  # fmt: skip


def _percent(bps: int | None) -> str:
    return "—" if bps is None else f"{bps // 100 if bps >= 0 else -(-bps // 100)},{abs(bps) % 100:02d} %"


def _sheet(group: str, lines: list[margins.MarginLine], *, first_on: dt.date) -> HttpResponse:
    head = [margins.GROUPS[group][0], "Requisições", "Bruto", "Cobrado", "Bônus", "Custo", "Margem", "Margem (%)"]
    rows = [
        [
            plain(line.label), str(line.calls), comma(line.gross_nanos), comma(line.net_nanos), comma(line.promo_nanos),
            comma(line.cost_nanos), comma(line.margin_nanos), _percent(line.margin_bps).removesuffix(" %"),
        ]
        for line in lines
    ]  # fmt: skip
    return sheet(f"margem-{group}-{first_on}", [head, *rows])
