"""The sealed ledger, closed months."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_hooks")]
    operations = []
