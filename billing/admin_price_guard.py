"""What waits for a person about prices: approvals by a second administrator, alarms of the exchange rate, notices to customers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from unfold.decorators import action, display

from accounts.models import User
from billing import approvals, price_mails, rate_watch
from billing.admin_forms import ReasonForm
from billing.admin_parts import LookOnly, act_page, posted, to, who
from billing.models import PriceApproval, PriceNotice, RateAlarm

# mypy: disable-error-code="misc,untyped-decorator"
STATE_LABELS = {"Aguarda aprovação": "warning", "Aprovada": "success", "Recusada": "danger", "Retirada": "info"}
NOTICE_LABELS = {"Enviado": "success", "Na fila": "info", "Tentando de novo": "warning", "Sem destinatário": "danger"}


def lines_table(lines: Sequence[dict[str, Any]]) -> SafeString:
    return mark_safe(render_to_string("admin/billing/findings.html", {"lines": lines}))  # noqa: S308 — our template, which escapes


@admin.register(PriceApproval)
class PriceApprovalAdmin(LookOnly):
    list_display = ("version", "state", "asked_by", "asked_at", "is_emergency", "effective_at", "decided_by", "decided_at")
    list_filter = ("status",)
    list_select_related = ("version__book", "asked_by", "decided_by")
    ordering = ("-id",)
    fields = (
        "version_link", "state", "asked_by", "asked_at", "reason", "effective_at", "is_emergency", "lines", "decided_by",
        "decided_at", "decision_reason",
    )  # fmt: skip
    readonly_fields = ("version_link", "state", "lines")
    actions_detail = ("approve", "refuse", "withdraw")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only what this person may do about it."""
        approval = PriceApproval.objects.filter(pk=object_id, status=PriceApproval.Status.ASKED).first()
        if approval is None:
            return []
        is_own = approval.asked_by_id == request.user.pk
        may_decide = approvals.may_decide(approval, cast(User, request.user))
        shown = {"approve": may_decide, "refuse": may_decide, "withdraw": is_own}
        return [button for button in super().get_actions_detail(request, object_id) if shown[button.action_name.rpartition("_")[2]]]

    @display(description="versão")
    def version_link(self, approval: PriceApproval) -> SafeString | str:
        return to(approval.version, f"{approval.version}: comparar com os preços em vigor")

    @display(description="situação", label=STATE_LABELS)
    def state(self, approval: PriceApproval) -> str:
        return approval.get_status_display()

    @display(description="o que foi apontado")
    def lines(self, approval: PriceApproval) -> SafeString | str:
        return lines_table(approval.findings) if approval.findings else "Só o prazo de aviso."

    @action(description="Aprovar e publicar", url_path="aprovar", permissions=["repair"])
    def approve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        approval = get_object_or_404(PriceApproval.objects.select_related("version"), pk=object_id)

        def act(data: dict[str, Any]) -> str:
            version = approvals.approve(approval, by=cast(User, request.user), reason=data["reason"])
            return f"{version} aprovada e publicada, vigente desde {version.effective_at:%d/%m/%Y %H:%M} UTC."

        return self._decide(request, approval, title=f"Aprovar e publicar {approval.version}", button="Aprovar e publicar", act=act)

    @action(description="Recusar", url_path="recusar", permissions=["repair"])
    def refuse(self, request: HttpRequest, object_id: str) -> HttpResponse:
        approval = get_object_or_404(PriceApproval.objects.select_related("version"), pk=object_id)

        def act(data: dict[str, Any]) -> str:
            approvals.refuse(approval, by=cast(User, request.user), reason=data["reason"])
            return "Recusada. O rascunho continua rascunho."

        return self._decide(request, approval, title=f"Recusar {approval.version}", button="Recusar", act=act)

    @action(description="Retirar o pedido", url_path="retirar", permissions=["repair"])
    def withdraw(self, request: HttpRequest, object_id: str) -> HttpResponse:
        approval = get_object_or_404(PriceApproval.objects.select_related("version"), pk=object_id)

        def act(data: dict[str, Any]) -> str:
            approvals.withdraw(approval, by=cast(User, request.user))
            return "Pedido retirado."

        return act_page(
            self, request, approval, title="Retirar o pedido", button="Retirar", form=forms.Form(posted(request)), act=act
        )

    def _decide(self, request: HttpRequest, approval: PriceApproval, *, title: str, button: str, act: Any) -> HttpResponse:
        facts = [
            ("Pedida por", approval.asked_by), ("Motivo", approval.reason), ("Linhas apontadas", len(approval.findings)),
            ("Sem o prazo de aviso", "Sim" if approval.is_emergency else "Não"),
        ]  # fmt: skip
        return act_page(self, request, approval, title=title, button=button, form=ReasonForm(posted(request)), act=act, facts=facts)


