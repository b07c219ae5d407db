"""Gateways keep keys and the catalog in memory; every writer moves a number in its own commit, by trigger."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION bump_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE accounts_snapshotversion SET number = number + 1 WHERE subject = TG_ARGV[0];
  PERFORM pg_notify('tokia_snapshot', TG_ARGV[0]);
  RETURN NULL;
END $$;
INSERT INTO accounts_snapshotversion (subject, number) VALUES ('callers', 1), ('catalog', 1);
CREATE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON accounts_apikey
  FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('callers');
CREATE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON accounts_organization
  FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('callers');
CREATE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON accounts_limitprofile
  FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('callers');
"""
BACKWARD = "DROP FUNCTION bump_snapshot() CASCADE; DELETE FROM accounts_snapshotversion;"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
