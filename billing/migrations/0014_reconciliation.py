"""Differences with banks and providers."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0013_seals")]
    operations = []
