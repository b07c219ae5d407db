"""One hold and one settlement by single-row statements. The batches stay: gateways of the release before call only them."""

from django.db import migrations

from billing.sql import read_sql


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0006_routing_and_own_keys'),
    ]

    operations = [
        migrations.RunSQL(read_sql('single'), migrations.RunSQL.noop),
        migrations.RunSQL(read_sql('grants'), migrations.RunSQL.noop),
    ]
