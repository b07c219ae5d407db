"""A settlement alone writes its row without sums; tags are added up where there are any."""

from django.db import migrations

from billing.sql import read_sql


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0017_usage_by_cost'),
    ]

    operations = [
        *[migrations.RunSQL(read_sql(name), migrations.RunSQL.noop) for name in ('settle', 'single', 'grants')],
    ]
