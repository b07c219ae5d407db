"""What the comparison with other ways of paying stands on, besides our prices and the exchange rate."""

from __future__ import annotations

from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q


class ComparisonParameter(models.Model):
    """One number with its source, in force from a day until another of the same name. Append-only (a trigger says so).

    A source looked at again is another row with the same value: when it was looked at is part of what a reader is told.
    """

    class Name(models.TextChoices):
        CARD_SPREAD = "card_spread", "Spread do cartão internacional"
        IOF = "iof", "IOF sobre compras no exterior com cartão"
        HOSTED = "hosted", "Taxa de outro gateway hospedado (OpenRouter)"
        HOSTED_LEAST = "hosted_least", "Taxa mínima por compra nesse gateway"
        SERVER = "server", "Servidor para um gateway próprio, por mês"
        DATABASE = "database", "Banco de dados para um gateway próprio, por mês"
        IMPORT_IRRF = "import_irrf", "IRRF sobre importação de serviços"
        IMPORT_CIDE = "import_cide", "CIDE sobre importação de serviços"
        IMPORT_PIS_COFINS = "import_pis_cofins", "PIS/COFINS sobre importação de serviços"
        IMPORT_ISS = "import_iss", "ISS sobre importação de serviços"

    class Unit(models.TextChoices):
        PERCENT = "percent", "%"
        USD = "usd", "US$"

    name = models.CharField("parâmetro", max_length=20, choices=Name.choices)
    value = models.DecimalField("valor", max_digits=10, decimal_places=2, validators=[MinValueValidator(Decimal(0))])
    unit = models.CharField("unidade", max_length=7, choices=Unit.choices, editable=False)  # says itself from the name
    valid_from = models.DateField("vale desde")
    checked_on = models.DateField("fonte conferida em")
    source = models.CharField("fonte", max_length=200)
    source_url = models.URLField("endereço da fonte", max_length=300, blank=True)
    entered_by = models.CharField("informado por", max_length=150, editable=False)
    entered_at = models.DateTimeField("informado em", auto_now_add=True)

    class Meta:
        verbose_name = "encargo da comparação"
        verbose_name_plural = "câmbio e encargos"
        constraints = [models.CheckConstraint(condition=Q(value__gte=0), name="comparison_parameter_not_negative")]
        indexes = [models.Index(fields=["name", "-valid_from", "-id"], name="comparison_parameter_newest")]

    def __str__(self) -> str:
        return f"{self.get_name_display()}: {self.told}"

    @property
    def told(self) -> str:
        """`3,5%`, `US$ 24,00`."""
        if self.unit == self.Unit.USD:
            return f"US$\u00a0{self.value:,.2f}".translate(str.maketrans(",.", ".,"))
        return f"{self.value.normalize():f}%".replace(".", ",")


UNITS: dict[str, str] = {
    name: ComparisonParameter.Unit.USD if name in ("hosted_least", "server", "database") else ComparisonParameter.Unit.PERCENT
    for name in ComparisonParameter.Name.values
}
