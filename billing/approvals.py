"""Prices that one administrator alone may not publish: one asks, another one looks at exactly the same lines and decides.

Needed where the margin guard stops a line, or something gets dearer before the notice period is over (`pricebooks.
check_publication`). Who drafted the version, edited it or asked may not approve it; an edited draft must be asked for again.
"""

from __future__ import annotations

import datetime as dt

from django.db import transaction

from accounts.models import User
from billing import pricebooks
from billing.models import Price, PriceApproval, PriceVersion
from billing.price_margins import digest_of
from billing.pricebooks import PriceRefused
from tokia import clock

PERMISSION = "billing.change_priceversion"
REASON_LENGTH_MIN = 10


class ApprovalRefused(PriceRefused):
    """This person may not decide, or there is nothing left to decide on."""

    code = "price_approval_refused"


def ask_approval(
    version: PriceVersion, *, by: User, reason: str, effective_at: dt.datetime | None = None, is_emergency: bool = False
) -> PriceApproval:
    """Ask for a draft as it stands now. Raises PriceRefused: nothing to ask for, asked already, no reason, a date too early."""
    with transaction.atomic():
        locked, prices = pricebooks.prove_draft(version)
        if effective_at is not None and effective_at < clock.now() - pricebooks.SLACK:
            raise PriceRefused("A vigência não pode começar no passado.")
        check = pricebooks.check_publication(locked, effective_at=effective_at)
        if not check.needs_approval:
            raise PriceRefused("Nada aqui precisa de aprovação: publique.")
        if check.is_hurried and not is_emergency:
            raise PriceRefused(check.told)
        if PriceApproval.objects.filter(version=version, status=PriceApproval.Status.ASKED).exists():
            raise PriceRefused("A aprovação desta versão já foi pedida.")
        return PriceApproval.objects.create(
            version=locked, digest=digest_of(prices), effective_at=effective_at, is_emergency=check.is_hurried,
            findings=[line.as_json() for line in check.stopped], reason=_reason(reason), asked_by=by,
        )  # fmt: skip


def approve(approval: PriceApproval, *, by: User, reason: str) -> PriceVersion:
    """Approve and publish, in one transaction. Raises ApprovalRefused, and PriceRefused for what may not be published at all."""
    with transaction.atomic():
        locked = _lock_asked(approval)
        _check_person(locked, by)
        version = PriceVersion.objects.select_related("book").get(pk=locked.version_id)
        if _digest(version) != locked.digest:
            raise ApprovalRefused("O rascunho mudou depois do pedido. Recuse, e peçam de novo.")
        _decide(locked, PriceApproval.Status.APPROVED, by=by, reason=reason)
        published = pricebooks.publish_version(version, by=by.email, effective_at=locked.effective_at, approval=locked)
    approval.refresh_from_db()
    return published


def refuse(approval: PriceApproval, *, by: User, reason: str) -> None:
    """The draft stays a draft. Raises ApprovalRefused for who may not decide."""
    with transaction.atomic():
        locked = _lock_asked(approval)
        _check_person(locked, by)
        _decide(locked, PriceApproval.Status.REFUSED, by=by, reason=reason)
    approval.refresh_from_db()


def withdraw(approval: PriceApproval, *, by: User) -> None:
    """Who asked takes it back. Raises ApprovalRefused for anybody else."""
    with transaction.atomic():
        locked = _lock_asked(approval)
        if by.pk != locked.asked_by_id:
            raise ApprovalRefused("Só quem pediu pode retirar o pedido.")
        PriceApproval.objects.filter(pk=locked.pk).update(status=PriceApproval.Status.WITHDRAWN, decided_at=clock.now())
    approval.refresh_from_db()


def may_decide(approval: PriceApproval, user: User) -> bool:
    try:
        _check_person(approval, user)
    except ApprovalRefused:
        return False
    return approval.status == PriceApproval.Status.ASKED


def waiting() -> int:
    """Approvals that nobody has decided yet."""
    return PriceApproval.objects.filter(status=PriceApproval.Status.ASKED).count()


def _lock_asked(approval: PriceApproval) -> PriceApproval:
    locked = PriceApproval.objects.select_for_update(of=("self",)).select_related("version").get(pk=approval.pk)
    if locked.status != PriceApproval.Status.ASKED:
        raise ApprovalRefused("Este pedido já foi decidido.")
    return locked


def _check_person(approval: PriceApproval, user: User) -> None:
    if not (user.is_active and user.is_staff and user.has_perm(PERMISSION)):
        raise ApprovalRefused("Só quem administra preços pode decidir.")
    if user.pk == approval.asked_by_id or user.pk in approval.version.author_ids:
        raise ApprovalRefused("Quem desenhou, mudou ou pediu esta versão não a aprova: precisa ser outro administrador.")


def _decide(approval: PriceApproval, status: PriceApproval.Status, *, by: User, reason: str) -> None:
    approval.status, approval.decided_by, approval.decided_at = status, by, clock.now()
    approval.decision_reason = _reason(reason)
    approval.save(update_fields=["status", "decided_by", "decided_at", "decision_reason"])


def _reason(text: str) -> str:
    if len(text.strip()) < REASON_LENGTH_MIN:
        raise PriceRefused(f"Escreva o motivo, com {REASON_LENGTH_MIN} letras ou mais.")
    return text.strip()[:300]


def _digest(version: PriceVersion) -> str:
    return digest_of(Price.objects.filter(version=version))
