"""A change of the catalog reaches every gateway within two seconds, whoever wrote it."""

from django.db import migrations

TABLES = ("gateway_provider", "gateway_credential", "gateway_route", "gateway_deployment")


class Migration(migrations.Migration):
    dependencies = [("gateway", "0001_initial"), ("accounts", "0002_snapshot_version")]
    operations = [
        migrations.RunSQL(
            f"CREATE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('catalog');",
            f"DROP TRIGGER snapshot ON {table};",
        )
        for table in TABLES
    ]
