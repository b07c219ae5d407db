"""Differences with banks and providers."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0013_seals'),
    ]

    operations = [
        migrations.CreateModel(
            name='Difference',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('subject', models.CharField(choices=[('pix', 'PIX recebido'), ('pix_refund', 'PIX devolvido'), ('card', 'Pagamento na Stripe'), ('card_refund', 'Devolução na Stripe'), ('dispute', 'Contestação na Stripe'), ('provider', 'Uso no provedor'), ('invariant', 'Contas da Tokia')], max_length=11, verbose_name='assunto')),
                ('reference', models.CharField(max_length=200, verbose_name='referência')),
                ('kind', models.CharField(choices=[('only_there', 'Só no outro lado'), ('only_here', 'Só na Tokia'), ('amount', 'Valores diferentes'), ('broken', 'Não fecha')], max_length=10, verbose_name='tipo')),
                ('ours_nanos', models.BigIntegerField(null=True, verbose_name='na Tokia')),
                ('theirs_nanos', models.BigIntegerField(null=True, verbose_name='no outro lado')),
                ('detail', models.TextField(blank=True, verbose_name='o que foi visto')),
                ('fact_at', models.DateTimeField(verbose_name='do fato')),
                ('status', models.CharField(choices=[('open', 'Em aberto'), ('explained', 'Explicada'), ('gone', 'Sumiu')], default='open', max_length=9, verbose_name='situação')),
                ('explanation', models.CharField(blank=True, max_length=500, verbose_name='explicação')),
                ('explained_by', models.CharField(blank=True, max_length=150, verbose_name='explicada por')),
                ('explained_at', models.DateTimeField(blank=True, null=True, verbose_name='explicada em')),
                ('first_seen_at', models.DateTimeField(verbose_name='vista desde')),
                ('last_seen_at', models.DateTimeField(verbose_name='vista em')),
                ('gone_at', models.DateTimeField(blank=True, null=True, verbose_name='sumiu em')),
            ],
            options={
                'verbose_name': 'diferença',
                'verbose_name_plural': 'diferenças',
                'indexes': [models.Index(fields=['status', 'subject', 'fact_at'], name='difference_open')],
                'constraints': [models.UniqueConstraint(fields=('subject', 'reference'), name='difference_once'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'explained'), _negated=True), models.Q(('explanation', ''), _negated=True), _connector='OR'), name='difference_explained_in_words')],
            },
        ),
        migrations.CreateModel(
            name='ProviderReport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider_name', models.CharField(max_length=40, verbose_name='provedor')),
                ('file_name', models.CharField(max_length=200, verbose_name='arquivo')),
                ('digest', models.BinaryField(max_length=32, unique=True)),
                ('first_on', models.DateField(verbose_name='do dia')),
                ('last_on', models.DateField(verbose_name='ao dia')),
                ('rows', models.PositiveIntegerField(verbose_name='linhas')),
                ('usd', models.DecimalField(decimal_places=6, max_digits=18, verbose_name='US$')),
                ('imported_by', models.CharField(max_length=150, verbose_name='importado por')),
                ('imported_at', models.DateTimeField(auto_now_add=True, verbose_name='importado em')),
            ],
            options={
                'verbose_name': 'relatório de provedor',
                'verbose_name_plural': 'relatórios de provedores',
                'constraints': [models.CheckConstraint(condition=models.Q(('first_on__lte', models.F('last_on'))), name='provider_report_days')],
            },
        ),
        migrations.CreateModel(
            name='ReconciliationRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('subject', models.CharField(choices=[('pix', 'PIX recebido'), ('pix_refund', 'PIX devolvido'), ('card', 'Pagamento na Stripe'), ('card_refund', 'Devolução na Stripe'), ('dispute', 'Contestação na Stripe'), ('provider', 'Uso no provedor'), ('invariant', 'Contas da Tokia')], max_length=11, verbose_name='assunto')),
                ('first_at', models.DateTimeField(verbose_name='de')),
                ('last_at', models.DateTimeField(verbose_name='até')),
                ('ours_count', models.PositiveIntegerField(default=0, verbose_name='nossos')),
                ('theirs_count', models.PositiveIntegerField(default=0, verbose_name='deles')),
                ('ours_nanos', models.BigIntegerField(default=0, verbose_name='na Tokia')),
                ('theirs_nanos', models.BigIntegerField(default=0, verbose_name='no outro lado')),
                ('differences', models.PositiveIntegerField(default=0, verbose_name='diferenças')),
                ('failure', models.CharField(blank=True, max_length=300, verbose_name='falha')),
                ('started_at', models.DateTimeField(verbose_name='começou em')),
                ('took_ms', models.PositiveIntegerField(default=0, verbose_name='levou (ms)')),
            ],
            options={
                'verbose_name': 'conciliação',
                'verbose_name_plural': 'conciliações',
                'indexes': [models.Index(fields=['subject', '-started_at'], name='reconciliation_last')],
            },
        ),
        migrations.CreateModel(
            name='ProviderReportLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='dia (UTC)')),
                ('upstream_model', models.CharField(max_length=120, verbose_name='modelo no provedor')),
                ('input_tokens', models.BigIntegerField(null=True, verbose_name='entrada')),
                ('output_tokens', models.BigIntegerField(null=True, verbose_name='saída')),
                ('usd', models.DecimalField(decimal_places=6, max_digits=18, null=True, verbose_name='US$')),
                ('report', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='lines', to='billing.providerreport', verbose_name='relatório')),
            ],
            options={
                'verbose_name': 'linha de relatório',
                'verbose_name_plural': 'linhas de relatórios',
                'constraints': [models.UniqueConstraint(fields=('report', 'day', 'upstream_model'), name='provider_report_line_once')],
            },
        ),
    ]
