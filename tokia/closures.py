"""An organization is closed by its owner. Spans the floors, so it stands on the roof.

1. Asked: the balance is zero, or given up in so many words (a ledger entry). The organization is suspended, so every gateway
   refuses its keys within two seconds; automatic top-up is off.
2. Within CLOSING_DAYS an owner may change their mind: what was given up comes back by the mirror entry, the keys call again.
3. After them keys are revoked for ever; provider keys, webhooks, saved cards, stored files and responses, exports and
   memberships are gone.
4. For as long as the law says (five years: CTN, art. 173) stay the ledger, notes, closings and charges, and the name, tax id and
   address that they tell.

Money that came in meanwhile (a late PIX) stops the closing: a person refunds it first.
"""

from __future__ import annotations

import datetime as dt
import logging

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, override

from accounts import audit
from accounts.errors import ConfirmationMissing, NotAllowed
from accounts.keys import revoke_key
from accounts.models import ApiKey, DataCopy, Invitation, Membership, Organization, Role, User
from accounts.suspension import reactivate, suspend
from billing import hooks, ledger
from billing.cards import holders
from billing.cards.auto_top_ups import switch_off
from billing.errors import BillingError
from billing.models import Export, Hook, LedgerEntry, Refund, Wallet
from billing.money import format_brl
from gateway.models import Batch, OwnKey, StoredFile, StoredResponse
from gateway.own_keys import remove_own_key
from tokia import clock
from tokia.errors import TokiaError

REASON = gettext_noop("encerramento pedido pela própria empresa")  # who was suspended by us before stays so
log = logging.getLogger("tokia.closures")


class BalanceLeft(TokiaError):
    """There is money, and it was not given up."""

    code = "balance_left"
    status = 409


def balance_of(organization: Organization) -> int:
    """Nanos that would be lost: what is available, promotional money included."""
    wallet = Wallet.everywhere.filter(organization=organization).first()
    return max(0, wallet.available_nanos) if wallet else 0


@transaction.atomic
def ask_to_close(by: Membership, *, typed: str, gives_up: bool) -> None:
    """`typed` is the organization's name as the pages tell it. Raises NotAllowed, ConfirmationMissing, BalanceLeft."""
    organization = Organization.objects.select_for_update(no_key=True).get(pk=by.organization_id)
    _check_owner(by)
    if typed.strip() != str(organization):
        raise ConfirmationMissing(_("O nome digitado é outro. Nada foi encerrado."))
    if organization.closes_at is not None:
        return
    wallet = Wallet.everywhere.filter(organization=organization).first()
    if Refund.objects.filter(lot__wallet__organization=organization, status__in=_UNDER_WAY).exists():
        raise BalanceLeft(_("Há uma devolução em andamento. Espere ela terminar para encerrar."))
    given_up = wallet.available_nanos if wallet else 0
    if wallet is not None and given_up > 0:
        if not gives_up:
            told = _("Há {amount} de saldo. Peça a devolução ou marque que abre mão dele.")
            raise BalanceLeft(told.format(amount=format_brl(given_up)))
        ledger.correct(
            wallet, amount_nanos=-given_up, reason=gettext_noop("Saldo de que a empresa abriu mão ao encerrar"),
            actor=by.user.email, reference=f"given-up:{organization.pk}:{clock.new_id()}",
        )  # fmt: skip
    if wallet is not None:
        switch_off(wallet, by=by.user.email, reason=gettext_noop("A empresa está sendo encerrada."))
    now = clock.now()
    organization.closing_asked_at, organization.closes_at = now, now + dt.timedelta(days=settings.CLOSING_DAYS)
    organization.save(update_fields=["closing_asked_at", "closes_at"])
    if not organization.is_suspended:
        suspend(organization, reason=REASON)
    audit.note("organization_closing_asked", organization=organization, user=by.user, detail={"given_up_nanos": max(0, given_up)})
    by.organization.refresh_from_db()
    transaction.on_commit(lambda: _tell(organization, asked_by=by.user))


_UNDER_WAY = (Refund.Status.HELD, Refund.Status.PROCESSING)


