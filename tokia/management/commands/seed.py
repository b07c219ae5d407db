"""`manage.py seed`: what a new sandbox needs to be tried: catalog, prices, who issues notes, demo people, a key, a balance."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext_noop

from accounts.keys import check_key, find_key, mint_key
from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.signup import Identity, open_organization
from billing import exchange
from billing.errors import ExchangeRateStale
from billing.ledger import grant
from billing.money import from_brl
from billing.volume import seed_plan
from billing.wallets import wallet_of
from tokia import clock
from tokia.stackhome import ADMIN_EMAIL, DEMO_EMAIL, StackHome

ORGANIZATION = Identity(
    name="Acme Tecnologia Ltda",
    trade_name="Acme",
    tax_id="11.222.333/0001-81",
    invoice_email=DEMO_EMAIL,
    address={
        "street": "Avenida Paulista", "number": "1000", "district": "Bela Vista", "city": "São Paulo", "state": "SP",
        "postal_code": "01310100",
    },
)  # fmt: skip
WELCOME_BRL = "25.00"


class Command(BaseCommand):
    help = "Catalog, prices, demo organization, key and balance for the sandbox. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.IS_PRODUCTION:
            raise CommandError("Demo logins have no place in production; `manage.py seed_catalog` has the catalog alone.")
        home = StackHome(settings.TOKIA_HOME)
        kept = home.secrets()
        try:
            exchange.current_rate()
        except ExchangeRateStale:
            exchange.fetch_rate()
        seed_plan()
        call_command("seed_catalog", verbosity=options["verbosity"])
        call_command("seed_issuer", verbosity=options["verbosity"])
        seed_person(ADMIN_EMAIL, password=kept.admin_password, name="Administração", is_staff=True)
        owner = seed_person(DEMO_EMAIL, password=kept.demo_password, name="Ana Demonstração", is_staff=False)
        organization = seed_organization(owner)
        grant(
            wallet_of(organization),
            amount_nanos=from_brl(WELCOME_BRL),
            reference=f"welcome:{organization.pk}",
            reason=gettext_noop("Saldo inicial da demonstração"),
            actor="seed",
        )
        seed_key(home, organization=organization, owner=owner)


def seed_person(email: str, *, password: str, name: str, is_staff: bool) -> User:
    """A person with a confirmed address and the password that this stack remembers."""
    user = User.objects.filter(email=email).first()
    if user is None:
        user = User.objects.create_user(
            email, password, name=name, is_staff=is_staff, is_superuser=is_staff, accepted_terms_at=clock.now()
        )
    elif not user.check_password(password):
        user.set_password(password)
        user.save(update_fields=["password"])
    EmailAddress.objects.update_or_create(user=user, email=email, defaults={"verified": True, "primary": True})
    return user


def seed_organization(owner: User) -> Organization:
    membership = Membership.everywhere.filter(user=owner, role=Role.OWNER).select_related("organization").order_by("pk").first()
    return (membership or open_organization(owner, identity=ORGANIZATION)).organization


def seed_key(home: StackHome, *, organization: Organization, owner: User) -> None:
    """Keep the key whose secret the home has; where it has none that still opens, mint one."""
    path = home.demo_key_file
    digest = check_key(path.read_text(encoding="utf-8").strip()) if path.exists() else None
    known = find_key(digest) if digest else None
    if known and known.organization_id == organization.pk and known.status == ApiKey.Status.ACTIVE:
        return
    _, secret = mint_key(organization, user=owner, name="Demonstração")
    home.write_private(path, secret)
