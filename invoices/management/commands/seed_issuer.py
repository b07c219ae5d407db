"""`manage.py seed_issuer`: who issues the sandbox's notes: our own company, its taxes, its policy, the sandbox's certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from invoices.certificates import store_certificate
from invoices.models import InvoicePolicy, Issuer, TaxTerms
from tokia import clock

CITY_CODE = "3106200"  # Belo Horizonte: in the sandbox, too, it uses the national emitter and wants the registration told
MUNICIPAL_REGISTRATION = "12345670018"
A1_PASSWORD = "a1-sandbox"  # noqa: S105  of a certificate that only the sandbox believes


class Command(BaseCommand):
    help = "The demo issuer of the sandbox. Safe to repeat: an issuer that is there stays as it is."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.IS_PRODUCTION:
            raise CommandError("The issuer of real notes is set up in the admin, by whoever answers for them.")
        issuer = seed_issuer()
        seed_terms(issuer)
        pfx = Path(settings.TOKIA_HOME) / "sandbox" / "a1.pfx"
        if not pfx.exists():
            self.stderr.write("The sandbox has no certificate yet: start it once, then run this again.")
        elif issuer.tax_id == settings.RECEIVER_TAX_ID:
            store_certificate(issuer=issuer, pfx=pfx.read_bytes(), password=A1_PASSWORD, by="seed")


def seed_issuer() -> Issuer:
    issuer = Issuer.objects.filter(is_active=True).order_by("-pk").first()
    return issuer or Issuer.objects.create(
        name=settings.RECEIVER_NAME, tax_id=settings.RECEIVER_TAX_ID, city_code=CITY_CODE,
        municipal_registration=MUNICIPAL_REGISTRATION, sends_municipal_registration=True, channel=Issuer.Channel.SEFIN,
        environment=Issuer.Environment.RESTRICTED,
    )  # fmt: skip


def seed_terms(issuer: Issuer) -> None:
    """Plausible for a company under presumed profit; who runs this for real asks an accountant."""
    starts_on = clock.today_in_brazil().replace(month=1, day=1)
    if not issuer.terms.exists():
        TaxTerms.objects.create(
            issuer=issuer, starts_on=starts_on, regime=TaxTerms.Regime.NORMAL, ibscbs_from_on=starts_on, pis_cofins_situation="01",
            pis_bps=65, cofins_bps=300, federal_bps=1_345, city_bps=300,
        )  # fmt: skip
    if not issuer.policies.exists():
        InvoicePolicy.objects.create(issuer=issuer, starts_on=starts_on, kind=InvoicePolicy.Kind.MONTHLY)
