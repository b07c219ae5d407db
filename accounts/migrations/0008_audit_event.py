"""Who did what: append-only, but for the one time that an event loses what could point at a person."""

import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

GUARD = """
CREATE FUNCTION accounts_keep_audit_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.redacted_at IS NULL AND NEW.redacted_at IS NOT NULL
     AND NEW.detail = '{}'::jsonb AND NEW.ip IS NULL AND NEW.user_agent = ''
     AND NEW.id = OLD.id AND NEW.kind = OLD.kind AND NEW.created_at = OLD.created_at
     AND NEW.organization_id IS NOT DISTINCT FROM OLD.organization_id AND NEW.user_id IS NOT DISTINCT FROM OLD.user_id THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts_auditevent
  FOR EACH ROW EXECUTE FUNCTION accounts_keep_audit_event();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON accounts_auditevent
  FOR EACH STATEMENT EXECUTE FUNCTION accounts_keep_audit_event();
"""
OPEN_AGAIN = """
DROP TRIGGER append_only ON accounts_auditevent;
DROP TRIGGER no_truncate ON accounts_auditevent;
DROP FUNCTION accounts_keep_audit_event();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_management")]
    operations = [
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=40, verbose_name="o quê")),
                ("detail", models.JSONField(default=dict, verbose_name="detalhes")),
                ("ip", models.GenericIPAddressField(null=True, verbose_name="IP")),
                ("user_agent", models.CharField(blank=True, max_length=60, verbose_name="navegador")),
                ("created_at", models.DateTimeField(verbose_name="quando")),
                ("redacted_at", models.DateTimeField(null=True)),
                ("organization", models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.organization", verbose_name="empresa")),
                ("user", models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL, verbose_name="quem")),
            ],
            options={
                "verbose_name": "registro de auditoria",
                "verbose_name_plural": "registros de auditoria",
                "base_manager_name": "everywhere",
                "default_manager_name": "everywhere",
                "indexes": [
                    models.Index(fields=["organization", "-id"], name="audit_event_by_organization"),
                    models.Index(fields=["user", "-id"], name="audit_event_by_user"),
                    models.Index(fields=["created_at"], name="audit_event_by_time"),
                ],
            },
            managers=[("everywhere", django.db.models.manager.Manager())],
        ),
        migrations.RunSQL(GUARD, OPEN_AGAIN),
    ]
