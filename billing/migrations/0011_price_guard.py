"""Guarded and announced prices: alarms of the exchange rate, approvals, notices; contracts that end."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

from billing.sql import read_sql

SQL_FILES = ("tiers", "agreements", "grants")


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0006_projects_and_limits'),
        ('billing', '0010_promotions'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='PriceApproval',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('status', models.CharField(choices=[('asked', 'Aguarda aprovação'), ('approved', 'Aprovada'), ('refused', 'Recusada'), ('withdrawn', 'Retirada')], default='asked', max_length=9, verbose_name='situação')),
                ('digest', models.CharField(max_length=64, verbose_name='impressão das linhas')),
                ('effective_at', models.DateTimeField(blank=True, null=True, verbose_name='vigente a partir de')),
                ('is_emergency', models.BooleanField(default=False, verbose_name='sem o prazo de aviso')),
                ('findings', models.JSONField(default=list, verbose_name='o que foi apontado')),
                ('reason', models.CharField(max_length=300, verbose_name='motivo do pedido')),
                ('asked_at', models.DateTimeField(auto_now_add=True, verbose_name='pedida em')),
                ('decided_at', models.DateTimeField(null=True, verbose_name='decidida em')),
                ('decision_reason', models.CharField(blank=True, max_length=300, verbose_name='motivo da decisão')),
            ],
            options={
                'verbose_name': 'aprovação de preços',
                'verbose_name_plural': 'aprovações de preços',
            },
        ),
        migrations.CreateModel(
            name='PriceNotice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('changes', models.JSONField(default=list, verbose_name='mudanças')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
                ('due_at', models.DateTimeField(null=True, verbose_name='enviar em')),
                ('sent_at', models.DateTimeField(blank=True, null=True, verbose_name='enviado em')),
                ('sent_to', models.CharField(blank=True, max_length=1000, verbose_name='enviado a')),
                ('attempts', models.PositiveSmallIntegerField(default=0, verbose_name='tentativas')),
                ('error', models.CharField(blank=True, max_length=200, verbose_name='último erro')),
            ],
            options={
                'verbose_name': 'aviso de preços',
                'verbose_name_plural': 'avisos de preços',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='RateAlarm',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('drift_bps', models.IntegerField(verbose_name='variação (centésimos de %)')),
                ('below_cost', models.JSONField(default=list, verbose_name='abaixo do custo')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='em')),
                ('seen_by', models.CharField(blank=True, max_length=150, verbose_name='visto por')),
                ('seen_at', models.DateTimeField(blank=True, null=True, verbose_name='visto em')),
            ],
            options={
                'verbose_name': 'alarme de câmbio',
                'verbose_name_plural': 'alarmes de câmbio',
            },
        ),
        migrations.RemoveConstraint(
            model_name='contract',
            name='contract_once_a_month',
        ),
        migrations.AddField(
            model_name='contract',
            name='end_reason',
            field=models.CharField(blank=True, max_length=300, verbose_name='motivo do fim'),
        ),
        migrations.AddField(
            model_name='contract',
            name='ended_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='encerrado em'),
        ),
        migrations.AddField(
            model_name='contract',
            name='ended_by',
            field=models.CharField(blank=True, max_length=150, verbose_name='encerrado por'),
        ),
        migrations.AddField(
            model_name='contract',
            name='is_cancelled',
            field=models.BooleanField(db_default=False, default=False, verbose_name='cancelado'),
        ),
        migrations.AddField(
            model_name='exchangerate',
            name='reason',
            field=models.CharField(blank=True, max_length=200, verbose_name='motivo'),
        ),
        migrations.AddField(
            model_name='priceversion',
            name='author_ids',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), blank=True, db_default=[], default=list, size=None, verbose_name='autores'),
        ),
        migrations.AddField(
            model_name='priceversion',
            name='drift_alarm_bps',
            field=models.PositiveIntegerField(db_default=500, default=500, verbose_name='alarme de variação (centésimos de %)'),
        ),
        migrations.AddField(
            model_name='priceversion',
            name='rate_policy',
            field=models.CharField(choices=[('locked', 'Travado, com alarme'), ('followed', 'Acompanhado'), ('fixed', 'Travado, sem alarme')], db_default='locked', default='locked', max_length=8, verbose_name='política de câmbio'),
        ),
        migrations.AddField(
            model_name='volumeplan',
            name='organization',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='volume_plans', to='accounts.organization', verbose_name='só desta empresa'),
        ),
        migrations.AddConstraint(
            model_name='contract',
            constraint=models.UniqueConstraint(condition=models.Q(('is_cancelled', False)), fields=('organization', 'first_month'), name='contract_once_a_month'),
        ),
        migrations.AddConstraint(
            model_name='volumeplan',
            constraint=models.CheckConstraint(condition=models.Q(('is_default', False), ('organization__isnull', True), _connector='OR'), name='volume_plan_default_is_nobodys'),
        ),
        migrations.AddField(
            model_name='priceapproval',
            name='asked_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='pedida por'),
        ),
        migrations.AddField(
            model_name='priceapproval',
            name='decided_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='decidida por'),
        ),
        migrations.AddField(
            model_name='priceapproval',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='approvals', to='billing.priceversion', verbose_name='versão'),
        ),
        migrations.AddField(
            model_name='pricenotice',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='price_notices', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddField(
            model_name='pricenotice',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='notices', to='billing.priceversion', verbose_name='versão'),
        ),
        migrations.AddField(
            model_name='ratealarm',
            name='draft',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='billing.priceversion', verbose_name='rascunho proposto'),
        ),
        migrations.AddField(
            model_name='ratealarm',
            name='exchange_rate',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.exchangerate', verbose_name='cotação'),
        ),
        migrations.AddField(
            model_name='ratealarm',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rate_alarms', to='billing.priceversion', verbose_name='versão em vigor'),
        ),
        migrations.AddConstraint(
            model_name='priceapproval',
            constraint=models.UniqueConstraint(condition=models.Q(('status', 'asked')), fields=('version',), name='price_approval_one_open'),
        ),
        migrations.AddConstraint(
            model_name='priceapproval',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'approved'), _negated=True), models.Q(('decided_by__isnull', False), models.Q(('decided_by', models.F('asked_by')), _negated=True)), _connector='OR'), name='price_approval_by_another'),
        ),
        migrations.AddIndex(
            model_name='pricenotice',
            index=models.Index(condition=models.Q(('due_at__isnull', False)), fields=['due_at'], name='price_notice_due'),
        ),
        migrations.AddConstraint(
            model_name='pricenotice',
            constraint=models.UniqueConstraint(fields=('version', 'organization'), name='price_notice_once'),
        ),
        migrations.AddConstraint(
            model_name='ratealarm',
            constraint=models.UniqueConstraint(fields=('version', 'exchange_rate'), name='rate_alarm_once'),
        ),
        *[migrations.RunSQL(read_sql(name), migrations.RunSQL.noop) for name in SQL_FILES],
    ]
