"""What staff note about an organization, and the permission to see as one."""

import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_audit_event")]
    operations = [
        migrations.AlterModelOptions(
            name="organization",
            options={
                "permissions": [("impersonate_organization", "Pode entrar como uma empresa")],
                "verbose_name": "empresa",
                "verbose_name_plural": "empresas",
            },
        ),
        migrations.CreateModel(
            name="StaffNote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.TextField(max_length=2000, verbose_name="texto")),
                ("written_by", models.CharField(max_length=150, verbose_name="por")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="em")),
                ("organization", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="staff_notes", to="accounts.organization", verbose_name="empresa")),
            ],
            options={
                "verbose_name": "anotação interna",
                "verbose_name_plural": "anotações internas",
                "base_manager_name": "everywhere",
                "default_manager_name": "everywhere",
                "indexes": [models.Index(fields=["organization", "-id"], name="staff_note_by_organization")],
            },
            managers=[("everywhere", django.db.models.manager.Manager())],
        ),
    ]
