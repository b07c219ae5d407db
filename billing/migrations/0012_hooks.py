"""Customers' addresses that are told of events."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0011_price_guard")]
    operations = []
