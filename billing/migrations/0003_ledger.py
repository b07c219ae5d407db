"""The ledger: partitions, functions, triggers and what the application's role may do. The SQL is in `billing/sql/`."""

import django.db.models.deletion
from django.db import migrations, models

from billing.sql import LEDGER_FILES, read_sql


# Django knows no partitions: its table is made again as it is, partitioned by the id. Nothing is in it yet.
PARTITION = """
ALTER TABLE billing_usagerecord RENAME TO billing_usagerecord_plain;
CREATE TABLE billing_usagerecord (LIKE billing_usagerecord_plain INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id);
DROP TABLE billing_usagerecord_plain;
ALTER TABLE billing_usagerecord ADD CONSTRAINT billing_usagerecord_pkey PRIMARY KEY (id);
CREATE INDEX usage_by_organization ON billing_usagerecord (organization_id, id DESC);
CREATE INDEX usage_by_position ON billing_usagerecord (wallet_id, month, gross_before_nanos);
CREATE TABLE billing_usagerecord_default PARTITION OF billing_usagerecord DEFAULT;
-- Rows that every call updates or deletes: room for updates in place, and an early vacuum.
ALTER TABLE billing_wallet SET (fillfactor = 50);
ALTER TABLE billing_monthspend SET (fillfactor = 50);
ALTER TABLE billing_hold SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
"""
PARTITIONS = "SELECT billing_protect('billing_usagerecord_default'); SELECT billing_ensure_partitions(3);"


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0002_price_reasons_and_charge_payments'),
    ]

    operations = [
        migrations.AddField(
            model_name='hold',
            name='lot',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.lot', verbose_name='lote'),
        ),
        migrations.AlterField(
            model_name='expiredhold',
            name='session',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, to='billing.gatewaysession', verbose_name='processo'),
        ),
        migrations.AlterField(
            model_name='expiredhold',
            name='wallet',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.wallet', verbose_name='carteira'),
        ),
        migrations.AlterField(
            model_name='hold',
            name='session',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, to='billing.gatewaysession', verbose_name='processo'),
        ),
        migrations.AlterField(
            model_name='hold',
            name='wallet',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='holds', to='billing.wallet', verbose_name='carteira'),
        ),
        migrations.AlterField(
            model_name='monthspend',
            name='volume_plan',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to='billing.volumeplan'),
        ),
        migrations.AlterField(
            model_name='posting',
            name='wallet',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='postings', to='billing.wallet', verbose_name='carteira'),
        ),
        migrations.AlterField(
            model_name='settledbatch',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True),
        ),
        migrations.RunSQL(PARTITION),
        *[migrations.RunSQL(read_sql(name)) for name in LEDGER_FILES],
        migrations.RunSQL(PARTITIONS),
    ]
