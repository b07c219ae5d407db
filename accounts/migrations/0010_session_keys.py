"""Session keys of the playground: of a kind of their own, closed in the same commit as the sign-in that they belong to."""

from django.conf import settings
from django.db import migrations, models

FORWARD = """
CREATE FUNCTION close_session_keys() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE ended bytea := sha256(convert_to(OLD.session_key, 'UTF8'));
BEGIN
  -- Asked first: an UPDATE of no row, too, would make every gateway read its keys again.
  IF EXISTS (SELECT 1 FROM accounts_apikey WHERE session_digest = ended) THEN
    UPDATE accounts_apikey SET status = 'revoked', revoked_at = now(), session_digest = NULL
     WHERE session_digest = ended AND kind = 'playground';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER session_keys AFTER DELETE ON django_session FOR EACH ROW EXECUTE FUNCTION close_session_keys();
"""
BACKWARD = "DROP TRIGGER session_keys ON django_session; DROP FUNCTION close_session_keys();"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_staff_notes"),
        ("sessions", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AddField(
            model_name="apikey",
            name="kind",
            field=models.CharField(choices=[("made", "Criada por alguém"), ("playground", "Do playground")], db_default="made", default="made", editable=False, max_length=10, verbose_name="tipo"),
        ),
        migrations.AddField(
            model_name="apikey",
            name="session_digest",
            field=models.BinaryField(max_length=32, null=True),
        ),
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(condition=models.Q(("session_digest__isnull", False)), fields=["session_digest"], name="api_key_by_session"),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.UniqueConstraint(condition=models.Q(("kind", "playground")), fields=("organization", "created_by"), name="playground_key_once"),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