@admin.register(RateAlarm)
class RateAlarmAdmin(LookOnly):
    list_display = ("version", "told_drift", "exchange_rate", "losing", "draft_link", "created_at", "state")
    list_select_related = ("version__book", "exchange_rate", "draft__book")
    ordering = ("-id",)
    fields = ("version", "told_drift", "exchange_rate", "draft_link", "lines", "created_at", "state")
    readonly_fields = ("told_drift", "draft_link", "lines", "state")
    actions_detail = ("acknowledge",)

    @display(description="variação")
    def told_drift(self, alarm: RateAlarm) -> str:
        return f"{Decimal(alarm.drift_bps) / 100:+.2f} %".replace(".", ",")

    @display(description="preços abaixo do custo")
    def losing(self, alarm: RateAlarm) -> int:
        return len(alarm.below_cost)

    @display(description="abaixo do custo nesta cotação")
    def lines(self, alarm: RateAlarm) -> SafeString | str:
        return lines_table(alarm.below_cost) if alarm.below_cost else "Nenhum preço."

    @display(description="rascunho proposto")
    def draft_link(self, alarm: RateAlarm) -> SafeString | str:
        return to(alarm.draft)

    @display(description="situação", label={"Visto": "success", "Por ver": "warning"})
    def state(self, alarm: RateAlarm) -> str:
        return "Visto" if alarm.seen_at else "Por ver"

    @action(description="Marcar como visto", url_path="visto", permissions=["repair"])
    def acknowledge(self, request: HttpRequest, object_id: str) -> HttpResponse:
        alarm = get_object_or_404(RateAlarm, pk=object_id)
        rate_watch.acknowledge(alarm, by=who(request))
        messages.success(request, "Marcado como visto.")
        return redirect(reverse("admin:billing_ratealarm_changelist"))


@admin.register(PriceNotice)
class PriceNoticeAdmin(LookOnly):
    list_display = ("version", "organization", "state", "sent_at", "sent_to", "attempts", "error")
    list_filter = ("version",)
    list_select_related = ("version__book", "organization")
    search_fields = ("organization__name", "sent_to")
    ordering = ("-id",)
    fields = ("version", "organization", "state", "lines", "created_at", "due_at", "sent_at", "sent_to", "attempts", "error")
    readonly_fields = ("state", "lines")
    actions_list = ("send_now",)

    @display(description="situação", label=NOTICE_LABELS)
    def state(self, notice: PriceNotice) -> str:
        if notice.sent_at:
            return "Enviado"
        if notice.due_at is None:
            return "Sem destinatário"
        return "Tentando de novo" if notice.error else "Na fila"

    @display(description="mudanças")
    def lines(self, notice: PriceNotice) -> SafeString:
        return mark_safe(render_to_string("admin/billing/notice_changes.html", {"changes": notice.changes}))  # noqa: S308

    @action(description="Enviar os que estão na fila", url_path="enviar", permissions=["repair"])
    def send_now(self, request: HttpRequest) -> HttpResponse:
        messages.success(request, f"{price_mails.send_due_notices()} avisos enviados.")
        return redirect(reverse("admin:billing_pricenotice_changelist"))
