import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

MODES = [
    ("default", "Padrão do sistema"),
    ("everybody", "Ligado para todos"),
    ("nobody", "Desligado para todos"),
    ("chosen", "Só para empresas escolhidas"),
    ("part", "Para uma parte das empresas"),
]


def ids(label: str) -> django.contrib.postgres.fields.ArrayField:
    return django.contrib.postgres.fields.ArrayField(
        base_field=models.BigIntegerField(), blank=True, default=list, size=None, verbose_name=label
    )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0011_closing_and_second_factor")]

    operations = [
        migrations.CreateModel(
            name="FeatureFlag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=40, unique=True, verbose_name="nome")),
                ("mode", models.CharField(choices=MODES, default="default", max_length=9, verbose_name="situação")),
                ("percent", models.PositiveSmallIntegerField(default=0, verbose_name="parte das empresas (%)")),
                ("organization_ids", ids("empresas")),
                ("changed_at", models.DateTimeField(blank=True, null=True, verbose_name="mudado em")),
                ("changed_by", models.CharField(blank=True, max_length=150, verbose_name="mudado por")),
            ],
            options={
                "verbose_name": "recurso",
                "verbose_name_plural": "recursos (liga e desliga)",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("percent__lte", 100)), name="feature_flag_percent")
                ],
            },
        ),
        migrations.CreateModel(
            name="FeatureFlagChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("before", models.CharField(max_length=200, verbose_name="antes")),
                ("after", models.CharField(max_length=200, verbose_name="depois")),
                ("organization_ids", ids("empresas, depois")),
                ("reason", models.CharField(max_length=300, verbose_name="motivo")),
                ("changed_at", models.DateTimeField(auto_now_add=True, verbose_name="mudado em")),
                ("changed_by", models.CharField(max_length=150, verbose_name="mudado por")),
                (
                    "flag",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="changes", to="accounts.featureflag",
                        verbose_name="recurso",
                    ),
                ),
            ],
            options={"verbose_name": "mudança de recurso", "verbose_name_plural": "mudanças de recursos"},
        ),
    ]  # fmt: skip
