"""What an organization wants on its notes, beyond who it is (`accounts.Organization`: name, tax id, address, mail)."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import Organization
from accounts.tenancy import TenantManager


class FiscalProfile(models.Model):
    """The tomador's wishes. No row: none of them. Rates are hundredths of a percent."""

    organization = models.OneToOneField(Organization, models.CASCADE, related_name="fiscal_profile", verbose_name="empresa")
    accountant_email = models.EmailField("e-mail da contabilidade", blank=True)  # gets each note, too
    purchase_number = models.CharField("número do pedido de compra", max_length=60, blank=True)  # xPed
    withholds_iss = models.BooleanField("retém o ISS", default=False)  # tpRetISSQN 2
    irrf_bps = models.PositiveSmallIntegerField("IRRF retido (centésimos de %)", default=0)
    csll_bps = models.PositiveSmallIntegerField("CSLL retida (centésimos de %)", default=0)
    pis_cofins_withheld = models.BooleanField("retém PIS e COFINS", default=False)
    changed_at = models.DateTimeField("mudado em", auto_now=True)

    objects = TenantManager["FiscalProfile"]()
    everywhere: ClassVar[models.Manager[FiscalProfile]] = models.Manager()

    class Meta:
        verbose_name = "dados para notas"
        verbose_name_plural = "dados para notas"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"

    def __str__(self) -> str:
        return f"Dados para notas de {self.organization}"
