"""Budgets held with the calls, usage added up by day, negotiated plans, events; the ledger's functions that know them."""

import billing.models.budgets
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

from billing.sql import read_sql

# In this sequence: a function written in SQL names tables and functions that stand before it.
SQL_FILES = ("tiers", "budgets", "rollups", "sessions", "settle", "single", "entries", "refunds", "grants")
REBUILD = "SELECT billing_rebuild_usage_days(m.month) FROM (SELECT DISTINCT month FROM billing_usagerecord) m;"
SNAPSHOT = """
CREATE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON billing_budget
  FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('callers');
-- Rows that calls update: room for updates in place.
ALTER TABLE billing_budgetspend SET (fillfactor = 50);
ALTER TABLE billing_usageday SET (fillfactor = 50);
"""


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0006_projects_and_limits'),
        ('billing', '0007_single_calls'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='expiredhold',
            name='spends',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), blank=True, editable=False, null=True, size=None),
        ),
        migrations.AddField(
            model_name='hold',
            name='spends',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), blank=True, editable=False, null=True, size=None),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='margin_bps',
            field=models.SmallIntegerField(db_default=0, default=0, verbose_name='ajuste de margem'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='project_id',
            field=models.BigIntegerField(null=True, verbose_name='projeto'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=64), null=True, size=None, verbose_name='etiquetas'),
        ),
        migrations.AddField(
            model_name='wallet',
            name='low_balance_nanos',
            field=models.BigIntegerField(blank=True, null=True, verbose_name='avisar abaixo de'),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='kind',
            field=models.CharField(choices=[('top_up', 'Recarga'), ('grant', 'Bônus'), ('usage', 'Uso'), ('refund', 'Devolução'), ('dispute', 'Contestação'), ('expiry', 'Bônus expirado'), ('correction', 'Ajuste'), ('reversal', 'Estorno')], max_length=10, verbose_name='tipo'),
        ),
        migrations.CreateModel(
            name='Budget',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(choices=[('organization', 'Empresa inteira'), ('project', 'Projeto'), ('member', 'Pessoa'), ('key', 'Chave'), ('tag', 'Etiqueta')], max_length=12, verbose_name='limita')),
                ('subject_id', models.BigIntegerField(default=0, verbose_name='de quem')),
                ('tag', models.CharField(blank=True, max_length=64, verbose_name='etiqueta')),
                ('window', models.CharField(choices=[('day', 'Por dia'), ('week', 'Por semana'), ('month', 'Por mês')], max_length=5, verbose_name='período')),
                ('limit_nanos', models.BigIntegerField(verbose_name='limite')),
                ('is_hard', models.BooleanField(default=True, verbose_name='recusa chamadas')),
                ('alert_percents', django.contrib.postgres.fields.ArrayField(base_field=models.PositiveSmallIntegerField(), blank=True, default=billing.models.budgets.default_alerts, size=None, verbose_name='avisos (%)')),
                ('is_active', models.BooleanField(default=True, verbose_name='em vigor')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='criado por')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='budgets', to='accounts.organization', verbose_name='empresa')),
            ],
            options={
                'verbose_name': 'orçamento',
                'verbose_name_plural': 'orçamentos',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='BudgetSpend',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('starts_on', models.DateField(verbose_name='desde')),
                ('spent_nanos', models.BigIntegerField(default=0, verbose_name='gasto')),
                ('held_nanos', models.BigIntegerField(default=0, verbose_name='reservado')),
                ('alerted_percent', models.PositiveSmallIntegerField(default=0, verbose_name='avisado em (%)')),
                ('budget', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='spends', to='billing.budget', verbose_name='orçamento')),
            ],
            options={
                'verbose_name': 'gasto de orçamento',
                'verbose_name_plural': 'gastos de orçamentos',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Contract',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('first_month', models.DateField(verbose_name='do mês')),
                ('last_month', models.DateField(blank=True, null=True, verbose_name='até o mês')),
                ('note', models.CharField(blank=True, max_length=300, verbose_name='nota')),
                ('agreed_by', models.CharField(max_length=150, verbose_name='acertado por')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='contracts', to='accounts.organization', verbose_name='empresa')),
                ('plan', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='contracts', to='billing.volumeplan', verbose_name='plano')),
            ],
            options={
                'verbose_name': 'contrato de volume',
                'verbose_name_plural': 'contratos de volume',
            },
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('type', models.CharField(max_length=40, verbose_name='tipo')),
                ('reference', models.CharField(max_length=120, unique=True, verbose_name='referência')),
                ('level', models.CharField(choices=[('info', 'Informação'), ('warning', 'Atenção'), ('error', 'Urgente')], default='info', max_length=7, verbose_name='nível')),
                ('payload', models.JSONField(default=dict, verbose_name='conteúdo')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='em')),
                ('mail_due_at', models.DateTimeField(blank=True, null=True, verbose_name='enviar e-mail em')),
                ('mailed_at', models.DateTimeField(blank=True, null=True, verbose_name='e-mail enviado em')),
                ('seen_at', models.DateTimeField(blank=True, null=True, verbose_name='visto em')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='accounts.organization', verbose_name='empresa')),
            ],
            options={
                'verbose_name': 'acontecimento',
                'verbose_name_plural': 'acontecimentos',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='TagDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='dia')),
                ('tag', models.CharField(max_length=64, verbose_name='etiqueta')),
                ('route_name', models.CharField(max_length=100, verbose_name='modelo')),
                ('calls', models.BigIntegerField()),
                ('failed', models.BigIntegerField()),
                ('gross_nanos', models.BigIntegerField()),
                ('net_nanos', models.BigIntegerField()),
                ('input_tokens', models.BigIntegerField()),
                ('output_tokens', models.BigIntegerField()),
                ('organization', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.organization')),
            ],
            options={
                'verbose_name': 'uso do dia por etiqueta',
                'verbose_name_plural': 'uso por dia e etiqueta',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='UsageDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='dia')),
                ('api_key_id', models.BigIntegerField(verbose_name='chave')),
                ('project_id', models.BigIntegerField(default=0, verbose_name='projeto')),
                ('route_name', models.CharField(max_length=100, verbose_name='modelo')),
                ('provider_name', models.CharField(max_length=40, verbose_name='provedor')),
                ('is_own_key', models.BooleanField(verbose_name='com chave própria')),
                ('calls', models.BigIntegerField()),
                ('failed', models.BigIntegerField()),
                ('gross_nanos', models.BigIntegerField()),
                ('net_nanos', models.BigIntegerField()),
                ('paid_nanos', models.BigIntegerField()),
                ('promo_nanos', models.BigIntegerField()),
                ('overdraft_nanos', models.BigIntegerField()),
                ('cost_nanos', models.BigIntegerField()),
                ('latency_ms', models.BigIntegerField()),
                ('input_tokens', models.BigIntegerField()),
                ('cached_input_tokens', models.BigIntegerField()),
                ('cache_write_tokens', models.BigIntegerField()),
                ('output_tokens', models.BigIntegerField()),
                ('reasoning_tokens', models.BigIntegerField()),
                ('audio_input_tokens', models.BigIntegerField()),
                ('audio_output_tokens', models.BigIntegerField()),
                ('image_input_tokens', models.BigIntegerField()),
                ('image_output_tokens', models.BigIntegerField()),
                ('images', models.BigIntegerField()),
                ('audio_seconds', models.BigIntegerField()),
                ('characters', models.BigIntegerField()),
                ('searches', models.BigIntegerField()),
                ('organization', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.organization')),
            ],
            options={
                'verbose_name': 'uso do dia',
                'verbose_name_plural': 'uso por dia',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(('limit_nanos__gte', 0)), name='budget_limit_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(('scope', 'tag'), ('tag', ''), _connector='XOR'), name='budget_tag_where_by_tag'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(condition=models.Q(('is_active', True)), fields=('organization', 'scope', 'subject_id', 'tag', 'window'), name='budget_once'),
        ),
        migrations.AddConstraint(
            model_name='budgetspend',
            constraint=models.UniqueConstraint(fields=('budget', 'starts_on'), name='budget_spend_once'),
        ),
        migrations.AddConstraint(
            model_name='budgetspend',
            constraint=models.CheckConstraint(condition=models.Q(('held_nanos__gte', 0), ('spent_nanos__gte', 0)), name='budget_spend_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='contract',
            constraint=models.UniqueConstraint(fields=('organization', 'first_month'), name='contract_once_a_month'),
        ),
        migrations.AddConstraint(
            model_name='contract',
            constraint=models.CheckConstraint(condition=models.Q(('first_month__day', 1)), name='contract_from_first_day'),
        ),
        migrations.AddConstraint(
            model_name='contract',
            constraint=models.CheckConstraint(condition=models.Q(('last_month__isnull', True), models.Q(('last_month__day', 1), ('last_month__gte', models.F('first_month'))), _connector='OR'), name='contract_to_first_day'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['organization', '-id'], name='event_by_organization'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(condition=models.Q(('mail_due_at__isnull', False)), fields=['mail_due_at'], name='event_mail_due'),
        ),
        migrations.AddConstraint(
            model_name='tagday',
            constraint=models.UniqueConstraint(fields=('organization', 'day', 'tag', 'route_name'), name='tag_day_once'),
        ),
        migrations.AddIndex(
            model_name='usageday',
            index=models.Index(fields=['day'], name='usage_day_by_day'),
        ),
        migrations.AddConstraint(
            model_name='usageday',
            constraint=models.UniqueConstraint(fields=('organization', 'day', 'api_key_id', 'project_id', 'route_name', 'provider_name', 'is_own_key'), name='usage_day_once'),
        ),
        migrations.RunSQL(SNAPSHOT, "DROP TRIGGER snapshot ON billing_budget;"),
        *[migrations.RunSQL(read_sql(name), migrations.RunSQL.noop) for name in SQL_FILES],
        migrations.RunSQL(REBUILD, migrations.RunSQL.noop),
    ]
