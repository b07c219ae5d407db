"""Customers' addresses that are told of events; who gets which mails; what was told and still holds."""

import billing.models.hooks
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

import tokia.clock
from billing.sql import read_sql


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0006_projects_and_limits'),
        ('billing', '0011_price_guard'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='event',
            name='mail_attempts',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, verbose_name='tentativas de e-mail'),
        ),
        migrations.CreateModel(
            name='AlertChoice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('organization', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='alert_choice', to='accounts.organization', verbose_name='empresa')),
                ('roles', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=10), blank=True, default=billing.models.hooks.default_roles, size=None, verbose_name='papéis')),
                ('extra_emails', django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), blank=True, default=list, size=None, verbose_name='outros e-mails')),
                ('muted_kinds', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), blank=True, default=list, size=None, verbose_name='sem e-mail')),
                ('watches_unusual', models.BooleanField(default=True, verbose_name='avisa de gasto fora do comum')),
            ],
            options={
                'verbose_name': 'preferências de avisos',
                'verbose_name_plural': 'preferências de avisos',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='AlertState',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('organization', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='alert_state', to='accounts.organization', verbose_name='empresa')),
                ('low_told_at', models.DateTimeField(blank=True, null=True, verbose_name='saldo baixo avisado em')),
                ('empty_told_at', models.DateTimeField(blank=True, null=True, verbose_name='saldo zerado avisado em')),
                ('suspended_told_at', models.DateTimeField(blank=True, null=True, verbose_name='suspensão avisada em')),
            ],
            options={
                'verbose_name': 'avisos em vigor',
                'verbose_name_plural': 'avisos em vigor',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Hook',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='hooks', to='accounts.organization', verbose_name='empresa')),
                ('name', models.CharField(blank=True, max_length=60, verbose_name='nome')),
                ('url', models.CharField(max_length=500, verbose_name='endereço')),
                ('types', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), blank=True, default=list, size=None, verbose_name='avisos')),
                ('secret', models.BinaryField(verbose_name='segredo')),
                ('previous_secret', models.BinaryField(default=b'', verbose_name='segredo anterior')),
                ('previous_ends_at', models.DateTimeField(blank=True, null=True, verbose_name='segredo anterior vale até')),
                ('is_active', models.BooleanField(default=True, verbose_name='em uso')),
                ('failing_since', models.DateTimeField(blank=True, null=True, verbose_name='falha desde')),
                ('disabled_at', models.DateTimeField(blank=True, null=True, verbose_name='desligado em')),
                ('disabled_reason', models.CharField(blank=True, max_length=200, verbose_name='motivo')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='criado por')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criado em')),
            ],
            options={
                'verbose_name': 'webhook',
                'verbose_name_plural': 'webhooks',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
                'indexes': [models.Index(condition=models.Q(('is_active', True)), fields=['organization'], name='hook_active')],
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='HookDelivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hook', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='billing.hook', verbose_name='webhook')),
                ('event', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='billing.event', verbose_name='acontecimento')),
                ('message_id', models.UUIDField(default=tokia.clock.new_id, editable=False, unique=True, verbose_name='mensagem')),
                ('status', models.CharField(choices=[('due', 'Na fila'), ('delivered', 'Entregue'), ('failed', 'Falhou')], default='due', max_length=9, verbose_name='situação')),
                ('attempts', models.PositiveSmallIntegerField(default=0, verbose_name='tentativas')),
                ('due_at', models.DateTimeField(blank=True, null=True, verbose_name='próxima tentativa')),
                ('leased_until', models.DateTimeField(blank=True, null=True, verbose_name='em envio até')),
                ('sent_at', models.DateTimeField(blank=True, null=True, verbose_name='última tentativa')),
                ('status_code', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='resposta HTTP')),
                ('error', models.CharField(blank=True, max_length=200, verbose_name='erro')),
                ('answer', models.TextField(blank=True, verbose_name='corpo da resposta')),
                ('elapsed_ms', models.PositiveIntegerField(blank=True, null=True, verbose_name='duração (ms)')),
                ('delivered_at', models.DateTimeField(blank=True, null=True, verbose_name='entregue em')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='criada em')),
            ],
            options={
                'verbose_name': 'entrega de webhook',
                'verbose_name_plural': 'entregas de webhooks',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
                'indexes': [models.Index(fields=['hook', '-id'], name='hook_delivery_by_hook'), models.Index(condition=models.Q(('status', 'due')), fields=['due_at'], name='hook_delivery_due'), models.Index(fields=['created_at'], name='hook_delivery_by_age')],
                'constraints': [models.UniqueConstraint(fields=('hook', 'event'), name='hook_delivery_once')],
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='EventMail',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mails', to='billing.event', verbose_name='acontecimento')),
                ('email', models.EmailField(max_length=254, verbose_name='para')),
                ('sent_at', models.DateTimeField(auto_now_add=True, verbose_name='enviado em')),
            ],
            options={
                'verbose_name': 'e-mail de aviso',
                'verbose_name_plural': 'e-mails de avisos',
                'base_manager_name': 'everywhere',
                'default_manager_name': 'everywhere',
                'constraints': [models.UniqueConstraint(fields=('event', 'email'), name='event_mail_once')],
            },
            managers=[
                ('everywhere', django.db.models.manager.Manager()),
            ],
        ),
        migrations.RunSQL(read_sql('grants'), migrations.RunSQL.noop),  # when a wallet is low is the application's to say
    ]
