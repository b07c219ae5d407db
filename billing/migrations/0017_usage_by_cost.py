from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0013_key_pause'),
        ('billing', '0016_comparison'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('net_nanos__gte', 10000000)), fields=['organization', 'net_nanos', 'id'], name='usage_by_cost'),
        ),
    ]
