"""Cards at Stripe, automatic top-ups, disputes; refunds that go back to a card."""

import uuid

import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

# Rows that every delivery of the same event updates: room for updates in place.
ROOM = "ALTER TABLE billing_stripeevent SET (fillfactor = 70);"


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0006_projects_and_limits'),
        ('billing', '0008_money_in_the_open'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [

    ]
