"""Keys that manage."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_projects_and_limits")]
    operations = []
