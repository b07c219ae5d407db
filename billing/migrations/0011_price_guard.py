"""Guarded and announced prices."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_promotions")]
    operations = []
