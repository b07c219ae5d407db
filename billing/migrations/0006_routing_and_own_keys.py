"""How a call was routed, by whose key it was served, and what that costs. No row of the partitioned table is rewritten."""

from django.db import migrations, models

from billing.sql import read_sql


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_cache_seconds'),
        ('billing', '0005_batch_price'),
    ]

    operations = [
        migrations.AddField(
            model_name='price',
            name='own_key_percent',
            field=models.PositiveSmallIntegerField(db_default=5, default=5, verbose_name='com chave própria (%)'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='experiment_arm_id',
            field=models.BigIntegerField(null=True, verbose_name='braço do experimento'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='is_own_key',
            field=models.BooleanField(db_default=False, default=False, verbose_name='com chave própria'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='routing',
            field=models.JSONField(null=True, verbose_name='roteamento'),
        ),
        migrations.AlterField(
            model_name='usagerecord',
            name='usage_source',
            field=models.CharField(choices=[('none', 'Sem uso'), ('upstream', 'Informado pelo provedor'), ('counted', 'Contado pela Tokia'), ('suspect', 'Suspeito, limitado'), ('cache', 'Resposta do cache')], max_length=8, verbose_name='fonte do uso'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('experiment_arm_id__isnull', False)), fields=['experiment_arm_id', 'id'], name='usage_by_arm'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('own_key_percent__range', (0, 100))), name='price_own_key_percent_a_part'),
        ),
        migrations.RunSQL(read_sql('settle'), migrations.RunSQL.noop),
    ]
