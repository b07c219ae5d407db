"""Which invoices wait for a person, and why: one reading for the admin's queue, its badge and the issuer's set-up page."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from invoices.models import Certificate, Invoice, Issuer
from invoices.states import OPEN
from tokia import clock

# Of Invoice.problem_code, as `invoices.issuing`, `invoices.cancelling` and `invoices.returns` write them.
CERTIFICATE_CODE, MANUAL_CODE, SILENCE_CODE, CANCEL_CODE, REVIEW_CODE = "CERTIFICATE", "MANUAL", "SILENCE", "CANCEL", "REVIEW"
REVIEWED_CODE = "REVIEWED"  # a person decided that it stays as it is (`invoices.reviews`)
MISSING_CODES = ("TAKER",)  # the organization must tell something
ATTEMPTS_LONG = 8  # in a row without an answer: about an hour and a half (`invoices.backoff`)
IDLE_AFTER = dt.timedelta(hours=1)  # what is due for so long is carried on by nobody
CERTIFICATE_WARNING_DAYS = 30


@dataclass(frozen=True, slots=True)
class Need:
    """A reason to look at an invoice. `key` is in addresses; `cure` says what a person does."""

    key: str
    label: str
    cure: str
    condition: Q


def needs() -> list[Need]:
    """Every reason, the gravest first. An invoice may have more than one."""
    now, status = clock.now(), Invoice.Status
    missing = Q(problem_code__in=MISSING_CODES) | Q(problem_field__startswith="taker.")
    valid = Certificate.objects.filter(issuer=OuterRef("issuer"), is_active=True, starts_at__lte=now, ends_at__gt=now)
    by_sefin = Q(channel__in=("", Issuer.Channel.SEFIN), issuer__channel=Issuer.Channel.SEFIN)
    no_certificate = Q(by_sefin, ~Exists(valid), due_at__lte=now)
    waits_for_certificate = Q(status__in=OPEN) & (Q(problem_code=CERTIFICATE_CODE) | no_certificate)
    asked = Q(status__in=(status.SENDING, status.UNCERTAIN, status.CANCEL_PENDING))
    return [
        Need("rejeitadas", "Rejeitadas", "Corrija o campo apontado e reemita: a nota segue com o mesmo número.",
             Q(status=status.REJECTED) & ~missing),
        Need("falta-dado", "Falta dado do tomador", "Corrija o tomador aqui, ou espere a empresa corrigir: a nota segue sozinha.",
             Q(status=status.REJECTED) & missing),
        Need("sem-resposta", "Sem resposta há muito tempo",
             "A consulta continua sozinha, e nada é reenviado às cegas. Se o órgão voltou, dê o próximo passo agora.",
             asked & (Q(problem_code=SILENCE_CODE) | Q(attempts__gte=ATTEMPTS_LONG))),
        Need("certificado", "Esperam certificado", "Envie um certificado A1 válido (ou o token da Focus): a fila anda sozinha.",
             waits_for_certificate),
        Need("paradas", "Paradas na fila", "Há mais de 1 hora ninguém as processa: veja se o worker e o beat estão no ar.",
             Q(status__in=OPEN, due_at__lte=now - IDLE_AFTER) & ~waits_for_certificate),
        Need("a-mao", "Emitir à mão", "Emita no site do município e envie aqui o documento.",
             Q(status=status.DRAFT, problem_code=MANUAL_CODE)),
        Need("cancelamento", "Cancelamento recusado", "Leia a recusa: depois do prazo do município, substitua ou peça análise lá.",
             Q(status=status.ISSUED, problem_code=CANCEL_CODE)),
        Need("revisao", "Revisão fiscal", "O dinheiro voltou, ou o evento não confere: decida com o contador.",
             Q(problem_code=REVIEW_CODE) & ~Q(status__in=(status.REJECTED, status.DISCARDED))),
        Need("nao-entregues", "Não entregues", "Confira o e-mail da empresa e reenvie.", Q(delivery=Invoice.Delivery.FAILED)),
    ]  # fmt: skip


def condition_of(key: str) -> Q | None:
    """Of one reason, or of any ("todas")."""
    found = needs()
    if key == "todas":
        any_of = Q()
        for need in found:
            any_of |= need.condition
        return any_of
    return next((need.condition for need in found if need.key == key), None)


def waiting() -> QuerySet[Invoice]:
    """Every invoice that needs a person."""
    condition = condition_of("todas")
    assert condition is not None
    return Invoice.everywhere.filter(condition)


def waiting_count() -> int:
    return waiting().count()


def counts() -> dict[str, int]:
    """By reason, in one query."""
    found = needs()
    asked = {f"of_{index}": Count("pk", filter=need.condition) for index, need in enumerate(found)}
    answer = Invoice.everywhere.aggregate(**asked)
    return {need.key: answer[f"of_{index}"] for index, need in enumerate(found)}


def certificate_of(issuer: Issuer) -> Certificate | None:
    """The one that signs: in use, the last to end."""
    return Certificate.objects.filter(issuer=issuer, is_active=True).order_by("-ends_at").first()


def days_left(certificate: Certificate) -> int:
    """Whole days until it ends; below zero once it has."""
    return (certificate.ends_at - clock.now()).days


def certificate_alarm() -> str:
    """What the badge says of the active issuer's certificate; empty while there is nothing to say. Only Sefin needs one."""
    issuer = Issuer.objects.filter(is_active=True, channel=Issuer.Channel.SEFIN).first()
    if issuer is None:
        return ""
    certificate = certificate_of(issuer)
    if certificate is None:
        return "Notas sem certificado"
    days = days_left(certificate)
    if days < 0:
        return "Certificado das notas vencido"
    if days <= CERTIFICATE_WARNING_DAYS:
        return f"Certificado das notas: {days} dia{'' if days == 1 else 's'}"
    return ""
