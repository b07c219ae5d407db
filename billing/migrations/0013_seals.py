"""Seals over the ledger, closed days and months, files made in the background; indexes for what pages read."""

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

from billing.sql import read_sql


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_management"),
        ("billing", "0012_hooks"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='DayClose',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='dia')),
                ('number', models.PositiveSmallIntegerField()),
                ('told_on', models.DateField(verbose_name='informado em')),
                ('calls', models.BigIntegerField()),
                ('amount_nanos', models.BigIntegerField(verbose_name='valor')),
                ('closed_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'verbose_name': 'dia fechado',
                'verbose_name_plural': 'dias fechados',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Export',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('statement', 'Extrato'), ('usage', 'Uso'), ('requests', 'Requisições')], max_length=9, verbose_name='tabela')),
                ('form', models.CharField(choices=[('sheet', 'CSV para planilha'), ('plain', 'CSV para programas'), ('ofx', 'OFX')], max_length=5, verbose_name='formato')),
                ('filters', models.JSONField(default=dict, verbose_name='filtros')),
                ('status', models.CharField(choices=[('waiting', 'Na fila'), ('running', 'Gerando'), ('done', 'Pronto'), ('failed', 'Falhou'), ('expired', 'Expirado')], default='waiting', max_length=7, verbose_name='situação')),
                ('rows_total', models.BigIntegerField(default=0, verbose_name='linhas')),
                ('rows_done', models.BigIntegerField(default=0, verbose_name='linhas prontas')),
                ('bytes', models.BigIntegerField(default=0, verbose_name='bytes')),
                ('cursor', models.CharField(blank=True, max_length=60)),
                ('tries', models.PositiveSmallIntegerField(default=0, verbose_name='tentativas')),
                ('lease_id', models.UUIDField(blank=True, null=True)),
                ('leased_until', models.DateTimeField(blank=True, null=True)),
                ('error', models.CharField(blank=True, max_length=200, verbose_name='erro')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='pedido em')),
                ('done_at', models.DateTimeField(blank=True, null=True, verbose_name='pronto em')),
                ('expires_at', models.DateTimeField(blank=True, null=True, verbose_name='guardado até')),
            ],
            options={
                'verbose_name': 'exportação',
                'verbose_name_plural': 'exportações',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='ExportPiece',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('data', models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name='LedgerSeal',
            fields=[
                ('seq', models.BigIntegerField(primary_key=True, serialize=False, verbose_name='nº')),
                ('entry_id', models.BigIntegerField(null=True, verbose_name='lançamento')),
                ('call_id', models.UUIDField(null=True, verbose_name='requisição')),
                ('version', models.SmallIntegerField(default=1, verbose_name='forma')),
                ('digest', models.BinaryField(max_length=32, verbose_name='selo')),
                ('sealed_at', models.DateTimeField(auto_now_add=True, verbose_name='selado em')),
            ],
            options={
                'verbose_name': 'selo do livro',
                'verbose_name_plural': 'selos do livro',
            },
        ),
        migrations.CreateModel(
            name='MonthClose',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField(verbose_name='mês')),
                ('opening_nanos', models.BigIntegerField(verbose_name='saldo inicial')),
                ('in_nanos', models.BigIntegerField(verbose_name='entradas')),
                ('out_nanos', models.BigIntegerField(verbose_name='saídas')),
                ('closing_nanos', models.BigIntegerField(verbose_name='saldo final')),
                ('top_ups_nanos', models.BigIntegerField(verbose_name='recargas')),
                ('promo_nanos', models.BigIntegerField(verbose_name='bônus')),
                ('refunds_nanos', models.BigIntegerField(verbose_name='devoluções')),
                ('calls', models.BigIntegerField(verbose_name='requisições')),
                ('gross_nanos', models.BigIntegerField(verbose_name='uso bruto')),
                ('discount_nanos', models.BigIntegerField(verbose_name='desconto por volume')),
                ('net_nanos', models.BigIntegerField(verbose_name='uso líquido')),
                ('promo_used_nanos', models.BigIntegerField(verbose_name='pago com bônus')),
                ('overdraft_nanos', models.BigIntegerField(verbose_name='não coberto pelo saldo')),
                ('adjustment_nanos', models.BigIntegerField(verbose_name='ajuste de meses fechados')),
                ('movements', models.JSONField(default=dict, verbose_name='movimentos')),
                ('adjustments', models.JSONField(default=dict, verbose_name='ajustes')),
                ('seal_seq', models.BigIntegerField(default=0, verbose_name='selo nº')),
                ('seal_digest', models.BinaryField(max_length=32, verbose_name='selo')),
                ('closed_at', models.DateTimeField(auto_now_add=True, verbose_name='fechado em')),
            ],
            options={
                'verbose_name': 'fechamento do mês',
                'verbose_name_plural': 'fechamentos',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='SealCheck',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('first_seq', models.BigIntegerField(verbose_name='do nº')),
                ('last_seq', models.BigIntegerField(verbose_name='ao nº')),
                ('head_seq', models.BigIntegerField(verbose_name='último nº')),
                ('head_digest', models.BinaryField(max_length=32, verbose_name='selo')),
                ('broken_seq', models.BigIntegerField(blank=True, null=True, verbose_name='quebrado no nº')),
                ('detail', models.TextField(blank=True, verbose_name='o que foi encontrado')),
                ('checked_at', models.DateTimeField(auto_now_add=True, verbose_name='conferido em')),
            ],
            options={
                'verbose_name': 'conferência do livro',
                'verbose_name_plural': 'conferências do livro',
            },
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('entry_id__isnull', False)), fields=['entry_id'], name='usage_by_entry'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('entry_id__isnull', True)), fields=['id'], name='usage_without_entry'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(fields=['api_key_id', '-id'], name='usage_by_key'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('outcome', 'completed'), _negated=True), fields=['organization', 'outcome', '-id'], name='usage_not_completed'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('usage_source', 'cache')), fields=['organization', '-id'], name='usage_from_cache'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('is_own_key', True)), fields=['organization', '-id'], name='usage_by_own_key'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('attempts__1__isnull', False)), fields=['organization', '-id'], name='usage_tried_again'),
        ),
        migrations.AddIndex(
            model_name='posting',
            index=models.Index(condition=models.Q(('destination', 'revenue:usage'), _negated=True), fields=['wallet', 'entry'], name='posting_not_usage'),
        ),
        migrations.AddIndex(
            model_name='tagday',
            index=models.Index(fields=['organization', 'tag', 'day'], name='tag_day_by_tag'),
        ),
        migrations.AddIndex(
            model_name='usageday',
            index=models.Index(fields=['organization', 'route_name', 'day'], name='usage_day_by_route'),
        ),
        migrations.AddIndex(
            model_name='usageday',
            index=models.Index(condition=models.Q(('overdraft_nanos__gt', 0)), fields=['organization', 'day'], name='usage_day_owing'),
        ),
        migrations.AddField(
            model_name='dayclose',
            name='organization',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.organization'),
        ),
        migrations.AddField(
            model_name='dayclose',
            name='wallet',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.wallet'),
        ),
        migrations.AddField(
            model_name='export',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddField(
            model_name='export',
            name='requested_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='pedido por'),
        ),
        migrations.AddField(
            model_name='exportpiece',
            name='export',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='pieces', to='billing.export'),
        ),
        migrations.AddIndex(
            model_name='ledgerseal',
            index=models.Index(fields=['sealed_at'], name='ledger_seal_by_time'),
        ),
        migrations.AddConstraint(
            model_name='ledgerseal',
            constraint=models.UniqueConstraint(condition=models.Q(('entry_id__isnull', False)), fields=('entry_id',), name='ledger_seal_entry_once'),
        ),
        migrations.AddConstraint(
            model_name='ledgerseal',
            constraint=models.UniqueConstraint(condition=models.Q(('call_id__isnull', False)), fields=('call_id',), name='ledger_seal_call_once'),
        ),
        migrations.AddConstraint(
            model_name='ledgerseal',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('call_id__isnull', False), ('entry_id__isnull', True)), models.Q(('call_id__isnull', True), ('entry_id__isnull', False)), _connector='OR'), name='ledger_seal_of_one_thing'),
        ),
        migrations.AddField(
            model_name='monthclose',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.organization', verbose_name='empresa'),
        ),
        migrations.AddField(
            model_name='monthclose',
            name='wallet',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='closes', to='billing.wallet', verbose_name='carteira'),
        ),
        migrations.AddConstraint(
            model_name='dayclose',
            constraint=models.UniqueConstraint(fields=('wallet', 'day', 'number'), name='day_close_once'),
        ),
        migrations.AddIndex(
            model_name='export',
            index=models.Index(fields=['organization', '-created_at'], name='export_by_organization'),
        ),
        migrations.AddIndex(
            model_name='export',
            index=models.Index(condition=models.Q(('status__in', ['waiting', 'running'])), fields=['created_at'], name='export_due'),
        ),
        migrations.AddConstraint(
            model_name='exportpiece',
            constraint=models.UniqueConstraint(fields=('export', 'number'), name='export_piece_once'),
        ),
        migrations.AddConstraint(
            model_name='monthclose',
            constraint=models.UniqueConstraint(fields=('wallet', 'month'), name='month_close_once'),
        ),
        migrations.AddConstraint(
            model_name='monthclose',
            constraint=models.CheckConstraint(condition=models.Q(('closing_nanos', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('opening_nanos'), '+', models.F('in_nanos')), '-', models.F('out_nanos')))), name='month_close_adds_up'),
        ),
        migrations.AddConstraint(
            model_name='monthclose',
            constraint=models.CheckConstraint(condition=models.Q(('gross_nanos', django.db.models.expressions.CombinedExpression(models.F('net_nanos'), '+', models.F('discount_nanos')))), name='month_close_discount'),
        ),
        *[migrations.RunSQL(read_sql(name), migrations.RunSQL.noop) for name in ("seals", "closing", "grants")],
    ]
