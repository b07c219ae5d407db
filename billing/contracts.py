"""Negotiated volume plans: whole fiscal months of one organization. A month that has begun keeps the plan of its first call.

A month is opened by its first settlement, under the wallet's lock; these verbs take the same lock, so a contract counts for every
month from its first one, or is refused.
"""

from __future__ import annotations

import datetime as dt

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext

from accounts.models import Organization
from billing.errors import BillingError
from billing.figures import tell_month_number
from billing.ledger import call_function
from billing.models import Contract, MonthSpend, VolumePlan, Wallet
from billing.wallets import wallet_of
from tokia import clock
from tokia.clock import Month


class ContractRefused(BillingError):
    """What can't be agreed on, or ended so."""

    code = "contract_refused"
    status = 409


def agree_contract(
    organization: Organization, *, plan: VolumePlan, first_month: Month, last_month: Month | None = None, note: str = "", by: str
) -> Contract:
    """Put a published plan in force for an organization from a month that has not begun to a last one (empty: until it is ended).

    Raises ContractRefused: a plan that is a draft or another organization's, a month that has begun, another contract's months.
    """
    if plan.published_at is None:
        raise ContractRefused("Congele o plano antes: um contrato não pode mudar depois de acertado.")
    if plan.organization_id not in (None, organization.pk):
        raise ContractRefused("Este plano foi negociado com outra empresa.")
    if last_month is not None and last_month.first_on < first_month.first_on:
        raise ContractRefused("O último mês vem antes do primeiro.")
    with transaction.atomic():
        wallet = _locked_wallet(organization)
        open_on = first_open_month(wallet)
        if first_month.first_on < open_on:
            raise ContractRefused(f"O contrato pode valer a partir de {open_on:%m/%Y}: antes disso os meses já começaram.")
        other = _overlapping(organization, first_month.first_on, last_month.first_on if last_month else None).first()
        if other is not None:
            raise ContractRefused(f"Já há um contrato para estes meses: {other.plan}, {tell_months(other)}. Encerre-o antes.")
        return Contract.objects.create(
            organization=organization, plan=plan, first_month=first_month.first_on, note=note.strip()[:300], agreed_by=by[:150],
            last_month=last_month.first_on if last_month else None,
        )  # fmt: skip


def end_contract(contract: Contract, *, last_month: Month | None = None, reason: str, by: str) -> Contract:
    """End a contract with a month (the one that has begun, if empty); one that has not begun yet is cancelled.

    What has begun stays as it was agreed: the earliest end is the month before the first one that is still open.
    Raises ContractRefused: it is over, the month is past or after its agreed end, no reason.
    """
    if len(reason.strip()) < 5:
        raise ContractRefused("Escreva por que o contrato termina.")
    with transaction.atomic():
        wallet = _locked_wallet(contract.organization)
        locked = Contract.objects.select_for_update(of=("self",)).get(pk=contract.pk)
        open_on = first_open_month(wallet)
        last_begun = _month_before(open_on)
        if locked.is_cancelled or (locked.last_month is not None and locked.last_month < open_on):
            raise ContractRefused("Este contrato já terminou.")
        end_on = last_month.first_on if last_month else max(last_begun, _month_before(locked.first_month))
        if end_on < last_begun:
            raise ContractRefused(f"O mês de {last_begun:%m/%Y} já começou com este plano: encerre nele ou depois.")
        if locked.last_month is not None and end_on > locked.last_month:
            raise ContractRefused("Este contrato termina antes disso. Para prolongar, acerte outro.")
        if end_on < locked.first_month:
            locked.is_cancelled = True
        else:
            locked.last_month = end_on
        locked.ended_by, locked.ended_at, locked.end_reason = by[:150], clock.now(), reason.strip()[:300]
        locked.save(update_fields=["last_month", "is_cancelled", "ended_by", "ended_at", "end_reason"])
    contract.refresh_from_db()
    return contract


def contract_for(organization: Organization, month: Month) -> Contract | None:
    """The contract that a month of the organization has, or would have."""
    agreed = _overlapping(organization, month.first_on, month.first_on)
    return agreed.select_related("plan").order_by("-first_month").first()


def first_open_month(wallet: Wallet) -> dt.date:
    """The first month whose plan is not fixed yet: this one before its first call, else the next."""
    month = Month.current()
    begun = MonthSpend.everywhere.filter(wallet=wallet, month__gte=month.first_on).order_by("-month").first()
    return Month(begun.month).next().first_on if begun else month.first_on


def tell_months(contract: Contract) -> str:
    first = tell_month_number(contract.first_month)
    if contract.last_month is None:
        return gettext("desde {month}").format(month=first)
    if contract.last_month == contract.first_month:
        return first
    return gettext("de {first} a {last}").format(first=first, last=tell_month_number(contract.last_month))


def _locked_wallet(organization: Organization) -> Wallet:
    wallet = wallet_of(organization)
    call_function("billing_lock_wallet", wallet.pk)
    return wallet


def _overlapping(organization: Organization, first_on: dt.date, last_on: dt.date | None) -> QuerySet[Contract]:
    agreed = Contract.objects.filter(organization=organization, is_cancelled=False)
    agreed = agreed.filter(Q(last_month__isnull=True) | Q(last_month__gte=first_on))
    return agreed if last_on is None else agreed.filter(first_month__lte=last_on)


def _month_before(first_on: dt.date) -> dt.date:
    return (first_on - dt.timedelta(days=1)).replace(day=1)