@transaction.atomic
def cancel(by: Membership) -> bool:
    """The organization stays. Raises NotAllowed. False where there was nothing to cancel."""
    organization = Organization.objects.select_for_update(no_key=True).get(pk=by.organization_id)
    _check_owner(by)
    if organization.closes_at is None or organization.closed_at is not None:
        return False
    for entry in LedgerEntry.objects.filter(reference__startswith=f"given-up:{organization.pk}:", reversed_by=None):
        ledger.reverse_entry(entry, reason=gettext_noop("A empresa desistiu de encerrar"), actor=by.user.email)
    organization.closing_asked_at = organization.closes_at = None
    organization.save(update_fields=["closing_asked_at", "closes_at"])
    if organization.is_suspended and organization.suspended_reason == REASON:
        reactivate(organization)
    audit.note("organization_closing_cancelled", organization=organization, user=by.user)
    by.organization.refresh_from_db()
    return True


def _check_owner(by: Membership) -> None:
    if Membership.everywhere.filter(pk=by.pk).values_list("role", flat=True).first() != Role.OWNER:
        raise NotAllowed(_("Só um Dono pode encerrar a empresa."))


# ── After the days ───────────────────────────────────────────────────────────────────────────────────────────────────
def close_due() -> int:
    """For a task. What can't be closed yet is tried again, and told in the log."""
    done = 0
    for organization in Organization.objects.filter(closes_at__lte=clock.now(), closed_at=None).order_by("closes_at"):
        try:
            close(organization)
        except TokiaError as error:
            log.warning("an organization can't be closed yet", extra={"organization": organization.pk, "why": str(error)})
        else:
            done += 1
    return done


def close(organization: Organization) -> None:
    """For ever. Raises BalanceLeft where money came in or is held, BillingError where Stripe is away (cards)."""
    _remove_cards(organization)
    with transaction.atomic():
        organization = Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        wallet = Wallet.everywhere.select_for_update(no_key=True).filter(organization=organization).first()
        if wallet is not None and (wallet.available_nanos > 0 or wallet.held_nanos > 0):
            raise BalanceLeft(f"Há {format_brl(wallet.available_nanos)} de saldo e {format_brl(wallet.held_nanos)} reservados.")
        for key in ApiKey.everywhere.filter(organization=organization, status=ApiKey.Status.ACTIVE):
            revoke_key(key)
        for own_key in OwnKey.everywhere.filter(organization=organization):
            remove_own_key(own_key)
        for hook in Hook.everywhere.filter(organization=organization):
            hooks.remove_hook(hook)
        for kept in (Batch, StoredFile, StoredResponse, Export, DataCopy):
            kept.everywhere.filter(organization=organization).delete()
        Invitation.everywhere.filter(organization=organization).delete()
        Membership.everywhere.filter(organization=organization).delete()
        organization.invoice_email, organization.closed_at = "", clock.now()
        organization.is_suspended, organization.suspended_reason = True, REASON
        organization.save(update_fields=["invoice_email", "closed_at", "is_suspended", "suspended_reason"])
        audit.note("organization_closed", organization=organization, user=None)


def _remove_cards(organization: Organization) -> None:
    for card in holders.cards_of(organization):
        try:
            holders.remove_card(card, by="encerramento da empresa")
        except BillingError as error:
            raise BalanceLeft("Os cartões ainda não saíram da Stripe.") from error


def _tell(organization: Organization, *, asked_by: User) -> None:
    """All owners hear of it: one of them may not have been asked."""
    owners = Membership.everywhere.filter(organization=organization, role=Role.OWNER, user__is_active=True)
    addresses = list(owners.values_list("user__email", flat=True))
    context = {"organization": organization, "asked_by": asked_by, "url": f"{settings.WEB_URL}/app/configuracoes/privacidade/"}
    with override(settings.LANGUAGE_CODE):  # mail is Portuguese
        text = render_to_string("accounts/email/closing_asked.txt", context)
    try:
        send_mail(f"Tokia: {organization} será encerrada", text, None, addresses)
    except OSError:  # SMTP's errors are OSErrors; what was asked stands
        log.warning("a notice about closing was not sent", exc_info=True)
