"""What waits for a person of ours, the gravest first: for the admin's home and the badge on each of its pages.

Each question is one bounded query; the answers are kept for some seconds, since every page of the admin shows the badge. Who may
look at what is decided afterwards, by permission.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, F, Min, QuerySet

from accounts.models import Organization
from billing import comparison_rates
from billing.models import (
    Charge,
    Difference,
    Dispute,
    Event,
    PixNotice,
    PriceApproval,
    RateAlarm,
    ReconciliationRun,
    Refund,
    SealCheck,
    UnmatchedPix,
    UnsettledCall,
    Wallet,
)
from gateway.models import Credential, Provider
from invoices import attention as notes
from tokia import clock, machine_health
from tokia.status_measure import open_circuits

KEY = "admin:attention"
KEPT_SECONDS = 5
NOTICE_PATIENCE = dt.timedelta(minutes=5)  # the bank is asked again every minute
REFUND_PATIENCE = dt.timedelta(minutes=10)
MAIL_PATIENCE = dt.timedelta(minutes=15)
PAID_LATELY = dt.timedelta(days=7)
Found = tuple[int, dt.datetime | None]


@dataclass(frozen=True, slots=True)
class Question:
    """`ask` → how many, and since when the oldest waits (empty where nobody knows)."""

    key: str
    permission: str
    one: str
    more: str
    url: str
    ask: Callable[[], Found]
    is_urgent: bool = False  # money or service stands still


@dataclass(frozen=True, slots=True)
class Waiting:
    question: Question
    count: int
    oldest_at: dt.datetime | None

    @property
    def text(self) -> str:
        return f"{self.count} {self.question.one if self.count == 1 else self.question.more}"

    @property
    def label(self) -> str:
        label = self.question.one if self.count == 1 else self.question.more
        return label[0].upper() + label[1:]


def waiting_for(user: Any) -> list[Waiting]:
    """What waits for somebody like this person: only what they may open."""
    found = _answers()
    return [
        Waiting(question, *found[question.key])
        for question in QUESTIONS
        if found.get(question.key, (0, None))[0] and user.has_perm(question.permission)
    ]


def _answers() -> dict[str, Found]:
    kept = cache.get(KEY)
    if isinstance(kept, dict):
        return kept
    answers = {question.key: question.ask() for question in QUESTIONS}
    cache.set(KEY, answers, timeout=KEPT_SECONDS)
    return answers


def forget() -> None:
    """The next look asks anew."""
    cache.delete(KEY)


# ── The questions ────────────────────────────────────────────────────────────────────────────────────────────────────
def _of(rows: QuerySet[Any], *, since: str | None = None) -> Found:
    told = rows.aggregate(n=Count("pk"), **({"oldest": Min(since)} if since else {}))
    return int(told["n"]), told.get("oldest")


def _unmatched() -> Found:
    return _of(UnmatchedPix.objects.filter(status=UnmatchedPix.Status.OPEN), since="found_at")


def _silent_notices() -> Found:
    late = clock.now() - NOTICE_PATIENCE
    return _of(PixNotice.objects.filter(status=PixNotice.Status.DUE, received_at__lt=late), since="received_at")


def _paid_otherwise() -> Found:
    paid = Charge.everywhere.filter(status=Charge.Status.PAID, paid_at__gte=clock.now() - PAID_LATELY)
    return _of(paid.exclude(received_nanos=F("amount_nanos")), since="paid_at")


def _refunds() -> Found:
    live = (Refund.Status.HELD, Refund.Status.PROCESSING)
    return _of(Refund.objects.filter(status__in=live, created_at__lt=clock.now() - REFUND_PATIENCE), since="created_at")


def _disputes() -> Found:
    return _of(Dispute.everywhere.filter(status=Dispute.Status.OPEN), since="opened_at")


def _notes() -> Found:
    return _of(notes.waiting(), since="created_at")


def _certificate() -> Found:
    return (1, None) if notes.certificate_alarm() else (0, None)


def _differences() -> Found:
    return _of(Difference.objects.filter(status=Difference.Status.OPEN), since="first_seen_at")


def _failed_runs() -> Found:
    """Comparisons of the last hour that could not be made."""
    since = clock.now() - dt.timedelta(hours=1)
    return _of(ReconciliationRun.objects.filter(started_at__gte=since).exclude(failure=""), since="started_at")


def _broken_seals() -> Found:
    last = SealCheck.objects.order_by("-pk").values_list("broken_seq", "checked_at").first()
    return (1, last[1]) if last is not None and last[0] is not None else (0, None)


def _unsettled() -> Found:
    return _of(UnsettledCall.objects.filter(resolved_at=None), since="created_at")


def _overdrafts() -> Found:
    return _of(Wallet.everywhere.filter(overdraft_nanos__gt=0))


def _approvals() -> Found:
    return _of(PriceApproval.objects.filter(status=PriceApproval.Status.ASKED), since="asked_at")


def _rate_alarms() -> Found:
    return _of(RateAlarm.objects.filter(seen_at=None), since="created_at")


def _old_sources() -> Found:
    return len(comparison_rates.old_parameters()) + len(comparison_rates.missing_parameters()), None


def _sick_providers() -> Found:
    slugs = open_circuits()
    return _of(Provider.objects.filter(slug__in=slugs, is_active=True)) if slugs else (0, None)


def _dead_credentials() -> Found:
    dead = Credential.objects.filter(is_active=True, provider__is_active=True, health__dead_at__isnull=False)
    return _of(dead, since="health__dead_at")


def _low_at_providers() -> Found:
    low = Credential.objects.filter(
        is_active=True, provider__is_active=True, provider__is_simulated=False, health__balance__lt=settings.UPSTREAM_BALANCE_MIN
    )
    return _of(low)


def _late_mails() -> Found:
    return _of(Event.everywhere.filter(mail_due_at__lt=clock.now() - MAIL_PATIENCE), since="mail_due_at")


def _suspended() -> Found:
    return _of(Organization.objects.filter(is_suspended=True))


def _stopped_machine() -> Found:
    """Beat and worker leave a mark each half minute; a queue that grows old says the same."""
    troubles = [check for check in machine_health.task_checks() if check.state == machine_health.DOWN]
    return len(troubles), min((check.since for check in troubles if check.since), default=None)


def _list(model: str, query: str = "") -> str:
    return f"/admin/{model}/{f'?{query}' if query else ''}"


QUESTIONS: tuple[Question, ...] = (
    Question("machine", "gateway.view_provider", "processo de tarefas parado", "processos de tarefas parados",
             "/admin/saude/", _stopped_machine, is_urgent=True),
    Question("seals", "billing.view_sealcheck", "selo do livro quebrado", "selos do livro quebrados",
             _list("billing/sealcheck"), _broken_seals, is_urgent=True),
    Question("unmatched", "billing.view_unmatchedpix", "PIX não identificado", "PIX não identificados",
             _list("billing/unmatchedpix", "status__exact=open"), _unmatched, is_urgent=True),
    Question("differences", "billing.view_difference", "diferença em aberto", "diferenças em aberto",
             _list("billing/difference", "status__exact=open"), _differences, is_urgent=True),
    Question("disputes", "billing.view_dispute", "contestação em aberto", "contestações em aberto",
             _list("billing/dispute", "status__exact=open"), _disputes, is_urgent=True),
    Question("sick", "gateway.view_provider", "provedor fora do ar", "provedores fora do ar",
             _list("gateway/provider"), _sick_providers, is_urgent=True),
    Question("dead", "gateway.view_credential", "chave recusada por um provedor", "chaves recusadas por provedores",
             _list("gateway/credential", "situacao=recusada"), _dead_credentials, is_urgent=True),
    Question("low", "gateway.view_credential", "saldo baixo em um provedor", "saldos baixos em provedores",
             _list("gateway/credential", "o=5"), _low_at_providers, is_urgent=True),
    Question("unsettled", "billing.view_unsettledcall", "chamada não liquidada", "chamadas não liquidadas",
             _list("billing/unsettledcall", "resolved_at__isempty=1"), _unsettled, is_urgent=True),
    Question("notices", "billing.view_pixnotice", "aviso de PIX sem resposta do banco", "avisos de PIX sem resposta do banco",
             _list("billing/pixnotice", "status__exact=due"), _silent_notices),
    Question("refunds", "billing.view_refund", "devolução esperando o banco", "devoluções esperando o banco",
             _list("billing/refund", "status__in=held,processing"), _refunds),
    Question("notes", "invoices.view_invoice", "nota precisa de alguém", "notas precisam de alguém",
             _list("invoices/invoice", "fila=todas"), _notes),
    Question("certificate", "invoices.view_certificate", "certificado das notas falta ou acaba",
             "certificados das notas faltam ou acabam", _list("invoices/certificate"), _certificate),
    Question("approvals", "billing.view_priceapproval", "aprovação de preços", "aprovações de preços",
             _list("billing/priceapproval", "status__exact=asked"), _approvals),
    Question("rates", "billing.view_ratealarm", "alarme de câmbio", "alarmes de câmbio", _list("billing/ratealarm"), _rate_alarms),
    Question("sources", "billing.view_comparisonparameter", "fonte da comparação a conferir", "fontes da comparação a conferir",
             _list("billing/comparisonparameter"), _old_sources),
    Question("runs", "billing.view_reconciliationrun", "conciliação que não conseguiu comparar",
             "conciliações que não conseguiram comparar", _list("billing/reconciliationrun"), _failed_runs),
    Question("overdrafts", "billing.view_wallet", "carteira com valor a receber", "carteiras com valor a receber",
             _list("billing/wallet", "devedoras=sim"), _overdrafts),
    Question("mails", "billing.view_event", "e-mail atrasado", "e-mails atrasados", _list("billing/event"), _late_mails),
    Question("paid", "billing.view_charge", "pagamento de valor diferente (7 dias)", "pagamentos de valor diferente (7 dias)",
             _list("billing/charge", "pago=diferente"), _paid_otherwise),
    Question("suspended", "accounts.view_organization", "empresa suspensa", "empresas suspensas",
             _list("accounts/organization", "is_suspended__exact=1"), _suspended),
)  # fmt: skip
