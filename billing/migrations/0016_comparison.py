import datetime as dt
from decimal import Decimal

import django.core.validators
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from billing.comparison_sources import FIRST_PARAMETERS

USD_NAMES = ("hosted_least", "server", "database")
# What a page once told a reader stays provable.
APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_comparisonparameter
  FOR EACH ROW EXECUTE FUNCTION billing_deny();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_comparisonparameter
  FOR EACH STATEMENT EXECUTE FUNCTION billing_deny();
"""
OPEN_AGAIN = """
DROP TRIGGER append_only ON billing_comparisonparameter;
DROP TRIGGER no_truncate ON billing_comparisonparameter;
"""


def enter_first(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    parameter = apps.get_model("billing", "ComparisonParameter")
    parameter.objects.bulk_create(
        parameter(
            name=name,
            value=Decimal(value),
            unit="usd" if name in USD_NAMES else "percent",
            valid_from=dt.date.fromisoformat(valid_from),
            checked_on=dt.date.fromisoformat(checked_on),
            source=source,
            source_url=source_url,
            entered_by="migração",
        )  # fmt: skip
        for name, value, valid_from, checked_on, source, source_url in FIRST_PARAMETERS
    )


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_documents")]

    operations = [
        migrations.CreateModel(
            name="ComparisonParameter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        "parâmetro",
                        max_length=20,
                        choices=[
                            ("card_spread", "Spread do cartão internacional"),
                            ("iof", "IOF sobre compras no exterior com cartão"),
                            ("hosted", "Taxa de outro gateway hospedado (OpenRouter)"),
                            ("hosted_least", "Taxa mínima por compra nesse gateway"),
                            ("server", "Servidor para um gateway próprio, por mês"),
                            ("database", "Banco de dados para um gateway próprio, por mês"),
                            ("import_irrf", "IRRF sobre importação de serviços"),
                            ("import_cide", "CIDE sobre importação de serviços"),
                            ("import_pis_cofins", "PIS/COFINS sobre importação de serviços"),
                            ("import_iss", "ISS sobre importação de serviços"),
                        ],
                    ),
                ),
                (
                    "value",
                    models.DecimalField(
                        "valor",
                        max_digits=10,
                        decimal_places=2,
                        validators=[django.core.validators.MinValueValidator(Decimal("0"))],
                    ),
                ),
                (
                    "unit",
                    models.CharField("unidade", max_length=7, choices=[("percent", "%"), ("usd", "US$")], editable=False),
                ),
                ("valid_from", models.DateField("vale desde")),
                ("checked_on", models.DateField("fonte conferida em")),
                ("source", models.CharField("fonte", max_length=200)),
                ("source_url", models.URLField("endereço da fonte", max_length=300, blank=True)),
                ("entered_by", models.CharField("informado por", max_length=150, editable=False)),
                ("entered_at", models.DateTimeField("informado em", auto_now_add=True)),
            ],
            options={
                "verbose_name": "encargo da comparação",
                "verbose_name_plural": "câmbio e encargos",
                "indexes": [models.Index(fields=["name", "-valid_from", "-id"], name="comparison_parameter_newest")],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("value__gte", 0)), name="comparison_parameter_not_negative")
                ],
            },
        ),
        migrations.RunPython(enter_first, migrations.RunPython.noop),
        migrations.RunSQL(APPEND_ONLY, OPEN_AGAIN),
    ]
