"""Incidents of `/status/`, and what was said of them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0007_own_key_health"),
    ]

    operations = [
        migrations.CreateModel(
            name="Incident",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=120, verbose_name="título")),
                (
                    "impact",
                    models.CharField(
                        choices=[
                            ("slow", "Lentidão ou falhas em parte"),
                            ("down", "Fora do ar"),
                            ("maintenance", "Manutenção programada"),
                        ],
                        default="slow",
                        max_length=11,
                        verbose_name="impacto",
                    ),
                ),
                ("affects", models.CharField(blank=True, max_length=120, verbose_name="o que é afetado")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("investigating", "Investigando"),
                            ("identified", "Identificado"),
                            ("monitoring", "Monitorando"),
                            ("resolved", "Resolvido"),
                        ],
                        default="investigating",
                        max_length=13,
                        verbose_name="situação",
                    ),
                ),
                ("starts_at", models.DateTimeField(verbose_name="começou em")),
                ("ends_at", models.DateTimeField(blank=True, null=True, verbose_name="fim previsto")),
                ("resolved_at", models.DateTimeField(blank=True, null=True, verbose_name="resolvido em")),
                ("opened_by", models.CharField(max_length=150, verbose_name="aberto por")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="criado em")),
            ],
            options={
                "verbose_name": "incidente",
                "verbose_name_plural": "incidentes",
                "indexes": [models.Index(fields=["-starts_at"], name="incident_by_time")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("ends_at__isnull", True), ("ends_at__gt", models.F("starts_at")), _connector="OR"),
                        name="incident_ends_later",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "resolved"), _negated=True), ("resolved_at__isnull", False), _connector="OR"
                        ),
                        name="incident_resolved_at_a_time",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="IncidentUpdate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("investigating", "Investigando"),
                            ("identified", "Identificado"),
                            ("monitoring", "Monitorando"),
                            ("resolved", "Resolvido"),
                        ],
                        max_length=13,
                        verbose_name="situação",
                    ),
                ),
                ("text", models.CharField(max_length=600, verbose_name="o que dizer")),
                ("written_by", models.CharField(max_length=150, verbose_name="por")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="em")),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="updates",
                        to="gateway.incident",
                        verbose_name="incidente",
                    ),
                ),
            ],
            options={
                "verbose_name": "atualização de incidente",
                "verbose_name_plural": "atualizações de incidentes",
            },
        ),
    ]
