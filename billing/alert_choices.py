"""Who of an organization reads which mails, and under which balance it wants to be told."""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.translation import gettext

from accounts import audit
from accounts.models import Membership, Organization, Role
from billing.errors import BillingError
from billing.events import KINDS
from billing.models import AlertChoice, Wallet
from billing.money import BRL

EXTRA_EMAILS_MAX = 5
LOW_BALANCE_MAX_NANOS = 1_000_000 * BRL
# A developer's place has no money in it: the mails would show what the pages don't.
READER_ROLES = (Role.OWNER, Role.ADMIN, Role.FINANCE)


class ChoiceRefused(BillingError):
    """`param` names the field."""

    code = "choice_refused"
    status = 400


def choice_of(organization: Organization) -> AlertChoice:
    """The organization's choices; the defaults, unsaved, where it never chose."""
    return AlertChoice.everywhere.filter(organization=organization).first() or AlertChoice(organization=organization)


def readers_of(organization: Organization, *, kind: str) -> list[str]:
    """The addresses for a kind of mail (`billing.events.KINDS`), each once; none where it is turned off."""
    choice = choice_of(organization)
    if kind in choice.muted_kinds and KINDS[kind][1]:
        return []
    members = Membership.everywhere.filter(organization=organization, role__in=choice.roles, user__is_active=True)
    found = [*members.order_by("id").values_list("user__email", flat=True), *choice.extra_emails]
    return list({email.lower(): email for email in found}.values())


def change_choice(
    organization: Organization,
    *,
    roles: Collection[str],
    extra_emails: Collection[str],
    muted_kinds: Collection[str],
    watches_unusual: bool,
) -> AlertChoice:
    """Raises ChoiceRefused: somebody reads, and what is not to be turned off is not."""
    emails = list({email.strip().lower(): email.strip() for email in extra_emails if email.strip()}.values())
    chosen = [role for role in READER_ROLES if role in roles]
    if not chosen and not emails:
        raise ChoiceRefused(gettext("Escolha pelo menos um papel ou um e-mail: alguém precisa saber."), param="roles")
    if len(emails) > EXTRA_EMAILS_MAX:
        raise ChoiceRefused(gettext("Até {count} outros e-mails.").format(count=EXTRA_EMAILS_MAX), param="extra_emails")
    for email in emails:
        try:
            validate_email(email)
        except ValidationError:
            raise ChoiceRefused(gettext("{email} não é um e-mail.").format(email=email), param="extra_emails") from None
    muted = [kind for kind, (_, may_mute) in KINDS.items() if kind in muted_kinds and may_mute]
    choice, _ = AlertChoice.everywhere.update_or_create(
        organization=organization,
        defaults={"roles": chosen, "extra_emails": emails, "muted_kinds": muted, "watches_unusual": watches_unusual},
    )
    audit.act("alerts_changed", organization=organization, detail={"role": chosen, "count": len(emails)})
    return choice


def set_low_balance(wallet: Wallet, nanos: int | None) -> None:
    """Under which balance to tell: 0 never, None LOW_BALANCE_BRL. Raises ChoiceRefused."""
    if nanos is not None and not 0 <= nanos <= LOW_BALANCE_MAX_NANOS:
        raise ChoiceRefused(gettext("Escolha um valor de R$ 0,00 a R$ 1.000.000,00."), param="low_balance")
    with transaction.atomic():
        Wallet.everywhere.filter(pk=wallet.pk).update(low_balance_nanos=nanos)
    wallet.low_balance_nanos = nanos
